"""Refreshing any dataset: running its derivation, or ingesting its sources again."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from flight_core.application.access.rights import get_seen, require
from flight_core.application.derived.runs import KIND, STEP_KIND, Refresh
from flight_core.application.ingestion.ingestions import StartIngestion
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import REJECTS_KIND
from flight_core.domain.dataset import DatasetName, WriteMode
from flight_core.domain.errors import DerivationNotFound, InvalidRequest
from flight_core.domain.ingestion import Ingestion, IngestionRequest
from flight_core.domain.job import JobFilter, JobState, Task
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.jobs import JobRepository
from flight_core.domain.source_state import fingerprint_of

_LATEST = 1000
_STARTING_OVER = (WriteMode.CREATE, WriteMode.REPLACE)
_OURS = (KIND, STEP_KIND, REJECTS_KIND)  # sources that nobody can ask for


@dataclass(frozen=True, slots=True)
class RefreshDataset:
    """Run the derivation of a derived dataset. For any other dataset, ingest each of its sources again, in
    order: those of the successful jobs since the latest one that replaced all rows. Sources with nothing new
    change nothing. Runs of a derivation that is gone, and replays, are not repeated.

    Raises:
        DatasetNotFound
        InvalidRequest: none of its sources is known.
        and whatever `StartIngestion` refuses.
    """

    datasets: DatasetRepository
    jobs: JobRepository
    start: StartIngestion
    derive: Refresh

    def __call__(self, name: DatasetName, *, actor: Actor) -> Sequence[Ingestion]:
        require(actor, Scope.INGEST)
        with suppress(DerivationNotFound):
            return [self.derive(name, actor=actor)]
        dataset = get_seen(self.datasets, name, actor)
        requests = list(self._requests(dataset.name))[::-1]
        if not requests:
            raise InvalidRequest(
                f"nothing that was ingested into '{dataset.name}' is known; ingest a source first",
                name=dataset.name.value,
            )
        return [self.start(request, actor=actor) for request in requests]

    def _requests(self, name: DatasetName) -> Iterator[IngestionRequest]:
        """The requests to repeat, newest first, one for each source."""
        wanted = JobFilter(name, frozenset({JobState.SUCCEEDED}), frozenset({Task.INGEST}))
        seen: set[str] = set()
        for job in self.jobs.list(wanted, limit=_LATEST):
            assert isinstance(job, Ingestion)
            request, fingerprint = job.request, fingerprint_of(job.request.source)
            if fingerprint not in seen and request.source.kind not in _OURS:
                seen.add(fingerprint)
                again = WriteMode.REPLACE if request.mode is WriteMode.CREATE else request.mode
                yield replace(request, mode=again, force=False)
            if request.mode in _STARTING_OVER:
                return
