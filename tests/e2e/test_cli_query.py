"""`skein query` against a real server: every format, on pipes, files and terminals."""

import io
import json
import signal
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.e2e.commands import Terminal, skein, started
from tests.stack import Stack, skein_stack, until

SALES = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "price": pa.array([Decimal("1.50"), None, Decimal("-20.25")], pa.decimal128(10, 2)),
        "sold": pa.array(["2026-01-31T12:00:00", None, "2026-02-01T00:00:00.000250"]).cast(
            pa.timestamp("us")
        ),
        "day": pa.array([date(2026, 1, 31), date(2026, 2, 1), None]),
        "shop": pa.array(["Zürich", 'say "hi", twice', None]),
        "tags": pa.array([["a", "b"], [], None], pa.list_(pa.string())),
    }
)

# Rows enough for many batches, of every type there is a form for in Parquet.
MANY = """
SELECT i, i::VARCHAR AS s, (i / 7)::DECIMAL(18, 3) AS d, i % 2 = 0 AS b,
       TIMESTAMP '2026-01-01' + to_seconds(i) AS t, CASE WHEN i % 3 = 0 THEN NULL ELSE [i, i + 1] END AS l,
       {'x': i, 'y': i::VARCHAR} AS st
FROM range(150000) r(i) ORDER BY i
"""

STREAM = "SELECT i FROM range(1000000000000) r(i)"
ENDLESS = "SELECT count(*) FROM range(1000000000) a(i), range(1000) b(j) WHERE (i * j) % 7 = 3"


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("data")) as stack:
        stack.write("sales", SALES)
        yield stack


@pytest.fixture
def query(stack):
    """Run `skein query` to its end."""
    return lambda *arguments, **options: skein("query", *arguments, SKEIN_DATA=stack.data, **options)


def expected(sql: str) -> pa.Table:
    return duckdb.sql(sql).to_arrow_table()


def states(stack: Stack) -> list[str]:
    """Of the server's queries, newest first."""
    with stack.http() as http:
        return [query["state"] for query in http.get("/api/v1/queries").json()["items"]]


def test_a_pipe_gets_csv_that_reads_back_as_it_was(query):
    result = query("SELECT i, s, b FROM (" + MANY + ")")

    assert result.returncode == 0
    assert result.stderr == ""
    table = pa.csv.read_csv(
        io.BytesIO(result.stdout.encode()),
        convert_options=pa.csv.ConvertOptions(column_types={"s": "string"}),
    )
    assert table.equals(expected("SELECT i, s, b FROM (" + MANY + ")"))


def _lines(text):
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(("format", "read"), [("json", json.loads), ("ndjson", _lines)])
def test_json_is_an_array_and_ndjson_an_object_a_line(query, format, read):
    result = query("SELECT * FROM sales ORDER BY id", "--format", format)

    assert read(result.stdout) == [
        {
            "id": 1,
            "price": "1.50",
            "sold": "2026-01-31T12:00:00.000000",
            "day": "2026-01-31",
            "shop": "Zürich",
            "tags": ["a", "b"],
        },
        {"id": 2, "price": None, "sold": None, "day": "2026-02-01", "shop": 'say "hi", twice', "tags": []},
        {
            "id": 3,
            "price": "-20.25",
            "sold": "2026-02-01T00:00:00.000250",
            "day": None,
            "shop": None,
            "tags": None,
        },
    ]


@pytest.mark.parametrize("name", ["result.parquet", "result.arrow", "result.feather", "result.arrows"])
def test_a_file_holds_every_row_with_its_types(query, tmp_path, name):
    path = tmp_path / name

    result = query(MANY, "-o", path)

    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert f"{path}: 150,000 rows, " in result.stderr
    readers = {
        ".parquet": lambda: pq.read_table(path),
        ".arrows": lambda: pa.ipc.open_stream(path).read_all(),
    }
    table = readers.get(path.suffix, lambda: pa.ipc.open_file(path).read_all())()
    table.validate(full=True)
    assert table.cast(expected(MANY).schema).equals(expected(MANY))
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_columns_of_one_name_are_told_apart_in_parquet(query, tmp_path):
    query("SELECT 1 AS a, 2 AS a", "-o", tmp_path / "twice.parquet")

    assert pq.read_table(tmp_path / "twice.parquet").to_pylist() == [{"a": 1, "a_1": 2}]


