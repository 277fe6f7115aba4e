"""Local files: only under the roots, however the way there is written."""

import os
import re

import anyio
import pytest

from flight_core.adapters.sources.file import FileSource, FileSourceOptions
from flight_core.domain.errors import InvalidSource, LimitExceeded, SourceNotAllowed
from flight_core.domain.ingestion import SourceSpec


@pytest.fixture
def place(tmp_path):
    """A root with files, and things beside it that are nobody's business."""
    for name in (
        "allowed/a.csv",
        "allowed/b.csv",
        "allowed/deep/er/c.csv",
        "allowed/.hidden.csv",
        "allowed/_tmp/d.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.csv").write_text("secret")
    (tmp_path / "allowed" / "data").mkdir()
    (tmp_path / "allowed" / "data" / "secret.key").write_text("key")
    return tmp_path


@pytest.fixture
def source(place):
    return FileSource(FileSourceOptions(roots=(place / "allowed",), closed=(place / "allowed" / "data",)))


def found(source: FileSource, path: object) -> dict[str, str]:
    """Label -> content."""

    async def fetch():
        async def report(progress): ...

        return (await source.fetch(SourceSpec("file", {"path": path}), None, report)).files

    files = anyio.run(fetch)
    assert all(file.size_bytes == file.path.stat().st_size and not file.temporary for file in files)
    return {file.label: file.path.read_text() for file in files}


def test_a_file_is_read_where_it_is(source, place):
    assert found(source, str(place / "allowed" / "a.csv")) == {"a.csv": "allowed/a.csv"}


def test_a_relative_path_is_looked_up_in_the_roots_in_turn(place):
    source = FileSource(FileSourceOptions(roots=(place / "outside", place / "allowed")))
    assert found(source, "secret.csv") == {"secret.csv": "secret"}
    assert found(source, "deep/er/c.csv") == {"c.csv": "allowed/deep/er/c.csv"}
    assert found(source, "deep/*/c.csv") == {"er/c.csv": "allowed/deep/er/c.csv"}


def test_a_folder_stands_for_its_files_except_hidden_ones(source):
    assert list(found(source, "deep")) == ["er/c.csv"]
    (source.options.roots[0] / "data" / "secret.key").unlink()
    assert list(found(source, ".")) == ["a.csv", "b.csv", "deep/er/c.csv"]


@pytest.mark.parametrize(
    ("pattern", "labels"),
    [
        ("*.csv", ["a.csv", "b.csv"]),
        ("[b]*", ["b.csv"]),
        ("**/c.csv", ["deep/er/c.csv"]),
        ("d*p/?r/*", ["deep/er/c.csv"]),
    ],
)
def test_a_pattern_stands_for_what_it_matches(source, pattern, labels):
    assert list(found(source, pattern)) == labels


def test_a_name_with_brackets_is_a_name_first(source, place):
    (place / "allowed" / "part[1].csv").write_text("x")
    assert found(source, "part[1].csv") == {"part[1].csv": "x"}


def test_a_list_keeps_its_order_and_no_file_comes_twice(source):
    assert list(found(source, ["b.csv", "*.csv", "b.csv"])) == ["b.csv", "a.csv"]


@pytest.mark.parametrize(
    "path",
    [
        "../outside/secret.csv",
        "deep/../../outside/secret.csv",
        "{place}/outside/secret.csv",
        "{place}/outside/nothing-there.csv",
        "{place}/allowed/../outside/secret.csv",
        "{place}/*/secret.csv",
        "/etc/passwd",
        "/proc/self/environ",
    ],
)
def test_what_is_not_under_a_root_is_refused(source, place, path):
    given = path.format(place=place)
    with pytest.raises(SourceNotAllowed, match="SKEIN_INGEST_ROOTS") as failure:
        found(source, given)
    assert given in failure.value.message


@pytest.mark.parametrize("path", ["*/../../outside/secret.csv", "*/../../outside/nothing.csv", "**/../a.csv"])
def test_a_pattern_does_not_tell_what_there_is_elsewhere(source, path):
    for ask in (lambda: found(source, path), lambda: source.check(SourceSpec("file", {"path": path}))):
        with pytest.raises(InvalidSource, match=re.escape(f"'{path}' leads up after a wildcard")):
            ask()


