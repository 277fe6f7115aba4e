"""Keys that appear more than once, in bounded memory.

Keys are compared by a hash first, some millions of rows at a time: each pass looks at the keys whose hash
belongs to it. Only rows that share a hash with another are then compared by their values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

PASS_ROWS = 16_000_000  # a pass holds about 16 bytes for each

_HASH, _NUMBER = "\x1fhash", "\x1fnumber"
_SEED = 0x5E1E


@dataclass(frozen=True, slots=True)
class KeySearch:
    """The key `columns` of new rows in `files`, and of existing rows in other files, but for rows that are
    `gone`: the columns `file`, the number of one of those, and `row`."""

    files: list[Path]
    columns: Sequence[str]
    present: Sequence[Path] = ()
    gone: pl.DataFrame | None = None
    pass_rows: int = PASS_ROWS

    def repeated(self) -> pl.Series:
        """The numbers, from 0, of rows whose key is that of an earlier row or of one that is there already.

        Rows with a null in the key equal nothing.
        """
        files = [*self.files, *self.present]
        rows = sum(pq.read_metadata(path).num_rows for path in files)
        passes = max(1, -(-rows // self.pass_rows))
        found = [self._repeated(number, passes) for number in range(passes)]
        return pl.concat(found).sort()

    def _repeated(self, number: int, passes: int) -> pl.Series:
        mine = pl.col(_HASH) % passes == number
        new = self._new().filter(mine)
        old = [keys.filter(mine) for keys in self._old()]
        suspects = _suspects(new, old)
        if not suspects.len():
            return pl.Series(_NUMBER, [], dtype=pl.UInt32)
        suspected = pl.col(_HASH).is_in(suspects.implode())
        rows = _collected(new.filter(suspected)).sort(_NUMBER)
        again = rows.select(~pl.struct(self.columns).is_first_distinct().alias("again"))["again"]
        if old:
            known = pl.concat(
                [_collected(keys.filter(suspected).select(self.columns).unique()) for keys in old]
            )
            met = rows.join(known, on=list(self.columns), how="semi")[_NUMBER]
            again |= rows[_NUMBER].is_in(met.implode())
        return rows.filter(again)[_NUMBER]

    def _new(self) -> pl.LazyFrame:
        return self._keys(pl.scan_parquet(self.files, glob=False).with_row_index(_NUMBER))

    def _old(self) -> list[pl.LazyFrame]:
        """The existing rows, cast to the types of the new files."""
        types = pl.scan_parquet(self.files, glob=False).collect_schema()
        frames = []
        for number, path in enumerate(self.present):
            frame = self._without_gone(number, pl.scan_parquet(path, glob=False))
            names = {name.lower(): name for name in frame.collect_schema().names()}
            if all(column.lower() in names for column in self.columns):
                columns = [
                    pl.col(names[column.lower()]).cast(types[column], strict=False).alias(column)
                    for column in self.columns
                ]
                frames.append(self._keys(frame.select(columns)))
        return frames

    def _without_gone(self, number: int, frame: pl.LazyFrame) -> pl.LazyFrame:
        if self.gone is None:
            return frame
        file, row = self.gone.columns
        gone = self.gone.filter(pl.col(file) == number)[row]
        return frame.with_row_index(_NUMBER).filter(~pl.col(_NUMBER).is_in(gone.implode())).drop(_NUMBER)

    def _keys(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        columns = [pl.col(column) for column in self.columns]
        whole = pl.all_horizontal([column.is_not_null() for column in columns])
        key = columns[0] if len(columns) == 1 else pl.struct(columns)
        number = [pl.col(_NUMBER)] if _NUMBER in frame.collect_schema() else []
        return frame.select(*number, *columns).filter(whole).with_columns(key.hash(_SEED).alias(_HASH))


def _suspects(new: pl.LazyFrame, old: Sequence[pl.LazyFrame]) -> pl.Series:
    """Hashes of more than one row, at least one of which is new."""
    hashes = _collected(new.select(_HASH))[_HASH].sort()
    repeated = hashes.filter(hashes == hashes.shift(1)).unique()
    found = [repeated]
    for keys in old:
        for batch in keys.select(_HASH).collect_batches(engine="streaming", maintain_order=False):
            met = batch[_HASH].unique()
            places = hashes.search_sorted(met)
            inside = places < hashes.len()
            met, places = met.filter(inside), places.filter(inside)
            found.append(met.filter(hashes.gather(places) == met))
    return pl.concat(found).unique()


def _collected(frame: pl.LazyFrame) -> pl.DataFrame:
    return frame.collect(engine="streaming")