def test_parquet_has_row_groups_worth_reading(query, tmp_path):
    query(MANY, "-o", tmp_path / "result.parquet")

    metadata = pq.read_metadata(tmp_path / "result.parquet")
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sum(sizes) == 150_000
    assert len(sizes) == 2
    assert sizes[0] >= 100_000
    assert metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_binary_formats_go_through_a_pipe(stack, format):
    with started("query", MANY, "--format", format, SKEIN_DATA=stack.data) as process:
        content = process.stdout.buffer.read()

    read = pa.ipc.open_stream(content).read_all() if format == "arrow" else pq.read_table(io.BytesIO(content))
    assert read.cast(expected(MANY).schema).equals(expected(MANY))


@pytest.mark.parametrize("suffix", ["csv", "json", "ndjson", "arrow", "arrows", "parquet"])
def test_no_rows_are_a_file_all_the_same(query, tmp_path, suffix):
    path = tmp_path / f"none.{suffix}"

    assert query("SELECT id, tags FROM sales WHERE false", "-o", path).returncode == 0

    match suffix:
        case "csv":
            assert path.read_text() == '"id","tags"\n'
        case "json":
            assert json.loads(path.read_text()) == []
        case "ndjson":
            assert path.read_text() == ""
        case "parquet":
            assert pq.read_table(path).schema.names == ["id", "tags"]
        case "arrow":
            assert pa.ipc.open_file(path).read_all().schema.names == ["id", "tags"]
        case "arrows":
            assert pa.ipc.open_stream(path).read_all().schema.names == ["id", "tags"]


def test_columns_of_an_enum_reach_files(query, tmp_path):
    sql = "SELECT (['red', 'green'])[i % 2 + 1]::ENUM('red', 'green') AS colour FROM range(200000) r(i)"

    for name in ("e.arrow", "e.parquet"):
        assert query(sql, "-o", tmp_path / name).returncode == 0

    colours = expected(f"SELECT colour::VARCHAR AS colour FROM ({sql})")["colour"].to_pylist()
    assert pa.ipc.open_file(tmp_path / "e.arrow").read_all()["colour"].to_pylist() == colours
    assert pq.read_table(tmp_path / "e.parquet")["colour"].to_pylist() == colours


def test_a_table_shows_types_nulls_and_nested_values(query):
    result = query("SELECT * FROM sales ORDER BY id", "--format", "table")

    head, types, rule, *rows = result.stdout.splitlines()
    assert head.split() == ["id", "price", "sold", "day", "shop", "tags"]
    assert (
        types.split()
        == [
            "int64",
            "decimal128(10,",
            "2)",
            "timestamp[us]",
            "date32[day]",
            "string",
            "list<l:",
            "string>",
        ]
        or "decimal128(10, 2)" in types
    )
    assert set(rule) == {"─"}
    assert rows[0].split() == ["1", "1.50", "2026-01-31T12:00:00", "2026-01-31", "Zürich", '["a","b"]']
    assert rows[1].split("NULL")[0].split() == ["2"]
    assert rows[2].split() == ["3", "-20.25", "2026-02-01T00:00:00.000250", "NULL", "NULL", "NULL"]
    assert rows[0].index("1.50") + 4 == rows[2].index("-20.25") + 6  # numbers end below each other
    assert result.stderr == "3 rows\n"


def test_a_table_is_cut_and_says_how_much_more_there_is(query):
    result = query("SELECT i FROM range(1234) r(i) ORDER BY i", "--format", "table", "--max-rows", 5)

    assert [line.strip() for line in result.stdout.splitlines()[3:]] == ["0", "1", "2", "3", "4"]
    assert result.stderr.startswith("5 of 1,234 rows")


