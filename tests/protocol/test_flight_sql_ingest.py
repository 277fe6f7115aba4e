"""Bulk ingestion into the users' tables and into datasets."""

import os
import signal
import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from schemas.flight_sql import envelope
from schemas.flight_sql.sql_pb2 import CommandStatementIngest
from tests.protocol.raw_flight_sql import RawFlightSql, record_count
from tests.stack import Stack, skein_stack, until

_Options = CommandStatementIngest.TableDefinitionOptions
CREATE, IF_MISSING_FAIL = _Options.TABLE_NOT_EXIST_OPTION_CREATE, _Options.TABLE_NOT_EXIST_OPTION_FAIL
FAIL, APPEND, REPLACE = (
    _Options.TABLE_EXISTS_OPTION_FAIL,
    _Options.TABLE_EXISTS_OPTION_APPEND,
    _Options.TABLE_EXISTS_OPTION_REPLACE,
)
ROWS = pa.table({"i": pa.array([1, 2, 3]), "s": ["a", None, "c"]})


def ingest(
    client: RawFlightSql, table: str, rows: pa.Table, missing: int = CREATE, exists: int = FAIL, **more
) -> int:
    options = _Options(if_not_exist=missing, if_exists=exists)
    command = CommandStatementIngest(table_definition_options=options, table=table, **more)
    return record_count(client.put(command, rows))


@pytest.fixture(params=[None, "datasets"], ids=["table", "dataset"])
def place(request, client) -> dict[str, str]:
    """Where the table `target` goes, which does not exist yet."""
    for schema in ("main", "datasets"):
        client.execute(f"DROP TABLE IF EXISTS {schema}.target")
    return {"schema": request.param} if request.param else {}


def test_create_makes_the_table_with_the_columns_of_the_data(client, place):
    assert ingest(client, "target", ROWS, CREATE, FAIL, **place) == 3
    assert client.query("FROM target") == ROWS


def test_create_fails_if_the_table_exists(client, place):
    ingest(client, "target", ROWS, **place)
    with pytest.raises(pa.ArrowInvalid, match=r"\[(table|dataset)_exists\]"):
        ingest(client, "target", ROWS, **place)
    assert client.query("FROM target") == ROWS


def test_append_adds_rows_by_name_whatever_the_order_of_columns(client, place):
    ingest(client, "target", ROWS, **place)
    assert ingest(client, "target", ROWS.select(["s", "i"]), IF_MISSING_FAIL, APPEND, **place) == 3
    assert client.query("FROM target ORDER BY i, s").num_rows == 6
    assert client.rows("SELECT sum(i)::BIGINT FROM target") == [(12,)]


def test_columns_that_are_missing_in_the_data_are_null(client, place):
    ingest(client, "target", ROWS, **place)
    ingest(client, "target", ROWS.select(["i"]), IF_MISSING_FAIL, APPEND, **place)
    assert client.rows("SELECT count(*), count(s) FROM target") == [(6, 2)]


MISREAD = [
    pa.nulls(1, pa.decimal128(38, -5)),
    pa.nulls(1, pa.list_(pa.decimal128(5, -2))),
    pa.nulls(1, pa.decimal256(60, 2)),
    pa.nulls(1, pa.struct([("h", pa.float16())])),
    pa.array([[]], pa.list_(pa.int32(), 0)),
    pa.RunEndEncodedArray.from_arrays([1], pa.array(["x"]).dictionary_encode()),
    pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]),
]


@pytest.mark.parametrize("values", MISREAD, ids=lambda values: str(values.type))
def test_a_type_that_duckdb_would_misread_is_refused_and_harms_nobody(client, values):
    client.execute("CREATE OR REPLACE TEMP TABLE witness AS SELECT 1 AS x")
    with pytest.raises(pa.ArrowInvalid, match=r"\[unsupported_type\] column 'b' has the Arrow type"):
        ingest(client, "misread", pa.table({"a": pa.nulls(1, pa.int8()), "b": values}))
    assert client.rows("FROM witness") == [(1,)], "the engine was opened again"
    with pytest.raises(KeyError):
        client.execute("FROM misread")


def test_decimals_that_sql_has_no_type_for_get_one_with_room(client):
    data = {"neg": pa.array([Decimal(4200)], pa.decimal128(5, -2)), "deep": pa.nulls(1, pa.decimal128(2, 5))}
    ingest(client, "roomy", pa.table(data), exists=REPLACE)
    roomy = client.query("FROM roomy")
    assert roomy.schema == pa.schema([("neg", pa.decimal128(7, 0)), ("deep", pa.decimal128(5, 5))])
    assert roomy.column("neg").to_pylist() == [Decimal(4200)]


