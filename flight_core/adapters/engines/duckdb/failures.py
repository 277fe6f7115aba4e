"""Translating DuckDB's errors.

Every error text of DuckDB starts with its kind ("Catalog Error: ..."), whether it arrives as a
`duckdb.Error` or, in the middle of a stream, as a plain `OSError`. One table serves both.
"""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import duckdb

from flight_core.domain.errors import (
    Cancelled,
    DatasetNotFound,
    EngineUnavailable,
    FlightCoreError,
    InvalidParameters,
    InvalidSql,
    OutOfDisk,
    OutOfMemory,
    QueryFailed,
    ResourceExhausted,
    StatementNotAllowed,
    TransactionFailed,
    Unsupported,
)
from flight_core.domain.system_errors import named_system_failure

logger = logging.getLogger(__name__)

FAILURES: dict[str, type[FlightCoreError]] = {
    "Parser": InvalidSql,
    "Syntax": InvalidSql,
    "Binder": InvalidSql,
    "Catalog": InvalidSql,
    "Parameter Not Resolved": InvalidParameters,
    "Parameter Not Allowed": InvalidParameters,
    "Conversion": QueryFailed,
    "Constraint": QueryFailed,
    "Data": QueryFailed,
    "Dependency": QueryFailed,
    "Sequence": QueryFailed,
    "Expression": QueryFailed,
    "Executor": QueryFailed,
    "Invalid": QueryFailed,
    "Invalid Input": QueryFailed,
    "Invalid type": QueryFailed,
    "Invalid Type": QueryFailed,
    "Integrity": QueryFailed,
    "Mismatch Type": QueryFailed,
    "Type Mismatch": QueryFailed,
    "Out of Range": QueryFailed,
    "Decimal": QueryFailed,
    "Divide by Zero": QueryFailed,
    "Serialization": QueryFailed,
    "Scheduler": QueryFailed,
    "Planner": QueryFailed,
    "Optimizer": QueryFailed,
    "Settings": StatementNotAllowed,
    "Invalid Configuration": StatementNotAllowed,
    "Permission": StatementNotAllowed,
    "HTTP": StatementNotAllowed,
    "Missing Extension": StatementNotAllowed,
    "Autoloading": StatementNotAllowed,
    "Extension": StatementNotAllowed,
    "Not implemented": Unsupported,
    "Not Implemented": Unsupported,
    "TransactionContext": TransactionFailed,
    "Transaction": TransactionFailed,
    "INTERRUPT": Cancelled,
    "Interrupt": Cancelled,
    "Out of Memory": OutOfMemory,
    "Resource In Use": ResourceExhausted,
    "IO": QueryFailed,
    "Connection": Cancelled,  # closed under a running query
    "FATAL": EngineUnavailable,
    "Fatal": EngineUnavailable,
    "INTERNAL": EngineUnavailable,
    "Internal": EngineUnavailable,
}

# Messages for failures about which DuckDB says too little or too much.
_MESSAGES: dict[type[FlightCoreError], str] = {
    EngineUnavailable: "the engine had to restart; try again, and report the statement if it repeats",
    Cancelled: "the query was cancelled",
    OutOfMemory: (
        "the query needs more memory than SKEIN_MEMORY_LIMIT allows, beside what else is open;"
        " select fewer columns, filter, or aggregate in smaller steps"
    ),
}
_MEANWHILE = (
    "another transaction changed the same table or rows meanwhile; this one has no effect, so start again"
)
# Kind of error ("": any), a part of its text, and the failure and message for it.
_BY_TEXT: tuple[tuple[str, str, type[FlightCoreError], str], ...] = (
    (
        "IO",
        "temp_directory",
        OutOfDisk,
        "the query needs more temporary disk space than is free or allowed (SKEIN_TEMP_LIMIT)",
    ),
    ("TransactionContext", "write-write conflict", TransactionFailed, _MEANWHILE),
    ("TransactionContext", "Conflict on ", TransactionFailed, _MEANWHILE),
    ("TransactionContext", "Transaction conflict", TransactionFailed, _MEANWHILE),
    (
        "",
        "configuration has been locked",
        StatementNotAllowed,
        "settings of the whole server are not available to clients",
    ),
    (
        "",
        "Python integer too large",
        InvalidParameters,
        "a parameter is an integer of more than 128 bits; send it as a text",
    ),
    (
        "",
        "Recursion level in ArrowSchema",
        QueryFailed,
        "the result has types nested deeper than Arrow can carry; cast them to text",
    ),
)
_OF_DATA = ("Conversion", "Invalid Input")  # kinds of errors whose texts are those of values
_KIND = re.compile(r"^\s*(?:Error: )?([A-Za-z ]+?) (?:Error|Exception): ?")
_POSITION = re.compile(r"\s*\n\s*LINE (\d+): (\.\.\.)?([^\n]*)\n( *)\^+\s*$")
_NO_TABLE = re.compile(r"Table with name (.+?) does not exist!(?:\s*Did you mean (.+?)\?)?", re.DOTALL)
_PARAMETERS = re.compile(r"[Pp]arameter(?: argument|/argument|s?:| count)|Values were not provided")
# Columns of our own, among those that DuckDB proposes for one that does not exist.
_OURS = re.compile(r'\s+Candidate bindings: (?:"__skein_\w+"(?:, )?)+$|"__skein_\w+", |, "__skein_\w+"')
_SYSTEM = ("pg_", "sqlite_", "duckdb_", "pragma_", "information_schema", "system.")
_MAX_TEXT = 1200


