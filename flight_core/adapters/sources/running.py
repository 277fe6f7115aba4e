"""Keeping track of the rows that are being read, so that they can be cancelled."""

from typing import Protocol, TypeVar
from weakref import WeakValueDictionary

from flight_core.application.ports.sources import Rows


class RemoteRows(Rows, Protocol):
    def start(self) -> None:
        """Connect and request the rows. `cancel` works meanwhile."""

    def cancel(self) -> None:
        """From any thread; harmless after `close`."""


R = TypeVar("R", bound=RemoteRows)


class RunningRows:
    """The rows by the id of their run, as long as they are in use. Thread-safe."""

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
