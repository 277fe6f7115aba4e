"""What a caller asks of the engine, and what is known about a query that runs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

import pyarrow as pa

from flight_core.domain.dataset import DatasetName, VersionRef

# Python objects, or pyarrow scalars where Python would lose information (nanoseconds, MAP, INTERVAL).
Parameters = tuple[object, ...] | Mapping[str, object]


def as_parameters(given: Sequence[object] | Mapping[str, object]) -> Parameters:
    """Of JSON: an array, for `?` and `$1`, or an object, for `$name`."""
    return given if isinstance(given, Mapping) else tuple(given)


# Dataset versions a query reads, by `DatasetName.key`.
Pins = Mapping[str, VersionRef]
NO_PINS: Pins = MappingProxyType({})


def dataset_of(key: str) -> DatasetName:
    """Of a key of pins; that of an older version, such as `flights@v3`, names it, too."""
    return DatasetName(key.partition("@")[0])


def datasets_of(keys: Iterable[str]) -> frozenset[DatasetName]:
    return frozenset(map(dataset_of, keys))


@dataclass(frozen=True, slots=True)
class Part:
    """One of `count` pieces of a result; all of them in order of `index` (from 0) are the whole."""

    index: int
    count: int


@dataclass(frozen=True, slots=True)
class Window:
    """`limit` rows of a dataset from `offset` on, in the order they are stored."""

    offset: int
    limit: int


# Columns that tell where a row of a dataset is stored: which file, and which row of it.
PLACE_COLUMNS = ("__skein_file", "__skein_row")


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text, its parameters, and which rows of the result are wanted: all, or `row_limit` of them from
    `row_offset` on.

    `narrow_decimals` asks for DECIMALs of up to 18 digits in 32 or 64 bits instead of 128, for
    clients that read those Arrow types: half the bytes, and less work at both ends.
    """

    sql: str
    parameters: Parameters = ()
    row_limit: int | None = None
    narrow_decimals: bool = False
    part: Part | None = None  # None: the whole result
    row_offset: int = 0
    window: Window | None = None  # of the one dataset that it reads; None: all its rows
    placed: str | None = None  # the dataset that has PLACE_COLUMNS, too: its name in the SQL, in lower case

    @property
    def is_window(self) -> bool:
        """Whether it may have more rows than are wanted."""
        return self.row_limit is not None or self.row_offset > 0

    @property
    def whole(self) -> "Statement":
        """The same with all rows of its result."""
        return replace(self, row_limit=None, row_offset=0)


def quoted(identifier: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + identifier.replace('"', '""') + '"'


def row_of(table: pa.Table, row: int) -> Parameters:
    """One row as parameters: by position where the columns are called 1, 2, ..., else by name."""
    values = {name: table.column(place)[row] for place, name in enumerate(table.column_names)}
    if all(name.isdigit() for name in values):
        return tuple(values[name] for name in sorted(values, key=int))
    return values


class StatementKind(StrEnum):
    """How a statement has to be handled."""

    READ = "read"  # no side effects: may be planned now and run later, any number of times
    WRITE = "write"  # DML: runs exactly once, affects a number of rows
    COMMAND = "command"  # DDL and the like: runs exactly once
    LOCAL = "local"  # SET, transactions: runs exactly once, and changes nothing beyond its session


@dataclass(frozen=True, slots=True)
class StatementInfo:
    """What can be known of a statement without running it."""

    kind: StatementKind
    schema: pa.Schema | None  # of the result; None without one, or where it shows only when it runs
    parameters: pa.Schema  # one field a parameter, in order; type null where unknown
    may_return_rows: bool = True  # False where it is certain that there are none


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a statement that ran at once left behind. `pins`: the versions that it read, as far as they
    are known."""

    table: pa.Table
    affected_rows: int | None
    pins: Pins = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableTarget:
    """Where rows are to go; None where the session's own catalog and schema are meant."""

    table: str
    schema: str | None = None
    catalog: str | None = None
    temporary: bool = False


class IfExists(StrEnum):
    """What a bulk load does with a table that is there already."""

    FAIL = "fail"
    APPEND = "append"
    REPLACE = "replace"


@dataclass(frozen=True, slots=True)
class LoadMode:
    """`create`: make the table if it is missing, with the columns of the data."""

    create: bool
    if_exists: IfExists


class DatasetVerb(StrEnum):
    CREATE = "create"
    INSERT = "insert"
    DROP = "drop"
    DELETE = "delete"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class DatasetStatement:
    """SQL that writes a dataset: not for the engine to run, whose datasets are views.

    `source` is a SELECT of the rows, with the parameters of the statement: for an UPDATE of the changed ones
    and, in PLACE_COLUMNS, of where each was; for a DELETE of PLACE_COLUMNS alone. After `head_lines` that are
    not its author's, lines and columns are those of the statement. `condition` is for people. `lenient`:
    IF EXISTS of a DROP, IF NOT EXISTS of a CREATE.
    """

    verb: DatasetVerb
    dataset: DatasetName
    source: str = ""
    replace: bool = False
    lenient: bool = False
    condition: str = ""
    columns: tuple[str, ...] = ()  # that an INSERT fills or an UPDATE sets
    head_lines: int = 0


OWN_DOOR = "skein"  # of queries that the server asks for itself


class QueryState(StrEnum):
    PLANNED = "planned"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CacheUse(StrEnum):
    """What the result cache did for a read."""

    HIT = "hit"  # the result came from there
    MISS = "miss"  # it could have, but was not there
    BYPASS = "bypass"  # it cannot come from there


@dataclass(frozen=True, slots=True)
class QueryPlan:
    """A read that has been planned: enough to run it later, here or on another replica."""

    query_id: str
    statement: Statement
    schema: pa.Schema
    pins: Pins
    divisible: bool = True  # False: it has to be read in one piece, whatever it is
    cached_rows: int | None = None  # of its result, where that is in the cache already


@dataclass(slots=True)
class QueryRecord:
    """The life of one query, as operators see it."""

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
    at_once: int | None = None  # how many of the actor's queries may run at the same time
    progress: float | None = None  # of the engine, from 0 to 1; None: not known
    unread_since: datetime | None = None  # since when its client has had a batch and not asked for the next
