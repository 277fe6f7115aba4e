"""A dataset: a name, a table, and the versions the table went through."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import pyarrow as pa

from flight_core.domain.errors import DatasetNotFound, InvalidDatasetName

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


@dataclass(frozen=True, slots=True)
class VersionRef:
    """One version of one dataset, by the dataset's id, so that a re-used name cannot be mistaken."""

    dataset_id: str
    version: int


@dataclass(frozen=True, slots=True)
class DatasetVersion:
    """What a commit made. Immutable: a version never changes after it was committed."""

    ref: VersionRef
    schema: pa.Schema
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

    @property
    def version(self) -> int:
        return self.current.ref.version


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
    name: DatasetName
    ref: VersionRef


def dataset_not_found(name: str, known: Iterable[str]) -> DatasetNotFound:
    """The failure for a name nobody has, with the nearest names that exist as the way out."""
    near = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else "list the names with `skein datasets`"
    return DatasetNotFound(f"dataset '{name[:140]}' does not exist; {hint}", name=name[:140])
