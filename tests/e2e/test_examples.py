"""Every example runs against a server, and shows what DuckDB computes from the same rows."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from flight_core.domain.dataset import WriteMode
from skein.demo import shipped_flights
from tests.stack import skein_stack

EXAMPLES = Path(__file__).parents[2] / "examples"
OURS = {"skein", "flight_server", "control_api", "schemas", "flight_core"}


@pytest.fixture(scope="module")
def flights():
    return shipped_flights()


@pytest.fixture(scope="module")
def server(tmp_path_factory, flights):
    with skein_stack(tmp_path_factory.mktemp("examples") / "data") as stack:
        stack.write("flights", flights)
        yield stack


def run(*command: str) -> str:
    """What a command prints."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def python(script: str, *arguments: str) -> list[str]:
    """Warnings are failures."""
    return [sys.executable, "-W", "error", str(EXAMPLES / script), *arguments]


def ask(flights: pa.Table, sql: str) -> list[tuple]:
    with duckdb.connect() as connection:
        connection.register("flights", flights)
        return connection.execute(sql).fetchall()


def test_pyarrow_flight(server, flights):
    printed = run(*python("pyarrow_flight.py", server.flight_uri))
    assert printed.startswith("flights: 200,000 rows, columns date, delay, distance, origin, destination")
    worst = "SELECT origin, avg(delay) AS delay FROM flights GROUP BY origin ORDER BY delay DESC LIMIT 3"
    for origin, delay in ask(flights, worst):
        assert f"{origin}: {delay:.1f} minutes late on average" in printed
    ((seattle,),) = ask(flights, "SELECT count(*) FROM flights WHERE origin = 'SEA'")
    assert f"{seattle:,} flights from SEA" in printed
    assert "version 0 of flights has 200,000 rows" in printed


def test_live_query(server, flights):
    sql = "SELECT origin, max(delay) AS delay FROM flights GROUP BY origin ORDER BY delay DESC LIMIT 1"
    head, row = run(*python("live_query.py", sql, server.http_url, "--results", "1")).splitlines()
    assert head == "all rows: {'flights': 0}"
    ((origin, delay),) = ask(flights, sql)
    assert ast.literal_eval(row) == {"origin": origin, "delay": delay}


def test_polars_adbc(server, flights):
    printed = run(*python("polars_adbc.py", server.flight_uri))
    busiest = """
        SELECT origin, count(*) AS n, avg(delay) FROM flights WHERE distance >= 1000
        GROUP BY origin ORDER BY n DESC LIMIT 10
    """
    rows = re.findall(r"│ (\w{3}) +┆ (\d+) +┆ (-?[\d.]+)", printed)
    assert rows == [(origin, str(n), str(round(delay, 1))) for origin, n, delay in ask(flights, busiest)]


def test_pandas_adbc(server, flights):
    printed = run(*python("pandas_adbc.py", server.flight_uri))
    weeks = """
        SELECT date_trunc('week', date) AS week, count(*), avg(delay) FROM flights
        GROUP BY week ORDER BY week LIMIT 5
    """
    rows = re.findall(r"(\d{4}-\d\d-\d\d) +(\d+) +(-?[\d.]+)", printed)
    assert rows == [
        (week.strftime("%Y-%m-%d"), str(n), str(round(delay, 1))) for week, n, delay in ask(flights, weeks)
    ]


def test_http_arrow(server):
    printed = run(*python("http_arrow.py", server.http_url))
    assert printed.splitlines()[0] == "read from flights@v0"
    assert printed.count("'origin': 'EWR', 'destination': 'HNL', 'distance': 4962") == 3


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl(server, flights):
    csv, rest = run("sh", str(EXAMPLES / "curl.sh"), server.http_url).split("{", 1)
    busiest = ask(
        flights, "SELECT origin, count(*) AS n FROM flights GROUP BY origin ORDER BY n DESC LIMIT 3"
    )
    assert csv.splitlines() == ['"origin","flights"', *(f'"{origin}",{n}' for origin, n in busiest)]
    text, first, second = ("{" + rest).rsplit("\n", 3)[:3]
    ((latest,),) = ask(flights, "SELECT max(delay) FROM flights WHERE origin = 'SEA'")
    assert json.loads(text)["rows"] == [{"latest": latest}]
    assert [json.loads(line).keys() for line in (first, second)] == [{"date", "delay"}] * 2


def test_watch_events_shows_what_was_and_what_comes(server):
    past = run(*python("watch_events.py", server.http_url, "--after", "0", "--count", "1"))
    assert past.startswith("1 skein.dataset.committed flights ")
    newest = str(server.skein.events.bounds()[1])
    command = python("watch_events.py", server.http_url, "--after", newest, "--count", "1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        server.write("watched", pa.table({"n": [1, 2, 3]}))
        printed, _ = watching.communicate(timeout=60)
    assert "skein.dataset.committed watched" in printed
    assert "'rows': 3" in printed


def test_write_dataset(server):
    server.write("readings", pa.table({"something": ["else"]}), WriteMode.REPLACE)
    printed = run(*python("write_dataset.py", server.flight_uri)).splitlines()
    first, second = (int(re.match(r"version (\d+): ", line).group(1)) for line in printed[:2])
    assert second == first + 1
    assert printed[0].endswith(": 60 rows")
    assert printed[1].endswith(": 120 rows, 60 of them new")
    assert printed[2] == f'now 120 rows, in "readings@v{first}" 60'


def test_plot_delays(server, tmp_path):
    from matplotlib.image import imread  # takes a second, which every process of tests would pay for

    picture = tmp_path / "delays.png"
    assert (
        run(*python("plot_delays.py", str(picture), server.flight_uri))
        == f"{picture} shows 200,000 flights\n"
    )
    pixels = imread(picture)
    assert pixels.shape[:2] == (600, 960)
    assert pixels.std() > 0.05  # not an empty page


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_an_example_needs_nothing_of_ours(script):
    nodes = list(ast.walk(ast.parse(script.read_text())))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    assert not {name.partition(".")[0] for name in imported} & OURS


def test_every_example_has_a_test():
    tests = "".join(path.read_text() for path in Path(__file__).parents[1].rglob("test_*.py"))
    examples = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    assert {name for name in examples if f'"{name}"' not in tests} == set()
