"""`skein history`, `diff`, `restore`, `tag`, `tags` and `retention` against a real server."""

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest

from flight_core.domain.dataset import WriteMode
from tests.e2e.commands import skein
from tests.stack import Stack, skein_stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with skein_stack(tmp_path_factory.mktemp("data")) as stack:
        stack.write("cities", pa.table({"name": ["Oslo", "Rome", "Bonn"], "people": [709, 2750, 330]}))
        new = pa.table({"name": ["Oslo", "Cairo", "Bonn"], "people": [717, 10_000, 330]})
        stack.write("cities", new, WriteMode.REPLACE)
        yield stack


@pytest.fixture
def run(stack):
    return lambda *arguments, **options: skein(*arguments, SKEIN_DATA=stack.data, **options)


def test_a_diff_shows_what_changed(run):
    result = run("diff", "cities", "v0", "v1", "--key", "name")

    headline, rows, column, _, *table = result.stdout.splitlines()
    assert headline == "cities: version 0 (3 rows) to version 1 (3 rows)"
    assert rows == "rows: 1 added, 1 removed, 1 changed, 1 unchanged"
    assert column == "~ people: 1 row changed"
    assert [line.split() for line in table[2:]] == [
        ["added", 'name="Cairo"', "people=10000"],
        ["changed", 'name="Oslo"', "people=709", "people=717"],
        ["removed", 'name="Rome"', "people=2750"],
    ]


def test_a_diff_without_a_key_shows_whole_rows(run):
    result = run("diff", "cities", "0", "--limit", "1")

    assert "rows: 2 added, 2 removed" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["added", "1", 'name="Cairo",', "people=10000"]


def test_a_version_is_tagged_restored_and_told_of(run, stack, tmp_path):
    source = tmp_path / "more.csv"
    source.write_text("name,people\nLima,10\n")
    assert run("tag", "cities", "golden", "--version", "v0", "-m", "audited").stdout == (
        "'cities@golden' is version 0\n"
    )
    assert run("tags", "cities").stdout.splitlines()[-1].split()[:2] == ["golden", "0"]
    assert run("query", 'SELECT sum(people) FROM "cities@golden"').stdout.splitlines()[-1] == "3789"
    ingested = run("ingest", "--upload", source, "--as", "cities", "-m", "Lima was missing")
    assert ingested.returncode == 0, ingested.stderr
    assert run("restore", "cities", "golden", "--message", "oops").stdout == (
        "'cities' is at version 3 now, with 3 rows\n"
    )

    entries = json.loads(run("history", "cities", "--json").stdout)
    assert [(each["operation"], each["message"], each["tags"]) for each in entries] == [
        ("restore", "oops", []),
        ("append", "Lima was missing", []),
        ("replace", "", []),
        ("create", "", ["golden"]),
    ]
    assert entries[1]["job_id"] is not None
    assert len(run("history", "cities", "--limit", "2").stdout.splitlines()) == 4

    assert run("tag", "cities", "golden", "--delete").stdout == "forgot 'cities@golden'\n"
    failed = run("restore", "cities", "golden")
    assert failed.stderr.startswith("error: [tag_not_found] dataset 'cities' has no tag 'golden'")


def test_a_policy_is_shown_and_set(run):
    assert run("retention", "cities").stdout == "cities: all versions stay, as for all datasets\n"
    assert run("retention", "cities", "--keep-versions", "3", "--keep-for", "1.5d").stdout == (
        "cities: the newest 3 versions and those that were current within 36h stay\n"
    )
    assert run("retention", "cities", "--keep-all").stdout == "cities: all versions stay\n"
    assert run("retention", "cities", "--default").stdout.endswith("as for all datasets\n")
    assert "[invalid_option]" in run("retention", "cities", "--keep-for", "soon").stderr
    assert "[invalid_option]" in run("retention", "cities", "--keep-all", "--default").stderr


def test_derive_follows_the_first_run_so_that_what_comes_next_finds_the_dataset(run):
    derived = run("derive", "letters", "--sql", 'SELECT length(name) AS length FROM "cities@v0"')

    assert derived.returncode == 0, derived.stderr
    headline, outcome = derived.stdout.splitlines()
    assert headline == "'letters' is made from nothing that changes"
    assert outcome.startswith("letters: version 0, 3 rows from ")
    assert run("query", "SELECT sum(length) AS sum FROM letters").stdout.splitlines()[-1] == "12"


def test_derive_tells_of_a_first_run_that_fails_and_asks_for_none_with_manual(run):
    failed = run("derive", "broken", "--sql", "SELECT error(name) AS why FROM cities")
    waiting = run("derive", "broken", "--sql", "SELECT error(name) AS why FROM cities", "--manual")

    assert (failed.returncode, waiting.returncode) == (1, 0)
    assert failed.stderr.startswith("error: [query_failed] ")
    assert waiting.stdout == "'broken' is made from cities; run `skein refresh broken`\n"
