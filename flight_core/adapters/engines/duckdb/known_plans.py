"""Plans of statements that read nothing but datasets: the same as long as those, and the users' own
tables, stay the same. So they are remembered, and DuckDB is asked only once rows are wanted."""

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
class KnownPlan:
    """What planning found out."""

    schema: pa.Schema
    pins: Pins
    fingerprint: str | None


class KnownPlans:
    """The latest two thousand. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[Hashable, KnownPlan] = OrderedDict()

    def get(self, key: Hashable) -> KnownPlan | None:
        with self._lock:
            return self._plans.get(key)

    def keep(self, key: Hashable, plan: KnownPlan) -> None:
        with self._lock:
            self._plans[key] = plan
            while len(self._plans) > _KEPT:
                self._plans.popitem(last=False)


class KnownQuery:
    """Implements `Query`: a known plan, bound by `bind` when it is iterated."""

    def __init__(self, plan: KnownPlan, bind: Callable[[], Query]) -> None:
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
