"""The rows of other servers that are being read, so that whoever asked for them can stop it."""

from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from flight_core.application.ports.sources import Rows


class RemoteRows(Rows, Protocol):
    def start(self) -> None:
        """Connect, and ask for the rows. `cancel` works meanwhile."""

    def cancel(self) -> None:
        """From any thread; harmless after `close`."""


R = TypeVar("R", bound=RemoteRows)


class RunningRows:
    """By the id of their run, for as long as somebody has them. Thread-safe."""

    def __init__(self) -> None:
        self._runs: WeakValueDictionary[str, RemoteRows] = WeakValueDictionary()

    def start(self, run_id: str, rows: R) -> R:
        self._runs[run_id] = rows
        try:
            rows.start()
        except BaseException:
            rows.close()
            raise
        return rows

    def cancel(self, run_id: str) -> None:
        rows = self._runs.get(run_id)
        if rows is not None:
            rows.cancel()
