"""Finding rows of Parquet files by key, in a separate DuckDB instance."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.failures import Failures
from flight_core.adapters.engines.duckdb.lake import read_parquet
from flight_core.adapters.engines.duckdb.types import identifier
from flight_core.domain.errors import InvalidKeys
from flight_core.infrastructure.duckdb_pool import DuckDbOptions, open_database

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class DuckDbRowFinder:
    """Implements `RowFinder`. Each search has an instance of its own, so that all its memory is freed."""

    options: DuckDbOptions

    def same_keys(
        self, files: Sequence[Path], wanted: Sequence[Path], schema: pa.Schema, keys: Sequence[str]
    ) -> Iterator[pa.RecordBatch]:
        columns = pa.schema([schema.field(key) for key in keys])
        same = " AND ".join(f"old.{name} IS NOT DISTINCT FROM new.{name}" for name in map(identifier, keys))
        sql = (
            "SELECT file_index::BIGINT AS file, file_row_number AS row"
            f" FROM {read_parquet(map(str, files), columns)} AS old"
            f" SEMI JOIN {read_parquet(map(str, wanted), columns)} AS new ON {same}"
        )
        with self._connection() as connection:
            yield from connection.sql(sql).to_arrow_reader(_BATCH_ROWS)

    def check_keys(self, files: Sequence[Path], schema: pa.Schema, keys: Sequence[str]) -> None:
        if not files:
            return
        columns = pa.schema([schema.field(key) for key in keys])
        rows = read_parquet(map(str, files), columns)
        names = ", ".join(map(identifier, keys))
        with self._connection() as connection:
            for key in keys:
                ((missing,),) = connection.execute(
                    f"SELECT count(*) FROM {rows} WHERE {identifier(key)} IS NULL"
                ).fetchall()
                if missing:
                    raise InvalidKeys(
                        f"column '{key}' is a key and NULL in {missing:,} of the new rows; leave those out",
                        column=key,
                        rows=missing,
                    )
            twins = connection.execute(
                f"SELECT count(*), {names} FROM {rows} GROUP BY {names} HAVING count(*) > 1 LIMIT 1"
            ).fetchall()
        for count, *values in twins:
            named = ", ".join(f"{key}={value!r:.60}" for key, value in zip(keys, values, strict=True))
            raise InvalidKeys(
                f"{count:,} of the new rows have the key {named}; keep one of them, or choose more columns",
                rows=count,
            )

    @contextmanager
    def _connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        folders = {str(folder): "<lake>" for folder in self.options.readable}
        self.options.temp.mkdir(parents=True, exist_ok=True)
        with (
            TemporaryDirectory(dir=self.options.temp, prefix="rows-") as temp,
            Failures(folders, lambda: None).translated(),
            open_database(replace(self.options, workspace=None, temp=Path(temp))) as connection,
        ):
            yield connection
