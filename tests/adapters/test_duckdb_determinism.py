"""Which reads may be answered from an earlier result, and which texts ask the same."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
from flight_core.application.ports.engine import Principal
from flight_core.application.queries.results import result_key
from flight_core.domain.query import Statement
from flight_core.infrastructure.duckdb_pool import DuckDbOptions
from tests.adapters.guarded_stack import guarded_stack
from tests.fakes.lake import FakeLake

ROWS = pa.table({"i": pa.array([1, 2, 3], pa.int64()), "s": ["a", "b", "c"]})


class Asked:
    def __init__(self, folder: Path) -> None:
        self.lake = FakeLake(folder)
        self.lake.commit("t", ROWS)
        options = DuckDbOptions(None, (folder,), folder / "temp", memory_bytes=256 << 20, threads=1)
        self.engine = DuckDbEngine(options, self.lake)

    def key(self, sql: str, parameters=(), **options) -> str | None:
        statement = Statement(sql, parameters, **options)
        with closing(self.engine.plan(statement, self.lake.state)) as query:
            return result_key(statement, query)

    def run(self, sql: str) -> None:
        with closing(self.engine.open_session()) as session:
            session.execute(Statement(sql), self.lake.state)


@pytest.fixture
def asked(tmp_path) -> Iterator[Asked]:
    made = Asked(tmp_path)
    yield made
    made.engine.close()


@pytest.mark.parametrize(
    "same",
    ["select I+1 AS x from t where s='a  b'", "SELECT /* c */ I + 1  x\n\tFROM t -- d\n WHERE s = 'a  b' ;"],
)
def test_texts_that_differ_in_nothing_that_counts_ask_the_same(asked, same):
    assert asked.key(same) == asked.key("SELECT I + 1 AS x FROM t WHERE s = 'a  b'") is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("SELECT 'a b' FROM t", "SELECT 'a  b' FROM t"),
        ("SELECT 'a' FROM t", "SELECT 'A' FROM t"),
        ("SELECT '--' FROM t", "SELECT '-- ' FROM t"),
        ("SELECT 1 FROM t", "SELECT 1.0 FROM t"),
        ("SELECT 0.1 FROM t", "SELECT 0.10 FROM t"),
        ("SELECT 1::INT FROM t", "SELECT 1::BIGINT FROM t"),
        ("SELECT i FROM t", "SELECT i AS I FROM t"),
        ("FROM t LIMIT 1", "FROM t LIMIT 2"),
        ("FROM t", 'FROM "t@v0"'),
    ],
)
def test_texts_that_differ_in_what_counts_do_not(asked, one, other):
    assert asked.key(one) is not None
    assert asked.key(one) != asked.key(other) is not None


def test_parameters_options_and_versions_count(asked):
    sql = "SELECT i, ? AS p FROM t"
    values = [(1,), (1.0,), (True,), ("1",), (None,), ([1],), ({"a": 1},), (pa.scalar(1, pa.int8()),)]
    keys = [asked.key(sql, value) for value in values]
    keys += [
        asked.key(sql, (1,), row_limit=1),
        asked.key(sql, (1,), row_offset=1),
        asked.key(sql, (1,), narrow_decimals=True),
    ]
    asked.lake.commit("t", ROWS)
    keys.append(asked.key(sql, (1,)))
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert asked.key(sql, (1,)) == keys[-1]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT random() FROM t",
        "SELECT now() FROM t",
        "SELECT current_timestamp FROM t",
        "SELECT t.i FROM t WHERE current_date > DATE '2020-01-01'",
        "SELECT uuid() FROM t",
        "SELECT age(TIMESTAMP '2020-01-01') FROM t",
        "SELECT reservoir_quantile(i, 0.5) FROM t",
        "SELECT getvariable('x'), i FROM t",
        "SELECT current_setting('TimeZone'), i FROM t",
        "SELECT list_transform([i], lambda x: x + random()) FROM t",
        "SELECT (SELECT max(random()) FROM t)",
        "SELECT * FROM t TABLESAMPLE 50%",
        "SELECT * FROM t USING SAMPLE 1",
        "SELECT * FROM t, duckdb_variables()",
        "SUMMARIZE t",
        "SHOW TABLES",
        "EXPLAIN SELECT * FROM t",
        "SELECT 1",
    ],
)
def test_what_may_be_another_result_each_time_is_never_kept(asked, sql):
    assert asked.key(sql) is None


def test_the_users_own_tables_are_not_datasets(asked):
    asked.run("CREATE TABLE own AS SELECT 1 AS i")
    assert asked.key("FROM t") is not None
    assert asked.key("FROM own") is None
    assert asked.key("FROM t, own") is None


def test_a_users_own_table_in_front_of_a_dataset_is_noticed(asked):
    asked.run("CREATE TABLE later AS SELECT 1 AS i")
    asked.lake.commit("later", ROWS)
    assert asked.key("FROM later") is None
    assert asked.key("FROM datasets.later") is not None


@pytest.mark.parametrize("made", ["MACRO abs(x) AS 42", "FUNCTION f(x) AS x", "TYPE mood AS ENUM ('a')"])
def test_once_users_have_functions_of_their_own_nothing_is_kept(asked, made):
    assert asked.key("SELECT abs(i) FROM t") is not None
    asked.run(f"CREATE {made}")
    assert asked.key("SELECT abs(i) FROM t") is None


def test_reads_of_guarded_principals_share_nothing(tmp_path):
    with guarded_stack(tmp_path) as stack:

        def key(sql: str, principal: str) -> str | None:
            statement = Statement(sql)
            with closing(stack.engine.plan(statement, stack.view, principal=Principal(principal))) as query:
                return result_key(statement, query)

        assert key("FROM ds_a", "ann") == key("from  ds_a", "ann") is not None
        assert key("FROM ds_a", "ann") != key("FROM ds_a", "bob")
        assert key("SELECT random() FROM ds_a", "ann") is None