class Failures:
    """Translates the errors of one instance.

    `folders` maps folders of this server to the words that replace them in messages. `on_fatal` is called,
    from any thread, when the instance has become invalid.
    """

    def __init__(self, folders: Mapping[str, str], on_fatal: Callable[[], None]) -> None:
        self._folders = sorted(folders.items(), key=lambda pair: len(pair[0]), reverse=True)
        self._on_fatal = on_fatal

    @contextmanager
    def translated(self, sql: str = "") -> Iterator[None]:
        """Translate all exceptions of DuckDB, and the OSErrors of its readers.

        Positions in messages refer to `sql`.
        """
        try:
            yield
        except FlightCoreError:
            raise
        except (duckdb.Error, OSError, RuntimeError, ValueError, TypeError) as error:
            logger.debug("engine failure", exc_info=error)
            failure = translate(type(error).__name__, self._redact(str(error)), sql)
            if isinstance(failure, EngineUnavailable):
                logger.error("engine instance lost", exc_info=error)
                self._on_fatal()
            raise failure from None

    def _redact(self, text: str) -> str:
        for folder, word in self._folders:
            text = text.replace(folder, word)
        return text


def translate(class_name: str, text: str, sql: str = "") -> FlightCoreError:
    """The failure for the text of a DuckDB error about `sql`."""
    match = _KIND.match(text)
    kind = match.group(1) if match else class_name.removesuffix("Exception").removesuffix("Error")
    body = text[match.end() :].strip() if match else text.strip()
    failure = FAILURES.get(kind, QueryFailed)
    if (message := _MESSAGES.get(failure)) is not None:
        return failure(message)
    body, details = _without_position(body, sql)
    if failure is InvalidSql:
        return _invalid_sql(body, details)
    if kind not in _OF_DATA and (refused := named_system_failure(body)):
        return refused
    for of_kind, fragment, meant, message in _BY_TEXT:
        if of_kind in (kind, "") and fragment in body:
            return meant(message)
    if failure is QueryFailed and _PARAMETERS.search(body):
        return InvalidParameters(_shorten(body))
    return failure(_shorten(body) or "the query failed")


def _without_position(body: str, sql: str) -> tuple[str, dict[str, object]]:
    """The text without DuckDB's excerpt of the line with the error, and the position that it marks.

    Of a long line DuckDB only shows a part, which is searched in the statement.
    """
    found = _POSITION.search(body)
    if found is None:
        return body, {}
    line, cut, drawn = int(found.group(1)), found.group(2) or "", found.group(3)
    column = len(found.group(4)) - len(f"LINE {line}: {cut}")
    if cut:
        lines = sql.splitlines()
        whole = lines[line - 1] if line <= len(lines) else ""
        start = whole.find(drawn.removesuffix("..."))
        if start < 0:
            return body[: found.start()], {"line": line}
        column += start
    return body[: found.start()], {"line": line, "column": max(column, 0) + 1}


def _invalid_sql(body: str, details: dict[str, object]) -> FlightCoreError:
    missing = _NO_TABLE.search(body)
    if missing:
        name, near = missing.group(1), missing.group(2)
        guesses = [_plain(name) for name in (near or "").split(" or ")]
        guesses = [each for each in guesses if each not in ("", name) and not each.startswith(_SYSTEM)]
        guesses = [
            each for each in guesses if "@" not in each
        ]  # a view of a version, also of what was dropped
        hint = f"did you mean '{guesses[0]}'?" if guesses else "list the datasets with `skein datasets`"
        return DatasetNotFound(f"table or dataset '{name[:140]}' does not exist; {hint}", name=name[:140])
    if _PARAMETERS.search(body):
        return InvalidParameters(_shorten(body))
    body = _OURS.sub("", body)
    if body.startswith("Max expression depth"):
        return InvalidSql(
            "the statement has expressions that are nested more than 1000 deep; write it flatter"
        )
    if 'at or near "@"' in body or "does not support time travel" in body:
        body += '; a version is named in double quotes, as in "flights@v3"'
    if "base table" in body or body.endswith("is not an table"):
        body = body.removesuffix("!").replace(" an table", " a table")
        body += (
            "; views stay as they are, and datasets are changed by a statement of its own, neither within"
            " another one nor after EXPLAIN: explain the SELECT that finds the rows"
        )
    where = f" ({', '.join(f'{word} {number}' for word, number in details.items())})" if details else ""
    return InvalidSql(_shorten(" ".join(body.split())) + where, **details)


def _plain(name: str) -> str:
    return (
        name.replace('"', "").removeprefix("lake.").removeprefix("datasets.").removeprefix("workspace.main.")
    )


def _shorten(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " ..."
