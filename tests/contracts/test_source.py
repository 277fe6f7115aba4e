"""What every kind of source promises."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from pydantic import TypeAdapter, ValidationError

from flight_core.adapters.sources.api import ApiSource
from flight_core.adapters.sources.file import FileSource, FileSourceOptions
from flight_core.adapters.sources.http import HttpSource
from flight_core.adapters.sources.upload import UploadSource
from flight_core.adapters.sources.web import HttpSourceOptions
from flight_core.adapters.uploads.folder import FolderUploadStore
from flight_core.application.ports.sources import Source
from flight_core.domain.errors import InvalidSource
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from flight_core.domain.upload import Upload
from schemas.sources import SOURCES
from schemas.sources import Source as SourceModel
from skein.registry import ROW_SOURCE_FACTORIES
from tests.adapters.http_server import always, answer, serving

CONTENT = b"a,b\n1,2\n" * 100_000
RECORDS = [{"a": number} for number in range(1000)]
LINES = b"".join(b'{"a":%d}\n' % number for number in range(1000))


@dataclass
class Example:
    """A source and a spec that it can fetch `content` with."""

    source: Source
    spec: SourceSpec
    content: bytes = CONTENT


@asynccontextmanager
async def file_example(folder: Path) -> AsyncIterator[Example]:
    (folder / "server-place").mkdir()
    (folder / "server-place" / "data.csv").write_bytes(CONTENT)
    source = FileSource(FileSourceOptions(roots=(folder / "server-place",)))
    yield Example(source, SourceSpec("file", {"path": "data.csv"}))


@asynccontextmanager
async def http_example(folder: Path) -> AsyncIterator[Example]:
    async with serving(always(answer(CONTENT))) as server:
        source = HttpSource(HttpSourceOptions(allow_loopback=True))
        yield Example(source, SourceSpec("http", {"url": f"{server.url}/data.csv"}))


@asynccontextmanager
async def api_example(folder: Path) -> AsyncIterator[Example]:
    """Its records are lines of JSON: `CONTENT` as NDJSON."""
    async with serving(always(answer(json.dumps({"data": RECORDS}).encode()))) as server:
        source = ApiSource(HttpSourceOptions(allow_loopback=True))
        spec = SourceSpec("api", {"url": f"{server.url}/data.csv", "record_path": "data"})
        yield Example(source, spec, LINES)


@asynccontextmanager
async def upload_example(folder: Path) -> AsyncIterator[Example]:
    store = FolderUploadStore(folder / "server-place")
    now = datetime.now(UTC)
    upload = Upload("0" * 32, "ann", "data.csv", now, now)
    store.create(upload)
    with store.append(upload.id, 0) as writer:
        writer.write(CONTENT)
        writer.complete(replace(upload, offset=len(CONTENT), complete=True))
    yield Example(UploadSource(store), SourceSpec("upload", {"id": upload.id}))


EXAMPLES: dict[str, Callable[[Path], AbstractAsyncContextManager[Example]]] = {
    "file": file_example,
    "http": http_example,
    "api": api_example,
    "upload": upload_example,
}


def test_every_kind_has_a_model_and_an_example():
    assert set(EXAMPLES) | set(ROW_SOURCE_FACTORIES) == set(SOURCES)


@pytest.fixture(params=EXAMPLES)
async def example(request, anyio_backend, tmp_path):
    async with EXAMPLES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "job"
    path.mkdir()
    return path


@pytest.mark.anyio
async def test_the_bytes_are_within_reach_and_the_progress_adds_up(example, folder):
    reported: list[Progress] = []

    async def report(progress: Progress) -> None:
        reported.append(progress)

    fetched = await example.source.fetch(example.spec, folder, report)
    files = fetched.files
    assert not fetched.unchanged
    assert b"".join(file.path.read_bytes() for file in files) == example.content
    assert sum(file.size_bytes for file in files) == len(example.content)
    assert all(file.path.is_relative_to(folder) for file in files if file.temporary)
    last, size = reported[-1], len(example.content)
    assert (last.phase, last.done_bytes, last.total_bytes) == (Phase.FETCHING, size, size)


@pytest.mark.anyio
async def test_labels_name_no_place_on_the_server(example, folder):
    async def report(progress: Progress) -> None: ...

    (file,) = (await example.source.fetch(example.spec, folder, report)).files
    assert file.label.endswith("data.csv")
    assert "server-place" not in file.label
    assert not file.label.startswith("/")


@pytest.mark.anyio
async def test_a_fetch_can_be_cancelled_from_a_report(example, folder):
    with anyio.fail_after(10), anyio.CancelScope() as scope:

        async def report(progress: Progress) -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        await example.source.fetch(example.spec, folder, report)
    assert scope.cancelled_caught


@pytest.mark.anyio
async def test_a_field_that_the_kind_does_not_have_is_refused(example):
    example.source.check(example.spec)
    wrong = SourceSpec(example.spec.kind, {**example.spec.fields, "colour": "red"})
    with pytest.raises(InvalidSource, match="'colour'"):
        example.source.check(wrong)


@pytest.mark.anyio
async def test_the_model_of_the_kind_agrees(example):
    models = TypeAdapter(SourceModel)
    fields = {"kind": example.spec.kind, **example.spec.fields}
    assert models.validate_python(fields).model_dump(exclude_defaults=True) == dict(example.spec.fields)
    with pytest.raises(ValidationError, match="colour"):
        models.validate_python({**fields, "colour": "red"})


@pytest.mark.parametrize("kind", SOURCES)
def test_the_examples_in_a_models_schema_are_valid(kind):
    schema = SOURCES[kind].model_json_schema()
    assert schema["examples"]
    for example in schema["examples"]:
        assert SOURCES[kind].model_validate(example).kind == kind