def test_an_endless_result_is_not_counted_to_its_end(stack, query):
    result = query(STREAM, "--format", "table")

    assert len(result.stdout.splitlines()) == 43
    assert result.stderr.startswith("40 of more than 1,000,000 rows")
    until(lambda: "running" not in states(stack))


def test_what_others_stored_does_not_steer_a_terminal(query):
    result = query("SELECT 'a' || chr(27) || '[2J' || chr(10) || 'b' AS x", "--format", "table")

    assert result.stdout.splitlines()[-1] == r"a\x1b[2J\nb"


def test_a_terminal_gets_a_table_that_fits(stack):
    columns = ", ".join(f"'value {i}' AS column_{i}" for i in range(30))

    with Terminal("query", f"SELECT {columns}", columns=80, SKEIN_DATA=stack.data) as terminal:
        assert terminal.wait() == 0

    lines = terminal.screen.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("column_0 ")
    assert lines[0].rstrip().endswith("column_29")
    assert "…" in lines[1]
    assert lines[-1].startswith("1 row; ")
    assert "of 30 columns" in lines[-1]


def test_a_long_value_is_cut_on_a_terminal_only(stack, query):
    sql = "SELECT repeat('x', 500) AS x"

    with Terminal("query", sql, columns=100, SKEIN_DATA=stack.data) as terminal:
        assert terminal.wait() == 0

    assert max(map(len, terminal.screen.splitlines())) <= 100
    assert "x…" in terminal.screen
    assert "x" * 500 in query(sql, "--format", "table").stdout


def test_no_color_is_respected(stack):
    with Terminal("query", "SELECT NULL AS x", SKEIN_DATA=stack.data, NO_COLOR=1) as terminal:
        assert terminal.wait() == 0

    assert "NULL" in terminal.screen
    assert not any(f"\x1b[{colour}" in terminal.raw for colour in range(30, 38))


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_binary_formats_are_kept_from_terminals(stack, format):
    with Terminal("query", "SELECT 1", "--format", format, SKEIN_DATA=stack.data) as terminal:
        assert terminal.wait() == 1

    assert terminal.screen.startswith("error: [invalid_option] ")


def test_changes_tell_how_many_rows_they_changed(query):
    def show(sql: str) -> str:
        return query(sql, "--format", "table").stdout

    assert show("CREATE TABLE cli_notes (n INT)") == "done\n"
    assert show("INSERT INTO cli_notes VALUES (1), (2), (3)") == "3 rows changed\n"
    assert show("UPDATE cli_notes SET n = n + 1 WHERE n = 3") == "1 row changed\n"
    assert show("INSERT INTO cli_notes VALUES (7) RETURNING n").split() == ["n", "int32", "─────", "7"]
    assert query("SELECT sum(n) AS n FROM cli_notes").stdout == '"n"\n14\n'
    assert show("DROP TABLE cli_notes") == "done\n"


def test_a_plan_is_printed_as_it_is(query):
    result = query("EXPLAIN SELECT count(*) FROM sales", "--format", "table")

    assert result.stdout.startswith("╭")
    assert "\\n" not in result.stdout


def test_parameters_are_json_or_text(query):
    result = query(
        "SELECT ? + 1 AS a, $2 AS b, ? AS c".replace("?", "$1", 1).replace("?", "$3"),
        "--param", 41, "--param", "SEA", "--param", '"60"', "--format", "json",
    )  # fmt: skip

    assert json.loads(result.stdout) == [{"a": 42, "b": "SEA", "c": "60"}]


def test_a_limit_and_standard_input(query):
    result = query("-", "--limit", 2, stdin="SELECT i\nFROM range(10) r(i) -- all\n")

    assert result.stdout == '"i"\n0\n1\n'


@pytest.mark.parametrize(
    ("sql", "code", "hint"),
    [
        ("SELECT * FROM salse", "dataset_not_found", "'sales'"),
        ("SELEC 1", "invalid_sql", "line 1, column 1"),
        ("SELECT CAST(shop AS INT) FROM sales", "query_failed", "Zürich"),
        ("SELECT error('no ' || i) FROM range(100000) r(i) WHERE i = 99999", "query_failed", "no 99999"),
        ("COPY sales TO 'x.csv'", "statement_not_allowed", "COPY"),
        ("", "invalid_sql", ""),
    ],
)
def test_a_failure_is_one_line_with_its_code(query, sql, code, hint):
    result = query(sql)

    assert result.returncode == 1
    assert result.stderr.startswith(f"error: [{code}] ")
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Detail:" not in result.stderr
    assert "gRPC" not in result.stderr


