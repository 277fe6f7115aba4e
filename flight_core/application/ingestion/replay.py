"""Replaying rejected rows: checking them again."""

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
    """Queue a job that checks the rejected rows of a dataset against its current contract.

    Rows that pass are appended to the dataset and removed from the quarantine. The others stay there, with
    the rules that they break now. The job is exclusive; the second of two concurrent replays fails.

    Raises:
        DatasetNotFound: no rows were rejected.
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
