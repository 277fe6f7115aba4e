"""A connection with a state of its own: temp tables, variables, settings, a transaction."""

import contextlib
import threading
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa
from duckdb import StatementType

from flight_core.adapters.engines.duckdb.instance import Instance
from flight_core.adapters.engines.duckdb.statements import ParsedStatement
from flight_core.adapters.engines.duckdb.stream import DuckDbQuery
from flight_core.adapters.engines.duckdb.targets import in_lake, target
from flight_core.adapters.engines.duckdb.types import bound, identifier, literal
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import InvalidOption, InvalidSql, StatementNotAllowed
from flight_core.domain.query import Outcome, Parameters, Statement, StatementInfo, StatementKind
from flight_core.infrastructure.duckdb_pool import DATASETS

_OPTIONS = {
    "catalog": "current_database()",
    "schema": "current_schema()",
    "TimeZone": "current_setting('TimeZone')",
}


class DuckDbSession:
    """Implements `Session`. One statement at a time; `cancel` from any thread."""

    def __init__(self, instance: Instance, *, batch_rows: int) -> None:
        self._instance = instance
        self._batch_rows = batch_rows
        self._lock = threading.RLock()
        self._connection = instance.pool.fresh()
        self._open: DuckDbQuery | None = None
        self._in_transaction = False
        self._closed = False

    @property
    def in_transaction(self) -> bool:
        return self._in_transaction

    def inspect(self, statement: Statement, lake: LakeState) -> StatementInfo:
        statements = self._instance.parse(statement.sql)
        last = statements[-1]
        names = self._parameters(last)
        parameters = pa.schema([pa.field(name, pa.null()) for name in names])
        if last.kind is not StatementKind.READ or len(statements) > 1:
            kind = last.kind if len(statements) == 1 else StatementKind.COMMAND
            return StatementInfo(kind, None, parameters)
        with self._turn():
            pins = self._instance.show([last], lake)
            probe = Statement(statement.sql, statement.parameters or _nulls(names))
            return StatementInfo(
                last.kind, self._instance.bind(self._connection, last, probe, pins).schema, parameters
            )

    def plan(self, statement: Statement, lake: LakeState) -> DuckDbQuery:
        (parsed, *more) = self._instance.parse(statement.sql)
        if more or parsed.kind is not StatementKind.READ:
            raise StatementNotAllowed("only a single read can be planned; execute this statement instead")
        with self._turn():
            pins = self._instance.show([parsed], lake)
            made = self._instance.bind(self._connection, parsed, statement, pins)
            self._open = DuckDbQuery(
                self._connection,
                made.relation,
                made.schema,
                pins,
                batch_rows=self._batch_rows,
                failures=self._instance.failures,
                release=lambda _: None,
            )
            return self._open

    def execute(self, statement: Statement, lake: LakeState) -> Outcome:
        statements = self._instance.parse(statement.sql)
        if len(statements) > 1 and statement.parameters:
            raise InvalidSql("parameters go with a single statement; send the statements one by one")
        with self._turn():
            self._instance.show(statements, lake)
            for parsed in statements:
                outcome = self._run(parsed, statement)
            return outcome

    def execute_many(self, sql: str, parameters: pa.RecordBatchReader, lake: LakeState) -> Outcome:
        raise NotImplementedError

    def begin(self) -> None:
        self._control("BEGIN TRANSACTION")

    def commit(self) -> None:
        self._control("COMMIT")

    def rollback(self) -> None:
        self._control("ROLLBACK")

    def options(self) -> Mapping[str, object]:
        with self._turn():
            (row,) = self._connection.execute(f"SELECT {', '.join(_OPTIONS.values())}").fetchall()
            return dict(zip(_OPTIONS, row, strict=True))

    def set_option(self, name: str, value: object) -> None:
        known = {option.lower(): option for option in _OPTIONS}
        option = known.get(name.lower())
        if option is None:
            raise InvalidOption(
                f"'{name[:60]}' is not a session option; known: {', '.join(_OPTIONS)}", reason="name"
            )
        if not isinstance(value, str):
            raise InvalidOption(f"the session option '{option}' takes text", reason="value")
        statement = {
            "catalog": f"USE {identifier(value)}",
            "schema": f"USE {identifier(value)}",
            "TimeZone": f"SET SESSION TimeZone={literal(value)}",
        }[option]
        with self._turn():
            try:
                self._connection.execute(statement)
            except duckdb.Error:
                raise InvalidOption(f"'{value[:60]}' is not a valid {option}", reason="value") from None

    def cancel(self) -> None:
        query = self._open
        if query is not None:
            query.cancel()
        with contextlib.suppress(duckdb.Error):
            self._connection.interrupt()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.cancel()
        with self._lock:
            if self._open is not None:
                self._open.close()
                self._open = None
            self._connection.close()

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        """The right to use the connection: alone, with no result open on it."""
        with self._lock:
            self._instance.require()
            if self._open is not None:
                self._open.buffer()
                self._open = None
            with self._instance.failures.translated():
                yield

    def _run(self, parsed: ParsedStatement, statement: Statement) -> Outcome:
        self._protect_lake(parsed)
        relation = self._connection.sql(parsed.sql, params=bound(statement.parameters))
        table = relation.to_arrow_table() if relation is not None else pa.table({})
        self._follow(parsed)
        return Outcome(table, _affected(parsed, table))

    def _control(self, sql: str) -> None:
        with self._turn():
            self._connection.execute(sql)
            self._in_transaction = sql.startswith("BEGIN")

    def _follow(self, parsed: ParsedStatement) -> None:
        """Note what the statement did to the session."""
        if parsed.type == StatementType.TRANSACTION:
            self._in_transaction = parsed.tokens[0].word in ("begin", "start")
        elif parsed.type == StatementType.SET:
            self._keep_lake_in_sight()

    def _protect_lake(self, parsed: ParsedStatement) -> None:
        changed = target(parsed)
        if changed is None or changed.temporary:
            return
        ((catalog, schema),) = self._connection.execute(
            "SELECT current_database(), current_schema()"
        ).fetchall()
        name = changed.name.name or changed.name.schema
        hidden = changed.verb in ("drop", "alter", "comment") and self._instance.means_dataset(changed.name)
        if hidden or in_lake(changed.name, current_catalog=catalog, current_schema=schema):
            raise StatementNotAllowed(
                f"'{name[:140]}' belongs to the datasets, which SQL statements cannot {changed.verb} here;"
                " write them with DoPut, bulk ingest or the API, and drop them with `skein drop`"
            )

    def _keep_lake_in_sight(self) -> None:
        """USE replaces the search path; datasets stay visible by name all the same."""
        ((path,),) = self._connection.execute("SELECT current_setting('search_path')").fetchall()
        if DATASETS not in path:
            self._connection.execute(f"SET search_path={literal(f'{path},{DATASETS}')}")

    @staticmethod
    def _parameters(parsed: ParsedStatement) -> list[str]:
        """Names in order: positions count up, `$name` parameters are in alphabetical order."""
        (statement,) = duckdb.extract_statements(parsed.sql)
        return sorted(
            statement.named_parameters, key=lambda name: (len(name) if name.isdigit() else 99, name)
        )


def _nulls(names: list[str]) -> Parameters:
    if all(name.isdigit() for name in names):
        return tuple(None for _ in names)
    return dict.fromkeys(names)


def _affected(parsed: ParsedStatement, table: pa.Table) -> int | None:
    if parsed.kind is StatementKind.WRITE and table.column_names == ["Count"] and table.num_rows == 1:
        return int(table.column(0)[0].as_py())
    return table.num_rows if parsed.kind is StatementKind.WRITE else None
