"""What a commit changes: which files the next version consists of.

A change checks whether it can be applied to the newest version, and lists the files of the next one in the
order of their rows: some of the existing files, and the files that were added.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from flight_core.adapters.storage.log import LiveFile
from flight_core.adapters.storage.parquet import DataFile
from flight_core.adapters.storage.rewriting import RewrittenFiles
from flight_core.adapters.storage.staged import StagedFiles
from flight_core.domain.dataset import DatasetVersion, WriteMode
from flight_core.domain.errors import CommitConflict, DatasetExists

Files = Sequence[LiveFile]


class Change(ABC):
    """What a commit does to its base: the version that is the newest when the commit is written."""

    @property
    @abstractmethod
    def operation(self) -> str:
        """Its name in the history, unless the commit creates the table."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the next version has exactly the rows of the base, in other files."""
        return False

    @property
    def new_columns(self) -> pa.Schema | None:
        """The schema of the next version; None if it is that of the base."""
        return None

    @property
    def moved_rows(self) -> int:
        """How many rows of the base are copied into new files."""
        return 0

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        """Write into `folder` the files that the change needs besides those with new rows, for a base that
        consists of the files `live`. Called again if the base has changed; the latest answer is complete."""
        return ()

    @abstractmethod
    def check(self, base: DatasetVersion | None, live: Files) -> None:
        """
        Raises:
            DatasetExists, CommitConflict: the change cannot be applied to this base.
        """

    @abstractmethod
    def arrange(self, live: Files, added: Files) -> Files:
        """The files of the next version, in the order of their rows."""


@dataclass(frozen=True, slots=True)
class Written(Change):
    """New rows are appended, or replace all others."""

    mode: WriteMode
    schema: pa.Schema
    old_schema: pa.Schema | None = None  # of the table that the rows were converted for

    @property
    def operation(self) -> str:
        return "replace" if self.mode is WriteMode.REPLACE else "append"

    @property
    def new_columns(self) -> pa.Schema | None:
        if self.mode is WriteMode.REPLACE:
            return self.schema
        return changed_columns(self.old_schema, self.schema)

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


@dataclass(frozen=True, slots=True)
class Rewritten(Change):
    """Files that lose rows are rewritten without them; new rows come last."""

    name: str
    staged: StagedFiles
    rewritten: RewrittenFiles

    @property
    def operation(self) -> str:
        return self.name

    @property
    def new_columns(self) -> pa.Schema | None:
        return changed_columns(self.staged.old_schema, self.staged.schema)

    @property
    def moved_rows(self) -> int:
        return sum(file.row_count for file in self.rewritten.files)

    def prepare(self, live: Files, folder: Path) -> Sequence[DataFile]:
        self.rewritten.update(live, folder)
        return self.rewritten.files

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if base is not None:
            check_columns(base, self.staged.old_schema, self.staged.schema)
        self.rewritten.check(live)

    def arrange(self, live: Files, added: Files) -> Files:
        replacements = self.rewritten.names
        by_name = {PurePosixPath(file.path).name: file for file in added}
        arranged: list[LiveFile] = []
        for file in live:
            if file.path in replacements:
                arranged += [by_name.pop(name) for name in replacements[file.path]]
            else:
                arranged.append(file)
        return [*arranged, *by_name.values()]


def changed_columns(old: pa.Schema | None, new: pa.Schema) -> pa.Schema | None:
    return None if old is None or old.equals(new) else new


def check_columns(base: DatasetVersion, old: pa.Schema | None, new: pa.Schema) -> None:
    """
    Raises:
        CommitConflict: the rows were converted for other columns than the table has by now.
    """
    if not (base.schema.equals(new) or (old is not None and base.schema.equals(old))):
        raise CommitConflict("somebody else changed the columns of the dataset meanwhile; try again")


@dataclass(frozen=True, slots=True)
class Run:
    """Adjacent files whose rows were written to `new_files` new ones."""

    old: Sequence[str]  # paths
    new_files: int


@dataclass(frozen=True, slots=True)
class Compacted(Change):
    """The same rows in the same order, in fewer files. Files that were added since are left as they are."""

    runs: Sequence[Run]
    schema: pa.Schema  # of the new files
    operation = "compact"
    keeps_rows = True

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
class Restored(Change):
    """The files of an older version. `expected` is the version that the base must be; None allows any."""

    files: Files
    schema: pa.Schema
    expected: int | None
    operation = "restore"

    @property
    def new_columns(self) -> pa.Schema | None:
        return self.schema

    def check(self, base: DatasetVersion | None, live: Files) -> None:
        if self.expected is not None and (base is None or base.ref.version != self.expected):
            raise CommitConflict("somebody else wrote to the dataset meanwhile; look at it and try again")

    def arrange(self, live: Files, added: Files) -> Files:
        return self.files
