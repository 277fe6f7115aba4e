"""Fetching over HTTP from servers that stall, lie, break off and lead astray."""

import asyncio
import gzip
import hashlib
import ipaddress
import json
import random
import socket
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import anyio
import pytest

from flight_core.adapters.secrets.named import NamedSecrets
from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.domain.errors import (
    ChecksumMismatch,
    DeadlineExceeded,
    InvalidSource,
    LimitExceeded,
    OutOfDisk,
    SecretNotFound,
    SourceNotAllowed,
    SourceUnavailable,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from flight_core.domain.source_state import SourceState
from flight_core.infrastructure.http_client import AddressPolicy
from tests.adapters.http_server import always, answer, head, in_turn, serving

BODY = random.Random(7).randbytes(3 << 20)


class Fetch:
    """One fetch into a folder, and what it reported."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.progress: list[Progress] = []

    async def report(self, progress: Progress) -> None:
        self.progress.append(progress)

    async def __call__(self, url: str, *, headers=None, **options) -> bytes:
        settings = {"allow_loopback": True, "retry_wait_s": 0.01, "attempts": 3, **options}
        fields = {"url": url} | ({"headers": headers} if headers else {})
        source = HttpSource(HttpSourceOptions(**settings))
        (file,) = (await source.fetch(SourceSpec("http", fields), self.folder, self.report)).files
        assert file.temporary
        assert file.size_bytes == file.path.stat().st_size
        return file.path.read_bytes()


@pytest.fixture
def fetch(tmp_path):
    return Fetch(tmp_path)


@pytest.mark.anyio
async def test_a_file_arrives_whole_and_progress_is_told(fetch):
    async with serving(always(answer(BODY))) as server:
        assert await fetch(server.url + "/data.bin") == BODY
    assert {progress.phase for progress in fetch.progress} == {Phase.FETCHING}
    assert {progress.total_bytes for progress in fetch.progress} == {len(BODY)}
    done = [progress.done_bytes for progress in fetch.progress]
    assert done == sorted(done)
    assert done[-1] == len(BODY)


@pytest.mark.anyio
async def test_a_chunked_answer_has_no_total(fetch):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (b"hello ", b"world"))
    content = head(Transfer_Encoding="chunked") + chunks + b"0\r\n\r\n"
    async with serving(always(content)) as server:
        assert await fetch(server.url) == b"hello world"
    assert fetch.progress[-1] == Progress(Phase.FETCHING, 11, None)


@pytest.mark.anyio
async def test_bytes_are_asked_for_and_kept_as_they_are(fetch):
    """What a server compresses on its own is left to the parser, which bounds it."""
    packed = gzip.compress(b"a,b\n1,2\n")
    async with serving(always(answer(packed, Content_Encoding="gzip"))) as server:
        assert await fetch(server.url) == packed
        assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.anyio
@pytest.mark.parametrize("status", ["503 Service Unavailable", "500 Oops", "429 Too Many Requests"])
async def test_a_server_that_recovers_is_asked_again(fetch, status):
    async with serving(in_turn(answer(b"", status), answer(b"", status), answer(BODY))) as server:
        assert await fetch(server.url) == BODY
        assert len(server.requests) == 3


@pytest.mark.anyio
async def test_a_server_that_does_not_recover_is_unavailable(fetch):
    async with serving(always(answer(b"", "503 Service Unavailable"))) as server:
        with pytest.raises(SourceUnavailable, match="answered 503 Service Unavailable, 3 times"):
            await fetch(server.url + "/x?token=secret")
        assert len(server.requests) == 3


@pytest.mark.anyio
async def test_retry_after_is_obeyed(fetch):
    """The wait that the server asks for is longer than the test, so only the deadline ends it."""
    busy = answer(b"", "429 Too Many Requests", Retry_After=30)
    async with serving(in_turn(busy, answer(BODY))) as server:
        with anyio.fail_after(20), pytest.raises(DeadlineExceeded):
            await fetch(server.url, timeout_s=1.0)
        assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "wait", ["86400", format_datetime(datetime.now(UTC) + timedelta(days=1))], ids=["seconds", "date"]
)
async def test_nobody_waits_for_hours(fetch, wait):
    async with serving(always(answer(b"", "503 Busy", Retry_After=wait))) as server:
        with pytest.raises(SourceUnavailable, match="wants to be left alone"):
            await fetch(server.url)
        assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "hint"),
    [("404 Not Found", "check the URL"), ("401 Unauthorized", "credentials"), ("204 No Content", "check")],
)
async def test_an_answer_that_will_not_change_is_final(fetch, status, hint):
    async with serving(always(answer(b"", status))) as server:
        with pytest.raises(InvalidSource, match=f"answered {status}.*{hint}"):
            await fetch(server.url)
        assert len(server.requests) == 1


def breaking_off(at: int, *, etag: str = '"v1"', ranges: bool = True, body: bytes = BODY):
    """The first connection breaks; later ones continue, if the server can."""
    served = []

    async def handle(request, writer):
        start = request.start if ranges and request.headers.get("if-range") == etag else 0
        rest = body[start:]
        if start:
            headers = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            writer.write(answer(rest, "206 Partial Content", ETag=etag, **headers))
        else:
            content = answer(rest, ETag=etag)
            writer.write(content if served else content[:at])
        served.append(start)

    return handle, served


@pytest.mark.anyio
async def test_a_transfer_continues_where_it_broke_off(fetch):
    handle, served = breaking_off(2 << 20)
    async with serving(handle) as server:
        assert await fetch(server.url) == BODY
    assert served[0] == 0
    assert served[1] > 1 << 20
    assert fetch.progress[-1] == Progress(Phase.FETCHING, len(BODY), len(BODY))


@pytest.mark.anyio
async def test_a_transfer_starts_again_where_it_cannot_continue(fetch):
    handle, served = breaking_off(2 << 20, ranges=False)
    async with serving(handle) as server:
        assert await fetch(server.url) == BODY
    assert served == [0, 0]


@pytest.mark.anyio
async def test_a_file_that_changes_meanwhile_is_never_mixed(fetch):
    new = BODY[::-1]
    old_part = answer(BODY, ETag='"old"')[: 2 << 20]
    async with serving(in_turn(old_part, answer(new, ETag='"new"'))) as server:
        assert await fetch(server.url) == new
        assert server.requests[1].headers["if-range"] == '"old"'


@pytest.mark.anyio
async def test_a_rest_that_does_not_fit_is_not_taken(fetch):
    wrong = answer(BODY, "206 Partial Content", Content_Range=f"bytes 5-{len(BODY) + 4}/{len(BODY) + 5}")
    first = answer(BODY, ETag='"v1"')[: 2 << 20]
    async with serving(in_turn(first, wrong, answer(BODY))) as server:
        assert await fetch(server.url) == BODY
        assert "range" not in server.requests[2].headers


@pytest.mark.anyio
async def test_a_length_that_is_a_lie_is_found_out(fetch):
    async with serving(always(head(Content_Length=len(BODY) + 1) + BODY)) as server:
        with pytest.raises(SourceUnavailable, match="the connection broke"):
            await fetch(server.url)


@pytest.mark.anyio
async def test_a_server_that_stalls_is_given_up(fetch):
    async def stall(request, writer):
        writer.write(answer(BODY)[: 1 << 20])
        await asyncio.Event().wait()

    async with serving(stall) as server:
        with anyio.fail_after(20), pytest.raises(SourceUnavailable, match="it stopped sending"):
            await fetch(server.url, read_timeout_s=0.1)


@pytest.mark.anyio
async def test_a_drip_feed_ends_at_the_deadline(fetch):
    """Every read is in time, the whole never is."""

    async def drip(request, writer):
        writer.write(head(Content_Length=1 << 30))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(drip) as server:
        with anyio.fail_after(20), pytest.raises(DeadlineExceeded, match=r"not fetched within 0\.5 s"):
            await fetch(server.url, timeout_s=0.5, read_timeout_s=5.0)


@pytest.mark.anyio
async def test_nobody_there_is_unavailable(fetch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(SourceUnavailable, match="cannot be reached"):
            await fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/")


@pytest.mark.anyio
@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
async def test_too_much_is_refused(fetch, told):
    content = answer(BODY) if told else head() + BODY
    async with serving(always(content)) as server:
        with pytest.raises(LimitExceeded, match="SKEIN_INGEST_MAX_BYTES"):
            await fetch(server.url, max_bytes=1 << 20)
    assert sum(file.stat().st_size for file in fetch.folder.iterdir()) <= 1 << 20


@pytest.mark.anyio
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
async def test_a_full_disk_is_told(fetch):
    (fetch.folder / "download-0").symlink_to("/dev/full")
    async with serving(always(answer(BODY))) as server:
        with pytest.raises(OutOfDisk, match="the disk is full"):
            await fetch(server.url)


@pytest.mark.anyio
async def test_redirects_are_followed(fetch):
    async def handle(request, writer):
        if request.path == "/old":
            writer.write(answer(b"", "302 Found", Location="/new"))
        else:
            writer.write(answer(BODY))

    async with serving(handle) as server:
        assert await fetch(server.url + "/old", headers={"Authorization": "Bearer t"}) == BODY
        assert [request.path for request in server.requests] == ["/old", "/new"]
        assert server.requests[1].headers["authorization"] == "bearer t"


@pytest.mark.anyio
async def test_headers_stay_with_the_origin_they_were_meant_for(fetch):
    async with serving(always(answer(BODY))) as elsewhere:
        async with serving(always(answer(b"", "307 Moved", Location=elsewhere.url))) as server:
            assert await fetch(server.url, headers={"X-Api-Key": "k"}) == BODY
            assert server.requests[0].headers["x-api-key"] == "k"
        assert "x-api-key" not in elsewhere.requests[0].headers


@pytest.mark.anyio
async def test_endless_redirects_are_refused(fetch):
    async with serving(always(answer(b"", "302 Found", Location="/again"))) as server:
        with pytest.raises(InvalidSource, match="more than 10 times"):
            await fetch(server.url)


@pytest.mark.anyio
@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
async def test_a_redirect_to_another_scheme_is_refused(fetch, target):
    async with serving(always(answer(b"", "302 Found", Location=target))) as server:
        with pytest.raises(SourceNotAllowed, match="redirects to"):
            await fetch(server.url)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "target", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[fe80::1]/"]
)
async def test_a_redirect_to_a_private_address_is_refused(fetch, target):
    async with serving(always(answer(b"", "302 Found", Location=target))) as server:
        with pytest.raises(SourceNotAllowed, match="SKEIN_INGEST_ALLOW_PRIVATE"):
            await fetch(server.url)
        assert len(server.requests) == 1


LOOPBACK_NAMES = [
    "127.0.0.1",
    "localhost",
    "127.1",
    "127.0.1",
    "0x7f.1",
    "2130706433",
    "0x7f000001",
    "[::1]",
    "[::ffff:127.0.0.1]",
]


@pytest.mark.anyio
@pytest.mark.parametrize("host", [*LOOPBACK_NAMES, "0.0.0.0", "0"])
async def test_this_machine_is_refused_under_any_name(fetch, host):
    async with serving(always(answer(BODY))) as server:
        url = server.url.replace("127.0.0.1", host)
        with pytest.raises(SourceNotAllowed):
            await fetch(url, allow_loopback=False)
        assert server.requests == []


@pytest.mark.anyio
async def test_a_name_is_judged_by_where_it_leads(fetch, monkeypatch):
    """A public name that resolves to this machine, as rebinding names do."""

    async def resolve(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(anyio, "getaddrinfo", resolve)
    async with serving(always(answer(BODY))) as server:
        url = server.url.replace("127.0.0.1", "data.example.org")
        with pytest.raises(SourceNotAllowed, match=r"data\.example\.org"):
            await fetch(url, allow_loopback=False)
        assert await fetch(url) == BODY


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
        ("::10.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("64:ff9b:1::a00:1", False),
        ("2001:0:a00:1::", False),
        ("2001:db8::1", False),
        ("fec0::1", False),
        ("198.18.0.1", False),
        ("192.0.0.170", False),
    ],
)
def test_addresses_that_are_not_public_need_permission(address, allowed):
    parsed = ipaddress.ip_address(address)
    assert AddressPolicy().allows(parsed) is allowed
    assert AddressPolicy(allow_private=True).allows(parsed)


def test_loopback_can_be_allowed_alone():
    policy = AddressPolicy(allow_loopback=True)
    assert policy.allows(ipaddress.ip_address("127.0.0.1"))
    assert not policy.allows(ipaddress.ip_address("10.0.0.1"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"url": 5},
        {"url": "not a url"},
        {"url": "file:///etc/passwd"},
        {"url": "ftp://example.org/x"},
        {"url": "https://"},
        {"url": "http://0177.0.0.1/"},
        {"url": "http://exa mple.org:port/"},
        {"url": "https://example.org", "headers": {"Host": "other"}},
        {"url": "https://example.org", "headers": {"X": "a\r\nY: b"}},
        {"url": "https://example.org", "headers": {"X Y": "b"}},
        {"url": "https://example.org", "headers": ["x"]},
        {"url": "https://example.org", "headers": {"X": {"secret": 5}}},
        {"url": "https://example.org", "headers": {"X": {"secret": "a", "colour": "red"}}},
        {"url": "https://example.org", "checksum": "sha256:12"},
        {"url": "https://example.org", "checksum": "crc32:12345678"},
        {"url": "https://example.org", "checksum": ["md5:" + "0" * 32] * 2},
        {"url": []},
        {"url": ["https://example.org", "ftp://example.org"]},
        {"url": "https://example.org", "path": "/etc/passwd"},
    ],
    ids=str,
)
def test_a_request_that_cannot_work_is_refused_at_once(fields):
    with pytest.raises(InvalidSource):
        HttpSource(HttpSourceOptions()).check(SourceSpec("http", fields))


@pytest.mark.anyio
async def test_the_label_holds_no_secrets(fetch):
    async with serving(always(answer(BODY))) as server:
        url = server.url.replace("http://", "http://user:hunter2@") + "/data/file.csv?token=hunter3"
        source = HttpSource(HttpSourceOptions(allow_loopback=True))
        (file,) = (await source.fetch(SourceSpec("http", {"url": url}), fetch.folder, fetch.report)).files
        assert file.label == "127.0.0.1/data/file.csv"
        assert "authorization" in server.requests[0].headers


# -- what has been seen before ----------------------------------------------------------------


class Remembering(Fetch):
    """Fetches that hand the state of one to the next."""

    state: SourceState | None = None

    async def again(self, *urls: str, **fields) -> list[bytes] | None:
        """The files; None if nothing has changed."""
        source = HttpSource(HttpSourceOptions(allow_loopback=True, retry_wait_s=0.01, attempts=3))
        spec = SourceSpec("http", {"url": list(urls) if len(urls) > 1 else urls[0], **fields})
        fetched = await source.fetch(spec, self.folder, self.report, state=self.state)
        if fetched.unchanged:
            return None
        self.state = SourceState(**json.loads(json.dumps(asdict(fetched.state))))
        return [file.path.read_bytes() for file in fetched.files]


@pytest.fixture
def remembering(tmp_path):
    return Remembering(tmp_path)


def versioned(bodies: dict[str, bytes], validator: str = "ETag"):
    """Answers 304 to whoever has the body already, by ETag or by date."""
    asked = {"ETag": "if-none-match", "Last_Modified": "if-modified-since"}[validator]

    async def handle(request, writer):
        body = bodies[request.path]
        tag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
        if validator == "Last_Modified":
            tag = format_datetime(datetime(2026, 1, len(body) % 28 + 1, tzinfo=UTC), usegmt=True)
        if request.headers.get(asked) == tag.lower():
            writer.write(head("304 Not Modified", **{validator: tag}))
        else:
            writer.write(answer(body, **{validator: tag}))

    return handle


@pytest.mark.anyio
@pytest.mark.parametrize("validator", ["ETag", "Last_Modified"])
async def test_a_file_that_has_not_changed_is_not_sent_again(remembering, validator):
    bodies = {"/f": b"a\n1\n"}
    async with serving(versioned(bodies, validator)) as server:
        assert await remembering.again(server.url + "/f") == [b"a\n1\n"]
        assert await remembering.again(server.url + "/f") is None
        bodies["/f"] = b"a\n1\n2\n"
        assert await remembering.again(server.url + "/f") == [b"a\n1\n2\n"]
        assert await remembering.again(server.url + "/f") is None


@pytest.mark.anyio
async def test_equal_bytes_are_nothing_new_whatever_the_server_says(remembering):
    contents = [answer(b"a\n1\n", ETag=f'"{number}"') for number in range(3)]
    async with serving(in_turn(*contents, answer(b"a\n2\n"))) as server:
        assert await remembering.again(server.url) is not None
        assert await remembering.again(server.url) is None
        assert await remembering.again(server.url) is None
        assert await remembering.again(server.url) == [b"a\n2\n"]


@pytest.mark.anyio
async def test_a_server_that_says_unmodified_without_being_asked_is_not_believed(remembering):
    async with serving(always(head("304 Not Modified"))) as server:
        with pytest.raises(InvalidSource, match="304"):
            await remembering.again(server.url)


@pytest.mark.anyio
async def test_several_urls_come_in_order_and_all_of_them_if_one_has_changed(remembering):
    bodies = {"/a": b"a\n1\n", "/b": b"a\n2\n", "/c": b"a\n3\n"}
    async with serving(versioned(bodies)) as server:
        urls = [server.url + path for path in bodies]
        assert await remembering.again(*urls) == list(bodies.values())
        assert remembering.progress[-1].done_bytes == 12
        assert await remembering.again(*urls) is None
        bodies["/b"] = b"a\n22\n"
        assert await remembering.again(*urls) == list(bodies.values())
        assert await remembering.again(*urls) is None


@pytest.mark.anyio
async def test_all_urls_share_one_limit(fetch):
    async with serving(always(answer(BODY))) as server:
        source = HttpSource(HttpSourceOptions(allow_loopback=True, max_bytes=len(BODY) + 10))
        spec = SourceSpec("http", {"url": [server.url, server.url]})
        with pytest.raises(LimitExceeded):
            await source.fetch(spec, fetch.folder, fetch.report)


@pytest.mark.anyio
@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
async def test_bytes_are_compared_with_their_checksum_also_where_the_transfer_broke(remembering, algorithm):
    handle, _ = breaking_off(2 << 20)
    digest = hashlib.new(algorithm, BODY).hexdigest()
    async with serving(handle) as server:
        assert await remembering.again(server.url, checksum=f"{algorithm}:{digest.upper()}") == [BODY]
        remembering.state = None
        wrong = f"{algorithm}:{digest[::-1]}"
        with pytest.raises(ChecksumMismatch, match=digest):
            await remembering.again(server.url, checksum=wrong)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"v2"'}, {"Content_Range": f"bytes {2 << 20}-{len(BODY)}/{len(BODY) + 1}"}],
    ids=["another tag", "another length"],
)
async def test_a_rest_of_another_version_is_not_taken(fetch, headers):
    """From a server that ignores If-Range."""

    async def handle(request, writer):
        if len(server.requests) == 2:
            start = request.start
            told = {
                "ETag": '"v1"',
                "Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}",
                **{name: value.replace(str(2 << 20), str(start)) for name, value in headers.items()},
            }
            writer.write(answer(BODY[start:], "206 Partial Content", **told))
        else:
            content = answer(BODY, ETag='"v1"')
            writer.write(content[: 2 << 20] if len(server.requests) == 1 else content)

    async with serving(handle) as server:
        assert await fetch(server.url) == BODY
        assert len(server.requests) == 3
        assert "range" not in server.requests[2].headers


@pytest.mark.anyio
async def test_a_date_of_the_same_second_does_not_vouch_for_the_beginning(fetch):
    moment = format_datetime(datetime(2026, 1, 1, tzinfo=UTC), usegmt=True)
    first = answer(BODY, Last_Modified=moment, Date=moment)[: 2 << 20]
    async with serving(in_turn(first, answer(BODY))) as server:
        assert await fetch(server.url) == BODY
        assert "range" not in server.requests[1].headers


# -- secrets ----------------------------------------------------------------------------------


def fetching_with(secrets):
    return HttpSource(HttpSourceOptions(allow_loopback=True, attempts=1), secrets)


SECRET_HEADERS = {"X-Token": {"secret": "my-token", "prefix": "Bearer "}}


@pytest.mark.anyio
async def test_a_secret_is_sent_to_its_origin_and_not_beyond(fetch):
    source = fetching_with(NamedSecrets({"my_token": "hunter2"}))
    async with serving(always(answer(BODY))) as elsewhere:
        async with serving(always(answer(b"", "307 Moved", Location=elsewhere.url))) as server:
            spec = SourceSpec("http", {"url": server.url, "headers": SECRET_HEADERS})
            fetched = await source.fetch(spec, fetch.folder, fetch.report)
            assert server.requests[0].headers["x-token"] == "bearer hunter2"
        assert "x-token" not in elsewhere.requests[0].headers
    assert "hunter2" not in repr((fetched, source, spec))


def test_a_secret_that_is_missing_is_named_at_once():
    source = fetching_with(NamedSecrets({"other": "x"}))
    with pytest.raises(SecretNotFound, match=r"'my-token'.*SKEIN_SECRET_MY_TOKEN"):
        source.check(SourceSpec("http", {"url": "https://example.org", "headers": SECRET_HEADERS}))


@pytest.mark.anyio
async def test_a_secret_for_other_hosts_is_not_sent(fetch):
    source = fetching_with(NamedSecrets({"my_token": "hunter2"}, hosts={"my_token": {"api.example.org"}}))
    async with serving(always(answer(BODY))) as server:
        spec = SourceSpec("http", {"url": server.url, "headers": SECRET_HEADERS})
        with pytest.raises(SourceNotAllowed, match="SKEIN_SECRET_HOSTS"):
            await source.fetch(spec, fetch.folder, fetch.report)
        assert server.requests == []


def test_files_of_the_folder_win_and_are_read_anew(tmp_path):
    secrets = NamedSecrets({"my_token": "from the environment"}, tmp_path)
    assert secrets.value("my-token", host="h") == "from the environment"
    for content in ("first", "second"):
        (tmp_path / "my-token").write_text(content + "\n")
        assert secrets.value("my-token", host="h") == content


@pytest.mark.parametrize("name", ["../outside", "", "a/b", ".hidden", "a\0b", "ä", "x" * 65])
def test_names_that_are_paths_or_odd_are_no_secrets(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "outside").write_text("x")
    with pytest.raises(SecretNotFound):
        NamedSecrets(folder=tmp_path / "folder").require(name)
