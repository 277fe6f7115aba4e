"""Log lines on standard error: readable on a terminal, JSON for machines."""

import asyncio
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog
from structlog.typing import EventDict, Processor

from flight_core.domain.errors import FlightCoreError
from skein.settings import LogFormat, LogLevel

_OURS = ("skein", "flight_server", "control_api", "flight_core")

_MAX_CAUSE = 500

_SHARED: tuple[Processor, ...] = (
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logging(level: LogLevel, format: LogFormat) -> None:
    """Our own packages from `level` on, all others from WARNING on. Idempotent."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _foreseen_in_a_line,
                *_renderer(format),
            ],
        )
    )
    structlog.configure(  # stamina tells of retries through it, which would print them to standard output
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.error").addFilter(_was_not_cut_off)
    logging.captureWarnings(capture=True)


def _foreseen_in_a_line(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Of failures that have a code: what they say, and what was behind them, instead of a traceback. A
    catalog that is down for a minute fails hundreds of times."""
    error = (event.get("exc_info") or (None, None, None))[1]
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, FlightCoreError):
        del event["exc_info"]
        event["error"] = str(error)
        if error.__cause__ is not None:
            event["cause"] = " ".join(str(error.__cause__).split())[:_MAX_CAUSE]
    return event


def _was_not_cut_off(record: logging.LogRecord) -> bool:
    """Requests that outlive the end of the server are counted in one line; uvicorn adds a traceback each."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


@contextmanager
def log_fields(fields: Callable[[], Mapping[str, str]]) -> Iterator[None]:
    """Have each line that is logged within the block, by any thread, carry what `fields` says there."""

    def add(record: logging.LogRecord) -> bool:
        record.__dict__.update(fields())
        return True

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(add)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(add)


def _renderer(format: LogFormat) -> tuple[Processor, ...]:
    on_terminal = sys.stderr.isatty()
    if format is LogFormat.CONSOLE or (format is LogFormat.AUTO and on_terminal):
        plain = structlog.dev.plain_traceback
        return (structlog.dev.ConsoleRenderer(colors=on_terminal, exception_formatter=plain),)
    return (structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str))
