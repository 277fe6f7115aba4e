"""Plans of statements that only read datasets.

They stay valid as long as the versions of these datasets, and the names of own tables, do not change. So
DuckDB need not bind the statement again before its rows are wanted.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from flight_core.application.ports.engine import Query
from flight_core.domain.errors import Cancelled
from flight_core.domain.query import Pins

_KEPT = 2048


@dataclass(frozen=True, slots=True)
class CachedPlan:
    """What is known of a statement that was planned."""

    schema: pa.Schema
    pins: Pins
    fingerprint: str | None


class PlanCache:
    """The latest 2048 plans. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[Hashable, CachedPlan] = OrderedDict()

    def get(self, key: Hashable) -> CachedPlan | None:
        with self._lock:
            return self._plans.get(key)

    def keep(self, key: Hashable, plan: CachedPlan) -> None:
        with self._lock:
            self._plans[key] = plan
            while len(self._plans) > _KEPT:
                self._plans.popitem(last=False)


class PlannedQuery:
    """Implements `Query`: a cached plan, which is bound by `bind` when it is iterated."""

    def __init__(self, plan: CachedPlan, bind: Callable[[], Query]) -> None:
        self.schema = plan.schema
        self.pins = plan.pins
        self.fingerprint = plan.fingerprint
        self._bind = bind
        self._lock = threading.Lock()
        self._bound: Query | None = None
        self._stopped = False

    def progress(self) -> float | None:
        """See `Measured`."""
        bound = self._bound
        return None if bound is None else bound.progress()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        bound = self._bind()
        with self._lock:
            self._bound = bound
            stopped = self._stopped
        if stopped:
            bound.close()
            raise Cancelled("the query was cancelled")
        yield from bound

    def cancel(self) -> None:
        with self._lock:
            self._stopped = True
        if self._bound is not None:
            self._bound.cancel()

    def close(self) -> None:
        with self._lock:
            self._stopped = True
        if self._bound is not None:
            self._bound.close()
