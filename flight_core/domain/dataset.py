"""Datasets: a name, a table, and its versions."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from flight_core.domain.errors import (
    DatasetExists,
    DatasetNotFound,
    InvalidDatasetName,
    InvalidOption,
    VersionExpired,
)

if TYPE_CHECKING:  # importing pyarrow takes 0.1 s, which most commands of the CLI can do without
    import pyarrow as pa

# Where SQL finds datasets: `lake.datasets.name`.
LAKE = "lake"
LAKE_SCHEMA = "datasets"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class DatasetName:
    """1 to 128 ASCII letters, digits, `_` and `-`, not starting with a digit or `-`.

    Names are compared ignoring case, as SQL identifiers are; the first spelling is kept.

    Raises:
        InvalidDatasetName: on construction.
    """

    value: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.value):
            raise InvalidDatasetName(
                f"{self.value[:140]!r} is not a dataset name: use 1 to 128 letters, digits, '_' or '-',"
                " starting with a letter or '_'",
                name=self.value[:140],
            )

    @property
    def key(self) -> str:
        """The name in lower case, by which datasets are looked up."""
        return self.value.lower()

    def __str__(self) -> str:
        return self.value


class WriteMode(StrEnum):
    """What a write does with the rows that the dataset already has."""

    CREATE = "create"  # fail if the dataset exists
    APPEND = "append"  # add the new rows; create the dataset if it is missing
    REPLACE = "replace"  # replace all rows by the new ones; create the dataset if it is missing
    # Replace the rows whose key columns have the same values as those of a new row; keep all others.
    UPSERT = "upsert"  # the keys of the new rows must be unique and not NULL
    REPLACE_PARTITIONS = "replace_partitions"  # several rows may share a key, which may be NULL
    # Replace the rows that a statement has found; keep all others.
    UPDATE = "update"  # by as many new rows
    DELETE = "delete"  # by none
    MERGE = "merge"  # by any number of new rows

    @property
    def needs_keys(self) -> bool:
        return self in (WriteMode.UPSERT, WriteMode.REPLACE_PARTITIONS)


class SchemaPolicy(StrEnum):
    """How a table's columns change when rows with other columns are added.

    With every policy, columns that the new rows lack become NULL, and their types may be narrower than the
    table's. Replacing a table always uses the columns of the new rows.
    """

    REFUSE = "refuse"  # the columns must stay as they are
    ADD = "add"  # new columns are added; they are NULL in existing rows
    WIDEN = "widen"  # as ADD, and types are widened if that keeps every value exact


@dataclass(frozen=True, slots=True)
class WriteRule:
    """How new rows are combined with those of the table.

    Raises:
        InvalidOption: on construction, if mode and keys do not fit together.
    """

    mode: WriteMode = WriteMode.APPEND
    keys: tuple[str, ...] = ()  # names of columns, ignoring case
    schema_policy: SchemaPolicy = SchemaPolicy.REFUSE
    allow_lossy: bool = False  # whether values may lose precision if storage has no exact type for them

    def __post_init__(self) -> None:
        if self.mode.needs_keys and not self.keys:
            raise InvalidOption(
                f"the mode '{self.mode}' needs 'keys' (--key): the columns that tell which rows to replace"
            )
        if self.keys and not self.mode.needs_keys:
            raise InvalidOption(
                f"'keys' go with the modes 'upsert' and 'replace_partitions', not with '{self.mode}'"
            )
        names = [key.lower() for key in self.keys]
        if len(set(names)) < len(names):
            raise InvalidOption(f"'keys' name a column twice: {', '.join(self.keys)}"[:300])


@dataclass(frozen=True, slots=True, order=True)
class VersionRef:
    """A version of a dataset. The id, unlike the name, is never reused for another dataset."""

    dataset_id: str
    version: int


@dataclass(frozen=True, slots=True, order=True)
class AddedRows(VersionRef):
    """The rows of that version in files that the older version `since` does not have."""

    since: int


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """A committed version. Versions never change."""

    ref: VersionRef
    schema: "pa.Schema"
    row_count: int
    size_bytes: int
    committed_at: datetime
    operation: str = "write"  # create, append, replace, compact, restore
    commit_info: Mapping[str, str] = field(default_factory=dict)
    added_rows: int = 0  # by this commit; rows that only moved to other files are not counted
    removed_rows: int = 0  # by this commit, likewise
    added_bytes: int = 0  # the size of the new files
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset in the catalog, with its current version."""

    id: str
    name: DatasetName
    current: DatasetVersion
    created_at: datetime
    description: str = ""
    tags: tuple[str, ...] = ()
    first_kept: int = 0  # older versions have expired, unless they have a tag
    owners: tuple[str, ...] = ()
    column_descriptions: Mapping[str, str] = field(default_factory=dict)  # by column, if it has one
    notes_revision: int = 0  # grows with every change of the annotations

    @property
    def version(self) -> int:
        return self.current.ref.version

    def search_rank(self, words: Iterable[str]) -> int | None:
        """How well the dataset matches the words, 0 is best; None if one of them does not occur."""
        places = [
            [self.name.key],
            list(self.tags),
            [*self.current.schema.names, *self.owners],
            [self.description, *self.column_descriptions.values()],
        ]
        rank = 0
        for word in map(str.lower, words):
            found = next((n for n, texts in enumerate(places) if any(word in t.lower() for t in texts)), None)
            if found is None:
                return None
            rank += 0 if word == self.name.key else 1 + found
        return rank


@dataclass(frozen=True, slots=True)
class LakeState:
    """A snapshot of the catalog: the current version of every dataset.

    `revision` grows with every change, so equal revisions mean equal states.
    `datasets` is keyed by `DatasetName.key`.
    """

    revision: int
    datasets: Mapping[str, "LakeEntry"]


@dataclass(frozen=True, slots=True)
class LakeEntry:
    """`version_tags` is keyed by `TagName.key`. Versions before `first_kept` have expired unless tagged.

    `column_descriptions` has the columns with a description.
    """

    name: DatasetName
    ref: VersionRef
    first_kept: int = 0
    version_tags: Mapping[str, int] = field(default_factory=dict)
    column_descriptions: Mapping[str, str] = field(default_factory=dict)

    def require_kept(self, version: int) -> None:
        """
        Raises:
            VersionExpired
        """
        require_kept(self.name, version, self.first_kept, self.version_tags.values())


def require_kept(name: DatasetName, version: int, first_kept: int, tagged: Collection[int]) -> None:
    """
    Raises:
        VersionExpired
    """
    if version < first_kept and version not in tagged:
        raise VersionExpired(
            f"version {version} of dataset '{name}' has expired; the oldest one kept is"
            f" {min([first_kept, *tagged])}",
            name=str(name),
            version=version,
        )


def dataset_exists(name: DatasetName) -> DatasetExists:
    return DatasetExists(
        f"dataset '{name}' exists already; append to it, replace it, or choose another name", name=str(name)
    )


def dataset_not_found(name: str, known: Iterable[str]) -> DatasetNotFound:
    """The error for an unknown name, which suggests the most similar name that exists."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "list the names with `skein datasets`"
    return DatasetNotFound(f"dataset '{name[:140]}' does not exist; {hint}", name=name[:140])