def test_a_pattern_with_too_many_matches_is_refused(source, monkeypatch):
    monkeypatch.setattr("flight_core.adapters.sources.file._MAX_MATCHES", 2)
    assert list(found(source, "?.csv")) == ["a.csv", "b.csv"]
    assert list(found(source, "**/**/**/c.csv")) == ["deep/er/c.csv"]
    with pytest.raises(LimitExceeded, match="more than 2 times"):
        found(source, "**")


@pytest.mark.parametrize("path", ["data/secret.key", "data/*", "data", "."])
def test_the_servers_own_data_is_refused_as_what_it_is(source, path):
    with pytest.raises(SourceNotAllowed, match=f"'{re.escape(path)}' leads to the server's own data"):
        found(source, path)


@pytest.mark.parametrize("path", ["link.csv", "link*.csv", "linked/secret.csv", "linked/*.csv", "linked"])
def test_links_do_not_lead_out(source, place, path):
    (place / "allowed" / "link.csv").symlink_to(place / "outside" / "secret.csv")
    (place / "allowed" / "linked").symlink_to(place / "outside")
    with pytest.raises(SourceNotAllowed):
        found(source, path)


def test_links_within_the_roots_are_followed(source, place):
    (place / "allowed" / "alias.csv").symlink_to(place / "allowed" / "a.csv")
    assert found(source, "alias.csv") == {"alias.csv": "allowed/a.csv"}


def test_a_root_may_be_a_link_itself(place):
    (place / "alias").symlink_to(place / "allowed")
    source = FileSource(FileSourceOptions(roots=(place / "alias",)))
    assert found(source, str(place / "alias" / "a.csv")) == {"a.csv": "allowed/a.csv"}


def test_without_roots_nothing_is_allowed(place):
    source = FileSource(FileSourceOptions())
    for path in ("a.csv", str(place / "allowed" / "a.csv")):
        with pytest.raises(SourceNotAllowed, match="SKEIN_INGEST_ROOTS"):
            source.check(SourceSpec("file", {"path": path}))


@pytest.mark.parametrize("path", ["nothing.csv", "*.parquet", "a.csv/b.csv", "x" * 5000])
def test_what_does_not_exist_is_invalid(source, path):
    with pytest.raises(InvalidSource):
        found(source, path)


def test_a_missing_file_is_refused_before_there_is_a_job(source):
    with pytest.raises(InvalidSource, match=r"there is no file 'nothing\.csv'"):
        source.check(SourceSpec("file", {"path": "nothing.csv"}))
    source.check(SourceSpec("file", {"path": ["a.csv", "later-*.csv", "."]}))


def test_what_is_no_regular_file_is_invalid(source, place):
    os.mkfifo(place / "allowed" / "pipe")
    with pytest.raises(InvalidSource, match="there is no file 'pipe'"):
        found(source, "pipe")


def test_a_folder_without_files_is_told_as_one(source, place):
    (place / "allowed" / "bare" / "_tmp").mkdir(parents=True)
    (place / "allowed" / "bare" / "_tmp" / "x.csv").write_text("x")
    with pytest.raises(InvalidSource, match="the folder 'bare' holds no file"):
        found(source, "bare")


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_file_that_the_server_may_not_read_is_invalid(source, place):
    (place / "allowed" / "a.csv").chmod(0)
    with pytest.raises(InvalidSource, match="Permission denied"):
        found(source, "a.csv")


@pytest.mark.parametrize("path", [None, 5, "", [], [""], ["a.csv", 5], "a\0b", {"a": 1}])
def test_a_path_that_is_none_is_invalid(source, path):
    with pytest.raises(InvalidSource):
        source.check(SourceSpec("file", {"path": path}))


def test_a_field_that_there_is_not_is_named(source):
    with pytest.raises(InvalidSource, match="no field 'pth'; it has: path"):
        source.check(SourceSpec("file", {"pth": "a.csv"}))
