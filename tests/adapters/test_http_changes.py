"""Fetching over HTTP what was fetched before."""

import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.domain.errors import ChecksumMismatch, InvalidSource
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.source_state import SourceState
from tests.adapters.http_fetching import BODY, Fetch, breaking_off
from tests.adapters.http_server import always, answer, head, in_turn, serving


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
