"""Listing, planning and reading over plain Flight, with pyarrow's client."""

import datetime as dt
import json
from decimal import Decimal

import adbc_driver_flightsql.dbapi as flight_sql
import duckdb
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain.dataset import WriteMode
from tests.protocol.counting import counted
from tests.protocol.flight_stack import command, flight_stack, path, read, ticket_of

SALES = pa.table(
    {
        "id": pa.array(range(10_000), pa.int64()),
        "region": pa.array([("north", "south", None)[i % 3] for i in range(10_000)]),
        "price": pa.array([Decimal(i) / 100 for i in range(10_000)], pa.decimal128(12, 2)),
        "day": pa.array([dt.date(2026, 1, 1) + dt.timedelta(i % 365) for i in range(10_000)]),
    }
)
FIRST = SALES.slice(0, 100)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with flight_stack(tmp_path_factory.mktemp("reading")) as stack:
        stack.write("sales", FIRST)
        stack.write("sales", SALES, WriteMode.REPLACE)
        stack.write("Empty-One", SALES.schema.empty_table())
        yield stack


@pytest.fixture
def client(stack):
    with stack.connect() as client:
        yield client


def sql(text, **more):
    return command(json.dumps({"sql": text, **more}))


def test_listing_tells_each_dataset_with_its_schema_rows_and_bytes(client):
    empty, sales = client.list_flights()
    assert empty.descriptor == path("Empty-One")
    assert empty.total_records == 0
    assert sales.descriptor == path("sales")
    assert sales.total_records == 10_000
    assert sales.total_bytes > 0
    assert sales.schema == SALES.schema


def test_what_is_listed_can_be_read(client):
    for info in client.list_flights():
        table = client.do_get(info.endpoints[0].ticket).read_all()
        assert table.num_rows == info.total_records
        assert table.schema == info.schema


def test_a_listing_can_be_narrowed_by_prefix(client):
    (info,) = client.list_flights(b'{"prefix": "emp"}')
    assert info.descriptor == path("Empty-One")


@pytest.mark.parametrize("name", ["sales", "SALES"])
def test_a_dataset_is_read_by_path(client, name):
    assert read(client, path(name)).equals(SALES)


def test_the_info_of_a_dataset_knows_rows_and_bytes(client):
    info = client.get_flight_info(path("sales"))
    assert (info.total_records, info.schema) == (10_000, SALES.schema)
    assert info.total_bytes > 0
    assert list(info.endpoints[0].locations) == []


@pytest.mark.parametrize("version", ["v0", "0"])
def test_an_older_version_is_read_by_path(client, version):
    assert client.get_flight_info(path("sales", version)).total_records == 100
    assert read(client, path("sales", version)).equals(FIRST)


def test_a_version_is_read_by_its_moment(client, stack):
    (described,) = client.do_action(("describe_dataset", b'{"dataset": "sales"}'))
    first = json.loads(described.body.to_pybytes())["versions"][-1]["committed_at"]
    assert read(client, path("sales", first)).equals(FIRST)
    assert read(client, command(json.dumps({"dataset": "sales", "version": first}))).equals(FIRST)


def test_a_dataset_without_rows_has_its_schema(client):
    table = read(client, path("Empty-One"))
    assert (table.num_rows, table.schema) == (0, SALES.schema)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT region, count(*) AS n, sum(price) AS p, max(day) AS d FROM sales GROUP BY 1 ORDER BY 1",
        "SELECT * FROM sales WHERE price > 50 ORDER BY id DESC LIMIT 7",
        "WITH s AS (SELECT id FROM sales) SELECT count(*) FROM s JOIN sales USING (id)",
        "SELECT 1 AS one, 'zwei' AS two, NULL AS three",
        "SELECT * FROM sales WHERE false",
        "SELECT [1, NULL] AS l, {'a': 1, 'b': 'x'} AS s, MAP {'k': 1} AS m, INTERVAL 3 DAY AS i",
        "SELECT TIMESTAMP_NS '2026-01-31 12:00:00.123456789' AS ns, TIME '12:00:01' AS t, 'x'::BLOB AS b",
        "SELECT 170141183460469231731687303715884105727::HUGEINT AS h, 0::UTINYINT AS u",
        "EXPLAIN SELECT 1",
    ],
)
def test_sql_answers_as_duckdb_does_in_process(client, query):
    with duckdb.connect() as local:
        local.register("sales", SALES)
        expected = local.sql(query).to_arrow_table()
    table = read(client, command(query))
    if query.startswith("EXPLAIN"):
        assert table.schema == expected.schema
    else:
        assert table.equals(expected)


