"""What a commit does to the version that it is written onto.

A change checks whether that version is one it can go onto, and says which files the next one has,
in which order: some of those that are there, and those that were added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import pyarrow as pa

from flight_core.adapters.storage.log import LiveFile
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
    keeps_rows: ClassVar[bool] = False

    @property
    def operation(self) -> str:
        return "replace" if self.mode is WriteMode.REPLACE else "append"

    @property
    def new_columns(self) -> pa.Schema | None:
        return self.schema if self.mode is WriteMode.REPLACE else None

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if base is None:
            return
        if self.mode is WriteMode.CREATE:
            raise DatasetExists(
                "somebody else created the dataset meanwhile; append to it, or choose another name"
            )
        if self.mode is WriteMode.APPEND and not base.schema.equals(self.schema):
            raise CommitConflict("somebody else changed the columns of the dataset meanwhile; try again")

    def arrange(self, live: Files, added: Files) -> Files:
        return added if self.mode is WriteMode.REPLACE else [*live, *added]


@dataclass(frozen=True, slots=True)
class Run:
    """Files next to each other whose rows are in `new_files` new ones now."""

    old: Sequence[str]  # paths
    new_files: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """The same rows in the same order in fewer files. Files that came after are none of its business."""

    runs: Sequence[Run]
    keeps_rows: ClassVar[bool] = True
    operation: ClassVar[str] = "compact"
    new_columns: ClassVar[pa.Schema | None] = None

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        there = {file.path for file in live}
        if any(path not in there for run in self.runs for path in run.old):
            raise CommitConflict("somebody else rewrote the rows meanwhile; compact again")

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

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if self.expected is not None and (base is None or base.ref.version != self.expected):
            raise CommitConflict("somebody else wrote to the dataset meanwhile; look at it and try again")

    def arrange(self, live: Files, added: Files) -> Files:
        return self.files
