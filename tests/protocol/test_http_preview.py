"""What an ingestion would make of a source, before anything is written."""

import asyncio
import gzip
import io
import json
import zipfile
from contextlib import contextmanager

import polars as pl
import pytest
from anyio.from_thread import start_blocking_portal

from tests.adapters.http_server import always, answer, head, serving
from tests.stack import skein_stack

BIG = b"code;price\n" + b"".join(b"%05d;%d,5\n" % (n, n) for n in range(900_000)) + b"broken;line;here\n"


@pytest.fixture(scope="module")
def inbox(tmp_path_factory):
    return tmp_path_factory.mktemp("secret-inbox")


@pytest.fixture(scope="module")
def client(tmp_path_factory, inbox):
    with (
        skein_stack(tmp_path_factory.mktemp("data"), ingest_roots=str(inbox)) as stack,
        stack.http(timeout=60) as client,
    ):
        client.data = stack.data
        yield client


def preview(client, inbox, content, **request):
    (inbox / "file").write_bytes(content)
    source = {"kind": "file", "path": "file"}
    return client.post("/api/v1/ingestions/preview", json={"source": source, **request})


def columns(reply):
    return {column["name"]: column["type"] for column in reply["columns"]}


def packed(content):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.csv", content)
    return target.getvalue()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, packed], ids=["plain", "gzip", "zip"])
def test_the_beginning_of_a_big_file_tells_its_format_and_types(client, inbox, pack):
    reply = preview(client, inbox, pack(BIG), rows=2).json()
    assert reply["format"] == "csv"
    assert reply["options"] == {"delimiter": ";", "header": True, "encoding": "utf-8", "decimal": ","}
    assert columns(reply) == {"code": "string", "price": "double"}
    assert reply["rows"] == [{"code": "00000", "price": 0.5}, {"code": "00001", "price": 1.5}]
    assert reply["sampled"]
    assert any("leading zeros" in warning for warning in reply["warnings"])


def test_nothing_is_written_and_nothing_stays(client, inbox):
    before = client.get("/api/v1/datasets").json()
    assert preview(client, inbox, b"a\n1\n").json()["sampled"] is False
    assert client.get("/api/v1/datasets").json() == before
    assert client.get("/api/v1/ingestions").json()["items"] == []
    assert list((client.data / "jobs").iterdir()) == []


def test_records_of_a_document_are_found_without_reading_all_of_it(client, inbox):
    features = [
        {"type": "Feature", "id": n, "properties": {"time": 1517853010820 + n}, "geometry": None}
        for n in range(20_000)
    ]
    content = json.dumps({"type": "FeatureCollection", "features": features})[:-50].encode()
    options = {"types": {"time": "timestamp[ms, tz=UTC]"}}
    reply = preview(client, inbox, content, rows=1, options=options).json()
    assert reply["rows"][0]["time"] == "2018-02-05T17:50:10.820000Z"
    assert reply["options"].items() >= (options | {"record_path": "features"}).items()
    plain = preview(client, inbox, content, rows=1).json()
    assert any("milliseconds since 1970" in warning for warning in plain["warnings"])


def test_columnar_files_show_their_first_rows(client, inbox):
    frame = pl.DataFrame({"n": range(1000), "s": ["x"] * 1000})
    for write in (frame.write_parquet, frame.write_ipc, frame.write_ipc_stream, frame.write_avro):
        target = io.BytesIO()
        write(target)
        reply = preview(client, inbox, target.getvalue(), rows=3).json()
        assert columns(reply) == {"n": "int64", "s": "string"}
        assert [row["n"] for row in reply["rows"]] == [0, 1, 2]


def test_text_that_looks_like_dates_is_pointed_out(client, inbox):
    (warning,) = preview(client, inbox, b"day\n31.01.2026\n01.02.2026\n").json()["warnings"]
    assert "'day' looks like dates" in warning
    moments = {"d": "2026-01-31", "t": "2026-01-31T10:00:00Z", "u": "2026-01-31 10:00", "no": "2026-01"}
    warnings = preview(client, inbox, json.dumps([moments]).encode()).json()["warnings"]
    assert [(text.split("'")[1], text.split('"')[1]) for text in warnings] == [
        ("d", "date"),
        ("t", "timestamp[us, tz=UTC]"),
        ("u", "timestamp[us]"),
    ]


@pytest.mark.parametrize(
    ("content", "request_", "status", "code"),
    [
        (b"PAR1 no PAR1", {}, 422, "unreadable_data"),
        (b"a,b\n1,2\n3\n", {}, 422, "unreadable_data"),
        (b"a\nx\n", {"options": {"types": {"a": "int64"}}}, 422, "unreadable_data"),
        (b"a\nx\n", {"options": {"types": {"b": "int64"}}}, 422, "schema_mismatch"),
        (b"a\nx\n", {"options": {"colour": 1}}, 400, "invalid_option"),
        (b"a\nx\n", {"format": "docx"}, 400, "unknown_format"),
        (b"a\nx\n", {"rows": 1001}, 422, "invalid_request"),
    ],
)
def test_what_an_ingestion_would_refuse_a_preview_refuses(client, inbox, content, request_, status, code):
    response = preview(client, inbox, content, **request_)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert "secret-inbox" not in response.text


@contextmanager
def site(handle):
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving(handle)) as server:
        yield server.url


def test_only_the_beginning_of_a_url_is_fetched(client):
    async def send_half_and_wait(request, writer):
        writer.write(head(Content_Length=2 * len(BIG)) + BIG)
        await asyncio.Event().wait()

    with site(send_half_and_wait) as url:
        source = {"kind": "http", "url": f"{url}/big.csv"}
        reply = client.post("/api/v1/ingestions/preview", json={"source": source, "rows": 1}).json()
    assert columns(reply) == {"code": "string", "price": "double"}
    assert reply["sampled"]


def test_formats_that_need_it_are_fetched_whole(client):
    target = io.BytesIO()
    pl.DataFrame({"n": range(2_000_000)}).with_columns(r=pl.col("n").hash()).write_parquet(target)
    assert len(target.getvalue()) > 8 << 20
    with site(always(answer(target.getvalue()))) as url:
        source = {"kind": "http", "url": f"{url}/big.parquet"}
        reply = client.post("/api/v1/ingestions/preview", json={"source": source, "rows": 1}).json()
    assert columns(reply) == {"n": "int64", "r": "uint64"}


def test_the_first_rows_of_a_query_are_shown(client):
    source = {"kind": "sql", "sql": "SELECT i AS n, 'x' AS s FROM range(1000000) t(i)"}
    reply = client.post("/api/v1/ingestions/preview", json={"source": source, "rows": 2}).json()
    assert reply["rows"] == [{"n": 0, "s": "x"}, {"n": 1, "s": "x"}]
