"""Copies of a data directory, made while servers use it or not, to start from one day.

The order makes a copy whole: the catalog, then the logs, then the files. Files never change and are there
before the log names them; a catalog that is behind the logs is brought up to date when a server starts.
"""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import VersionRef
from flight_core.domain.errors import Conflict, FlightCoreError, InvalidOption, OutOfDisk, UnreadableData
from flight_core.domain.system_errors import system_failure
from flight_core.infrastructure.database import DAMAGED, Database
from flight_core.infrastructure.duckdb_pool import DuckDbOptions, open_database
from skein.directory import DataDirectory

Advance = Callable[[int, int], None]  # bytes done, bytes in all

_MANIFEST = "backup.json"  # written last: a folder without it is no backup
_CATALOG = "catalog.sqlite"
_LOG = "_delta_log"
_NOT_KEPT = frozenset({"_staging"})
_WORKSPACE_HEADERS_BYTES = 3 * 4096  # of DuckDB's file format: the main header and two that take turns
_WORKSPACE_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Backup:
    """`catalog` is false where an SQL server elsewhere has it."""

    created_at: str
    datasets: int
    rows: int
    files: int
    size_bytes: int
    catalog: bool
    workspace: bool


def back_up(source: DataDirectory, target: Path, *, catalog: bool, advance: Advance) -> Backup:
    """Make `target` a copy of the directory. What it has from an earlier backup is not copied again.

    Raises:
        InvalidOption: `target` holds something else, or is in the directory.
        UnreadableData: the catalog is damaged, or the copy lacks something.
        OutOfDisk
    """
    target = target.expanduser().absolute()
    _require_place(source, target)
    with _room_for(target):
        return _backed_up(source, target, catalog=catalog, advance=advance)


def _backed_up(source: DataDirectory, target: Path, *, catalog: bool, advance: Advance) -> Backup:
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    (target / _MANIFEST).unlink(missing_ok=True)
    _copy(source.root / "secret.key", target / "secret.key")
    if catalog:
        _copy_catalog(source.root / _CATALOG, target / _CATALOG)
    kept = set(_copy_all(source.root, target, [*_files(source.lake, logs=True)], lambda *_: None))
    rest = [*_files(source.lake, logs=False), *_files(source.uploads, logs=False)]
    kept |= set(_copy_all(source.root, target, rest, advance))
    workspace = _copy_workspace(source.workspace, target / source.workspace.name)
    _forget_others(target, kept)
    made = _examined(target, catalog=catalog, workspace=workspace)
    (target / _MANIFEST).write_text(json.dumps(asdict(made), indent=2) + "\n")
    return made


def check(folder: Path) -> Backup:
    """What a backup holds, after a look at everything that the newest versions of its datasets need.

    Raises:
        InvalidOption: it is none, or was not finished.
        UnreadableData: something is missing.
    """
    folder = folder.expanduser().absolute()
    try:
        made = Backup(**json.loads((folder / _MANIFEST).read_text()))
    except (OSError, ValueError, TypeError):
        raise InvalidOption(
            f"'{folder}' is no finished backup; make one with 'skein backup create'"
        ) from None
    return _examined(folder, catalog=made.catalog, workspace=made.workspace, at=made.created_at)


def restore(folder: Path, target: DataDirectory, *, advance: Advance) -> Backup:
    """Fill a data directory that is empty.

    Raises:
        Conflict: there is something in it.
        InvalidOption, UnreadableData: as `check`.
        OutOfDisk
    """
    made = check(folder)
    folder = folder.expanduser().absolute()
    if target.root.exists() and any(target.root.iterdir()):
        raise Conflict(f"'{target.root}' is not empty; restore into a new folder with --data")
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST]
    with _room_for(target.root):
        target.prepare()
        _copy_all(folder, target.root, files, advance)
    return made


