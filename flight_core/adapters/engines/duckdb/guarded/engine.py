"""Reads for principals who may only read: planned here, bound and run in the principal's own process.

The server never parses such a statement. The process tells which tables it names; the server says
what these are, or that they do not exist, from the part of the lake that the principal may see.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from flight_core.adapters.engines.duckdb.batches import value_bytes
from flight_core.adapters.engines.duckdb.guarded.metadata import GuardedMetadata
from flight_core.adapters.engines.duckdb.guarded.process import GuardedOptions, GuardedProcesses
from flight_core.adapters.engines.duckdb.guarded.query import Conversation, GuardedQuery
from flight_core.adapters.engines.duckdb.guarded.wire import ARROW, Channel, frame, message
from flight_core.adapters.engines.duckdb.lake import scan_placed, scan_whole, scan_window
from flight_core.adapters.engines.duckdb.parameters import nulls, untyped
from flight_core.adapters.engines.duckdb.pinning import to_rename
from flight_core.adapters.engines.duckdb.plan_cache import CachedPlan, PlanCache, PlannedQuery
from flight_core.adapters.engines.duckdb.statements import TableName
from flight_core.application.ports.engine import Principal, Query
from flight_core.application.ports.metadata import Metadata
from flight_core.application.ports.storage import TableFiles, VersionFiles
from flight_core.application.queries.parameters import pack
from flight_core.domain.arrow import ipc_stream
from flight_core.domain.dataset import LakeState, VersionRef, dataset_not_found
from flight_core.domain.errors import EngineUnavailable
from flight_core.domain.query import Pins, Statement, StatementInfo, StatementKind
from flight_core.domain.system import SYSTEM_TABLES
from flight_core.domain.versions import ref_named

_KNOWN_BYTES = 64 << 10  # of a statement and its schema, to be remembered


class GuardedDuckDbEngine:
    """Implements `GuardedEngine`."""

    def __init__(self, options: GuardedOptions, store: VersionFiles) -> None:
        self._timeout_s = options.timeout_s
        self._processes = GuardedProcesses(options)
        self._store = store
        self._plans = PlanCache()

    def plan(
        self, statement: Statement, lake: LakeState, *, principal: Principal, pins: Pins | None = None
    ) -> Query:
        known = self._known(statement, lake, pins, principal)
        if known is None:
            return self._restarting(lambda: self._planned(statement, lake, pins, principal))
        return PlannedQuery(known, lambda: self._restarting(lambda: self._run(statement, known, principal)))

    def inspect(self, statement: Statement, lake: LakeState, *, principal: Principal) -> StatementInfo:
        known = self._known(statement, lake, None, principal)
        if known is not None:
            return StatementInfo(StatementKind.READ, known.schema, untyped(()))
        with ExitStack() as undo:
            conversation, _ = self._conversation(principal, undo)
            bound = conversation.step(
                lambda: self._bind(conversation.channel, statement, lake, None, principal, probe=True)
            )
            conversation.busy = False
        self._remember(statement, bound, principal)
        return StatementInfo(StatementKind.READ, bound.schema, untyped(bound.parameters))

    def _known(
        self, statement: Statement, lake: LakeState, pins: Pins | None, principal: Principal
    ) -> CachedPlan | None:
        """What planning would find out, if it has for these versions. Raises where they cannot be read."""
        known = self._plans.get((principal.name, statement)) if not statement.parameters else None
        if known is None or known.pins != self._pins(map(_unqualified, known.pins), lake, pins):
            return None
        return known

    def _remember(self, statement: Statement, bound: "_Bound", principal: Principal) -> None:
        """Not what is large: a process that runs foreign SQL chose it."""
        if bound.parameters or bound.reads_system:
            return
        if len(statement.sql) + bound.schema_bytes <= _KNOWN_BYTES:
            plan = CachedPlan(bound.schema, bound.pins, bound.fingerprint(principal))
            self._plans.keep((principal.name, statement), plan)

    @staticmethod
    def _restarting(start: Callable[[], GuardedQuery]) -> GuardedQuery:
        try:
            return start()
        except EngineUnavailable:  # a query of before took the process down; a new one is not to blame
            return start()

    def _planned(
        self, statement: Statement, lake: LakeState, pins: Pins | None, principal: Principal
    ) -> GuardedQuery:
        with ExitStack() as undo:
            conversation, release = self._conversation(principal, undo)
            bound = conversation.step(
                lambda: self._bind(conversation.channel, statement, lake, pins, principal)
            )
            conversation.busy = False
            undo.pop_all()
            self._remember(statement, bound, principal)
            fingerprint = bound.fingerprint(principal)
            return GuardedQuery(
                conversation, bound.schema, bound.pins, fingerprint=fingerprint, release=release
            )

    def _run(self, statement: Statement, known: CachedPlan, principal: Principal) -> GuardedQuery:
        """Say at once all that there is to say."""
        with ExitStack() as undo:
            conversation, release = self._conversation(principal, undo)
            channel = conversation.channel

            def start() -> pa.Schema:
                sql, order = message(sql=statement.sql), self._order(statement, known.pins)
                channel.send_frames(sql, order, frame(ARROW), message(run=True))
                channel.receive_message()
                return _schema(channel.expect(ARROW))

            schema = conversation.step(start)
            undo.pop_all()
            return GuardedQuery(
                conversation,
                schema,
                known.pins,
                fingerprint=known.fingerprint,
                release=release,
                running=True,
            )

    def metadata(self, whole: Metadata, lake: LakeState) -> Metadata:
        return GuardedMetadata(whole, lake)

    def close(self) -> None:
        self._processes.close()

    def _conversation(self, principal: Principal, undo: ExitStack) -> tuple[Conversation, Callable[[], None]]:
        """A new one, and what gives its process back; `undo` ends both."""
        process = self._processes.take(principal)
        release = partial(self._processes.give_back, process)
        undo.callback(release)
        conversation = Conversation(process.connect(), process, self._timeout_s)
        undo.callback(conversation.end)
        return conversation, release

    def _bind(
        self,
        channel: Channel,
        statement: Statement,
        lake: LakeState,
        pins: Pins | None,
        principal: Principal,
        *,
        probe: bool = False,
    ) -> "_Bound":
        """Have the statement bound; `probe` stands NULLs in for parameters that have no values."""
        channel.send_frames(message(sql=statement.sql))
        heard = channel.receive_message()
        tables = [TableName(*table) for table in heard["tables"]]
        system = _system_tables(tables, principal)
        read = self._pins((table for table in tables if not table.is_system), lake, pins)
        rows = (frame(ARROW, memoryview(ipc_stream(each))) for each in system.values())
        values = statement.parameters or (nulls(heard["parameters"]) if probe else ())
        order = self._order(statement, read, system)
        channel.send_frames(order, *rows, frame(ARROW, pack(values)))
        schema = channel.expect(ARROW)
        return _Bound(_schema(schema), len(schema), read, heard["parameters"], heard["digest"], bool(system))

    def _order(self, statement: Statement, read: Pins, system: Iterable[str] = ()) -> bytes:
        files = {key: self._store.files(ref) for key, ref in read.items()}
        return message(
            views={key: _scan(each, statement, key) for key, each in files.items()},
            files=[uri for each in files.values() for uri in each.uris],
            row_limit=statement.row_limit,
            row_offset=statement.row_offset,
            narrow_decimals=statement.narrow_decimals,
            value_bytes=value_bytes(files.values()),
            system=list(system),
        )

    def _pins(self, tables: Iterable[TableName], lake: LakeState, pins: Pins | None) -> Pins:
        if pins is not None:
            to_rename(pins, {}, lake)  # refuses what was dropped
        return {table.name.lower(): self._ref(table, lake, pins) for table in tables}

    def _ref(self, table: TableName, lake: LakeState, pins: Pins | None) -> VersionRef:
        key = table.name.lower()
        base = key.partition("@")[0]
        if base not in lake.datasets or not table.may_be_dataset:
            raise dataset_not_found(base, lake.datasets)
        if pins is not None and key in pins:
            return pins[key]
        return ref_named(key, lake, self._store.version_at)


@dataclass(frozen=True, slots=True)
class _Bound:
    schema: pa.Schema
    schema_bytes: int
    pins: Pins
    parameters: Sequence[str]
    digest: str | None
    reads_system: bool

    def fingerprint(self, principal: Principal) -> str | None:
        """The process that found it out runs foreign SQL: what it says counts for its own principal."""
        return f"{principal.name}:{self.digest}" if self.digest and not self.reads_system else None


def _system_tables(tables: Iterable[TableName], principal: Principal) -> Mapping[str, pa.Table]:
    names = {table.name.lower() for table in tables if table.is_system}
    for name in names - SYSTEM_TABLES.keys():
        raise dataset_not_found(name, SYSTEM_TABLES)
    return {name: principal.system_table(name) for name in names}


def _unqualified(name: str) -> TableName:
    return TableName("", "", name)


def _schema(payload: memoryview) -> pa.Schema:
    return pa.ipc.read_schema(pa.py_buffer(payload))


def _scan(files: TableFiles, statement: Statement, key: str) -> str:
    if statement.window is not None:
        return scan_window(files, statement.window)
    return scan_placed(files) if key == statement.placed else scan_whole(files)
