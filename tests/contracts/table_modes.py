"""A store in which rows are found by their keys, and what the tests of write modes do with it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.adapters.engines.duckdb.lake import scan
from flight_core.adapters.engines.duckdb.row_finder import DuckDbRowFinder
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import SchemaPolicy, WriteMode, WriteRule
from flight_core.infrastructure.duckdb_pool import DuckDbOptions

INFO = {"actor": "ann"}


def open_store(folder):
    """A store below `folder`, as every process would open it."""
    options = DuckDbOptions(None, (folder / "lake",), folder / "temp", memory_bytes=512 << 20)
    return DeltaTableStore(folder / "lake", row_finder=DuckDbRowFinder(options))


def write(
    store,
    data,
    mode=WriteMode.APPEND,
    *,
    keys=(),
    policy=SchemaPolicy.REFUSE,
    dataset="d1",
    job_id=None,
    before_commit=lambda: None,
):
    staged = store.stage(dataset, data.schema, WriteRule(mode, tuple(keys), policy))
    try:
        for batch in data.to_batches():
            staged.write(batch)
        before_commit()
        return staged.commit(job_id=job_id, info=INFO)
    finally:
        staged.close()


def delete(store, version, condition, *, before_commit=lambda: None):
    """Delete the rows of `version` for which `condition`, a function of a row as dict, holds."""
    staged = store.stage(version.ref.dataset_id, None, WriteRule(WriteMode.APPEND))
    try:
        staged.remove(version.ref, [doomed(store, version, condition)])
        before_commit()
        return staged.commit(info=INFO)
    finally:
        staged.close()


def doomed(store, version, condition):
    files, numbers = [], []
    for position, uri in enumerate(store.files(version.ref).uris):
        for number, row in enumerate(pq.read_table(uri).to_pylist()):
            if condition(row):
                files.append(position)
                numbers.append(number)
    columns = [pa.array(files, pa.int64()), pa.array(numbers, pa.int64())]
    return pa.RecordBatch.from_arrays(columns, names=["file", "row"])


def rows(store, version, connection):
    """As the engine reads them."""
    files = store.files(version.ref)
    return connection.sql(scan(files.uris, files.schema)).to_arrow_table().to_pylist()


def sizes(store, version):
    """How many rows each file has, by its name."""
    files = store.files(version.ref)
    return {
        Path(uri).parent.name + "/" + Path(uri).name: n
        for uri, n in zip(files.uris, files.row_counts, strict=True)
    }
