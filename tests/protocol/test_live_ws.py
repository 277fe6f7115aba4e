"""Queries that are followed over WebSockets: what comes when, and what does not."""

import dataclasses
import json

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from adbc_driver_flightsql import dbapi
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_core.domain.access import LOCAL, Actor, Scope
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.query import Statement
from skein.directory import Role
from tests.protocol.http_stack import ENDLESS, HUGE, only_query, open_to, serving, until
from tests.protocol.live_client import live_client
from tests.stack import skein_process, skein_stack


@pytest.fixture
def client(stack):
    with live_client(stack.http_url) as client:
        yield client


@pytest.fixture
def name(request, stack):
    """Of a dataset with the rows x = 1, 2."""
    name = "d" + str(abs(hash(request.node.name)))
    stack.write(name, numbers(1, 2))
    return name


def numbers(*values: int) -> pa.Table:
    return pa.table({"x": pa.array(values, pa.int64())})


def put(flight: fl.FlightClient, name: str, table: pa.Table) -> None:
    writer, _ = flight.do_put(fl.FlightDescriptor.for_path(name), table.schema)
    with writer:
        writer.write_table(table)
        writer.done_writing()


def idle(stack) -> bool:
    return stack.skein.control.queries.admission.open_streams == 0


def test_the_result_comes_at_once_and_again_with_each_version(stack, client, name):
    assert client.follow(f"SELECT sum(x) AS x FROM {name}") == {"type": "subscribed", "id": "q", "channel": 1}
    first = client.result()
    assert (first.mode, first.rows(), first.versions) == ("refresh", [3], {name: 0})
    for number, total in ((1, 13), (2, 23)):
        stack.write(name, numbers(10))
        result = client.result()
        assert (result.mode, result.rows(), result.versions) == ("refresh", [total], {name: number})
        assert result.head["number"] == number + 1
    until(lambda: idle(stack))


def test_of_a_scan_only_the_added_rows_come(stack, client, name):
    client.follow(f"SELECT x * 2 AS x FROM {name} WHERE x <> 5")
    assert client.result().rows() == [2, 4]
    stack.write(name, numbers(5, 6))
    added = client.result()
    assert (added.mode, added.rows(), added.versions) == ("append", [12], {name: 1})
    stack.write(name, numbers(5))
    assert (added := client.result()).mode == "append"
    assert added.rows() == []
    assert added.table.schema.names == ["x"]
    stack.write(name, numbers(9), WriteMode.REPLACE)
    replaced = client.result()
    assert (replaced.mode, replaced.rows()) == ("refresh", [18])


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT x FROM {} ORDER BY x",
        "SELECT DISTINCT x FROM {}",
        "SELECT x FROM {} LIMIT 1000",
        "SELECT x, count(*) OVER () FROM {}",
        "SELECT x FROM {} UNION ALL SELECT 1",
        "SELECT a.x FROM {0} a, {0} b",
        "SELECT x FROM {0} WHERE x <= (SELECT max(x) FROM {0})",
        "SELECT x, random() FROM {}",
        "SELECT x FROM {} WHERE now() > '2000-01-01'",
        "SELECT x, current_timestamp FROM {}",
        "SELECT x, current_date FROM {}",
        "SELECT x, age('2020-01-01'::TIMESTAMP) FROM {}",
        "SELECT unnest([x]) AS x FROM {}",
        "WITH c AS (SELECT x FROM {}) SELECT x FROM c",
    ],
)
def test_what_is_no_scan_comes_in_full(stack, client, name, sql):
    client.follow(sql.format(name))
    client.result()
    stack.write(name, numbers(3))
    result = client.result()
    assert result.mode == "refresh"
    assert 1 in result.rows()


def test_mode_refresh_always_brings_everything(stack, client, name):
    client.follow(f"SELECT x FROM {name}", mode="refresh")
    client.result()
    stack.write(name, numbers(3))
    assert sorted(client.result().rows()) == [1, 2, 3]


