"""Stores of versioned tables, and what their tests write into them and read from them."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from flight_core.adapters.engines.duckdb.lake import scan_whole
from flight_core.adapters.engines.duckdb.row_finder import DuckDbRowFinder
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import SchemaPolicy, WriteMode, WriteRule
from flight_core.infrastructure.duckdb_pool import DuckDbOptions

INFO = {"actor": "ann", "source": "a test"}


def delta_store(folder):
    """A store below `folder`, as every process would open it. Finds rows by their keys."""
    options = DuckDbOptions(None, (folder / "lake",), folder / "temp", memory_bytes=512 << 20)
    return DeltaTableStore(folder / "lake", row_finder=DuckDbRowFinder(options))


def table(*numbers, **columns):
    return pa.table({"n": pa.array(numbers, pa.int64()), **columns})


def columns(**values):
    return pa.table(values)


def keyed(*numbers, value="a"):
    return pa.table({"k": pa.array(numbers, pa.int64()), "v": [f"{value}{number}" for number in numbers]})


def write(
    store,
    data,
    mode=WriteMode.APPEND,
    *,
    keys=(),
    policy=SchemaPolicy.REFUSE,
    allow_lossy=False,
    dataset="d1",
    job_id=None,
    before_commit=lambda: None,
):
    """`data` is a table, or the values of its column `n`."""
    if not isinstance(data, pa.Table):
        data = table(*data)
    staged = store.stage(dataset, data.schema, WriteRule(mode, tuple(keys), policy, allow_lossy))
    try:
        for batch in data.to_batches():
            staged.write(batch)
        before_commit()
        return staged.commit(job_id=job_id, info=INFO)
    finally:
        staged.close()


def adopt(store, frames, mode=WriteMode.APPEND, *, dataset="d1"):
    """Have the store take the Parquet files that Polars writes of `frames`."""
    staged = store.stage(dataset, None, WriteRule(mode))
    try:
        files = []
        for number, frame in enumerate(frames):
            files.append(staged.folder / f"part-{number}.parquet")
            frame.lazy().sink_parquet(files[-1])
        staged.adopt(files)
        return staged.commit()
    finally:
        staged.close()


def delete(store, version, condition, *, before_commit=lambda: None):
    """Delete the rows of `version` for which `condition`, a function of a row as dict, holds."""
    staged = store.stage(version.ref.dataset_id, None, WriteRule(WriteMode.DELETE))
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


def read(store, ref, sql="SELECT * FROM t"):
    """Plain DuckDB's answer over the files of a version."""
    files = list(store.files(ref).uris)
    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet({files!r})")
        return connection.sql(sql).fetchall()


def numbers(store, version):
    return [number for (number,) in read(store, version.ref, "SELECT n FROM t")]


def rows(store, version, connection):
    """As the engine reads them."""
    files = store.files(version.ref)
    return connection.sql(scan_whole(files)).to_arrow_table().to_pylist()


def described(connection, files):
    """The columns and types that the engine finds."""
    return connection.sql(f"SELECT column_name, column_type FROM (DESCRIBE {scan_whole(files)})").fetchall()


def pairs(store, version, connection):
    return [(row["k"], row["v"]) for row in rows(store, version, connection)]


def sizes(store, version):
    """How many rows each file has, by its name."""
    files = store.files(version.ref)
    return {
        Path(uri).parent.name + "/" + Path(uri).name: n
        for uri, n in zip(files.uris, files.row_counts, strict=True)
    }


def files_of(folder):
    """All files of rows below it, whether a version has them or not. What is in a log holds none."""
    found = (path for path in folder.rglob("*.parquet") if not path.parent.name.endswith("_log"))
    return sorted(map(str, found))
