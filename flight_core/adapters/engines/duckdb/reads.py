"""Planning a read: the versions that it reads, and binding it to views of these."""

import contextlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial

import duckdb

from flight_core.adapters.engines.duckdb.binding import Bound
from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.parameters import Runnable, forget
from flight_core.adapters.engines.duckdb.pinning import names_version
from flight_core.adapters.engines.duckdb.plan_cache import CachedPlan
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import EngineUnavailable, InvalidSql, StatementNotAllowed
from flight_core.domain.query import Pins, Statement, StatementKind
from flight_core.infrastructure.duckdb_pool import CursorPool

_ATTEMPTS = 10


def single_read(instance: Instance, statement: Statement) -> ParsedStatement:
    """
    Raises:
        InvalidSql, StatementNotAllowed: it is not a single read.
    """
    statements = instance.parse(statement.sql)
    if len(statements) > 1:
        raise InvalidSql(
            f"expected one statement, got {len(statements)}; send them one by one or use a session"
        )
    if statements[0].kind is not StatementKind.READ:
        raise StatementNotAllowed(
            f"{statements[0].type.name} is not a read; send it with POST over HTTP, as an update of"
            " Flight SQL, or in a session"
        )
    return statements[0]


@dataclass(frozen=True, slots=True)
class Read:
    """A read of the state `lake`, or of exactly the versions in `pins`. `parsed` is the `statement`."""

    instance: Instance
    parsed: ParsedStatement
    statement: Statement
    lake: LakeState
    pins: Pins | None

    def plan_key(self) -> Hashable | None:
        """A key for plans that can be reused: equal keys mean equal plans. None if that is not certain: with
        parameters, while own tables change, or if versions are read that are not current and may be gone."""
        mark = self.instance.own_tables.mark()
        if mark is None or self.statement.parameters:
            return None
        pins = self._pins()
        live = self.instance.views.live.refs
        for key, ref in pins.items():
            entry = self.lake.datasets.get(key)
            if entry is None or not (entry.ref == ref == live.get(key)):
                return None
        return mark, self.statement, frozenset(pins.items())

    def query(self, batch_bytes: int, *, keep_as: Hashable | None = None) -> DuckDbQuery:
        """The read, bound on a cursor of its own. Its plan is kept with the key `keep_as`."""
        instance = self.instance
        pool = instance.narrow_pool if self.statement.narrow_decimals else instance.pool
        mark = instance.own_tables.mark()
        cursor = pool.take()
        alone = instance.stands_alone(self.parsed)
        release = partial(_release, pool, in_transaction=not alone)
        try:
            bound = instance.bind(cursor, self.parsed, self.statement, {}) if alone else self._bind(cursor)
            own_tables = instance.own_tables.names(cursor, mark)
            fingerprint = instance.fingerprint(self.parsed, bound.pins, own_tables)
        except BaseException:
            release(cursor)
            raise
        if keep_as is not None and fingerprint is not None:
            instance.plans.keep(keep_as, CachedPlan(bound.schema, bound.pins, fingerprint))
        query = DuckDbQuery(
            cursor,
            bound.relation,
            bound.schema,
            bound.pins,
            batch_rows=instance.rows_per_batch(bound.schema, bound.pins, batch_bytes),
            failures=instance.failures,
            release=lambda used: release(used, bound.runnable),
            fingerprint=fingerprint,
        )
        instance.track(query)
        return query

    def _pins(self) -> Pins:
        return self.instance.show([self.parsed], self.lake) if self.pins is None else self.pins

    def _bind(self, cursor: duckdb.DuckDBPyConnection) -> Bound:
        """Bind in a transaction, in which the views cannot change, and check that they had not changed just
        before it began."""
        instance, views, statement = self.instance, self.instance.views, self.statement
        for _ in range(_ATTEMPTS):
            seen = views.live if self.pins else views.refresh(self.lake)
            pins, parsed = self._pins(), self.parsed
            if self.pins is not None or statement.window is not None or any(map(names_version, pins)):
                parsed = instance.at_pins(parsed, pins, self.lake, statement)
            with instance.failures.translated():
                cursor.execute("BEGIN TRANSACTION READ ONLY")
            bound = instance.bind(cursor, parsed, statement, pins)
            if not pins or views.live is seen:
                return bound
            cursor.execute("ROLLBACK")
        raise EngineUnavailable("the datasets of this query change faster than it can be planned; try again")


def _release(
    pool: CursorPool,
    cursor: duckdb.DuckDBPyConnection,
    used: Runnable | None = None,
    *,
    in_transaction: bool,
) -> None:
    try:
        if used is not None:
            forget(cursor, used)
        if in_transaction:
            with contextlib.suppress(duckdb.TransactionException):
                cursor.execute("ROLLBACK")
    except duckdb.Error:
        cursor.close()
    else:
        pool.give_back(cursor)
