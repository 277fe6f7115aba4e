"""Bad input, on every RPC: the right status, a stable code, and nothing of the server's inside."""

import json

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.protocol.flight_stack import command, flight_stack, path, read, ticket_of
from tests.stack import until

ROWS = pa.table({"id": pa.array(range(100), pa.int64()), "text": [str(i) for i in range(100)]})


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with flight_stack(tmp_path_factory.mktemp("failures")) as stack:
        stack.write("sales", ROWS)
        yield stack


@pytest.fixture
def client(stack):
    with stack.connect() as client:
        yield client


def put(client, descriptor):
    writer, _ = client.do_put(descriptor, ROWS.schema)
    with writer:
        writer.write_table(ROWS)


RPCS = {
    "get_flight_info": lambda client, descriptor: client.get_flight_info(descriptor),
    "get_schema": lambda client, descriptor: client.get_schema(descriptor),
}

INVALID, MISSING = pa.ArrowInvalid, pa.ArrowKeyError

BAD_DESCRIPTORS = [
    (path("slaes"), MISSING, r"\[dataset_not_found\].*'slaes'.*did you mean 'sales'"),
    (path("sales", "v7"), MISSING, r"\[version_not_found\]"),
    (path("sales", "1999-01-01T00:00:00Z"), MISSING, r"\[version_not_found\]"),
    (path("../sales"), INVALID, r"\[invalid_dataset_name\] '../sales'"),
    (path(), INVALID, r"\[invalid_command\] the path has 0 parts"),
    (command("SELECT * FROM slaes"), MISSING, r"\[dataset_not_found\].*'slaes'.*did you mean 'sales'"),
    (command("SELECT *\nFROM WHERE sales"), INVALID, r"\[invalid_sql\].*WHERE.*line 2, column 6"),
    (command("SELECT nope FROM sales"), INVALID, r"\[invalid_sql\].*nope"),
    (command(""), INVALID, r"\[invalid_sql\].*empty"),
    (command(b"\xff\x00"), INVALID, r"\[invalid_command\] byte 1 is not UTF-8"),
    (command('{"sql": "SELECT ?"}'), INVALID, r"\[invalid_parameters\]"),
    (command('{"dataset": "sales", "colums": ["id"]}'), INVALID, r"\[invalid_command\] 'colums'"),
    (command('{"dataset": "sales"'), INVALID, r"\[invalid_command\] the JSON cannot be parsed"),
]


def assert_clean(error):
    """What no client may see."""
    seen = str(error) + repr(getattr(error, "extra_info", b""))
    for inside in ("Traceback", "File ", ".py", "/tmp", "/home", "/work", "site-packages", "line 1, in"):
        assert inside not in seen
    assert len(str(error)) < 8192


@pytest.mark.parametrize("rpc", RPCS)
@pytest.mark.parametrize(("descriptor", "kind", "text"), BAD_DESCRIPTORS, ids=repr)
def test_a_bad_descriptor_is_refused(client, rpc, descriptor, kind, text):
    with pytest.raises(kind, match=text) as caught:
        RPCS[rpc](client, descriptor)
    assert_clean(caught.value)


def test_parameters_that_are_no_json_are_refused(client):
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_command\] the JSON cannot be parsed"):
        client.get_flight_info(command('{"sql": "SELECT ?", "params": ["\\ud800"]}'))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY sales TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.db'",
        "DROP VIEW datasets.sales",
        "WITH x AS (COPY (SELECT 1) TO '/tmp/x' ) SELECT 1",
    ],
)
def test_a_statement_that_reaches_outside_is_not_allowed(client, statement):
    with pytest.raises(fl.FlightUnauthorizedError) as caught:
        client.get_flight_info(command(statement))
    assert_clean(caught.value)
    assert json.loads(caught.value.extra_info)["code"] == "statement_not_allowed"


def test_get_schema_keeps_code_and_text_where_flight_loses_the_status(client):
    with pytest.raises(pa.ArrowException, match=r"\[statement_not_allowed\]") as caught:
        client.get_schema(command("SELECT * FROM read_csv('/etc/passwd')"))
    assert_clean(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda ticket: b"",
        lambda ticket: b"SELECT 1",
        lambda ticket: b"SKT",
        lambda ticket: ticket[:-1],
        lambda ticket: ticket[:50],
        lambda ticket: ticket + b"x",
        lambda ticket: ticket.replace(b"sales", b"slaes"),
        lambda ticket: ticket[:3] + b"\x02" + ticket[4:],
        lambda ticket: bytes(range(256)),
    ],
)
def test_a_ticket_that_is_not_ours_is_refused(client, change):
    ticket = fl.Ticket(change(ticket_of(client, path("sales")).ticket))
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_ticket\].*get a new one") as caught:
        client.do_get(ticket).read_all()
    assert_clean(caught.value)


def test_a_ticket_of_another_server_is_refused(client, tmp_path):
    with flight_stack(tmp_path) as other, other.connect() as stranger:
        other.write("sales", ROWS)
        ticket = ticket_of(stranger, path("sales"))
    with pytest.raises(pa.ArrowInvalid, match="another key"):
        client.do_get(ticket).read_all()


def test_a_ticket_expires(tmp_path):
    with flight_stack(tmp_path, ticket_ttl_s=0.001) as stack, stack.connect() as client:
        stack.write("sales", ROWS)
        with pytest.raises(pa.ArrowInvalid, match="expired"):
            client.do_get(ticket_of(client, path("sales"))).read_all()


