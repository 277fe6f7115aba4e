"""Protecting derived datasets: only runs of their derivation may write to them."""

from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import DatasetDerived
from flight_core.domain.repositories.derivations import DerivationRepository


def refuse_derived(
    derivations: DerivationRepository, name: DatasetName, *, job_id: str | None = None
) -> None:
    """
    Raises:
        DatasetDerived: the dataset is derived, and the job is not the latest run of its derivation.
    """
    derivation = derivations.find(name)
    if derivation is not None and (job_id is None or job_id != derivation.run):
        raise DatasetDerived(
            f"dataset '{name}' is derived: its rows come from its derivation alone; make it anew with"
            f" `skein refresh {name}`, write to another dataset, or remove the derivation with"
            f" `skein underive {name}`",
            name=name.value,
        )
