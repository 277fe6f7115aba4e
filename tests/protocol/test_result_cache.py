"""Answers from the result cache, as clients of every door see them."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pyarrow.flight as fl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import Cancelled
from flight_core.domain.query import OWN_DOOR, CacheUse, QueryState, Statement
from tests.protocol.http_stack import only_query, until
from tests.stack import Stack, skein_stack

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
ROWS = pa.table({"i": pa.array(range(200_000), pa.int64()), "g": [n % 7 for n in range(200_000)]})


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("data"), cache_min_run_s=0.0) as made:
        made.write("t", ROWS)
        yield made


def ask(stack: Stack, sql: str, **options) -> tuple[str, pa.Table]:
    with stack.http(headers=ARROW, **options) as client:
        response = client.post("/api/v1/query", json={"sql": sql})
        assert response.status_code == 200, response.text
        return response.headers["skein-cache"], pa.ipc.open_stream(response.content).read_all()


def test_http_tells_hit_miss_and_bypass(stack):
    sql = "SELECT g, sum(i) AS s FROM t GROUP BY ALL ORDER BY g"
    missed, fresh = ask(stack, sql)
    hit, cached = ask(stack, sql.lower().replace(" from", "\nfrom"))
    assert (missed, hit) == ("miss", "hit")
    assert cached.equals(fresh)
    assert ask(stack, "SELECT random() FROM t LIMIT 1")[0] == "bypass"
    with stack.http() as client:
        assert client.post("/api/v1/query", json={"sql": "SET x = 1"}).headers.get("skein-cache") is None


def test_every_door_finds_what_another_one_left(stack):
    sql = "SELECT i FROM t WHERE g = 3"
    with stack.flight() as client:
        descriptor = fl.FlightDescriptor.for_command(sql)
        info = client.get_flight_info(descriptor)
        assert b"cached" not in info.app_metadata
        assert info.total_records == -1
        fresh = client.do_get(info.endpoints[0].ticket).read_all()
        info = client.get_flight_info(descriptor)
        assert b'"cached":true' in info.app_metadata
        assert info.total_records == fresh.num_rows
        assert client.do_get(info.endpoints[0].ticket).read_all().equals(fresh)
    with stack.cursor() as cursor:
        cursor.execute(sql)
        assert cursor.fetch_arrow_table().combine_chunks().equals(fresh.combine_chunks())
    assert ask(stack, sql) == ("hit", fresh)
    with stack.http() as client:
        latest = client.get("/api/v1/queries").json()["items"][:4]
    assert [query["cached"] for query in latest] == [True, True, True, False]
    assert {query["rows"] for query in latest} == {fresh.num_rows}
    assert {query["state"] for query in latest} == {"succeeded"}


def test_some_rows_of_a_result_that_is_kept_come_out_of_it_through_every_door(stack):
    sql = "SELECT i, g FROM t ORDER BY g, i DESC"
    _, whole = ask(stack, sql)
    with stack.http(headers=ARROW) as client:
        some = client.post("/api/v1/query", json={"sql": sql, "offset": 65_000, "limit": 70_000})
    assert some.headers["skein-cache"] == "hit"
    assert pa.ipc.open_stream(some.content).read_all().equals(whole.slice(65_000, 70_000))
    with stack.flight() as client:
        command = json.dumps({"sql": sql, "limit": 70_000}).encode()
        info = client.get_flight_info(fl.FlightDescriptor.for_command(command))
        assert client.do_get(info.endpoints[0].ticket).read_all().equals(whole.slice(0, 70_000))
    with stack.http() as client:
        latest = client.get("/api/v1/queries").json()["items"][:2]
    assert [(query["cached"], query["rows"]) for query in latest] == [(True, 70_000)] * 2
    assert all(query["size_bytes"] < whole.nbytes / 2 for query in latest)


def test_other_formats_are_made_of_the_same_result(stack):
    body = {"sql": "SELECT g, count(*) AS n FROM t GROUP BY ALL ORDER BY g"}
    with stack.http() as client:
        texts = [
            [client.post("/api/v1/query", json=body, headers={"Accept": wanted}) for _ in range(2)]
            for wanted in ("text/csv", "application/x-ndjson")
        ]
    assert [[each.headers["skein-cache"] for each in pair] for pair in texts] == [
        ["miss", "hit"],
        ["hit"] * 2,
    ]
    assert all(first.content == second.content for first, second in texts)


def test_the_metrics_count_hits_and_bytes(stack):
    ask(stack, "SELECT max(i) FROM t")
    ask(stack, "SELECT max(i) FROM t")
    with stack.http() as client:
        lines = dict(
            line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if line[:1] != "#"
        )
    assert float(lines['skein_cache_reads_total{outcome="hit"}']) >= 1
    assert float(lines["skein_cache_entries"]) >= 1
    assert float(lines["skein_cache_bytes"]) > 0


def test_a_hit_needs_no_slot(tmp_path):
    with skein_stack(tmp_path, max_streams=1, max_queue=0, cache_min_run_s=0.0) as stack:
        stack.write("t", ROWS)
        ask(stack, "SELECT sum(i) FROM t")
        with stack.skein.flight.open_query(Statement("FROM t"), actor=LOCAL, door="test"):
            assert ask(stack, "SELECT sum(i) FROM t")[0] == "hit"
            with stack.http() as client:
                refused = client.post("/api/v1/query", json={"sql": "SELECT min(i) FROM t"})
            assert refused.json()["code"] == "too_many_streams"


def test_a_client_that_leaves_early_leaves_nothing_to_replay(stack):
    sql = "SELECT i, i + 1 AS j FROM t"
    with stack.skein.flight.open_query(Statement(sql), actor=LOCAL, door="test") as running:
        next(iter(running))
    assert ask(stack, sql)[0] == "miss"
    assert ask(stack, sql)[0] == "hit"


def test_a_cache_of_no_bytes_is_off(tmp_path):
    with skein_stack(tmp_path, cache_bytes=0, cache_min_run_s=0.0) as stack:
        stack.write("t", ROWS)
        assert [ask(stack, "FROM t LIMIT 5")[0] for _ in range(2)] == ["bypass", "bypass"]


def test_who_may_not_see_a_dataset_gets_nothing_of_it_from_the_cache(tmp_path):
    tokens = "ann=s3cret-a,bob/read=s3cret-b"
    with skein_stack(tmp_path, tokens=tokens, cache_min_run_s=0.0) as stack:
        stack.write("t", ROWS)
        sql = "SELECT sum(i) AS s FROM t"
        reader = {"headers": {**ARROW, "Authorization": "Bearer s3cret-b"}}
        found = []
        for _ in range(2):
            with stack.http(**reader) as client:
                response = client.post("/api/v1/query", json={"sql": sql})
                found.append((response.status_code, response.headers["skein-cache"]))
        assert found == [(200, "miss"), (200, "hit")]
        stack.skein.flight.drop_dataset(DatasetName("t"), actor=LOCAL)
        with stack.http(**reader) as client:
            assert client.post("/api/v1/query", json={"sql": sql}).json()["code"] == "dataset_not_found"


QUERIES = [
    "SELECT g, sum(i) AS s FROM p GROUP BY ALL ORDER BY g",
    "SELECT * FROM p ORDER BY i, g LIMIT 10",
    "select  *  from p order by i, g limit 10",
    "SELECT count(*) AS n FROM p JOIN t USING (i)",
    'SELECT count(*) AS n FROM "p@v0"',
]
WRITES = st.tuples(st.sampled_from([WriteMode.APPEND, WriteMode.REPLACE]), st.integers(0, 50))


@given(steps=st.lists(st.one_of(st.sampled_from(QUERIES), WRITES), min_size=3, max_size=12))
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
def test_a_cached_answer_is_the_one_the_engine_gives_whatever_is_written_between(stack, steps):
    cached = stack.skein.flight.open_query  # within its audit
    uncached = replace(cached._use_case, results=None)

    def read(door, sql: str) -> pa.Table:
        with door(Statement(sql), actor=LOCAL, door="test") as running:
            return pa.Table.from_batches(list(running), running.schema)

    stack.write("p", ROWS.slice(0, 5), WriteMode.REPLACE)
    for step in steps:
        if isinstance(step, tuple):
            mode, first = step
            stack.write("p", ROWS.slice(first, 7), mode)
            continue
        expected = read(uncached, step)
        assert read(cached, step).equals(expected)
        assert read(cached, step).equals(expected)
        assert cached.log.list()[0].cache is CacheUse.HIT


SLOW = "SELECT sum(a.i * b.i % 7) AS s FROM t a, t b WHERE a.i < 4000 AND b.i < 20000"


def test_equal_queries_at_the_same_time_run_once(stack):
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: ask(stack, SLOW, timeout=60), range(4)))
    assert sorted(cache for cache, _ in answers) == ["hit", "hit", "hit", "miss"]
    assert all(table.equals(answers[0][1]) for _, table in answers)


def test_those_who_wait_for_an_equal_query_do_not_wait_for_its_client(stack):
    use_cases = stack.skein.control
    statement = Statement("SELECT i, i + 2 AS j FROM t")
    with use_cases.queries.open(statement, actor=LOCAL, door="http") as first:
        with use_cases.queries.open(statement, actor=LOCAL, door="http") as second:  # nobody reads the first
            assert sum(batch.num_rows for batch in second) == ROWS.num_rows
        rows = iter(first)
        next(rows)
        with use_cases.queries.open(statement, actor=LOCAL, door="http") as third:
            assert third.cache is CacheUse.HIT
        assert first.cache is second.cache is CacheUse.MISS


def test_who_waits_for_an_equal_query_that_fails_runs_it(stack):
    use_cases = stack.skein.control
    statement = Statement(SLOW.replace("% 7", "% 11"))
    first = use_cases.queries.open(statement, actor=LOCAL, door="http")
    with ThreadPoolExecutor(2) as threads:
        running = threads.submit(lambda: list(first))
        until(lambda: use_cases.queries.log.get(first.query_id).state is QueryState.RUNNING, deadline_s=30)
        second = threads.submit(lambda: ask(stack, statement.sql, timeout=60))
        until(lambda: only_query(stack, statement.sql).query_id != first.query_id, deadline_s=30)
        first.cancel()
        with pytest.raises(Cancelled):
            running.result(30)
        first.close()
        assert second.result(60)[0] == "miss"


# A window of its first rows is there at once; the whole takes minutes.
LONG = "SELECT i FROM t, range(1_000_000) s(r) WHERE r = 0 OR i * r = -1"


def test_keeping_what_is_scrolled_takes_no_slot_and_ends_with_the_server(tmp_path):
    with skein_stack(tmp_path, max_streams=1, max_queue=0, limit_queries=1) as stack:
        stack.write("t", ROWS)
        with stack.http(params={"sql": LONG, "limit": 3}) as client:
            for offset in (0, 7):
                assert client.get("/api/v1/query", params={"offset": offset}).json()["row_count"] == 3
        log = stack.skein.control.queries.log
        until(lambda: (OWN_DOOR, QueryState.RUNNING) in [(run.door, run.state) for run in log.list()])
        assert ask(stack, "SELECT max(i) AS m FROM t")[1].to_pylist() == [{"m": 199_999}]
        with stack.http() as client:
            told = client.get("/api/v1/queries", params={"door": OWN_DOOR, "state": "running"}).json()
            assert [each["sql"] for each in told["items"]] == [LONG]
    (run,) = (run for run in log.list() if run.door == OWN_DOOR)
    assert run.state is QueryState.CANCELLED


def test_what_is_scrolled_and_too_large_is_computed_window_by_window(tmp_path):
    with skein_stack(tmp_path, cache_bytes=1 << 20, cache_entry_bytes=1 << 18) as stack:
        stack.write("t", ROWS)
        log = stack.skein.control.queries.log
        ordered = ROWS.sort_by([("g", "ascending"), ("i", "descending")])
        with stack.http(params={"sql": "SELECT i, g FROM t ORDER BY g, i DESC", "limit": 1}) as client:
            for offset in range(0, 200_000, 40_000):
                reply = client.get("/api/v1/query", params={"offset": offset})
                assert reply.headers["skein-cache"] == "miss"
                assert reply.json()["rows"] == ordered.slice(offset, 1).to_pylist()
                until(lambda: all(run.finished_at for run in log.list()))
            runs = [run for run in log.list() if run.door == OWN_DOOR]
            assert [run.state for run in runs] == [QueryState.CANCELLED], (
                "it is given up, and not tried again"
            )