@pytest.mark.parametrize("query", ["SELECT * FROM sales", "SELECT sum(price) AS s, avg(id) AS a FROM sales"])
def test_schema_info_and_stream_agree(client, query):
    schema = client.get_schema(command(query)).schema
    assert client.get_flight_info(command(query)).schema == schema
    assert read(client, command(query)).schema == schema


def test_parameters_go_by_position_or_by_name(client):
    by_position = sql("SELECT id FROM sales WHERE region = ? AND id < ? ORDER BY 1", params=["south", 5])
    by_name = sql(
        "SELECT id FROM sales WHERE region = $r AND id < $n ORDER BY 1", params={"n": 5, "r": "south"}
    )
    assert read(client, by_position).column("id").to_pylist() == [1, 4]
    assert read(client, by_name).column("id").to_pylist() == [1, 4]


@pytest.mark.parametrize("value", [0, -1, 2**63 - 1, 2**63, 2**100, 1.5, True, None, "ä'; --", "", [1, 2]])
def test_a_parameter_arrives_as_it_was_sent(client, value):
    (row,) = read(client, sql("SELECT ? AS v", params=[value])).to_pylist()
    assert row["v"] == value


def test_columns_version_and_limit_narrow_a_dataset(client):
    request = {"dataset": "sales", "version": 0, "columns": ["region", "id"], "limit": 3}
    assert read(client, command(json.dumps(request))).equals(FIRST.select(["region", "id"]).slice(0, 3))


def test_a_limit_cuts_sql_too(client):
    assert read(client, sql("SELECT id FROM sales ORDER BY id DESC", limit=2)).column("id").to_pylist() == [
        9999,
        9998,
    ]


def test_a_ticket_pins_the_version_seen_at_planning_time(stack, client):
    stack.write("pinned", FIRST)
    descriptors = [path("pinned"), command("SELECT count(*) AS n FROM pinned")]
    rows, count = [ticket_of(client, descriptor) for descriptor in descriptors]
    stack.write("pinned", SALES, WriteMode.REPLACE)
    assert client.do_get(rows).read_all().equals(FIRST)
    assert client.do_get(count).read_all().to_pylist() == [{"n": 100}]
    assert read(client, path("pinned")).num_rows == 10_000


def test_a_ticket_can_be_used_again(client):
    ticket = ticket_of(client, path("sales"))
    assert client.do_get(ticket).read_all().equals(client.do_get(ticket).read_all())


def test_a_ticket_is_good_at_another_connection(stack, client):
    ticket = ticket_of(client, path("sales"))
    with stack.connect() as another:
        assert another.do_get(ticket).read_all().equals(SALES)


def test_the_info_tells_the_query_id_under_which_the_query_runs(client):
    info = client.get_flight_info(command("SELECT 42 AS answer"))
    query_id = json.loads(info.app_metadata)["query_id"]
    client.do_get(info.endpoints[0].ticket).read_all()
    statuses = [json.loads(result.body.to_pybytes()) for result in client.do_action(("list_queries", b""))]
    (status,) = [status for status in statuses if status["query_id"] == query_id]
    assert (status["sql"], status["state"], status["rows"]) == ("SELECT 42 AS answer", "succeeded", 1)


