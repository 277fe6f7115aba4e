"""What a file is comes from its content; what is packed is unpacked within bounds."""

import bz2
import gzip
import io
import tarfile
import zipfile

import pyarrow as pa
import pytest

from flight_core.adapters.parsers.unpacking import UnpackLimits
from flight_core.domain.errors import (
    InvalidOption,
    LimitExceeded,
    SchemaMismatch,
    UnknownFormat,
    UnreadableData,
)
from tests.adapters.parsing import format_of, parsed
from tests.adapters.test_columnar import NUMBERS, parquet, stream

CSV = b"a,b\n1,x\n2,y\n"
TABLE = {"a": [1, 2], "b": ["x", "y"]}


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def archive(**members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return out.getvalue()


def tar(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as packed:
        member = tarfile.TarInfo("t.csv")
        member.size = len(content)
        packed.addfile(member, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(CSV),
        gzip.compress(CSV[:8]) + gzip.compress(CSV[8:]),
        zstd(CSV),
        bz2.compress(CSV),
        archive(**{"t.csv": CSV}),
        archive(**{"../../escape.csv": CSV}),
        archive(**{"t.csv": CSV, "__MACOSX/._t.csv": b"\0\5\x16\7", ".DS_Store": b"\0", "d/.x/t.csv": b"?"}),
    ],
    ids=["gzip", "gzip in parts", "zstd", "bz2", "zip", "zip with a path", "zip of a Mac"],
)
def test_packed_files_are_unpacked(content):
    assert parsed(content).to_pydict() == TABLE


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_any_format_may_be_packed(pack):
    assert parsed(pack(parquet(NUMBERS))).num_rows == NUMBERS.num_rows
    assert parsed(pack(b'[{"a": 1}]')).to_pydict() == {"a": [1]}


def test_the_members_of_an_archive_become_one_table():
    content = archive(**{"one.csv": b"a\n1\n", "two.csv": b"a\n2\n"})
    assert sorted(parsed(content)["a"].to_pylist()) == [1, 2]


@pytest.mark.parametrize("members", ["*.csv", "data/*", "data/one.csv"])
def test_some_members_of_an_archive_are_chosen(members):
    content = archive(**{"a.json": b'[{"a": 1}]', "b.pdf": b"%PDF-1.7", "data/one.csv": b"a\n1\n", "c": b""})
    assert parsed(content, members=members).to_pydict() == {"a": [1]}
    with pytest.raises(
        InvalidOption, match=r"no member of f0 is called '\*\.tsv'.*'a\.json', 'b\.pdf', 'data/one"
    ):
        parsed(content, members="*.tsv")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (b"%PDF-1.7", r"f0/b is a PDF document.*; the option 'members' leaves it out"),
        (b"", r"f0/b is empty; the option 'members' leaves it out"),
        (b'[{"a": 1}]', r"f0/b is json and f0/a is csv; ingest them .*'members'"),
        (b"x,y\n1,2\n", r"f0/b lacks 'a', 'b' .*'members'"),
    ],
)
def test_a_member_that_is_in_the_way_is_named_with_the_way_out(other, message):
    with pytest.raises((UnknownFormat, UnreadableData, SchemaMismatch), match=message):
        parsed(archive(a=CSV, b=other))


@pytest.mark.parametrize("pack", [gzip.compress, zstd, bz2.compress], ids=["gzip", "zstd", "bz2"])
def test_a_truncated_packed_file_is_refused(pack):
    content = pack(CSV * 1000)
    with pytest.raises(UnreadableData, match="f0"):
        parsed(content[: len(content) // 2])


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_bomb_is_refused_by_its_ratio(pack):
    bomb = pack(bytes(80 << 20))
    with pytest.raises(LimitExceeded, match="250 times its size"):
        parsed(bomb)


@pytest.mark.parametrize("pack", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_what_unpacks_to_more_than_allowed_is_refused(pack):
    with pytest.raises(LimitExceeded, match="SKEIN_INGEST_MAX_BYTES"):
        parsed(pack(CSV * 10_000), limits=UnpackLimits(max_bytes=10_000, max_ratio=10_000))


@pytest.mark.parametrize(
    ("content", "given", "found"),
    [
        (CSV, "parquet", "csv"),
        (CSV, "json", "csv"),
        (parquet(NUMBERS), "csv", "parquet"),
        (stream(NUMBERS), "parquet", "arrow"),
        (b'[{"a": 1}]', "csv", "json"),
    ],
    ids=["csv as parquet", "csv as json", "parquet as csv", "arrow as parquet", "json as csv"],
)
def test_a_format_that_the_content_contradicts_is_refused(content, given, found):
    with pytest.raises(UnreadableData, match=f"is not {given}: its content looks like {found}"):
        parsed(content, format=given)


def test_json_and_ndjson_are_understood_under_either_name():
    assert parsed(b'{"a": 1}\n{"a": 2}\n', format="json").to_pydict() == {"a": [1, 2]}
    assert parsed(b'[{"a": 1}, {"a": 2}]', format="ndjson").to_pydict() == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "a web page"),
        (b"SQLite format 3\x00...", "an SQLite database"),
        (b"\x04\x22\x4d\x18...", "an lz4 archive"),
        (gzip.compress(zstd(CSV), mtime=0), r"compressed itself \(zstd\); unpack f0,"),
        (archive(**{"a.csv.gz": gzip.compress(CSV)}), r"f0/a\.csv\.gz is compressed itself \(gzip\)"),
        (
            archive(**{"a.zip": archive(**{"a.csv": CSV})}),
            r"f0/a\.zip is compressed itself \(zip\); unpack f0,",
        ),
        (gzip.compress(tar(CSV), mtime=0), "a tar archive"),
        (bytes(range(256)) * 4, "binary data"),
        (archive(**{"[Content_Types].xml": b"<x/>", "word/document.xml": b"<x/>"}), "an office document"),
    ],
)
def test_other_kinds_of_files_are_refused_by_name(content, what):
    with pytest.raises(UnknownFormat, match=what):
        parsed(content)


def test_files_of_different_formats_are_refused():
    with pytest.raises(UnreadableData, match="f1 is parquet and f0 is csv"):
        parsed(CSV, parquet(NUMBERS))


@pytest.mark.parametrize("text", ["[id],[name]\n1,x\n", "{a},b\n1,2\n"])
def test_brackets_alone_do_not_make_json(text):
    assert format_of(text.encode()) == "csv"


def test_options_of_another_format_are_refused():
    with pytest.raises(InvalidOption, match="'delimiter' is not an option of the format 'parquet'"):
        parsed(parquet(NUMBERS), delimiter=";")
