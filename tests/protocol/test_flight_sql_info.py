"""GetSqlInfo: every code, in the right child of the union, true of DuckDB."""

import duckdb
import pyarrow as pa
import pytest

from schemas.flight_sql.sql_pb2 import CommandGetSqlInfo
from tests.protocol.raw_flight_sql import RawFlightSql
from tests.stack import skein_stack

TEXT, FLAG, LIMIT, NUMBER, WORDS, CASTS = range(6)

# Of the specification: which child of the union each code is in.
KINDS = {
    **dict.fromkeys((0, 1, 2, 6, 7, 504, 513, 514, 529, 530, 531), TEXT),
    **dict.fromkeys((3, 4, 5, 9, 10, 11, 500, 501, 502, 506, 515, 516, 518, 519, 520, 521, 523, 524), FLAG),
    **dict.fromkeys((527, 532, 536, 537, 539, 556, 563, 565, 566, 572, 573, 574, 575, 576), FLAG),
    **dict.fromkeys((*range(541, 556), *range(557, 562)), LIMIT),
    **dict.fromkeys((8, 100, 101, 503, 505, 507, 522, 525, 526, 528, 533, 534, 535, 538, 540), NUMBER),
    **dict.fromkeys((562, 564, 567, 568, 569, 570, 571), NUMBER),
    **dict.fromkeys((508, 509, 510, 511, 512), WORDS),
    517: CASTS,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with skein_stack(tmp_path_factory.mktemp("skein")) as stack, stack.raw() as made:
        yield made


@pytest.fixture(scope="module")
def info(client: RawFlightSql) -> dict[int, object]:
    table = client.metadata(CommandGetSqlInfo())
    return dict(zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True))


def test_the_schema_is_exact(client):
    schema = client.schema(CommandGetSqlInfo())
    assert schema.names == ["info_name", "value"]
    assert schema.types[0] == pa.uint32()
    assert not any(field.nullable for field in schema)
    union = schema.types[1]
    assert (union.mode, union.type_codes) == ("dense", [0, 1, 2, 3, 4, 5])
    assert [(field.name, field.type) for field in union] == [
        ("string_value", pa.utf8()),
        ("bool_value", pa.bool_()),
        ("bigint_value", pa.int64()),
        ("int32_bitmask", pa.int32()),
        ("string_list", pa.list_(pa.utf8())),
        ("int32_to_int32_list_map", pa.map_(pa.int32(), pa.list_(pa.int32()))),
    ]


def test_every_code_is_there_in_its_child_of_the_union(client):
    table = client.metadata(CommandGetSqlInfo())
    values = table.column(1).combine_chunks()
    assert dict(zip(table.column(0).to_pylist(), values.type_codes.to_pylist(), strict=True)) == KINDS


def test_asked_for_some_codes_it_tells_those_and_leaves_unknown_ones_out(client):
    table = client.metadata(CommandGetSqlInfo(info=[504, 8, 99999, 0, 8]))
    assert table.column(0).to_pylist() == [0, 8, 504]
    assert client.metadata(CommandGetSqlInfo(info=[99999])).num_rows == 0


def test_the_server_introduces_itself(info):
    assert info[0] == "Skein"
    assert info[1].startswith(f"duckdb v{duckdb.__version__}")
    assert info[2] == pa.__version__
    assert (info[3], info[4], info[5]) == (False, True, False)
    assert (info[8], info[9], info[10], info[11]) == (1, True, True, True)
    assert info[101] == 900_000


def test_words_and_functions_are_those_of_duckdb(info):
    keywords = duckdb.sql("SELECT DISTINCT keyword_name FROM duckdb_keywords()").fetchall()
    assert set(info[508]) == {name for (name,) in keywords}
    assert {"abs", "round", "sqrt", "power", "ceil"} <= set(info[509])
    assert {"upper", "substring", "regexp_replace", "levenshtein"} <= set(info[510])
    assert {"current_database", "current_schema", "version"} <= set(info[511])
    assert {"date_trunc", "strftime", "age", "to_days", "now"} <= set(info[512])
    known = {name for (name,) in duckdb.sql("SELECT function_name FROM duckdb_functions()").fetchall()}
    for code in (509, 510, 511, 512):
        assert info[code] == sorted(info[code])
        assert set(info[code]) <= known