def test_the_ticket_of_a_dropped_dataset_finds_nothing_even_if_the_name_is_used_again(stack, client):
    stack.write("short_lived", ROWS)
    ticket = ticket_of(client, path("short_lived"))
    list(client.do_action(("drop_dataset", b'{"dataset": "short_lived"}')))
    with pytest.raises(pa.ArrowKeyError, match=r"\[dataset_not_found\]") as caught:
        client.do_get(ticket).read_all()
    assert_clean(caught.value)
    stack.write("short_lived", ROWS)
    with pytest.raises(pa.ArrowKeyError, match=r"\[dataset_not_found\]"):
        client.do_get(ticket).read_all()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT CAST(text || 'x' AS INTEGER) FROM sales",
        # The first of many batches is fine: the failure comes in the middle of the stream.
        "SELECT CASE WHEN i < 900000 THEN i ELSE CAST('x' || i AS INTEGER) END AS n FROM range(1000000) t(i)",
    ],
)
def test_a_failure_while_streaming_is_still_ours(stack, client, query):
    reader = client.do_get(ticket_of(client, command(query)))
    with pytest.raises(pa.ArrowInvalid, match=r"\[query_failed\]") as caught:
        reader.read_all()
    assert_clean(caught.value)
    assert stack.log.list()[0].error == "query_failed"


@pytest.mark.parametrize(
    ("name", "body", "kind", "text"),
    [
        ("drop", b"", INVALID, r"\[invalid_command\] 'drop' is no action; there are health"),
        ("health", b"{", INVALID, r"\[invalid_command\] the JSON cannot be parsed"),
        ("health", b"[]", INVALID, r"\[invalid_command\] the JSON is not an object"),
        ("health", b'{"verbose": true}', INVALID, r"\[invalid_command\] 'verbose'"),
        ("cancel", b"", INVALID, r"\[invalid_command\] 'query_id': Field required"),
        ("cancel", b'{"query_id": "gone"}', MISSING, r"\[query_not_found\] query 'gone'"),
        ("drop_dataset", b'{"dataset": "slaes"}', MISSING, r"\[dataset_not_found\].*did you mean 'sales'"),
        ("drop_dataset", b'{"dataset": "a/b"}', INVALID, r"\[invalid_dataset_name\]"),
        ("describe_dataset", b'{"dataset": "sales", "version": 9}', MISSING, r"\[version_not_found\]"),
        ("describe_dataset", b'{"dataset": "sales", "version": "1x"}', INVALID, "a version is a number"),
        ("describe_dataset", b'{"dataset": "sales", "version": "x"}', MISSING, r"\[tag_not_found\]"),
    ],
)
def test_a_bad_action_is_refused(client, name, body, kind, text):
    with pytest.raises(kind, match=text) as caught:
        list(client.do_action((name, body)))
    assert_clean(caught.value)


@pytest.mark.parametrize("criteria", [b"sales", b'{"prefix": 1}', b"\xff"])
def test_bad_listing_criteria_are_refused(client, criteria):
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_command\]") as caught:
        list(client.list_flights(criteria))
    assert_clean(caught.value)


def test_a_compression_nobody_knows_is_refused_and_holds_no_stream(stack, client):
    options = fl.FlightCallOptions(headers=[(b"x-skein-compression", b"brotli")])
    with pytest.raises(pa.ArrowInvalid, match=r"\[invalid_option\].*'brotli'; it can be lz4 or zstd"):
        client.do_get(ticket_of(client, path("sales")), options).read_all()
    until(lambda: stack.server.running_calls == 0)
    assert stack.admission.open_streams == 0


def test_an_outcome_too_large_for_a_ticket_says_that_the_statement_was_carried_out(client):
    read(client, command("CREATE TABLE many AS SELECT i FROM range(200000) t(i)"))
    with pytest.raises(fl.FlightUnavailableError, match=r"\[limit_exceeded\] the statement was carried out"):
        client.get_flight_info(command("DELETE FROM many RETURNING i"))
    assert read(client, command("SELECT count(*) AS n FROM many")).to_pylist() == [{"n": 0}]
    with pytest.raises(fl.FlightUnavailableError, match=r"name the values of a PIVOT with IN"):
        client.get_flight_info(
            command("PIVOT (SELECT i, 'x' AS c FROM range(200000) t(i)) ON c USING count(*)")
        )


SURPRISES = {
    "list_flights": lambda client: list(client.list_flights()),
    "get_flight_info": lambda client: client.get_flight_info(path("sales")),
    "get_schema": lambda client: client.get_schema(path("sales")),
    "do_get": lambda client: client.do_get(fl.Ticket(b"SKT")).read_all(),
    "do_put": lambda client: put(client, path("sales")),
    "do_action": lambda client: list(client.do_action(("health", b""))),
    "list_actions": lambda client: client.list_actions(),
}


@pytest.mark.parametrize("rpc", SURPRISES)
def test_a_surprise_inside_tells_no_client_anything(tmp_path, monkeypatch, caplog, rpc):
    with flight_stack(tmp_path) as stack, stack.connect() as client:
        surprise = RuntimeError(f"secret of {tmp_path}")

        def fail(*_arguments):
            raise surprise

        monkeypatch.setattr(stack.server._plain, "actions" if rpc == "list_actions" else rpc, fail)
        with pytest.raises(pa.ArrowException, match=r"\[internal_error\] internal error") as caught:
            SURPRISES[rpc](client)
    assert_clean(caught.value)
    assert "secret" not in str(caught.value)
    assert any(record.exc_info and record.exc_info[1] is surprise for record in caplog.records)


def test_the_server_is_alive_after_all_this(client):
    (health,) = client.do_action(("health", b""))
    assert json.loads(health.body.to_pybytes())["status"] == "ok"
    assert read(client, path("sales")).equals(ROWS)
