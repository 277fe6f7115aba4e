"""Datasets as views: the current version under its name, older ones as `name@v3` or `name@tag`."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import duckdb
import pyarrow as pa

from flight_core.adapters.engines.duckdb.parts import NUMBER_COLUMN, rows_of_part, rows_of_window
from flight_core.adapters.engines.duckdb.types import duckdb_type, identifier, literal
from flight_core.application.ports.storage import TableFiles, VersionFiles
from flight_core.domain.dataset import (
    AddedRows,
    LakeEntry,
    LakeState,
    VersionRef,
)
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.query import PLACE_COLUMNS, Part, Window
from flight_core.domain.versions import TagName, ref_named, version_named
from flight_core.infrastructure.duckdb_pool import DATASETS, VERSIONS

logger = logging.getLogger(__name__)

_EXACT_KEPT = 1_000

Select = Callable[[TableFiles], str]  # SQL that reads some or all rows of a version


def scan_whole(files: TableFiles) -> str:
    """SQL for all rows of a version."""
    return _scan(files, files.uris)


@dataclass(frozen=True, slots=True)
class LiveViews:
    """What the views of current versions show, by key. `lost` datasets have no view, since their files cannot
    be read. While the object stays the same, so do the views."""

    revision: int
    refs: Mapping[str, VersionRef]
    lost: frozenset[str] = frozenset()


class LakeViews:
    """Keeps the views of one instance up to date with the lake. Thread-safe.

    Clients may see the SQL of views, so paths in it are relative to `home`: `~/...`. `named` are the versions
    that the users' own views and macros read, as `name@version`. The views of these, and of tags, are updated
    after each commit.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        store: VersionFiles,
        home: Path,
        named: Iterable[str] = (),
    ) -> None:
        self._connection = connection
        self._store = store
        self._home = f"{home}/"
        self._lock = threading.Lock()
        self._versions: dict[str, VersionRef] = {}
        self._exact: dict[str, None] = {}  # in the order of their last use
        self._named = set(named)
        self._live = LiveViews(-1, {})

    @property
    def live(self) -> LiveViews:
        return self._live

    def has(self, name: str) -> bool:
        """Whether it is the name of a dataset, or may be that of one of its versions."""
        return name.lower().partition("@")[0] in self._live.refs

    def refresh(self, lake: LakeState) -> LiveViews:
        """Update the views to `lake`, unless they show a newer state already.

        A dataset whose files cannot be read loses its view.
        """
        live = self._live
        if lake.revision <= live.revision:
            return live
        with self._lock:
            live = self._live
            if lake.revision <= live.revision:
                return live
            self._live = replace(live, revision=-1)  # reads that are bound from here on are bound again
            shown = dict(live.refs)
            for key in live.refs.keys() - lake.datasets.keys():
                self._drop(key)
                del shown[key]
            for key, entry in lake.datasets.items():
                if shown.get(key) != entry.ref:
                    self._replace(entry, shown)
            self._show_named(lake)
            self._live = LiveViews(lake.revision, shown, frozenset(lake.datasets.keys() - shown.keys()))
            return self._live

    def show_version(self, name: str, lake: LakeState) -> VersionRef:
        """Create the view `name@version`, if it does not exist.

        Raises:
            DatasetNotFound, VersionNotFound
        """
        ref = ref_named(name, lake, self._store.version_at)
        self._show(name.lower(), ref)
        if isinstance(version_named(name.partition("@")[2]), TagName):
            self._named.add(name.lower())  # tags can move
        return ref

    def temporary(self, name: str, ref: VersionRef) -> str:
        """SQL that creates a temporary view of a version."""
        return f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS {scan_whole(self._files(ref))}"

    def placed_rows(self, view: str, ref: VersionRef) -> str:
        """SQL that creates a temporary view of a version with PLACE_COLUMNS."""
        return f"CREATE OR REPLACE TEMP VIEW {view} AS {scan_placed(self._files(ref))}"

    def show_exactly(
        self,
        key: str,
        ref: VersionRef,
        *,
        part: Part | None = None,
        window: Window | None = None,
        placed: bool = False,
    ) -> str:
        """The name of a view of exactly this version, or of a part or a window of it; `placed` adds
        PLACE_COLUMNS."""
        name = f"{key}@{ref.dataset_id}@{ref.version}"
        select: Select = scan_whole
        if part is not None:
            name, select = f"{name}@{part.index}of{part.count}", partial(scan_part, part=part)
        elif window is not None:
            name, select = f"{name}@{window.offset}+{window.limit}", partial(scan_window, window=window)
        elif placed:
            name, select = f"{name}@placed", scan_placed
        elif isinstance(ref, AddedRows):
            name = f"{name}@{ref.since}"
        self._make_room(name)
        self._show(name, ref, select)
        return name

    def _make_room(self, name: str) -> None:
        """Each commit and each window makes further exact views: only those used last are kept."""
        with self._lock:
            self._exact.pop(name, None)
            self._exact[name] = None
            if len(self._exact) > _EXACT_KEPT:
                oldest = next(iter(self._exact))
                del self._exact[oldest]
                self._drop(oldest)
                self._versions.pop(oldest, None)

    def close(self) -> None:
        self._connection.close()

    def _show(self, name: str, ref: VersionRef, select: Select = scan_whole) -> None:
        files = self._files(ref)  # even if the view exists: the files may have been deleted
        with self._lock:
            self._move(name, ref, files, select)

    def _move(self, name: str, ref: VersionRef, files: TableFiles, select: Select = scan_whole) -> None:
        if self._versions.get(name) != ref:
            self._create(name, select(files))
            self._versions[name] = ref

    def _show_named(self, lake: LakeState) -> None:
        """Update the views that the users' own views read. Statements do not name these versions, so nothing
        else creates the views after a start, or updates those of tags."""
        for name in tuple(self._named):
            try:
                ref = ref_named(name, lake, self._store.version_at)
                self._move(name, ref, self._files(ref))
            except (FlightCoreError, duckdb.Error):  # whoever reads the view gets the error
                self._drop(name)
                self._versions.pop(name, None)

    def _replace(self, entry: LakeEntry, shown: dict[str, VersionRef]) -> None:
        try:
            self._create(entry.name.value, scan_whole(self._files(entry.ref)))
            shown[entry.name.key] = entry.ref
        except (duckdb.Error, FlightCoreError) as error:
            logger.error("dataset cannot be read", extra={"dataset": str(entry.name)}, exc_info=error)
            self._drop(entry.name.key)
            shown.pop(entry.name.key, None)

    def _files(self, ref: VersionRef) -> TableFiles:
        files = self._store.files(ref)
        if not all(uri.startswith(self._home) for uri in files.uris):
            return files
        return replace(files, uris=tuple(f"~/{uri.removeprefix(self._home)}" for uri in files.uris))

    def _create(self, name: str, select: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE VIEW {_view(name)} AS {select}")

    def _drop(self, name: str) -> None:
        self._connection.execute(f"DROP VIEW IF EXISTS {_view(name)}")


def _scan(files: TableFiles, uris: Sequence[str], *, numbered: bool = False) -> str:
    """SQL that reads some of the files. `numbered` adds the column `file_row_number`."""
    if not uris:
        nulls = ", ".join(
            f"CAST(NULL AS {duckdb_type(field.type)}) AS {identifier(field.name)}" for field in files.schema
        )
        return f"SELECT {nulls} WHERE false"
    return f"SELECT * FROM {_table(files, uris, ', file_row_number=true' if numbered else '')}"


def _table(files: TableFiles, uris: Sequence[str], more: str = "") -> str:
    """As `read_parquet`. Binding costs twice as much where the columns are given."""
    return read_parquet(uris, None if files.alike else files.schema, more)


def read_parquet(uris: Iterable[str], schema: pa.Schema | None, more: str = "") -> str:
    """SQL for a table function that reads files with one schema; columns that a file lacks are NULL. `schema`
    None: all files have the columns of the first one. `more` are further arguments.

    The table also has the virtual columns `file_index` and `file_row_number`.
    """
    listed = ", ".join(literal(uri) for uri in uris)
    if schema is None:
        return f"read_parquet([{listed}]{more})"
    entries = ", ".join(
        f"{literal(field.name)}: {{'name': {literal(field.name)},"
        f" 'type': {literal(duckdb_type(field.type))}, 'default_value': NULL}}"
        for field in schema
    )
    return f"read_parquet([{listed}], schema=MAP {{{entries}}}{more})"


def scan_placed(files: TableFiles) -> str:
    """SQL for all rows of a version with PLACE_COLUMNS."""
    file, row = PLACE_COLUMNS
    if not files.uris:
        return f"SELECT *, 0::BIGINT AS {file}, 0::BIGINT AS {row} FROM ({_scan(files, ())})"
    rows = _table(files, files.uris)
    return f"SELECT *, file_index::BIGINT AS {file}, file_row_number AS {row} FROM {rows}"


def scan_part(files: TableFiles, part: Part) -> str:
    """SQL for a part of the rows, in order: whole files, and pieces of the first and the last one."""
    return _pieces(files, rows_of_part(files.row_counts, part))


def scan_window(files: TableFiles, window: Window) -> str:
    """SQL for the rows of a window, in order. It only reads the row groups that have them."""
    if NUMBER_COLUMN in (name.lower() for name in files.schema.names):
        return f"{scan_whole(files)} LIMIT {window.limit} OFFSET {window.offset}"
    return _pieces(files, rows_of_window(files.row_counts, window))


def _pieces(files: TableFiles, pieces: list[range]) -> str:
    found = [
        _piece(files, uri, piece, rows)
        for uri, piece, rows in zip(files.uris, pieces, files.row_counts, strict=True)
        if piece
    ]
    return " UNION ALL ".join(found) or _scan(files, ())


def _piece(files: TableFiles, uri: str, piece: range, rows: int) -> str:
    if piece == range(rows):
        return _scan(files, [uri])
    numbered = _scan(files, [uri], numbered=True)
    return (
        f"SELECT * EXCLUDE (file_row_number) FROM ({numbered})"
        f" WHERE file_row_number >= {piece.start} AND file_row_number < {piece.stop}"
    )


def _view(name: str) -> str:
    return f"{VERSIONS if '@' in name else DATASETS}.{identifier(name)}"