def test_append_fails_if_the_table_is_missing(client, place):
    with pytest.raises(KeyError, match=r"\[(table|dataset)_not_found\]"):
        ingest(client, "target", ROWS, IF_MISSING_FAIL, APPEND, **place)


def test_create_append_does_either(client, place):
    for _ in range(2):
        ingest(client, "target", ROWS, CREATE, APPEND, **place)
    assert client.rows("SELECT count(*) FROM target") == [(6,)]


def test_replace_takes_the_place_of_rows_and_columns(client, place):
    for rows in (ROWS, pa.table({"other": [1.5]})):
        ingest(client, "target", rows, CREATE, REPLACE, **place)
        assert client.query("FROM target") == rows


def test_columns_that_the_table_lacks_are_refused_and_nothing_is_added(client, place):
    ingest(client, "target", ROWS, **place)
    with pytest.raises(pa.ArrowInvalid):
        ingest(client, "target", ROWS.append_column("z", ROWS["i"]), IF_MISSING_FAIL, APPEND, **place)
    assert client.query("FROM target") == ROWS


def test_values_that_do_not_fit_leave_nothing_behind(client):
    client.execute("CREATE OR REPLACE TABLE narrow (i TINYINT CHECK (i < 3))")
    for rows in (pa.table({"i": [1, 2, 3]}), pa.table({"i": [1, 1000]}), pa.table({"i": ["x"]})):
        with pytest.raises(pa.ArrowInvalid, match=r"\[query_failed\]"):
            ingest(client, "narrow", rows, IF_MISSING_FAIL, APPEND)
    assert client.rows("SELECT count(*) FROM narrow") == [(0,)]


def test_zero_rows_make_an_empty_table(client, place):
    assert ingest(client, "target", ROWS.schema.empty_table(), **place) == 0
    assert client.query("FROM target") == ROWS.schema.empty_table()


def test_many_batches_arrive_in_order(client, place):
    rows = pa.table({"i": range(300_000)})
    writer, reader = client.client.do_put(
        fl.FlightDescriptor.for_command(_command("target", **place)), rows.schema
    )
    with writer:
        writer.write_table(rows, max_chunksize=10_000)
        writer.done_writing()
        assert record_count(reader.read().to_pybytes()) == 300_000
    assert client.query("FROM target") == rows


def _command(table: str, **more) -> bytes:
    options = _Options(if_not_exist=CREATE, if_exists=REPLACE)
    return envelope.pack(CommandStatementIngest(table_definition_options=options, table=table, **more))


def test_a_temporary_table_is_its_sessions_own(client, stack):
    assert ingest(client, "passing", ROWS, temporary=True) == 3
    assert ingest(client, "passing", ROWS, IF_MISSING_FAIL, APPEND, temporary=True) == 3
    assert client.rows("SELECT count(*) FROM passing") == [(6,)]
    ingest(client, "passing", ROWS, CREATE, REPLACE, temporary=True)
    assert client.query("FROM temp.passing") == ROWS
    with stack.raw() as other, pytest.raises(KeyError):
        other.rows("FROM passing")


def test_catalog_and_schema_say_where_the_table_goes(client):
    client.execute("CREATE SCHEMA IF NOT EXISTS attic")
    ingest(client, "boxes", ROWS, CREATE, REPLACE, schema="attic")
    assert client.query("FROM workspace.attic.boxes") == ROWS
    ingest(client, "boxes", ROWS, CREATE, APPEND, catalog="workspace", schema="attic")
    assert client.rows("SELECT count(*) FROM attic.boxes") == [(6,)]
    ingest(client, "here", ROWS, CREATE, REPLACE, catalog="workspace")
    assert client.query("FROM workspace.main.here") == ROWS
    with pytest.raises(pa.ArrowInvalid, match="nowhere"):
        ingest(client, "boxes", ROWS, schema="nowhere")


def test_the_current_schema_of_the_session_is_the_default(client, stack):
    client.execute("CREATE SCHEMA IF NOT EXISTS cellar")
    client.execute("USE cellar")
    ingest(client, "wine", ROWS, CREATE, REPLACE)
    assert client.query("FROM workspace.cellar.wine") == ROWS
    client.execute("USE lake.datasets")
    ingest(client, "wine_list", ROWS, CREATE, REPLACE)
    with stack.raw() as other:
        assert other.query("FROM datasets.wine_list") == ROWS


