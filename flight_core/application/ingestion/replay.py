"""Holding rejected rows against a contract once more."""

from dataclasses import dataclass

from flight_core.application.access.rights import require, require_granted
from flight_core.application.ingestion.ingestions import StartIngestion
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import REJECTS_KIND, rejects_of
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import DatasetNotFound
from flight_core.domain.ingestion import Ingestion, IngestionRequest, SourceSpec
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True, slots=True)
class ReplayRejects:
    """Queue a job that checks the rejected rows of a dataset by the contract as it is then.

    Good ones are appended and leave the quarantine; the others stay, with what they break now. The job
    runs alone on its dataset. Of two that were asked for at the same time the second fails.

    Raises:
        DatasetNotFound: nothing was rejected.
        PermissionDenied
    """

    datasets: DatasetRepository
    start: StartIngestion

    def __call__(self, name: DatasetName, *, actor: Actor) -> Ingestion:
        require(actor, Scope.INGEST)
        require_granted(name, actor)
        rejects = self.datasets.find(rejects_of(name))
        if rejects is None:
            raise DatasetNotFound(
                f"no rows of dataset '{name}' were rejected; there is nothing to replay", name=name.value
            )
        source = SourceSpec(REJECTS_KIND, {"dataset_id": rejects.id, "version": rejects.version})
        return self.start(IngestionRequest(name, source, format="parquet"), actor=actor)
