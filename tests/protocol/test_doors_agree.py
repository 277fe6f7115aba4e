"""Random SELECTs through every door, by a writer and a reader, while datasets change: DuckDB alone, with the
same rows, says what is right."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import date

import adbc_driver_flightsql.dbapi as dbapi
import duckdb
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.domain.dataset import WriteMode
from tests.stack import Stack, skein_stack

ARROW = {"Accept": "application/vnd.apache.arrow.stream"}
AUTHORIZATION = "adbc.flight.sql.authorization_header"
READER, WRITER = "s3cret-reader", "s3cret-writer"
TWO = pa.record_batch([pa.array([2], pa.int32())], ["0"])

TABLES = st.sampled_from(["t", "T", "datasets.t", "lake.datasets.t", '"t@v0"', 'datasets."T@v1"', "u"])
VALUES = st.sampled_from(
    [
        "a.i * $1",
        "a.g || '!'",
        "date_trunc('month', a.d)",
        "[x + a.i FOR x IN a.l IF x > 1]",
        "{'k': a.s.k, 'n': len(a.l)}",
        "CASE WHEN a.i > $1 THEN a.g END",
        "(SELECT max(i) FROM {v} WHERE g = a.g)",
        "a.i IN (SELECT i FROM {v})",
        "count(*) OVER (PARTITION BY a.g)",
        "rank() OVER (PARTITION BY a.d ORDER BY a.i DESC NULLS LAST)",
    ]
)
CONDITIONS = st.sampled_from(
    [
        "true",
        "a.i BETWEEN $1 AND 9",
        "a.g LIKE 'p%' OR a.d > DATE '2020-06-01'",
        "EXISTS (FROM {v} AS b WHERE b.i = a.i AND b.g IS DISTINCT FROM a.g)",
        "list_contains(a.l, a.i % 3)",
    ]
)
SHAPES = st.sampled_from(
    [
        "SELECT {e}, {f} FROM {t} AS a WHERE {c}",
        "SELECT DISTINCT {e} AS x FROM {t} AS a WHERE {c} ORDER BY ALL LIMIT 4",
        "SELECT a.g, a.d, count(*), sum(a.i), max(a.s.k) FROM {t} AS a WHERE {c} GROUP BY CUBE (a.g, a.d)",
        "SELECT a.g, list_sort(list(a.i)) AS is FROM {t} AS a GROUP BY ALL HAVING count(*) > $1",
        "WITH t AS (FROM {t} AS a WHERE {c}) SELECT {e}, b.d FROM t AS a FULL JOIN {v} AS b USING (i)",
        "SELECT {e}, n.* FROM {t} AS a, LATERAL (SELECT count(*), min(d) FROM {v} WHERE i > a.i) AS n",
        "SELECT {e} FROM {t} AS a EXCEPT ALL SELECT {e} FROM {v} AS a WHERE {c}",
        "SELECT unnest(a.l), {e} FROM {t} AS a WHERE {c} QUALIFY rank() OVER (ORDER BY a.i) < 9",
        "FROM (PIVOT (SELECT g, d, i FROM {t} AS a WHERE {c}) ON g IN ('p', 'pq') USING sum(i) GROUP BY d)",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION SELECT n+1 FROM r WHERE n < (SELECT max(i) FROM {t})) FROM r",
    ]
)
ROW = st.fixed_dictionaries(
    {
        "i": st.none() | st.integers(0, 12),
        "g": st.none() | st.sampled_from(["p", "pq", "ü"]),
        "d": st.none() | st.sampled_from([date(2020, 1, 31), date(2020, 7, 1)]),
        "l": st.none() | st.lists(st.integers(0, 3), max_size=3),
        "s": st.none() | st.fixed_dictionaries({"k": st.sampled_from(["x", "y"])}),
    }
)
SCHEMA = pa.schema(
    [
        ("i", pa.int32()),
        ("g", pa.string()),
        ("d", pa.date32()),
        ("l", pa.list_(pa.int64())),
        ("s", pa.struct([("k", pa.string())])),
    ]
)
ROWS = st.lists(ROW, max_size=8).map(lambda rows: pa.Table.from_pylist(rows, SCHEMA))
WRITES = st.tuples(st.sampled_from(["t", "u"]), ROWS, st.sampled_from([WriteMode.APPEND, WriteMode.REPLACE]))


PLACES = {"{e}": VALUES, "{f}": VALUES, "{c}": CONDITIONS, "{t}": TABLES, "{v}": TABLES}


@st.composite
def statements(draw) -> str:
    text = draw(SHAPES)
    for place, choices in PLACES.items():
        text = text.replace(place, draw(choices))
    return text


class Doors:
    """Ways to ask a server, and DuckDB alone with the same tables. All take `$1` to be 2."""

    def __init__(self, stack: Stack, stays: ExitStack) -> None:
        self._stack = stack
        self._duck = stays.enter_context(duckdb.connect())
        self._duck.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.datasets; USE lake.datasets")
        self._flight = stays.enter_context(stack.flight())
        self._http = stays.enter_context(stack.http(headers=ARROW))
        self._sessions = {
            token: stays.enter_context(dbapi.connect(stack.flight_uri, {AUTHORIZATION: f"Bearer {token}"}))
            for token in (READER, WRITER)
        }
        self._rows: dict[str, pa.Table] = {}

    def write(self, name: str, rows: pa.Table, mode: WriteMode) -> None:
        version = self._stack.write(name, rows, mode).ref.version
        if mode is WriteMode.APPEND and name in self._rows:
            rows = pa.concat_tables([self._rows[name], rows])
        self._rows[name] = rows
        self._duck.register("written", rows)
        for called in (name, f"{name}@v{version}"):
            self._duck.execute(f'CREATE OR REPLACE TABLE "{called}" AS FROM written')

    def alone(self, sql: str) -> pa.Table:
        return self._duck.sql(sql, params=[2] if "$1" in sql else None).to_arrow_table()

    def http(self, sql: str, token: str) -> pa.Table:
        body = {"sql": sql, "params": [2] if "$1" in sql else []}
        response = self._http.post("/api/v1/query", json=body, headers={"Authorization": f"Bearer {token}"})
        return pa.ipc.open_stream(response.raise_for_status().content).read_all()

    def flight(self, sql: str, token: str, meanwhile: Callable[[], object] = lambda: None) -> pa.Table:
        options = fl.FlightCallOptions(headers=[(b"authorization", f"Bearer {token}".encode())])
        command = json.dumps({"sql": sql, "params": [2] if "$1" in sql else []})
        info = self._flight.get_flight_info(fl.FlightDescriptor.for_command(command), options)
        meanwhile()
        table = self._flight.do_get(info.endpoints[0].ticket, options).read_all()
        assert table.schema == info.schema
        return table

    def flight_sql(self, sql: str, token: str) -> pa.Table:
        with self._sessions[token].cursor() as cursor:
            try:
                cursor.execute(sql, TWO if "$1" in sql else None)
                return cursor.fetch_arrow_table()
            finally:
                self._sessions[token].rollback()


def answer(table: pa.Table) -> tuple[pa.Schema, list[str]]:
    """Columns and rows, in no order."""
    return table.schema, sorted(map(repr, table.to_pylist()))


@pytest.fixture(scope="module")
def doors(tmp_path_factory) -> Iterator[Doors]:
    tokens = f"writer={WRITER},reader/read={READER}"
    data = tmp_path_factory.mktemp("data")
    with skein_stack(data, tokens=tokens, cache_min_run_s=0.0) as stack, ExitStack() as stays:
        yield Doors(stack, stays)


@given(
    steps=st.lists(WRITES | statements(), min_size=4, max_size=8),
    first=st.tuples(ROWS, ROWS, ROWS),
    token=st.sampled_from([READER, WRITER]),
)
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
def test_every_door_answers_as_duckdb_does_whatever_is_written_between(doors, steps, first, token):
    for name, rows in zip("ttu", first, strict=True):
        doors.write(name, rows, WriteMode.REPLACE)
    for step in steps:
        if isinstance(step, tuple):
            doors.write(*step)
            continue
        right = answer(doors.alone(step))
        assert answer(doors.flight(step, token)) == right
        assert answer(doors.http(step, token)) == right
        assert answer(doors.flight_sql(step, token)) == right
        late = doors.flight(step, token, lambda: doors.write("t", first[0], WriteMode.APPEND))
        assert answer(late) == right