def test_the_catalog_of_the_lake_means_a_dataset(client, stack):
    ingest(client, "pond", ROWS, CREATE, REPLACE, catalog="lake")
    ingest(client, "pond", ROWS, CREATE, APPEND, catalog="lake", schema="datasets")
    assert client.rows("SELECT count(*) FROM datasets.pond") == [(6,)]


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_within_a_transaction_the_end_decides(client, stack, place, ending):
    transaction = client.begin()
    ingest(client, "target", ROWS, transaction_id=transaction, **place)
    with stack.raw() as other:
        with pytest.raises(KeyError):
            other.rows("FROM target")
        getattr(client, ending)(transaction)
        if ending == "commit":
            assert other.query("FROM target") == ROWS
        else:
            with pytest.raises(KeyError):
                other.rows("FROM target")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "say what to do"),
        ({"if_not_exist": CREATE}, "say what to do"),
        ({"if_exists": APPEND}, "say what to do"),
        ({"if_not_exist": IF_MISSING_FAIL, "if_exists": FAIL}, "cannot succeed"),
        ({"if_not_exist": 7, "if_exists": 9}, "say what to do"),
    ],
)
def test_what_to_do_must_be_said(client, options, reason):
    command = CommandStatementIngest(table_definition_options=_Options(**options), table="t")
    with pytest.raises(pa.ArrowInvalid, match=reason):
        client.put(command, ROWS)


def test_a_target_that_makes_no_sense_is_refused(client):
    with pytest.raises(pa.ArrowInvalid, match="no name"):
        ingest(client, "", ROWS)
    with pytest.raises(pa.ArrowInvalid, match="temporary"):
        ingest(client, "t", ROWS, temporary=True, schema="attic")
    with pytest.raises(pa.ArrowInvalid, match="no columns"):
        ingest(client, "t", pa.table({}))
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_dataset_name\]"):
        ingest(client, "no such/name", ROWS, schema="datasets")


def test_an_unknown_transaction_is_refused_before_anything_is_written(client, place):
    with pytest.raises(KeyError, match=r"\[handle_not_found\]"):
        ingest(client, "target", ROWS, transaction_id=b"nonsense", **place)
    with pytest.raises(KeyError):
        client.rows("FROM target")