def test_a_failed_query_leaves_the_file_as_it_was(query, tmp_path):
    path = tmp_path / "result.csv"
    path.write_text("from before")

    result = query(
        "SELECT CASE WHEN i = 900000 THEN error('late') ELSE i END AS i FROM range(1000000) r(i)", "-o", path
    )

    assert result.stderr == "error: [query_failed] late\n"
    assert path.read_text() == "from before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.csv"]


def test_a_type_that_parquet_lacks_is_refused_by_column(query, tmp_path):
    result = query("SELECT 1 AS a, INTERVAL 1 MONTH AS b", "-o", tmp_path / "x.parquet")

    assert result.returncode == 1
    assert result.stderr.startswith("error: [unsupported_type] column 'b' ")
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_written_and_formats_that_cannot_be_guessed(query, tmp_path):
    nowhere = query("SELECT 1", "-o", tmp_path / "missing" / "x.csv")
    unclear = query("SELECT 1", "-o", tmp_path / "x.txt")
    table = query("SELECT 1", "-o", tmp_path / "x.txt", "--format", "table")

    assert nowhere.stderr.startswith("error: [output_failed] ")
    assert "No such file or directory" in nowhere.stderr
    assert unclear.stderr.startswith("error: [invalid_option] ")
    assert ".parquet" in unclear.stderr
    assert table.stderr.startswith("error: [invalid_option] ")
    assert {nowhere.returncode, unclear.returncode, table.returncode} == {1}


@pytest.mark.parametrize("statement", [ENDLESS, f"CREATE TABLE endless AS {ENDLESS}"])
def test_ctrl_c_stops_what_has_no_rows_yet(stack, statement):
    with started("query", statement, SKEIN_DATA=stack.data) as process:
        until(lambda: "running" in states(stack))
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)

    assert (process.returncode, output, errors) == (130, "", "")
    until(lambda: states(stack)[0] == "cancelled")


def test_ctrl_c_in_the_middle_leaves_no_file(stack, tmp_path):
    path = tmp_path / "endless.csv"
    with started("query", STREAM, "-o", path, SKEIN_DATA=stack.data) as process:
        until(lambda: any(entry.stat().st_size for entry in tmp_path.iterdir()))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)

    assert process.returncode == 130
    assert list(tmp_path.iterdir()) == []
    until(lambda: states(stack)[0] == "cancelled")


def test_a_reader_that_has_enough_is_no_failure_to_talk_about(stack):
    with started("query", STREAM, SKEIN_DATA=stack.data) as process:
        assert process.stdout.readline() == '"i"\n'
        process.stdout.close()
        assert process.stderr.read() == ""
        process.wait(30)

    until(lambda: states(stack)[0] == "cancelled")


def test_a_file_shows_progress_on_a_terminal(stack, tmp_path):
    path = tmp_path / "endless.csv"
    with Terminal("query", STREAM, "-o", path, SKEIN_DATA=stack.data) as terminal:
        terminal.wait_for(" rows, ")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.wait() == 130

    assert list(tmp_path.iterdir()) == []


def test_the_server_is_found_by_url_and_by_flag(stack, query, tmp_path):
    by_url = skein("query", "SELECT count(*) AS n FROM sales", "--server", stack.http_url)
    by_bare_address = skein("query", "SELECT 3 AS n", SKEIN_SERVER=stack.http_url.removeprefix("http://"))
    by_folder = skein("query", "SELECT count(*) AS n FROM sales", "--data", stack.data)
    proxied = query("SELECT 3 AS n", http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9")

    for result in (by_url, by_bare_address, by_folder, proxied):
        assert (result.returncode, result.stdout, result.stderr) == (0, '"n"\n3\n', "")