def test_casts_are_told_as_they_work(info):
    bigint, date, integer, timestamp, varchar = 0, 4, 7, 16, 19
    casts = dict(info[517])
    assert sorted(casts) == list(range(20))
    assert date not in casts[integer]
    assert timestamp in casts[date]
    assert bigint not in casts[date]
    assert all(varchar in targets for targets in casts.values())
    assert casts[varchar] == list(range(20))


CLAIMS: list[tuple[int, object, str | None]] = [
    (503, 1, "SELECT A FROM (SELECT 1 AS a)"),
    (505, 1, 'SELECT "A" FROM (SELECT 1 AS "a")'),
    (504, '"', 'SELECT "a b" FROM (SELECT 1 AS "a b")'),
    (507, 3, None),
    (513, "\\", r"SELECT 'a_b' LIKE 'a\_b' ESCAPE '\'"),
    (514, "$", "SELECT a$b FROM (SELECT 1 AS a$b)"),
    (515, True, "SELECT 1 AS one"),
    (516, True, None),
    (520, True, "SELECT a FROM (SELECT 1 AS a) ORDER BY a + 1"),
    (521, True, "SELECT a FROM (SELECT 1 AS a, 2 AS b) ORDER BY b"),
    (522, 3, "SELECT sum(a) FROM (SELECT 1 AS a, 2 AS b) GROUP BY b"),
    (523, True, "SELECT 'a%' LIKE 'a!%' ESCAPE '!'"),
    (528, 2, "SELECT * FROM (SELECT 1 AS a) FULL OUTER JOIN (SELECT 2 AS a) USING (a)"),
    (538, 15, "SELECT 1 = ANY (SELECT 1), EXISTS (SELECT 1), 1 IN (SELECT 1), 1 >= (SELECT 1)"),
    (539, True, "SELECT (SELECT a) FROM (SELECT 1 AS a)"),
    (540, 3, "SELECT 1 UNION SELECT 2 UNION ALL SELECT 3"),
    (574, True, None),
]


@pytest.mark.parametrize(("code", "value", "proof"), CLAIMS)
def test_what_is_claimed_works(info, code, value, proof):
    assert info[code] == value
    if proof:
        duckdb.sql(proof).fetchall()


def test_nulls_are_last_and_make_null():
    assert duckdb.sql("SELECT * FROM (VALUES (1), (NULL)) AS t(i) ORDER BY i").fetchall() == [(1,), (None,)]
    assert duckdb.sql("SELECT * FROM (VALUES (1), (NULL)) AS t(i) ORDER BY i DESC").fetchall() == [
        (1,),
        (None,),
    ]
    assert duckdb.sql("SELECT 'a' || NULL").fetchall() == [(None,)]


@pytest.mark.parametrize(
    ("code", "value", "sql"),
    [
        (536, False, "SELECT 1 FOR UPDATE"),
        (573, False, "SAVEPOINT s"),
        (535, 0, "DELETE FROM t WHERE CURRENT OF c"),
    ],
)
def test_what_is_denied_does_not_work(info, code, value, sql):
    assert info[code] == value
    with pytest.raises(duckdb.Error):
        duckdb.connect().execute(sql)


def test_transactions_are_isolated_as_told(info):
    assert (info[562], info[564], info[563]) == (3, 1 << 3, True)
    assert (info[565], info[566]) == (False, False)
    connection = duckdb.connect()
    connection.execute("BEGIN; CREATE TABLE t (i INTEGER); ROLLBACK")
    with pytest.raises(duckdb.CatalogException):
        connection.execute("FROM t")


def test_a_caller_who_may_only_read_is_told_so(tmp_path):
    with (
        skein_stack(tmp_path, tokens="reader/read=looking-glass") as stack,
        stack.raw(authorization="Bearer looking-glass") as reader,
    ):
        table = reader.metadata(CommandGetSqlInfo(info=[3]))
    assert table.column(1).to_pylist() == [True]