LEAVING = """
import sys
import pyarrow as pa
import pyarrow.flight as fl
rows = pa.table({"i": [1, 2, 3]})
descriptor = fl.FlightDescriptor.for_command(bytes.fromhex(sys.argv[2]))
writer, _ = fl.connect(sys.argv[1]).do_put(descriptor, rows.schema)
writer.write_table(rows)
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_client_that_leaves_in_the_middle_leaves_nothing(client, stack, place):
    arguments = [sys.executable, "-P", "-c", LEAVING, stack.flight_uri, _command("target", **place).hex()]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as leaving:
        assert leaving.stdout.readline() == b"ready\n"
        log = stack.skein.flight_sql.queries
        until(lambda: any(record.finished_at is None for record in log.list()))
        os.kill(leaving.pid, signal.SIGKILL)
    until(lambda: all(record.finished_at for record in log.list()))
    with pytest.raises(KeyError):
        client.rows("FROM target")


def test_rows_whose_offsets_lie_are_refused(client, place):
    lying = pa.StringArray.from_buffers(
        2, pa.array([0, 1 << 20, 3], pa.int32()).buffers()[1], pa.py_buffer(b"abc")
    )
    with pytest.raises(pa.ArrowInvalid, match=r"\[unreadable_data\]"):
        ingest(client, "target", pa.table({"s": lying}), **place)
    assert client.rows("SELECT 1") == [(1,)]


# --- datasets by SQL ---


def test_create_table_as_makes_a_dataset(client):
    assert (
        client.update("CREATE OR REPLACE TABLE datasets.squares AS SELECT i, i * i AS q FROM range(4) t(i)")
        == 4
    )
    assert client.rows("SELECT q FROM squares ORDER BY i") == [(0,), (1,), (4,), (9,)]
    with pytest.raises(pa.ArrowInvalid, match=r"\[dataset_exists\]"):
        client.execute("CREATE TABLE datasets.squares AS SELECT 1 AS i")
    assert client.update("CREATE TABLE IF NOT EXISTS datasets.squares AS SELECT 1 AS i") == 0
    assert client.update("CREATE OR REPLACE TABLE lake.datasets.squares (a) AS VALUES (7)") == 1
    assert client.query("FROM squares").to_pylist() == [{"a": 7}]


def test_create_table_with_columns_makes_an_empty_dataset(client):
    client.execute("CREATE OR REPLACE TABLE datasets.bare (i INTEGER, s VARCHAR, d DECIMAL(9, 2))")
    schema = client.query("FROM bare").schema
    assert schema == pa.schema([("i", pa.int32()), ("s", pa.utf8()), ("d", pa.decimal128(9, 2))])


@pytest.mark.parametrize(
    ("insert", "rows"),
    [
        ("INSERT INTO datasets.kinds VALUES (1, 'a', 1.5)", [(1, "a", 1.5)]),
        ("INSERT INTO kinds VALUES (1, 'a', 1), (2, NULL, NULL)", [(1, "a", 1.0), (2, None, None)]),
        ("INSERT INTO kinds (s, i) VALUES ('a', '7')", [(7, "a", None)]),
        ("INSERT INTO kinds BY NAME SELECT 2 AS x, 'a' AS s", [(None, "a", 2.0)]),
        ("INSERT INTO kinds SELECT i, 'n' || i, i / 2 FROM range(2) t(i)", [(0, "n0", 0.0), (1, "n1", 0.5)]),
        (
            "INSERT INTO kinds SELECT l.i, 'r', 0 FROM range(2) l(i) JOIN range(1, 5) r(i) ON l.i = r.i",
            [(1, "r", 0.0)],
        ),
        ("INSERT INTO kinds (i) SELECT DISTINCT ON (i) i FROM (VALUES (8), (8)) t(i)", [(8, None, None)]),
        ("WITH c AS (SELECT 3 AS i) INSERT INTO kinds (i) SELECT i FROM c", [(3, None, None)]),
        ("insert into lake.datasets.\"kinds\" (select 4, 'x', 0)", [(4, "x", 0.0)]),
    ],
)
def test_insert_adds_rows_to_a_dataset_as_duckdb_would(client, insert, rows):
    client.execute("CREATE OR REPLACE TABLE datasets.kinds (i BIGINT, s VARCHAR, x DOUBLE)")
    assert client.update(insert) == len(rows)
    assert client.rows("FROM kinds ORDER BY i") == rows


def test_a_prepared_insert_into_a_dataset_takes_parameters(client):
    client.execute("CREATE OR REPLACE TABLE datasets.kinds (i BIGINT, s VARCHAR)")
    handle = client.prepare("INSERT INTO kinds VALUES (?, ?)").prepared_statement_handle
    assert client.update_prepared(handle, pa.table({"0": [5], "1": ["x"]})) == 1
    assert client.rows("FROM kinds") == [(5, "x")]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("INSERT INTO kinds VALUES (1)", pa.ArrowInvalid),
        ("INSERT INTO kinds (nope) VALUES (1)", pa.ArrowInvalid),
        ("INSERT INTO kinds VALUES ('x', 'y')", pa.ArrowInvalid),
        ("INSERT INTO kinds VALUES (1, 'a') ON CONFLICT DO NOTHING", fl.FlightUnauthorizedError),
        ("INSERT INTO kinds VALUES (1, 'a') RETURNING i", fl.FlightUnauthorizedError),
        ("INSERT INTO kinds DEFAULT VALUES", fl.FlightUnauthorizedError),
        ("UPDATE kinds SET i = 1 RETURNING i", fl.FlightUnauthorizedError),
        ("ALTER TABLE kinds ADD COLUMN z INTEGER", fl.FlightUnauthorizedError),
        ("CREATE VIEW datasets.v AS SELECT 1", fl.FlightUnauthorizedError),
        ("DROP TABLE datasets.nowhere", KeyError),
    ],
)
def test_what_datasets_cannot_do_is_refused_and_changes_nothing(client, sql, error):
    client.execute("CREATE OR REPLACE TABLE datasets.kinds (i BIGINT, s VARCHAR)")
    with pytest.raises(error):
        client.update(sql)
    assert client.query("FROM kinds").num_rows == 0
    assert client.query("FROM kinds").column_names == ["i", "s"]


def test_drop_table_forgets_a_dataset(client):
    client.execute("CREATE OR REPLACE TABLE datasets.brief AS SELECT 1 AS i")
    client.execute("DROP TABLE datasets.brief")
    with pytest.raises(KeyError):
        client.rows("FROM brief")
    client.execute("DROP TABLE IF EXISTS datasets.brief")


def test_writes_of_datasets_are_versions_with_events(tmp_path):
    with skein_stack(tmp_path) as whole, fl.connect(whole.flight_uri) as connection:
        client = RawFlightSql(connection, {})
        ingest(client, "told", ROWS, schema="datasets")
        client.update("INSERT INTO told VALUES (4, 'd')")
        client.update("CREATE OR REPLACE TABLE datasets.told AS SELECT 1 AS one")
        client.update("DROP TABLE datasets.told")
        kinds = events(whole)
    assert kinds == [
        ("dataset.committed", 0),
        ("dataset.committed", 1),
        ("dataset.committed", 2),
        ("dataset.dropped", 2),
    ]


def events(whole: Stack) -> list[tuple[str, object]]:
    stored = whole.skein.control.events.log.after(0)
    return [(one.event.kind.value, one.event.data.get("version")) for one in stored]