def test_a_limit_and_parameters_hold_for_each_result(stack, client, name):
    client.follow(f"SELECT x FROM {name} WHERE x >= $least ORDER BY x", params={"least": 2}, limit=2)
    assert client.result().rows() == [2]
    stack.write(name, numbers(3, 4))
    assert client.result().rows() == [2, 3]


def test_compaction_is_no_change(stack, name):
    statement = Statement(f"SELECT x FROM {name}")
    live = stack.skein.control.queries.follow(statement, actor=LOCAL, door="test")
    live.open().running.close()
    stack.write(name, numbers(3))
    assert live.changed()
    live.open().running.close()
    compacted = stack.skein.compact(DatasetName(name), actor=LOCAL)
    assert compacted.operation == "compact"
    assert not live.changed()
    stack.write(name, numbers(4))
    assert live.changed()
    result = live.open()
    with result.running as rows:
        assert result.added
        assert pa.Table.from_batches(rows)["x"].to_pylist() == [4]
        assert {ref.version for ref in result.pins.values()} == {compacted.ref.version + 1}


def test_another_schema_comes_with_all_rows(stack, client, name):
    client.follow(f"SELECT * FROM {name}")
    client.result()
    stack.write(name, pa.table({"x": ["a"], "y": [1.5]}), WriteMode.REPLACE)
    result = client.result()
    assert result.mode == "refresh"
    assert result.table.to_pylist() == [{"x": "a", "y": 1.5}]


def test_writes_through_every_door_are_heard_of(stack, client, name):
    client.follow(f"SELECT x FROM {name}")
    client.result()
    with stack.flight() as flight:
        put(flight, name, numbers(3))
    assert client.result().rows() == [3]
    with dbapi.connect(stack.flight_uri, autocommit=True) as adbc, adbc.cursor() as cursor:
        cursor.execute(f"INSERT INTO {name} VALUES (4)")
    assert client.result().rows() == [4]
    with stack.http() as http:
        restored = http.post(f"/api/v1/datasets/{name}/restore", json={"version": "v0"})
        assert restored.status_code < 300
    assert client.result().rows() == [1, 2]


def test_commits_of_another_process_are_heard_of(tmp_path):
    with (
        skein_stack(tmp_path, roles=frozenset({Role.CONTROL})) as control,
        skein_process(tmp_path, command="serve-flight") as process,
        fl.connect(process.endpoints["flight"]) as flight,
        live_client(control.http_url) as client,
    ):
        for value in (1, 2):
            put(flight, "d", numbers(value))
            if value == 1:
                client.follow("SELECT x FROM d")
            assert client.result().rows() == [value]


def test_older_versions_do_not_change_and_tags_do(stack, client, name):
    with stack.http() as http:
        tag = f"/api/v1/datasets/{name}/tags/good"
        assert http.put(tag, json={"version": "v0"}).status_code < 300
        client.follow(f'SELECT sum(x) AS x FROM "{name}@good"')
        assert client.result().rows() == [3]
        stack.write(name, numbers(10))
        assert http.put(tag, json={"version": "v1"}).status_code < 300
        assert client.result().rows() == [13]


def test_several_queries_share_a_socket(stack, client, name):
    for id in ("a", "b"):
        assert client.follow(f"SELECT x, '{id}' AS id FROM {name}", id=id)["type"] == "subscribed"
        assert client.result().head["id"] == id
    client.say(unsubscribe={"id": "a"})
    assert client.hear() == {"type": "unsubscribed", "id": "a"}
    stack.write(name, numbers(3))
    result = client.result()
    assert (result.head["id"], result.head["channel"], result.rows("id")) == ("b", 2, ["b"])


def test_paused_changes_become_one(stack, client, name):
    client.follow(f"SELECT x FROM {name}")
    client.result()
    client.say(pause={"id": "q"})
    assert client.hear() == {"type": "paused", "id": "q"}
    for value in (3, 4, 5):
        stack.write(name, numbers(value))
    client.say(resume={"id": "q"})
    assert client.hear() == {"type": "resumed", "id": "q"}
    result = client.result()
    assert (result.mode, sorted(result.rows()), result.versions) == ("append", [3, 4, 5], {name: 3})


