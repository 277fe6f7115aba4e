"""`skein ingest` and `skein jobs` against a real server, with files and a slow web server."""

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.flight as fl
import pyarrow.parquet as pq
import pytest

from tests.e2e.commands import DEADLINE_S, Terminal, skein, started
from tests.stack import Stack, skein_stack

HALF = 1_500_000  # rows, of two bytes each

PEOPLE = "name;age\nAda;36\nAlan;41\nGrace;85\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def stack(tmp_path_factory, files) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(files)) as stack:
        yield stack


@pytest.fixture
def run(stack):
    """Run a command to its end."""
    return lambda *arguments, **options: skein(*arguments, SKEIN_DATA=stack.data, **options)


@pytest.fixture
def table(stack):
    """The rows of a dataset, as Flight has them."""

    def read(name: str) -> pa.Table:
        with stack.flight() as client:
            info = client.get_flight_info(fl.FlightDescriptor.for_path(name))
            return client.do_get(info.endpoints[0].ticket).read_all()

    return read


def jobs(run) -> list[dict]:
    """Newest first."""
    return json.loads(run("jobs", "--json").stdout)


class SlowSite:
    """Sends half of a CSV file at once, and the rest when it is told to."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go_on = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                head, tail = b"n\n" + b"1\n" * HALF, b"2\n" * HALF
                self.send_response(200)
                self.send_header("Content-Type", "text/csv")
                self.send_header("Content-Length", str(len(head) + len(tail)))
                self.end_headers()
                self.wfile.write(head)
                self.wfile.flush()
                site.asked.set()
                site.go_on.wait(DEADLINE_S)
                with suppress(OSError):  # nobody may be there any more
                    self.wfile.write(tail)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/numbers.csv"


@pytest.fixture
def site() -> Iterator[SlowSite]:
    site = SlowSite()
    thread = threading.Thread(target=site.server.serve_forever)
    thread.start()
    try:
        yield site
    finally:
        site.go_on.set()
        site.server.shutdown()
        site.server.server_close()
        thread.join()


def test_a_file_becomes_a_dataset(run, files, table):
    pq.write_table(pa.table({"n": range(1000)}), files / "numbers.parquet")

    result = run("ingest", files / "numbers.parquet", "--as", "numbers")

    assert result.returncode == 0, result.stderr
    size = (files / "numbers.parquet").stat().st_size
    assert re.fullmatch(
        rf"numbers: version 0, 1,000 rows from {size / 1000:.1f} kB in \d+\.\d s\n", result.stdout
    )
    assert result.stderr == ""
    assert table("numbers")["n"].to_pylist() == list(range(1000))


def test_relative_paths_and_options_of_the_format(run, files, table):
    (files / "people.txt").write_text(PEOPLE)

    result = run(
        "ingest", "people.txt", "--as", "people", "--format", "csv", "--option", "delimiter=;",
        "--option", 'null_values=["41"]', cwd=files,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert table("people").to_pydict() == {"name": ["Ada", "Alan", "Grace"], "age": [36, None, 85]}


def test_an_encoding_that_was_guessed_is_told(run, files, table):
    (files / "czech.csv").write_bytes("name\nPřemysl\n".encode("cp1250"))

    guessed = run("ingest", files / "czech.csv", "--as", "czech")
    said = run("ingest", files / "czech.csv", "--as", "czech", "--option", "encoding=cp1250")

    assert guessed.stderr.startswith("note: the text is not UTF-8 and was read as Windows-1252")
    assert "the option 'encoding', such as 'cp1250'" in guessed.stderr
    assert said.stderr == ""
    assert table("czech")["name"].to_pylist() == ["Pøemysl", "Přemysl"]


def test_several_files_are_one_version(run, files, table):
    for day in (1, 2):
        (files / f"day-{day}.csv").write_text(f"day\n{day}\n")

    result = run("ingest", files / "day-1.csv", files / "day-2.csv", "--as", "days")

    assert result.stdout.startswith("days: version 0, 2 rows from ")
    assert table("days")["day"].to_pylist() == [1, 2]


def test_modes_append_replace_and_create(run, files, table):
    path = files / "once.csv"
    path.write_text("n\n1\n")

    assert run("ingest", path, "--as", "modes", "--mode", "create").returncode == 0
    assert run("ingest", path, "--as", "modes").stdout.startswith("modes: version 1, 1 row ")
    assert table("modes")["n"].to_pylist() == [1, 1]
    assert run("ingest", path, "--as", "modes", "--mode", "replace").stdout.startswith("modes: version 2, ")
    assert table("modes")["n"].to_pylist() == [1]
    refused = run("ingest", path, "--as", "modes", "--mode", "create")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: [dataset_exists] ")


def test_a_url_becomes_a_dataset(run, site, table):
    site.go_on.set()

    result = run("ingest", site.url, "--as", "fetched")

    assert result.stdout.startswith("fetched: version 0, 3,000,000 rows from 6.0 MB in ")
    assert table("fetched")["n"].to_pylist() == [1] * HALF + [2] * HALF


@pytest.mark.parametrize(
    ("arguments", "code", "hint"),
    [
        (["missing.csv", "--as", "x"], "invalid_source", "missing.csv"),
        (["/etc", "--as", "x"], "source_not_allowed", "SKEIN_INGEST_ROOTS"),
        (["/no/such.csv", "--as", "x"], "invalid_source", "'/no/such.csv' does not exist"),
        (["/etc/*.csv", "--as", "x"], "source_not_allowed", "SKEIN_INGEST_ROOTS"),
        (["broken.parquet", "--as", "x"], "unreadable_data", "broken.parquet"),
        (["broken.parquet", "--as", "../x"], "invalid_dataset_name", "../x"),
        (["broken.parquet", "--as", "x", "--format", "xls"], "unknown_format", "xls"),
        (["broken.parquet", "--as", "x", "--option", "colour=red"], "invalid_option", "colour"),
        (["broken.parquet", "--as", "x", "--option", "colour"], "invalid_option", "NAME=VALUE"),
        (["ftp://example.org/x.csv", "--as", "x"], "invalid_source", "ftp"),
    ],
)
def test_a_failure_is_one_line_with_its_code(run, files, arguments, code, hint):
    (files / "broken.parquet").write_bytes(b"PAR1 this is none PAR1")

    result = run("ingest", *arguments, cwd=files)

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: [{code}] ")
    assert hint in result.stderr
    assert result.stderr.count("\n") == 1
    names = {dataset["name"] for dataset in json.loads(run("datasets", "--json").stdout)}
    assert "x" not in names


def test_a_terminal_shows_progress_while_it_happens(stack, site):
    with Terminal("ingest", site.url, "--as", "watched", columns=120, SKEIN_DATA=stack.data) as terminal:
        terminal.wait_for("/6.0 MB")
        assert "fetching" in terminal.screen
        site.go_on.set()
        assert terminal.wait() == 0

    assert terminal.screen.splitlines()[-1].startswith("watched: version 0, 3,000,000 rows from 6.0 MB in ")


def test_ctrl_c_cancels_and_says_so(stack, run, site):
    with started("ingest", site.url, "--as", "unwanted", SKEIN_DATA=stack.data) as process:
        assert site.asked.wait(DEADLINE_S)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130
    assert output == ""
    assert errors == "cancelled; 'unwanted' is as it was\n"
    assert jobs(run)[0]["state"] == "cancelled"
    assert run("describe", "unwanted").stderr.startswith("error: [dataset_not_found] ")


def test_another_can_cancel_an_ingestion(stack, run, site):
    with started("ingest", site.url, "--as", "unwanted", SKEIN_DATA=stack.data) as process:
        assert site.asked.wait(DEADLINE_S)
        job = jobs(run)[0]
        assert job["state"] == "running"
        assert run("jobs", "cancel", job["id"]).stdout in (
            "asked to stop; it will in a moment\n",
            "cancelled\n",
        )
        output, errors = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 1
    assert output == ""
    assert errors.startswith("error: [cancelled] ")
    finished = run("jobs", "cancel", job["id"])
    unknown = run("jobs", "cancel", "nobody")
    assert finished.stderr.startswith("error: [ingestion_finished] ")
    assert unknown.stderr.startswith("error: [ingestion_not_found] ")


def test_ingestions_are_listed_newest_first(run, files):
    (files / "fine.csv").write_text("n\n1\n")
    run("ingest", files / "fine.csv", "--as", "listed")
    (files / "empty.csv").write_text("")
    run("ingest", files / "empty.csv", "--as", "listed")

    result = run("jobs", "--dataset", "listed")

    head, rule, latest, first = result.stdout.splitlines()
    assert head.split() == ["id", "state", "dataset", "task", "rows", "seconds", "created", "outcome"]
    assert set(rule) == {"─"}
    assert re.search(r" failed +listed +ingest +0 .*\[unreadable_data\] .*empty\.csv", latest)
    assert re.search(r" succeeded +listed +ingest +1 .* version 0$", first)
    assert len(run("jobs", "--limit", 1).stdout.splitlines()) == 3


def test_a_job_that_failed_tells_why_and_is_tried_again(run, files):
    path = files / "mended.csv"
    path.write_text("a,b\n1,2\n3\n")
    assert run("ingest", path, "--as", "mended").returncode == 1
    (failed,) = json.loads(run("jobs", "--json", "--state", "failed", "--dataset", "mended").stdout)

    log = run("jobs", "log", failed["id"])
    path.write_text("a,b\n1,2\n3,4\n")
    again = run("jobs", "retry", failed["id"])

    assert re.search(r"^[0-9:.]+ #1 attempt 1 of 3$", log.stdout, re.MULTILINE)
    assert re.search(
        r"^[0-9:.]+ #1 error failed: \[unreadable_data\] mended.csv, line 3: ", log.stdout, re.MULTILINE
    )
    assert str(files) not in log.stdout
    assert again.stdout.startswith("mended: version 0, 2 rows from ")
    assert json.loads(run("jobs", "log", failed["id"], "--json").stdout.splitlines()[0])["attempt"] == 1
    assert run("jobs", "retry", failed["id"]).returncode == 0
    assert run("jobs", "log", "nobody").stderr.startswith("error: [ingestion_not_found] ")


def test_datasets_are_compacted_and_vacuumed(run, files, table):
    path = files / "part.csv"
    path.write_text("n\n1\n")
    for _ in range(3):
        run("ingest", path, "--as", "parts")

    assert run("compact", "parts").stdout == "parts: files before 3, files after 1\n"
    assert run("compact", "parts").stdout == "parts: there was nothing to do\n"
    assert run("compact", "parts", "--sort-by", "m").stderr.startswith("error: [invalid_request] ")
    assert run("vacuum", "parts").stdout == "parts: there was nothing to do\n"
    assert table("parts")["n"].to_pylist() == [1, 1, 1]
