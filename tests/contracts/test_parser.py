"""What every parser promises."""

import anyio
import pyarrow.parquet as pq
import pytest

from flight_core.application.ports.parsing import Parser, ParseRequest
from flight_core.application.ports.sources import FetchedFile
from flight_core.domain.errors import InvalidOption, UnknownFormat, UnreadableData
from flight_core.domain.job import Phase, Progress
from tests.contracts.adapters import PARSERS


@pytest.fixture(params=PARSERS, ids=lambda factory: factory.__name__)
def parser(request) -> Parser:
    return request.param()


class Job:
    """Two folders, and what was reported."""

    def __init__(self, folder) -> None:
        self._inputs = folder / "secret-place"
        self._inputs.mkdir()
        self.folder = folder / "out"
        self.folder.mkdir()
        self.progress: list[Progress] = []

    async def report(self, progress: Progress) -> None:
        self.progress.append(progress)

    def file(self, content: bytes, label: str = "data.bin") -> FetchedFile:
        path = self._inputs / label
        path.write_bytes(content)
        return FetchedFile(path, label, len(content), temporary=True)


@pytest.fixture
def job(tmp_path):
    return Job(tmp_path)


async def parse(parser: Parser, job: Job, *files: FetchedFile, format=None, **options):
    return await parser.parse(ParseRequest(files, job.folder, format, options), job.report)


@pytest.mark.anyio
async def test_files_become_parquet_in_the_folder_given(parser, job):
    parsed = await parse(parser, job, job.file(b"a,b\n1,x\n2,y\n"))
    assert (parsed.row_count, parsed.reading.format) == (2, "csv")
    assert parsed.reading.options == {"delimiter": ",", "header": True, "encoding": "utf-8"}
    assert all(path.is_relative_to(job.folder) for path in parsed.files)
    assert pq.read_table(parsed.files[0]).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.anyio
async def test_no_rows_are_still_a_file_with_a_schema(parser, job):
    parsed = await parse(parser, job, job.file(b"a,b\n"))
    assert parsed.row_count == 0
    assert pq.read_table(parsed.files[0]).column_names == ["a", "b"]


@pytest.mark.anyio
async def test_progress_only_grows_and_knows_the_total(parser, job):
    content = b"n,text\n" + b"".join(b"%d,some text\n" % number for number in range(2_000_000))
    parsed = await parse(parser, job, job.file(content))
    assert parsed.row_count == 2_000_000
    assert job.progress[-1] == Progress(Phase.PARSING, len(content), len(content), 2_000_000)
    assert {progress.phase for progress in job.progress} == {Phase.PARSING}
    assert {progress.total_bytes for progress in job.progress} == {len(content)}
    for earlier, later in zip(job.progress, job.progress[1:], strict=False):
        assert earlier.done_bytes <= later.done_bytes <= len(content)
        assert earlier.rows <= later.rows <= parsed.row_count


@pytest.mark.anyio
async def test_a_failure_names_the_file_by_its_label_and_no_path(parser, job):
    with pytest.raises(UnreadableData) as failure:
        await parse(parser, job, job.file(b"PAR1 and then nothing", "sales.parquet"))
    assert "sales.parquet" in failure.value.message
    assert "secret-place" not in failure.value.message
    assert "/" not in failure.value.message


@pytest.mark.anyio
async def test_a_failure_keeps_its_details(parser, job):
    with pytest.raises(UnreadableData) as failure:
        await parse(parser, job, job.file(b"a,b\n1,2\n3\n"))
    assert failure.value.details["line"] == 3


def test_what_cannot_work_is_refused_before_there_is_a_file(parser):
    with pytest.raises(UnknownFormat, match="'xml' is not a format; use one of csv"):
        parser.check(format="xml", options={})
    with pytest.raises(InvalidOption, match="'delimitr'"):
        parser.check(format="csv", options={"delimitr": ";"})
    with pytest.raises(InvalidOption, match="'delimiter'"):
        parser.check(format="parquet", options={"delimiter": ";"})
    with pytest.raises(InvalidOption, match="delimitr"):
        parser.check(format=None, options={"delimitr": ";"})
    with pytest.raises(InvalidOption, match="'encoding'"):
        parser.check(format=None, options={"encoding": "klingon"})
    parser.check(format=None, options={"delimiter": ";", "allow_lossy": True})
    parser.check(format="json", options={"record_path": "a.b"})


@pytest.mark.anyio
async def test_a_parse_can_be_cancelled_from_a_report(parser, job):
    content = b"n,text\n" + b"".join(b"%d,some text\n" % number for number in range(2_000_000))
    file = job.file(content)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:

            async def cancel_soon(progress: Progress) -> None:
                tasks.cancel_scope.cancel()
                await anyio.lowlevel.checkpoint()

            await parser.parse(ParseRequest([file], job.folder), cancel_soon)
    assert tasks.cancel_scope.cancelled_caught