def test_a_burst_becomes_few_results(stack, client, name):
    client.follow(f"SELECT count(*) AS x FROM {name}", interval_ms=1000)
    client.result()
    for value in range(20):
        stack.write(name, numbers(value))
    results = [client.result()]
    while results[-1].rows() != [22]:
        results.append(client.result())
    assert len(results) < 20


def test_nothing_is_sent_beyond_what_was_granted(stack, client):
    client.follow("SELECT i FROM range(1_000_000) t(i)", credits=2)
    assert client.hear()["type"] == "result"
    assert [client.frame()[1] for _ in range(2)] == [0, 1]
    with pytest.raises(TimeoutError):
        client.connection.recv(timeout=0.2)
    for number in (2, 3):
        client.say(grant={"id": "q", "batches": 1})
        assert client.frame()[1] == number
    client.say(unsubscribe={"id": "q"})
    assert client.hear()["type"] == "unsubscribed"
    until(lambda: idle(stack))


def test_without_credit_no_slot_is_taken(stack, client, name):
    client.follow(f"SELECT x FROM {name}", credits=0)
    client.say(unsubscribe={"id": "other"})
    assert client.hear()["code"] == "invalid_request"
    assert idle(stack)
    client.say(grant={"id": "q", "batches": 1})
    assert client.result().rows() == [1, 2]


def test_who_grants_nothing_for_long_loses_the_query(stack):
    with serving(stack.skein.control, stall_timeout_s=0.2) as base, live_client(base) as client:
        client.follow("SELECT i FROM range(1_000_000) t(i)", credits=1)
        assert client.hear()["type"] == "result"
        client.frame()
        error = client.hear()
        assert (error["code"], error["retryable"], error["ended"]) == ("deadline_exceeded", True, True)
        until(lambda: idle(stack))


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("SELEC", "invalid_sql"),
        ("SELECT 1; SELECT 2", "invalid_sql"),
        ("SELECT * FROM nowhere", "dataset_not_found"),
        ('SELECT * FROM "nowhere@v3"', "dataset_not_found"),
        ("CREATE TABLE t (x INT)", "statement_not_allowed"),
        ("SELECT * FROM read_csv('/etc/passwd')", "statement_not_allowed"),
        ("SELECT error('boom')", "query_failed"),
    ],
)
def test_a_failure_ends_its_subscription_alone(stack, client, name, sql, code):
    client.follow(f"SELECT x FROM {name}", id="good")
    client.result()
    client.follow(sql)
    answer = client.hear()
    if answer["type"] == "result":
        answer = client.hear()
    assert (answer["type"], answer["id"], answer["code"], answer["ended"]) == ("error", "q", code, True)
    assert "/work" not in answer["detail"]
    stack.write(name, numbers(3))
    assert client.result().head["id"] == "good"
    until(lambda: idle(stack))


def test_a_dropped_dataset_ends_its_subscriptions(stack, client, name):
    client.follow(f"SELECT x FROM {name}")
    client.result()
    with stack.http() as http:
        assert http.delete(f"/api/v1/datasets/{name}").status_code < 300
    assert client.hear()["ended"] is True


