"""`skein datasets`, `describe` and `drop` against a real server."""

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest

from flight_core.domain.dataset import WriteMode
from skein.cli.datasets import show_datasets
from skein.cli.remote.client import connect
from tests.e2e.commands import Terminal, skein
from tests.stack import Stack, skein_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("data")) as stack:
        stack.write("cities", pa.table({"name": ["Oslo", "Rome", None], "people": [709_000, 2_750_000, 5]}))
        stack.write("cities", pa.table({"name": ["Bonn"], "people": [-1]}))
        stack.write("cities", pa.table({"name": ["Cairo"], "people": [10_000_000]}), WriteMode.REPLACE)
        stack.write("Airports", pa.table({"code": ["SEA"]}))
        yield stack


@pytest.fixture
def run(stack):
    return lambda *arguments, **options: skein(*arguments, SKEIN_DATA=stack.data, **options)


def test_datasets_are_listed_by_name(run):
    head, rule, *rows = run("datasets").stdout.splitlines()

    assert head.split() == ["name", "rows", "size", "version", "updated"]
    assert set(rule) == {"─"}
    assert [row.split()[:2] for row in rows] == [["Airports", "1"], ["cities", "1"]]
    assert [row.split()[4] for row in rows] == ["0", "2"]


def test_json_is_what_the_api_has(run, stack):
    with stack.http() as http:
        listed = http.get("/api/v1/datasets").json()["items"]
        described = http.get("/api/v1/datasets/cities").json()

    assert json.loads(run("datasets", "--json").stdout) == listed
    assert json.loads(run("describe", "cities", "--json").stdout) == described


def test_a_description_has_columns_statistics_and_versions(run):
    result = run("describe", "cities", "--version", "v1")

    headline, columns, versions = result.stdout.split("\n\n")
    assert headline.startswith("cities: version 1 (the current one is 2), 4 rows, ")
    assert [row.split()[:-2] for row in columns.splitlines()[2:]] == [
        ["name", "string", "1", "Bonn", "Rome"],
        ["people", "int64", "0", "-1", "2750000"],
    ]
    assert [row.split()[:3] for row in versions.splitlines()[2:]] == [
        ["2", "1", "1"],
        ["1", "4", "1"],
        ["0", "3", "3"],
    ]


def test_unknown_names_and_versions_are_errors(run):
    unknown = run("describe", "citys")
    no_version = run("describe", "cities", "--version", 9)
    no_name = run("drop", "citys", "--yes")

    assert unknown.stderr.startswith("error: [dataset_not_found] ")
    assert "'cities'" in unknown.stderr
    assert no_version.stderr.startswith("error: [version_not_found] ")
    assert no_name.stderr.startswith("error: [dataset_not_found] ")
    assert {unknown.returncode, no_version.returncode, no_name.returncode} == {1}


def test_dropping_wants_to_be_sure(run, stack):
    stack.write("doomed", pa.table({"n": [1, 2]}))

    nobody = run("drop", "doomed")
    assert nobody.returncode == 1
    assert nobody.stderr.startswith("error: [invalid_option] ")
    assert "--yes" in nobody.stderr

    with Terminal("drop", "doomed", SKEIN_DATA=stack.data) as terminal:
        terminal.wait_for("Drop 'doomed', 2 rows and 1 version? [y/N]")
        terminal.type("n\n")
        assert terminal.wait() == 1
    assert run("describe", "doomed").returncode == 0

    with Terminal("drop", "doomed", SKEIN_DATA=stack.data) as terminal:
        terminal.wait_for("[y/N]")
        terminal.type("y\n")
        assert terminal.wait() == 0
    assert run("describe", "doomed").returncode == 1


def test_yes_drops_without_asking(run, stack):
    stack.write("doomed", pa.table({"n": [1]}))

    result = run("drop", "doomed", "--yes")

    assert (result.returncode, result.stdout, result.stderr) == (0, "dropped 'doomed'\n", "")
    assert "doomed" not in run("datasets").stdout


def test_no_datasets_are_an_empty_table(tmp_path):
    with skein_stack(tmp_path):
        empty = skein("datasets", SKEIN_DATA=tmp_path)
        none = skein("datasets", "--json", SKEIN_DATA=tmp_path)

    assert len(empty.stdout.splitlines()) == 2
    assert empty.stderr == "none yet; make one with 'skein ingest FILE --as NAME'\n"
    assert json.loads(none.stdout) == []


def test_every_page_of_a_long_list_is_read(stack, monkeypatch, capsys):
    monkeypatch.setattr("skein.cli.remote.client._PAGE", 1)

    with connect(stack.http_url, None) as api:
        show_datasets(api, json=True)

    assert [dataset["name"] for dataset in json.loads(capsys.readouterr().out)] == ["Airports", "cities"]


def test_the_catalog_goes_to_a_file_and_comes_back(run, tmp_path):
    file = tmp_path / "catalog.json"
    run("edit", "Airports", "--description", "Where planes land", "--tag", "geo")
    exported = run("catalog", "export", file)
    assert (exported.returncode, exported.stdout) == (0, f"{file}: 2 datasets, 0 schedules\n")
    assert run("catalog", "export").stdout == file.read_text()
    unchanged = run("catalog", "import", file)
    assert (unchanged.returncode, unchanged.stdout) == (0, "0 changes, 1 the same\n")
    run("edit", "Airports", "--description", "Somewhere")
    conflict = run("catalog", "import", file, "--dry-run")
    assert conflict.returncode == 1
    assert conflict.stdout.splitlines()[2].split() == ["conflict", "notes", "Airports", "description"]
    assert run("catalog", "import", file, "--overwrite").stdout.endswith("1 change, 0 the same\n")
    assert "Where planes land" in run("describe", "Airports").stdout
    file.write_text('{"version": 2}')
    assert run("catalog", "import", file).stderr.startswith(
        f"error: [invalid_option] '{file}' is no catalog: version"
    )
