"""Keeping the state of sources consistent with what was committed."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from flight_core.application.ports.storage import TableStore
from flight_core.domain.dataset import Dataset, DatasetVersion, WriteMode
from flight_core.domain.errors import Conflict, IngestionNotFound, SourceBusy
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.ingestions import IngestionRepository
from flight_core.domain.repositories.source_memories import SourceMemoryRepository
from flight_core.domain.source_state import Remembered, SourceMemory, SourceState, fingerprint_of, reading_of

# Operations that remove all earlier rows.
_OVERWRITING = frozenset({"create", "replace", "restore"})


@dataclass(frozen=True, slots=True)
class Recollection:
    """The stored memory, and the state in it that applies to the job; None: everything is to be fetched."""

    memory: SourceMemory
    state: SourceState | None


@dataclass(frozen=True, slots=True)
class RememberSources:
    """Call `recall` before the fetch, `prepare` before the commit, and `settle` after it.

    If a job dies between `prepare` and `settle`, the next `recall` looks in storage whether it has committed,
    and uses its state only then.
    """

    memories: SourceMemoryRepository
    datasets: DatasetRepository
    store: TableStore
    ingestions: IngestionRepository

    def recall(self, ingestion: Ingestion) -> Recollection:
        """
        Raises:
            SourceBusy: another job is about to commit data of the same source.
        """
        request = ingestion.request
        memory = self.memories.find(request.dataset, fingerprint_of(request.source))
        dataset = self.datasets.find(request.dataset)
        memory = self._resolved(memory, dataset, ingestion.id)
        last = memory.settled
        if request.force or dataset is None or last is None or last.dataset_id != dataset.id:
            return Recollection(memory, None)
        replacing = request.mode is WriteMode.REPLACE
        seen = last.state.seen if last.reading == reading_of(request) else {}
        if dataset.version != last.version and (replacing or self._overwritten(dataset, last.version)):
            seen = {}
        return Recollection(memory, SourceState(seen, {} if replacing else last.state.cursor))

    def prepare(self, recollection: Recollection, state: SourceState, ingestion: Ingestion) -> SourceMemory:
        """Store the state that will apply after the commit.

        Raises:
            SourceBusy: another job with the same source was faster.
        """
        memory = recollection.memory
        pending = Remembered(ingestion.id, state, reading_of(ingestion.request))
        current = self.memories.find(memory.dataset, memory.fingerprint)
        if current.pending is not None and current.pending.job == ingestion.id:
            memory = current  # the job itself, before it had to repeat its commit
        try:
            return self.memories.save(replace(memory, pending=pending))
        except Conflict:
            raise SourceBusy(
                f"another ingestion of the same source into '{ingestion.request.dataset}' got ahead;"
                " start this one again"
            ) from None

    def settle(self, memory: SourceMemory, version: DatasetVersion) -> None:
        """Confirm the prepared state after the commit. The next `recall` can do without it."""
        with suppress(Conflict):  # somebody else saw the commit and has settled it
            self.memories.save(_settled(memory, version))

    def _resolved(self, memory: SourceMemory, dataset: Dataset | None, job: str) -> SourceMemory:
        """Confirm the pending state of another job if that has committed."""
        pending = memory.pending
        if pending is None or pending.job == job:
            return memory
        version = self.store.committed_by(dataset.id, pending.job) if dataset else None
        if version is None and self._runs(pending.job):
            raise SourceBusy(
                f"ingestion '{pending.job}' of the same source into '{memory.dataset}' has not ended;"
                " wait for it, or cancel it",
                ingestion=pending.job,
            )
        if version is None:
            return memory
        try:
            return self.memories.save(_settled(memory, version))
        except Conflict:  # somebody else saw the commit, too
            return self.memories.find(memory.dataset, memory.fingerprint)

    def _runs(self, job: str) -> bool:
        try:
            return not self.ingestions.get(job).state.final
        except IngestionNotFound:
            return False

    def _overwritten(self, dataset: Dataset, since: int | None) -> bool:
        history: Sequence[DatasetVersion] = self.store.history(dataset.id)
        return any(
            version.operation in _OVERWRITING and (since is None or version.ref.version > since)
            for version in history
        )


def _settled(memory: SourceMemory, version: DatasetVersion) -> SourceMemory:
    assert memory.pending is not None
    settled = replace(memory.pending, dataset_id=version.ref.dataset_id, version=version.ref.version)
    return replace(memory, settled=settled, pending=None)
