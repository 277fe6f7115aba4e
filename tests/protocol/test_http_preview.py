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


def test_a_type_that_was_given_needs_no_remark(client, inbox):
    content = b"code,day\n007,31.01.2026\n008,01.02.2026\n"
    assert len(preview(client, inbox, content).json()["warnings"]) == 2
    types = {"code": "string", "day": {"type": "date", "format": "%d.%m.%Y"}}
    assert preview(client, inbox, content, options={"types": types}).json()["warnings"] == []


@pytest.mark.parametrize("pack", [bytes, gzip.compress, packed], ids=["plain", "gzip", "zip"])
def test_the_beginning_of_a_big_file_tells_its_format_and_types(client, inbox, pack):
    reply = preview(client, inbox, pack(BIG), rows=2).json()
    assert reply["format"] == "csv"
    assert reply["options"] == {"delimiter": ";", "header": True, "encoding": "utf-8", "decimal": ","}
    assert columns(reply) == {"code": "string", "price": "double"}
    assert reply["rows"] == [{"code": "00000", "price": 0.5}, {"code": "00001", "price": 1.5}]
    assert reply["sampled"]
    assert any("leading zeros" in warning for warning in reply["warnings"])


def test_an_encoding_that_was_guessed_is_told(client, inbox):
    content = "name\nPřemysl\n".encode("cp1250")
    guessed = preview(client, inbox, content).json()
    assert guessed["options"]["encoding"] == "cp1252"
    assert ["'encoding'" in warning for warning in guessed["warnings"]] == [True]
    said = preview(client, inbox, content, options={"encoding": "cp1250"}).json()
    assert (said["rows"], said["warnings"]) == ([{"name": "Přemysl"}], [])


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


CONTRACT = {"columns": [{"name": "id", "type": "int64"}, {"name": "price", "type": "int64", "ge": 0}]}
ORDERS = b"zip,id,price\n12345,1,5\n12346,2,-5\n12347,x,5\n12348,4,5,6\n12349,5,7\n"
BROKEN = {
    2: (["price.ge"], {"zip": "12346", "id": "2", "price": "-5"}),
    3: (["id.type"], {"zip": "12347", "id": "x", "price": "5"}),
    4: (["ragged"], {"line": "12348,4,5,6"}),
}


def rejected(check):
    return {row["row"]: (row["rules"], row["raw"]) for row in check["rejected"]}


def test_a_contract_on_trial_tells_what_it_would_reject(client, inbox):
    reply = preview(client, inbox, ORDERS, contract=CONTRACT).json()
    assert [(row["id"], row["price"]) for row in reply["rows"]] == [(1, 5), (5, 7)]
    check = reply["check"]
    assert (check["contract_version"], check["rows"], check["rejected_rows"]) == (0, 5, 3)
    assert {(rule["rule"], rule["rows"]) for rule in check["rules"]} == {
        ("ge", 1),
        ("type", 1),
        ("ragged", 1),
    }
    assert rejected(check) == BROKEN
    assert check["violation"] is None


def test_the_dataset_that_is_named_brings_its_contract_and_its_types(client, inbox):
    types = {"types": {"zip": "string"}}
    job = {"dataset": "previewed", "source": {"kind": "file", "path": "file"}, "options": types}
    (inbox / "file").write_bytes(b"zip,id,price\n00501,0,15\n")
    done = client.post("/api/v1/ingestions", json=job, headers={"Prefer": "wait=30"}).json()
    assert done["state"] == "succeeded"
    limits = {"max_rejected_rows": 1}
    client.put("/api/v1/datasets/previewed/contract", json=CONTRACT | {"limits": limits}).raise_for_status()
    reply = preview(client, inbox, ORDERS, dataset="previewed", rows=2).json()
    assert [row["zip"] for row in reply["rows"]] == ["12345", "12349"]
    assert reply["check"]["contract_version"] == 1
    assert rejected(reply["check"]) == {row: BROKEN[row] for row in (2, 3)}
    assert "3" in reply["check"]["violation"]
    assert (
        preview(client, inbox, ORDERS, dataset="previewed", contract={}).json()["check"]["rejected_rows"] == 2
    )


def test_rows_of_a_query_are_held_against_a_contract_too(client):
    source = {"kind": "sql", "sql": "SELECT range AS id, -range AS price FROM range(3) ORDER BY id"}
    request = {"source": source, "contract": CONTRACT}
    reply = client.post("/api/v1/ingestions/preview", json=request).json()
    assert reply["rows"] == [{"id": 0, "price": 0}]
    assert rejected(reply["check"]).keys() == {2, 3}
    assert client.post("/api/v1/ingestions/preview", json={"source": source}).json()["check"] is None


def test_a_contract_that_cannot_be_is_refused(client, inbox):
    wrong = {"columns": [{"name": "id", "type": "money"}]}
    reply = preview(client, inbox, ORDERS, contract=wrong)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_contract")
