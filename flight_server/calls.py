"""The life of one RPC: noticing that its client has gone, and releasing what it held."""

import ctypes
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import pyarrow.flight as fl

from flight_core.application.access.gate import Shown
from flight_core.domain.access import Actor
from flight_core.domain.errors import Cancelled, Unauthenticated

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 0.05


class CallScope(fl.ServerMiddleware):
    """What is to be stopped when the client of an RPC goes away, and released when the RPC is over.

    Flight tells a blocked handler nothing, so a watcher asks on its behalf. Flight's context dies
    with the RPC: the lock keeps the watcher from touching it afterwards.
    """

    def __init__(
        self, actor: Actor, shown: Shown, headers: Mapping[str, Sequence[str]], answer: Mapping[str, str]
    ) -> None:
        self.actor = actor
        self.shown = shown  # the credentials
        self.headers = headers
        self._answer = answer
        self._lock = threading.Lock()
        self._context: fl.ServerCallContext | None = None
        self._watcher: Watcher | None = None
        self._ended = False
        self._refusal: Unauthenticated | None = None
        self._note: Callable[[str], None] | None = None
        self._probes: list[Callable[[bool], None]] = []
        self._releases: list[Callable[[], None]] = []

    def attach(self, context: fl.ServerCallContext, watcher: "Watcher") -> None:
        """Called first by the handler: only there is the context known."""
        self._context = context
        self._watcher = watcher
        watcher.enter()

    def once_located(self, note: Callable[[str], None]) -> None:
        """Call `note` once, with the client's address: when a handler knows it, else with "" at the end."""
        self._note = note

    def located(self, address: str) -> None:
        """Called by the handler, as `attach`."""
        note, self._note = self._note, None
        if note is not None:
            note(address)

    def probe(self, probe: Callable[[bool], None]) -> None:
        """Have the watcher call `probe(the client has gone)` every 50 ms until the RPC is over.

        It must be quick, and bear being called again.
        """
        assert self._watcher is not None
        with self._lock:
            self._probes.append(probe)
        self._watcher.watch(self)

    def on_cancel(self, cancel: Callable[[], None]) -> None:
        """Have the watcher call `cancel`, perhaps several times, when the client has gone."""

        def probe(gone: bool) -> None:
            if gone:
                cancel()

        self.probe(probe)

    def on_end(self, release: Callable[[], None]) -> None:
        """Call `release` once when the RPC is over, however it ended."""
        self._releases.append(release)

    def refuse(self, refusal: Unauthenticated) -> None:
        """From another thread: the caller may not go on."""
        self._refusal = refusal

    def check(self) -> None:
        """
        Raises:
            Unauthenticated: the caller may not go on.
        """
        if self._refusal is not None:
            raise self._refusal from None

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """What is stopped within the block because the caller may not go on says so."""
        try:
            yield
        except Cancelled:
            self.check()
            raise

    def poll(self, *, stopping: bool) -> None:
        with self._lock:
            if self._ended or self._context is None:
                return
            gone = stopping or self._refusal is not None or self._context.is_cancelled()
            for probe in self._probes:
                _harmless(probe, gone)

    def sending_headers(self) -> Mapping[str, str]:  # type: ignore[override] # the stubs are wrong
        return self._answer

    def call_completed(self, exception: Exception | None) -> None:
        with self._lock:
            self._ended = True
            self._probes.clear()  # they refer to this scope
        _harmless(self.located, "")
        for release in reversed(self._releases):
            _harmless(release)
        if self._watcher is not None:
            self._watcher.leave(self)


def keep_thread_state() -> Callable[[], None]:
    """Have Python remember this thread until what this returns is called, on the same thread.

    Flight calls Python a dozen times for each RPC, always on one thread. Each time Python would make its
    state of the thread anew, map memory for its frames and unmap it: a tenth of what a small call costs.
    """
    return partial(ctypes.pythonapi.PyGILState_Release, ctypes.pythonapi.PyGILState_Ensure())


def _harmless(callback: Callable[..., None], *arguments: object) -> None:
    try:
        callback(*arguments)
    except Exception:
        logger.exception("a callback of a call failed")


class Watcher:
    """Knows the running calls; one thread polls those that asked for it. `close` ends it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._watched: set[CallScope] = set()
        self._stopping = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="flight-watcher", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Calls that have begun and have not released all they held."""
        return self._running

    def enter(self) -> None:
        with self._changed:
            self._running += 1

    def watch(self, scope: CallScope) -> None:
        with self._changed:
            self._watched.add(scope)
            self._changed.notify()

    def leave(self, scope: CallScope) -> None:
        with self._changed:
            self._running -= 1
            self._watched.discard(scope)

    def cancel_all(self) -> None:
        """Treat every client, now and later, as gone."""
        self._stopping = True

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while self._wait_for_work():
            time.sleep(POLL_INTERVAL_S)
            with self._changed:
                scopes = list(self._watched)
            for scope in scopes:
                scope.poll(stopping=self._stopping)

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._watched or self._closed)
            return not self._closed
