"""A dataset: a name, a table, and the versions the table went through."""

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

if TYPE_CHECKING:  # every command comes by here, and most need no Arrow: it takes them 0.1 s
    import pyarrow as pa

# Where SQL finds datasets: `lake.datasets.name`.
LAKE = "lake"
LAKE_SCHEMA = "datasets"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_\-]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class DatasetName:
    """1 to 128 ASCII letters, digits, `_` and `-`, not starting with a digit or `-`.

    Names compare without case, as SQL identifiers do; the spelling given first is kept.

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
        """The form under which names are unique and looked up."""
        return self.value.lower()

    def __str__(self) -> str:
        return self.value


class WriteMode(StrEnum):
    """What a write does to the rows that are already there."""

    CREATE = "create"  # fail if the dataset exists
    APPEND = "append"  # add rows; create the dataset if it is missing
    REPLACE = "replace"  # the new rows become the table; create it if it is missing
    # Rows give way to the new ones that have the same values in the key columns, all others stay.
    UPSERT = "upsert"  # a key names one row: new rows need one each, without NULL and without twins
    REPLACE_PARTITIONS = "replace_partitions"  # a key names any number of rows; NULL is a value like others
    # Rows give way that SQL has found in one version, all others stay.
    UPDATE = "update"  # to as many new ones
    DELETE = "delete"  # to none

    @property
    def needs_keys(self) -> bool:
        return self in (WriteMode.UPSERT, WriteMode.REPLACE_PARTITIONS)


class SchemaPolicy(StrEnum):
    """What becomes of a table's columns when rows of other columns are added to it.

    Whatever the policy, a column that the new rows lack is NULL in them, and their values may have a
    narrower type than the table's. Policies say nothing about replacing, which brings its own columns.
    """

    REFUSE = "refuse"  # the columns stay as they are
    ADD = "add"  # new columns are added, NULL in the rows that are there already
    WIDEN = "widen"  # likewise, and types become wider where every value stays exactly what it is


@dataclass(frozen=True, slots=True)
class WriteRule:
    """How new rows and the table that is there become the next version.

    Raises:
        InvalidOption: on construction, where mode and keys do not go together.
    """

    mode: WriteMode = WriteMode.APPEND
    keys: tuple[str, ...] = ()  # columns, compared without case
    schema_policy: SchemaPolicy = SchemaPolicy.REFUSE
    allow_lossy: bool = False  # whether values of types that storage lacks may lose something

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
    """One version of one dataset, by the dataset's id, so that a re-used name cannot be mistaken."""

    dataset_id: str
    version: int


@dataclass(frozen=True, slots=True, order=True)
class AddedRows(VersionRef):
    """Of that version, what is in files that the version `since` does not have."""

    since: int


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """What a commit made. Immutable: a version never changes after it was committed."""

    ref: VersionRef
    schema: "pa.Schema"
    row_count: int
    size_bytes: int
    committed_at: datetime
    operation: str = "write"  # create, append, replace, compact, restore
    commit_info: Mapping[str, str] = field(default_factory=dict)
    added_rows: int = 0  # by this commit alone
    removed_rows: int = 0  # likewise; rows that only moved to other files count in neither
    added_bytes: int = 0  # in new files
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A catalog entry and the version that readers get when they name no other."""

    id: str
    name: DatasetName
    current: DatasetVersion
    created_at: datetime
    description: str = ""
    tags: tuple[str, ...] = ()
    first_kept: int = 0  # versions before it have expired, apart from those with a tag
    owners: tuple[str, ...] = ()
    column_descriptions: Mapping[str, str] = field(default_factory=dict)  # of those that have one
    notes_revision: int = 0  # grows when what people say about the dataset changes

    @property
    def version(self) -> int:
        return self.current.ref.version

    def search_rank(self, words: Iterable[str]) -> int | None:
        """How well the dataset fits all the words, 0 is best; None if one of them is nowhere in it."""
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
    """The current version of every dataset, at one moment.

    `revision` grows with every change to the catalog, so equal revisions mean equal states.
    `datasets` is keyed by `DatasetName.key`.
    """

    revision: int
    datasets: Mapping[str, "LakeEntry"]


@dataclass(frozen=True, slots=True)
class LakeEntry:
    """`version_tags` is keyed by `TagName.key`; versions before `first_kept` have expired unless tagged.

    `column_descriptions` has those columns that are described.
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
    """The failure for a name nobody has, with the nearest names that exist as the way out."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "list the names with `skein datasets`"
    return DatasetNotFound(f"dataset '{name[:140]}' does not exist; {hint}", name=name[:140])
