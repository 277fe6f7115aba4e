"""Fetching over HTTP into a folder."""

import random

from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Progress
from tests.adapters.http_server import answer

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
