"""Splitting a read into parts, which clients can fetch in parallel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flight_core.application.ports.engine import PartitionedEngine
from flight_core.domain.query import Part, QueryPlan

MAX_PARTS = 64


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """The parts of a plan in order, at most `wanted`; only the plan itself if it cannot be split.

    All parts read the versions that the plan has pinned. Each has a query id of its own.
    """

    engine: PartitionedEngine

    def __call__(self, plan: QueryPlan, wanted: int) -> Sequence[QueryPlan]:
        wanted = min(wanted, MAX_PARTS) if plan.divisible else 1
        count = self.engine.count_parts(plan.statement, plan.pins, wanted=wanted) if wanted > 1 else 1
        if count == 1:
            return (plan,)
        return [
            replace(
                plan,
                query_id=f"{plan.query_id}-{index}",
                statement=replace(plan.statement, part=Part(index, count)),
            )
            for index in range(count)
        ]
