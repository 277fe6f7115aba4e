"""What a commit does to the version that it is written onto.

A change checks whether that version is one it can go onto, and says which files the next one has,
in which order: some of those that are there, and those that were added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Protocol

import pyarrow as pa

from flight_core.adapters.storage.log import LiveFile
from flight_core.adapters.storage.parquet import DataFile
from flight_core.adapters.storage.rewriting import Survivors
from flight_core.adapters.storage.staged import StagedFiles
from flight_core.domain.dataset import DatasetVersion, WriteMode
from flight_core.domain.errors import CommitConflict, DatasetExists

Files = Sequence[LiveFile]


class Change(Protocol):
    @property
    def operation(self) -> str:
        """Its name in the history, where the table is there already."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the rows are those of the version before, in other files."""

    @property
    def new_columns(self) -> pa.Schema | None:
        """None: those of the version before."""

    @property
    def moved_rows(self) -> int:
        """How many rows of the version before are in new files."""

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        """The files, besides those with new rows, that it needs in `folder` to go onto a version with the
        files `live`. Called again for other versions: the answer stands for all that it needs by then."""

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        """
        Raises:
            DatasetExists, CommitConflict
        """

    def arrange(self, live: Files, added: Files) -> Files:
        """The files of the next version."""


@dataclass(frozen=True, slots=True)
class Written:
    """New rows."""

    mode: WriteMode
    schema: pa.Schema
    old_schema: pa.Schema | None = None  # of the table that the rows were made to fit
    keeps_rows: ClassVar[bool] = False
    moved_rows: ClassVar[int] = 0

    @property
    def operation(self) -> str:
        return "replace" if self.mode is WriteMode.REPLACE else "append"

    @property
    def new_columns(self) -> pa.Schema | None:
        if self.mode is WriteMode.REPLACE:
            return self.schema
        return changed_columns(self.old_schema, self.schema)

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        return ()

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if base is None:
            return
        if self.mode is WriteMode.CREATE:
            raise DatasetExists(
                "somebody else created the dataset meanwhile; append to it, or choose another name"
            )
        if self.mode is WriteMode.APPEND:
            check_columns(base, self.old_schema, self.schema)

    def arrange(self, live: Files, added: Files) -> Files:
        return added if self.mode is WriteMode.REPLACE else [*live, *added]


class Rewritten:
    """Rows left out of the files that are there, and new rows after them."""

    keeps_rows = False

    def __init__(self, operation: str, staged: StagedFiles, survivors: Survivors) -> None:
        self.operation = operation
        self._staged = staged
        self._survivors = survivors

    @property
    def new_columns(self) -> pa.Schema | None:
        return changed_columns(self._staged.old_schema, self._staged.schema)

    @property
    def moved_rows(self) -> int:
        return sum(file.row_count for file in self._survivors.files)

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        self._survivors.bring_to(live, folder)
        return self._survivors.files

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if base is not None:
            check_columns(base, self._staged.old_schema, self._staged.schema)
        self._survivors.check(live)

    def arrange(self, live: Files, added: Files) -> Files:
        names = self._survivors.names
        by_name = {PurePosixPath(file.path).name: file for file in added}
        arranged: list[LiveFile] = []
        for file in live:
            if file.path in names:
                arranged += [by_name.pop(name) for name in names[file.path]]
            else:
                arranged.append(file)
        return [*arranged, *by_name.values()]


def changed_columns(old: pa.Schema | None, new: pa.Schema) -> pa.Schema | None:
    return None if old is None or old.equals(new) else new


def check_columns(base: DatasetVersion, old: pa.Schema | None, new: pa.Schema) -> None:
    """
    Raises:
        CommitConflict: the rows were made to fit other columns than the table has by now.
    """
    if not (base.schema.equals(new) or (old is not None and base.schema.equals(old))):
        raise CommitConflict("somebody else changed the columns of the dataset meanwhile; try again")


@dataclass(frozen=True, slots=True)
class Run:
    """Files next to each other whose rows are in `new_files` new ones now."""

    old: Sequence[str]  # paths
    new_files: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The same rows in the same order in fewer files. Files that came after are none of its business."""

    runs: Sequence[Run]
    schema: pa.Schema  # of the new files
    keeps_rows: ClassVar[bool] = True
    operation: ClassVar[str] = "compact"
    new_columns: ClassVar[pa.Schema | None] = None
    moved_rows: ClassVar[int] = 0  # all of them: see `keeps_rows`

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        return ()

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        there = {file.path for file in live}
        if any(path not in there for run in self.runs for path in run.old):
            raise CommitConflict("somebody else rewrote the rows meanwhile; compact again")
        if base is not None:
            check_columns(base, None, self.schema)

    def arrange(self, live: Files, added: Files) -> Files:
        rest = iter(added)
        instead = {run.old[0]: [next(rest) for _ in range(run.new_files)] for run in self.runs}
        gone = {path for run in self.runs for path in run.old}
        arranged: list[LiveFile] = []
        for file in live:
            arranged += instead.get(file.path, ())
            if file.path not in gone:
                arranged.append(file)
        return arranged


@dataclass(frozen=True, slots=True)
class Restored:
    """The files of an older version. `expected` is the version it is to follow; None: any."""

    files: Files
    new_columns: pa.Schema | None
    expected: int | None
    keeps_rows: ClassVar[bool] = False
    operation: ClassVar[str] = "restore"
    moved_rows: ClassVar[int] = 0

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        return ()

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if self.expected is not None and (base is None or base.ref.version != self.expected):
            raise CommitConflict("somebody else wrote to the dataset meanwhile; look at it and try again")

    def arrange(self, live: Files, added: Files) -> Files:
        return self.files
