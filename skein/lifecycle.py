"""Starting, serving and stopping: claim, open, listen, tell; then the other way round."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import NoReturn

import anyio
import anyio.to_thread
import uvloop
from anyio.abc import TaskStatus

from flight_core.domain.errors import FlightCoreError
from skein.allocator import keep_freed_memory
from skein.directory import DataDirectory, Role
from skein.http_server import HttpServer
from skein.listening import HTTP_FLAG, METRICS_FLAG, check_ports, flight_uri
from skein.open_files import allow_many_open_files
from skein.runtime import Endpoints, RuntimeFile
from skein.settings import Settings
from skein.wiring.process import VERSION, Skein, flight_server, http_app, open_skein

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLOSE_S = 5.0  # for ending jobs and closing everything, once streams have been drained

Prepare = Callable[[Skein], object]  # runs before anybody is told that the servers are ready
Announce = Callable[[Skein, Endpoints], object]


class _Stopped(BaseException):
    """A signal came before the servers were ready."""


def run(settings: Settings, roles: Set[Role], *, prepare: Prepare, announce: Announce) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, then drain and close everything. A second one of the first two
    ends the process at once, and so does time that runs out.

    Raises:
        InvalidOption, Conflict: it cannot start, and why.
    """
    keep_freed_memory()
    allow_many_open_files()
    directory = DataDirectory(settings.data)
    directory.prepare()
    try:
        with _signals_raise(), directory.claimed(roles):
            check_ports(settings, roles)
            with open_skein(settings, directory, roles) as skein, _kept_from_the_collector():
                skein.reconcile()
                if Role.FLIGHT in roles:
                    skein.recover_rejects()
                prepare(skein)
                servers = Servers(skein, roles)
                with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                    runner.run(_until_signal(servers, settings.drain_timeout_s, partial(announce, skein)))
                _end_on_signals()
    except _Stopped:
        pass
    except BaseExceptionGroup as failures:
        failure = _first(failures)
        if not isinstance(failure, FlightCoreError):
            logger.exception("the server failed")
        raise failure from failures


def end_process() -> NoReturn:
    """Once everything is closed. The interpreter would wait for threads of clients that never leave."""
    sys.stdout.flush()
    logging.shutdown()
    os._exit(0)


@contextmanager
def _kept_from_the_collector() -> Iterator[None]:
    """What is there now stays until the end: the collector need not look at it every time."""
    gc.freeze()
    gc.enable()
    try:
        yield
    finally:
        gc.unfreeze()


@dataclass(frozen=True, slots=True)
class _Chore:
    """Work that blocks, and that is due every `every_s` seconds; `failure` is what the log says of one."""

    work: Callable[[], object]
    every_s: float
    failure: str
    after_s: float = 0.0  # for the first time

    async def repeat(self, stop: anyio.Event) -> None:
        """Until `stop`. What fails each time is told once, until it works again."""
        told = ""
        with anyio.move_on_after(self.after_s):
            await stop.wait()
        while not stop.is_set():
            try:
                await anyio.to_thread.run_sync(self.work)
                told = ""
            except Exception as error:
                if repr(error) != told:
                    logger.exception(self.failure)
                    told = repr(error)
            with anyio.move_on_after(self.every_s):
                await stop.wait()