def test_an_enum_arrives_as_a_dictionary_in_every_batch(client):
    letter = "CASE i % 3 WHEN 0 THEN 'a' ELSE 'b' END"
    query = f"SELECT ({letter})::ENUM('a', 'b', 'c') AS e, i FROM range(300000) t(i)"
    table = read(client, command(query))
    assert pa.types.is_dictionary(table.schema.field("e").type)
    assert table.column("e").num_chunks > 1
    assert table.column("e").to_pylist() == ["b" if i % 3 else "a" for i in range(300_000)]


def test_a_nested_enum_arrives_too(client):
    table = read(client, command("SELECT [{'e': 'b'::ENUM('a', 'b')}] AS x FROM range(3)"))
    assert table.column("x").to_pylist() == [[{"e": "b"}]] * 3


def test_wide_rows_come_in_messages_that_clients_accept(client):
    query = "SELECT repeat('x', 20000) AS a, repeat('y', 20000) AS b, i FROM range(2000) t(i)"
    sizes = [
        pa.ipc.get_record_batch_size(chunk.data) for chunk in client.do_get(ticket_of(client, command(query)))
    ]
    assert sum(sizes) > 80_000_000
    *others, largest = sorted(sizes)
    assert max(others) < 4 << 20
    assert largest < 24 << 20  # Arrow's client in C++ takes any, and keeps its memory


def test_clients_in_other_languages_get_no_large_message(stack):
    query = "SELECT repeat('x', 20000) AS a, repeat('y', 20000) AS b, i FROM range(2000) t(i)"
    with flight_sql.connect(stack.server.uri) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        sizes = [batch.nbytes for batch in cursor.fetch_record_batch()]
    assert sum(sizes) > 80_000_000
    assert max(sizes) < 4 << 20


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("column", ["repeat('x', 100)", "'yes'::ENUM('yes', 'no')"], ids=["text", "enum"])
def test_streams_are_compressed_for_those_who_ask(stack, codec, column):
    query = command(f"SELECT {column} AS c FROM range(300000)")
    options = fl.FlightCallOptions(headers=[(b"x-skein-compression", codec.encode())])

    def through(options=None):
        with counted(stack.server.port) as (port, received), fl.connect(f"grpc://127.0.0.1:{port}") as client:
            return client.do_get(ticket_of(client, query), options).read_all(), received

    plain, received_plain = through()
    small, received_small = through(options)
    assert small.equals(plain)
    assert received_small() < received_plain() / 5


def test_a_statement_that_writes_runs_once_and_its_outcome_is_read_from_the_ticket(client):
    info = client.get_flight_info(command("CREATE TABLE mine AS SELECT 1 AS x"))
    for _ in range(2):
        client.do_get(info.endpoints[0].ticket).read_all()
    insert = client.get_flight_info(command("INSERT INTO mine VALUES (2), (3)"))
    assert json.loads(insert.app_metadata) == {"affected_rows": 2}
    assert client.do_get(insert.endpoints[0].ticket).read_all().to_pylist() == [{"Count": 2}]
    assert read(client, command("SELECT x FROM mine ORDER BY x")).column("x").to_pylist() == [1, 2, 3]
    returned = read(client, command("DELETE FROM mine WHERE x > 1 RETURNING x"))
    assert sorted(returned.column("x").to_pylist()) == [2, 3]


def test_users_tables_join_with_datasets(client):
    read(client, command("CREATE TABLE regions AS SELECT 'north' AS region, 'N' AS letter"))
    query = "SELECT count(*) AS n FROM sales JOIN regions USING (region)"
    assert read(client, command(query)).to_pylist() == [
        {"n": SALES.column("region").to_pylist().count("north")}
    ]


def test_asking_for_a_schema_runs_nothing(client):
    assert client.get_schema(command("CREATE TABLE never (x INTEGER)")).schema == pa.schema([])
    with pytest.raises(pa.ArrowKeyError, match="never"):
        read(client, command("SELECT * FROM never"))
