"""The adapters that the guides for contributors add do what is asked of their kind."""

import io
import sys
from types import ModuleType

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import orc

from flight_core.adapters.parsers.formats.columnar import ColumnarFile
from flight_core.adapters.parsers.meter import Meter
from flight_core.adapters.parsers.options import ColumnarOptions
from flight_core.adapters.parsers.output import Target
from flight_core.domain.errors import InvalidSource, UnreadableData
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from tests.architecture import documents

STRIPE_ROWS = 10_000


@pytest.fixture
def module(request, monkeypatch) -> ModuleType:
    """The block of Python that a page begins with these words."""
    page, words = request.param
    texts = (text for _, text in documents.blocks(documents.DOCS / "how-to" / page) if text.startswith(words))
    made = ModuleType("of_the_guide")
    monkeypatch.setitem(sys.modules, made.__name__, made)  # where dataclasses look for it
    exec(next(texts), made.__dict__)
    return made


def orc_file(path, table: pa.Table) -> ColumnarFile:
    orc.write_table(table, str(path), stripe_size=1 << 14, batch_size=STRIPE_ROWS)
    return ColumnarFile(path, path.name)


@pytest.mark.parametrize("module", [("add-a-file-format.md", '"""ORC files."""')], indirect=True)
def test_the_format_keeps_all_rows_in_order_and_names_the_file_that_is_damaged(module, tmp_path):
    table = pa.table({"n": range(200_000), "s": [None, "ä"] * 100_000})
    files = [orc_file(tmp_path / name, table) for name in ("one.orc", "two.orc")]
    size = sum(file.path.stat().st_size for file in files)
    out = tmp_path / "out"
    out.mkdir()
    target, told = Target(out), io.StringIO()
    meter = Meter(told, size)
    module.parse_orc(files, ColumnarOptions(), target, meter)
    written = pa.concat_tables(map(pq.read_table, target.files))
    assert written.cast(table.schema).equals(pa.concat_tables([table, table]))
    meter.tell()
    assert f'"done_bytes": {size}, "total_bytes": {size}, "rows": 400000' in told.getvalue()
    schema, first = module.first_stripe(files[0])
    assert schema == table.schema
    assert first.equals(table.combine_chunks().to_batches()[0].slice(0, first.num_rows))
    files[1].path.write_bytes(files[1].path.read_bytes()[:-50])
    with pytest.raises(UnreadableData, match=r"two\.orc"):
        module.parse_orc(files, ColumnarOptions(), target, Meter(io.StringIO(), size))


@pytest.mark.anyio
@pytest.mark.parametrize("module", [("add-a-source-kind.md", '"""Text in the request')], indirect=True)
async def test_the_source_brings_its_text_and_refuses_other_fields(module, tmp_path):
    reported: list[Progress] = []

    async def report(progress: Progress) -> None:
        reported.append(progress)

    source, fields = module.InlineSource(), {"name": "data.csv", "text": "a,b\n1,2\n"}
    (file,) = (await source.fetch(SourceSpec("inline", fields), tmp_path, report)).files
    assert (file.label, file.path.read_text()) == ("data.csv", fields["text"])
    assert reported == [Progress(Phase.FETCHING, 8, 8)]
    source.check(SourceSpec("inline", fields))
    for wrong in ({"name": "data.csv"}, {**fields, "colour": "red"}):
        with pytest.raises(InvalidSource):
            source.check(SourceSpec("inline", wrong))