class Servers:
    """The servers of one process, and what runs beside them in the same event loop."""

    def __init__(self, skein: Skein, roles: Set[Role]) -> None:
        self._skein = skein
        self._roles = roles
        self._runtime = RuntimeFile(skein.directory.runtime_file)

    async def run(self, stop: anyio.Event, *, task_status: TaskStatus[Endpoints]) -> None:
        """Serve until `stop` is set. Open streams then get `drain_timeout_s` seconds to end."""
        flight = http = None
        async with anyio.create_task_group() as tasks:
            if Role.FLIGHT in self._roles:
                flight = await tasks.start(self._serve_flight, stop)
                if Role.CONTROL not in self._roles and self._skein.settings.metrics_port is not None:
                    address = await tasks.start(self._serve_metrics, stop)
                    logger.info("answers probes and Prometheus", extra={"address": address})
            if Role.CONTROL in self._roles:
                http = await tasks.start(self._serve_http, stop, flight)
                tasks.start_soon(self._work, stop)
            for role in self._roles:
                for chore in self._chores(role):
                    tasks.start_soon(chore.repeat, stop)
            self._runtime.add(Endpoints(flight, http), VERSION)
            try:
                task_status.started(Endpoints(flight, http))
                await stop.wait()
            finally:
                self._runtime.remove()

    async def _serve_flight(self, stop: anyio.Event, *, task_status: TaskStatus[str]) -> None:
        server = flight_server(self._skein)
        try:
            task_status.started(flight_uri(self._skein.settings, server.port))
            await stop.wait()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(server.stop, self._skein.settings.drain_timeout_s)

    async def _serve_http(
        self, stop: anyio.Event, flight: str | None, *, task_status: TaskStatus[str]
    ) -> None:
        settings = self._skein.settings
        elsewhere = self._runtime.read().get("flight") or flight_uri(settings, settings.flight_port)
        app = http_app(self._skein, flight_uri=flight or elsewhere)
        await HttpServer(app, settings, settings.http_port, flag=HTTP_FLAG).run(stop, task_status=task_status)

    async def _serve_metrics(self, stop: anyio.Event, *, task_status: TaskStatus[str]) -> None:
        settings = self._skein.settings
        assert settings.metrics_port is not None
        app = http_app(self._skein, flight_uri="", whole=False)
        server = HttpServer(app, settings, settings.metrics_port, flag=METRICS_FLAG)
        await server.run(stop, task_status=task_status)

    async def _work(self, stop: anyio.Event) -> None:
        """Run jobs; those that have not ended by then are given back, for the next start."""
        worker = self._skein.new_worker()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(worker.run)
            await stop.wait()
            worker.stop()

    def _chores(self, role: Role) -> Sequence[_Chore]:
        """What has to be done again and again where the role is."""
        skein = self._skein
        if role is Role.FLIGHT:
            return [
                _Chore(skein.share_own_tables, 1.0, "the names of the users' own tables could not be stored")
            ]
        return [
            _Chore(skein.refresh_due, 0.25, "derived datasets could not be looked at"),
            _Chore(skein.fire_schedules, 1.0, "schedules could not be looked at"),
            _Chore(skein.maintain, 60.0, "datasets could not be looked at for maintenance", after_s=60.0),
            _Chore(skein.tidy, 3600.0, "housekeeping failed"),
        ]


async def _until_signal(servers: Servers, drain_s: float, announce: Callable[[Endpoints], object]) -> None:
    stop = anyio.Event()

    def begin() -> None:
        if not stop.is_set():
            stop.set()
            threading.Thread(target=_end_after, args=(drain_s + _CLOSE_S,), daemon=True).start()

    def on_signal() -> None:
        if stop.is_set():
            logger.warning("stopped without waiting for open streams")
            os._exit(1)
        logger.info("stopping; another signal stops at once")
        begin()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, on_signal)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup has it
        loop.add_signal_handler(signal.SIGHUP, begin)  # its terminal is gone; that may be told twice
    async with anyio.create_task_group() as tasks:
        announce(await tasks.start(servers.run, stop))


def _end_on_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, lambda *_: os._exit(1))


def _end_after(time_s: float) -> None:
    """End the process if it still runs by then. It may be killed at any time, so nothing is lost."""
    time.sleep(time_s)
    told = threading.Thread(
        target=logger.warning, args=("stopped before everything was closed",), daemon=True
    )
    told.start()
    told.join(1.0)  # nobody may read what is logged
    os._exit(0)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let a signal that comes during start-up unwind what was begun."""

    def raise_stopped(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Stopped

    before = {number: signal.signal(number, raise_stopped) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