@pytest.mark.parametrize(
    "said",
    [
        *("", "x", "[]", "{}", b"\x00", '{"subscribe": null}', '{"subscribe": {"id": "q"}}'),
        *('{"pause": {"id": "q"}}', '{"pause": {"id": "q"}, "resume": {"id": "q"}}'),
        *('{"subscribe": {"sql": "SELECT 1", "more": 1}}', '{"grant": {"id": "q", "batches": 0}}'),
        '{"subscribe": {"sql": "SELECT 1", "credits": -1}}',
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_else_happens(client, said):
    client.connection.send(said)
    answer = client.hear()
    assert (answer["type"], answer["code"], answer["ended"]) == ("error", "invalid_request", False)
    client.follow("SELECT 1 AS x")
    assert client.result().rows() == [1]


def test_an_id_is_for_one_subscription_and_can_be_used_again(client):
    client.follow("SELECT 1 AS x")
    client.result()
    refused = client.follow("SELECT 2 AS x")
    assert (refused["code"], refused["ended"]) == ("conflict", False)
    client.say(unsubscribe={"id": "q"})
    client.hear()
    assert client.follow("SELECT 3 AS x")["channel"] == 2
    assert client.result().rows() == [3]


def test_a_socket_has_a_bounded_number_of_queries(client):
    client.connection.send("")
    client.hear()
    for number in range(64):
        assert client.follow("SELECT 1 AS x", id=str(number), credits=0)["type"] == "subscribed"
    assert client.follow("SELECT 1 AS x", id="more")["code"] == "limit_exceeded"


def test_when_no_slot_comes_free_the_client_is_told(tmp_path):
    with (
        skein_stack(tmp_path, max_streams=1, max_queue=0) as stack,
        live_client(stack.http_url) as first,
        live_client(stack.http_url) as second,
    ):
        first.follow("SELECT i FROM range(1_000_000) t(i)", credits=1)
        first.hear()
        first.frame()
        second.follow("SELECT 1 AS x")
        error = second.hear()
        assert (error["code"], error["retryable"]) == ("too_many_streams", True)
        first.say(unsubscribe={"id": "q"})
        first.hear()
        second.follow("SELECT 1 AS x")
        assert second.result().rows() == [1]


def test_a_query_can_be_cancelled_from_the_list(stack, client):
    client.follow(ENDLESS)
    record = only_query(stack, ENDLESS)
    assert record.door == "websocket"
    with stack.http() as http:
        assert http.delete(f"/api/v1/queries/{record.query_id}").status_code == 202
    answer = client.hear()
    if answer["type"] == "result":
        answer = client.hear()
    assert answer["code"] == "cancelled"


@pytest.mark.parametrize("sql", [ENDLESS, HUGE])
def test_a_running_query_ends_with_its_subscription(stack, client, sql):
    client.follow(sql + " -- unsubscribed")
    only_query(stack, sql + " -- unsubscribed")
    client.say(unsubscribe={"id": "q"})
    while not isinstance(message := client.connection.recv(timeout=30), str) or "unsubscribed" not in message:
        pass
    until(lambda: idle(stack), deadline_s=30)


def test_readers_see_their_datasets_and_no_others(stack, name):
    control = stack.skein.control
    seer = Actor("seer", frozenset({Scope.READ}), (name,))
    other = name + "_other"
    stack.write(other, numbers(7))
    guarded = dataclasses.replace(control, gate=open_to(seer))
    with serving(guarded) as base, live_client(base) as client:
        client.follow(f"SELECT x FROM {name}")
        assert client.result().rows() == [1, 2]
        stack.write(name, numbers(3))
        result = client.result()
        assert (result.mode, result.rows()) == ("refresh", [1, 2, 3])
        client.follow(f"SELECT x FROM {other}", id="other")
        assert client.hear()["code"] == "dataset_not_found"
    nobody = dataclasses.replace(control, gate=open_to(Actor("n", frozenset())))
    with serving(nobody) as base, pytest.raises(Exception, match="403"), live_client(base):
        pass


@given(values=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=6))
@settings(max_examples=8)
def test_results_and_changes_add_up_to_the_dataset(stack, values):
    name = f"p{abs(hash(json.dumps(values)))}"
    stack.write(name, numbers(0), WriteMode.REPLACE)
    with live_client(stack.http_url) as client:
        client.follow(f"SELECT x FROM {name} WHERE x % 3 <> 0")
        held = client.result().rows()
        last = None
        for rows in values:
            last = stack.write(name, numbers(*rows))
        version = 0
        while version < last.ref.version:
            result = client.result()
            held = (held if result.mode == "append" else []) + result.rows()
            version = result.versions[name]
    assert sorted(held) == sorted(x for rows in values for x in rows if x % 3)
