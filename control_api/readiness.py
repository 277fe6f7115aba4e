"""Whether the parts of the server work, found out together by all who ask at the same time."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping

from anyio import CapacityLimiter, to_thread

from control_api.options import Check
from flight_core.domain.errors import FlightCoreError

logger = logging.getLogger(__name__)

OK = "ok"
_PATIENCE_S = 0.5
_REMEMBERED_S = 30.0


class Readiness:
    """A check that has not ended yet is not begun again, and all have threads of their own: neither many who
    ask nor a server that is busy otherwise keep them waiting.

    Where the processors are so busy that a check takes long, what it found last is told, for a while: probes
    wait a second, and a busy server is not broken.
    """

    def __init__(self, checks: Mapping[str, Check], timeout_s: float) -> None:
        self._checks = dict(sorted(checks.items()))
        self._timeout_s = timeout_s
        self._threads = CapacityLimiter(max(1, len(checks)))
        self._running: dict[str, asyncio.Task[str]] = {}
        self._found: dict[str, tuple[str, float]] = {}  # and when

    async def __call__(self) -> dict[str, str]:
        """`OK`, or what is wrong, for each part."""
        results = await asyncio.gather(*map(self._result, self._checks))
        return dict(zip(self._checks, results, strict=True))

    async def _result(self, name: str) -> str:
        running = self._running.get(name)
        if running is None or running.done():
            running = self._running[name] = asyncio.create_task(self._run(name))
        found, found_at = self._found.get(name, ("", -math.inf))
        remembered = time.monotonic() - found_at < _REMEMBERED_S
        try:
            patience_s = _PATIENCE_S if remembered else self._timeout_s
            return await asyncio.wait_for(asyncio.shield(running), patience_s)
        except TimeoutError:
            return found if remembered else f"no answer within {self._timeout_s:g} s"

    async def _run(self, name: str) -> str:
        result = await self._tried(name)
        self._found[name] = result, time.monotonic()
        return result

    async def _tried(self, name: str) -> str:
        try:
            await to_thread.run_sync(self._checks[name], abandon_on_cancel=True, limiter=self._threads)
        except FlightCoreError as error:
            return str(error)
        except Exception:
            logger.exception("check failed", extra={"check": name})
            return "failed; the server's log tells more"
        return OK