@contextmanager
def _room_for(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        if full or isinstance(system_failure(error), OutOfDisk):
            raise OutOfDisk(
                f"no room is left on the disk of '{target}', or on that of temporary files; make room, and"
                " run this again"
            ) from error
        raise


def _require_place(source: DataDirectory, target: Path) -> None:
    if not source.lake.is_dir():
        raise InvalidOption(f"'{source.root}' is no data directory; choose one with --data")
    if target == source.root or source.root in target.parents or target in source.root.parents:
        raise InvalidOption("a backup cannot be in its data directory, nor around it; choose another folder")
    if target.exists() and any(target.iterdir()) and not (target / "lake").is_dir():
        raise InvalidOption(f"'{target}' holds something else than a backup; choose another folder")


def _copy_catalog(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as live, closing(sqlite3.connect(target)) as copy:
        try:
            live.backup(copy)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode & 0xFF in DAMAGED:
                raise UnreadableData(f"'{source}' is damaged; restore it from a backup") from error
            raise


def _files(folder: Path, *, logs: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NOT_KEPT]
        if (_LOG in Path(place).parts) is logs:
            yield from (Path(place, name) for name in names)


def _copy_all(root: Path, target: Path, files: list[Path], advance: Advance) -> list[Path]:
    """The copies. What is gone meanwhile was dropped or vacuumed."""
    sizes = [_size(path) for path in files]
    done, copies = 0, []
    for path, size in zip(files, sizes, strict=True):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            _copy(path, copy)
            copies.append(copy)
        done += size
        advance(done, sum(sizes))
    return copies


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all, and not if it is there already."""
    there, found = target.stat() if target.exists() else None, source.stat()
    if there and (there.st_size, there.st_mtime_ns) == (found.st_size, found.st_mtime_ns):
        return
    part = target.with_name(f"{target.name}.part")
    shutil.copy2(source, part)
    part.replace(target)


def _copy_workspace(source: Path, target: Path) -> bool:
    """Copy the file of the users' own tables between two checkpoints; whether there is one.

    What was committed since the last checkpoint is in the write-ahead log, which only grows until the next
    one. A checkpoint writes a new header: if that is as before, file and log belong together.

    Raises:
        Conflict: one checkpoint followed the other.
    """
    for old in target.parent.glob(f"{target.name}*"):
        old.unlink()
    if not source.exists():
        return False
    for _ in range(_WORKSPACE_ATTEMPTS):
        before = _workspace_headers(source)
        for path in source.parent.glob(f"{source.name}*"):
            with suppress(FileNotFoundError):
                shutil.copy2(path, target.parent / path.name)
        if _workspace_headers(source) == before == _workspace_headers(target):
            return True
    raise Conflict(
        "the users' own tables change faster than they can be copied; try again when less is written"
    )


def _workspace_headers(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_WORKSPACE_HEADERS_BYTES)


def _forget_others(target: Path, kept: set[Path]) -> None:
    for folder in (target / "lake", target / "uploads"):
        for path in folder.rglob("*"):
            if path.is_file() and path not in kept:
                path.unlink()


def _examined(folder: Path, *, catalog: bool, workspace: bool, at: str | None = None) -> Backup:
    """Look for every file that the newest versions need; open the users' own tables."""
    store = DeltaTableStore(folder / "lake")
    refs = _newest(folder, store) if catalog else _in_lake(folder, store)
    rows = files = size = 0
    for name, ref in refs:
        try:
            found = store.files(ref)
            for uri, expected in zip(found.uris, found.size_bytes, strict=True):
                if Path(uri).stat().st_size != expected:
                    raise UnreadableData(f"a file of dataset '{name}' was cut short")
        except (FlightCoreError, OSError) as error:
            raise UnreadableData(f"dataset '{name}' is not whole in the backup; make it again") from error
        rows += sum(found.row_counts)
        files += len(found.uris)
        size += sum(found.size_bytes)
    if workspace:
        _open_workspace(folder / "workspace.duckdb")
    return Backup(at or datetime.now(UTC).isoformat(), len(refs), rows, files, size, catalog, workspace)


def _newest(folder: Path, store: DeltaTableStore) -> list[tuple[str, VersionRef]]:
    """Of the datasets in the catalog, which may be behind their logs."""
    with TemporaryDirectory() as scratch:
        copy = Path(scratch, _CATALOG)
        shutil.copyfile(folder / _CATALOG, copy)  # to be migrated, should it be of an older Skein
        with closing(Database(f"sqlite:///{copy}")) as database:
            database.migrate()
            datasets = SqlDatasetRepository(database).list()
    latest = [(str(each.name), store.latest(each.id) or each.current) for each in datasets]
    return [(name, version.ref) for name, version in latest]


def _in_lake(folder: Path, store: DeltaTableStore) -> list[tuple[str, VersionRef]]:
    versions = [store.latest(path.name) for path in (folder / "lake").iterdir() if (path / _LOG).is_dir()]
    return [(version.ref.dataset_id, version.ref) for version in versions if version]


def _open_workspace(path: Path) -> None:
    with TemporaryDirectory() as scratch:
        copy = Path(scratch, path.name)
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copyfile(each, Path(scratch, each.name))
        open_database(DuckDbOptions(copy, (), Path(scratch, "tmp"))).close()
