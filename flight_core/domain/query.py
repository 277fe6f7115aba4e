"""Queries: statements, their plans, and the records of queries that run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import pyarrow as pa

from flight_core.domain.access import ALL_RIGHTS, Rights
from flight_core.domain.dataset import DatasetName, VersionRef

# Python objects, or pyarrow scalars if Python would lose information (nanoseconds, MAP, INTERVAL).
Parameters = tuple[object, ...] | Mapping[str, object]


def as_parameters(given: Sequence[object] | Mapping[str, object]) -> Parameters:
    """Parameters from JSON: an array for `?` and `$1`, or an object for `$name`."""
    return given if isinstance(given, Mapping) else tuple(given)


def parameter_items(parameters: Parameters) -> list[tuple[str, object]]:
    """The parameters by name; positions count from 1."""
    if isinstance(parameters, Mapping):
        return list(parameters.items())
    return [(str(number), value) for number, value in enumerate(parameters, start=1)]


# The dataset versions that a query reads, by `DatasetName.key`, or `key@version` if the SQL names a version.
Pins = Mapping[str, VersionRef]
NO_PINS: Pins = MappingProxyType({})


def dataset_of(key: str) -> DatasetName:
    """The dataset of a key of `Pins`, which may name a version, such as `flights@v3`."""
    return DatasetName(key.partition("@")[0])


def datasets_of(keys: Iterable[str]) -> frozenset[DatasetName]:
    return frozenset(map(dataset_of, keys))


@dataclass(frozen=True, slots=True)
class Part:
    """The part `index` (from 0) of a result that is split into `count` parts."""

    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Window:
    """`limit` rows of a dataset starting at `offset`, in storage order."""

    offset: int
    limit: int


# Virtual columns with the place of a row in storage: the file, and the row number in it.
PLACE_COLUMNS = ("__skein_file", "__skein_row")
# Of the rows that a MERGE finds: whether there is a new row, or only one that goes.
KEPT_COLUMN = "__skein_kept"


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text, its parameters, and which rows of the result are wanted: all, or `row_limit` rows starting at
    `row_offset`.

    `narrow_decimals` returns DECIMALs of up to 18 digits as 32- or 64-bit decimals instead of 128-bit ones,
    for clients that support these Arrow types: half the bytes, and less work on both sides.
    """

    sql: str
    parameters: Parameters = ()
    row_limit: int | None = None
    narrow_decimals: bool = False
    part: Part | None = None  # None: the whole result
    row_offset: int = 0
    window: Window | None = None  # which rows of the only dataset to read; None: all
    placed: str | None = None  # the dataset that gets PLACE_COLUMNS: its name in the SQL, in lower case

    @property
    def is_window(self) -> bool:
        """Whether only some rows of the result are wanted."""
        return self.row_limit is not None or self.row_offset > 0

    @property
    def whole(self) -> "Statement":
        """The same statement, for all rows of the result."""
        return replace(self, row_limit=None, row_offset=0)


def quoted(identifier: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + identifier.replace('"', '""') + '"'


def row_of(table: pa.Table, row: int) -> Parameters:
    """One row as parameters: positional if the columns are named 1, 2, ..., otherwise by name."""
    values = {name: table.column(place)[row] for place, name in enumerate(table.column_names)}
    if all(name.isdigit() for name in values):
        return tuple(values[name] for name in sorted(values, key=int))
    return values


class StatementKind(StrEnum):
    """How a statement has to be executed."""

    READ = "read"  # no side effects: planned first, and run later any number of times
    WRITE = "write"  # DML: runs exactly once, and affects a number of rows
    COMMAND = "command"  # DDL and the like: runs exactly once
    LOCAL = "local"  # SET and transactions: runs exactly once, and only changes its session


@dataclass(frozen=True, slots=True)
class StatementInfo:
    """What is known about a statement without running it."""

    kind: StatementKind
    schema: pa.Schema | None  # of the result; None if there is none, or if it is only known when it runs
    parameters: pa.Schema  # one field per parameter, in order; of type null if unknown
    may_return_rows: bool = True  # False if it certainly returns no rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a statement that was run at once. `pins`: the versions that it read, as far as known."""

    table: pa.Table
    affected_rows: int | None
    pins: Pins = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableTarget:
    """The table to load rows into; None stands for the session's current catalog or schema."""

    table: str
    schema: str | None = None
    catalog: str | None = None
    temporary: bool = False


class IfExists(StrEnum):
    """What a bulk load does if the table exists."""

    FAIL = "fail"
    APPEND = "append"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class LoadMode:
    """`create`: create the table from the columns of the data if it is missing."""

    create: bool
    if_exists: IfExists


class DatasetVerb(StrEnum):
    CREATE = "create"
    INSERT = "insert"
    DROP = "drop"
    DELETE = "delete"
    UPDATE = "update"
    MERGE = "merge"


@dataclass(frozen=True, slots=True)
class DatasetStatement:
    """SQL that writes to a dataset. The engine cannot run it: there datasets are views.

    `source` is a SELECT of the rows, with the parameters of the statement. For an UPDATE it selects the
    changed rows, and the places of the old ones in PLACE_COLUMNS; for a DELETE only PLACE_COLUMNS, see
    `StagedWrite.remove`; for a MERGE both with KEPT_COLUMN, and NULL for what there is not. `lines` tells for
    each line of it which one of the statement that is, from 1, and how far to the left it has moved; line 0
    is not the author's. `condition` is the text for the history. `lenient` stands for the IF EXISTS of a DROP
    and the IF NOT EXISTS of a CREATE.
    """

    verb: DatasetVerb
    dataset: DatasetName
    source: str = ""
    lines: Sequence[tuple[int, int]] = ()
    replace: bool = False
    lenient: bool = False
    condition: str = ""
    columns: tuple[str, ...] = ()  # that an INSERT fills, or whose values an UPDATE or a MERGE changes


OWN_DOOR = "skein"  # the door of the server's own queries


class QueryState(StrEnum):
    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CacheUse(StrEnum):
    """How the result cache was used for a read."""

    HIT = "hit"  # the result came from the cache
    MISS = "miss"  # the result can be cached, but was not
    BYPASS = "bypass"  # the result cannot be cached


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A planned read, with all that is needed to run it later, in this process or another one."""

    query_id: str
    statement: Statement
    schema: pa.Schema
    pins: Pins
    divisible: bool = True  # False: it must not be split into parts
    cached_rows: int | None = None  # the number of rows of the result if it is cached, otherwise None


@dataclass(slots=True)
class QueryRecord:
    """The state of a query, as operators see it."""

    query_id: str
    sql: str
    actor: str
    door: str  # flight, flight_sql, http, websocket
    created_at: datetime
    state: QueryState = QueryState.QUEUED
    finished_at: datetime | None = None
    rows: int = 0
    size_bytes: int = 0
    error: str | None = None
    pins: Pins = field(default_factory=dict)
    cache: CacheUse = CacheUse.BYPASS
    at_once: int | None = None  # how many queries the actor may run at the same time
    progress: float | None = None  # of the engine, from 0 to 1; None: unknown
    unread_since: datetime | None = None  # since when the client has not asked for the next batch
    rights: Rights = ALL_RIGHTS  # those of whoever asked
