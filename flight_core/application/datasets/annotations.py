"""What people say about datasets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flight_core.application.access.rights import get_seen, require
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.errors import InvalidOption
from flight_core.domain.events import Event, EventKind
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True, slots=True)
class AnnotateDataset:
    """Change the description, tags, owners, or descriptions of columns.

    `change` has those of `description`, `tags`, `owners` and `columns` that change; None empties them.
    `seen` is the state that it is a change of, if that matters.

    Raises:
        DatasetNotFound
        InvalidOption: there is no such column.
        CommitConflict: somebody else changes them just now, or has since they were `seen`.
    """

    datasets: DatasetRepository
    clock: Clock

    def __call__(
        self, name: DatasetName, change: Mapping[str, Any], *, actor: Actor, seen: Dataset | None = None
    ) -> Dataset:
        require(actor, Scope.WRITE)
        dataset = seen or get_seen(self.datasets, name, actor)
        changed = dataset
        if "description" in change:
            changed = replace(changed, description=change["description"] or "")
        if "tags" in change:
            changed = replace(changed, tags=_once_each(change["tags"] or ()))
        if "owners" in change:
            changed = replace(changed, owners=_once_each(change["owners"] or ()))
        if "columns" in change:
            changed = replace(changed, column_descriptions=_columns(dataset, change["columns"]))
        if changed == dataset:
            return dataset
        data = {"dataset": str(dataset.name), "changed": sorted(change), "actor": actor.name}
        event = Event(EventKind.DATASET_ANNOTATED, str(dataset.name), data, self.clock())
        return self.datasets.annotate(changed, event)


def _once_each(words: Iterable[str]) -> tuple[str, ...]:
    """In their order; case does not tell them apart, and the first spelling stays."""
    found: dict[str, str] = {}
    for word in words:
        found.setdefault(word.lower(), word)
    return tuple(found.values())


def _columns(dataset: Dataset, change: Mapping[str, str | None] | None) -> dict[str, str]:
    if change is None:
        return {}
    names = {name.lower(): name for name in dataset.current.schema.names}
    unknown = [name for name in change if name.lower() not in names]
    if unknown:
        raise InvalidOption(
            f"dataset '{dataset.name}' has no column '{unknown[0][:80]}'; it has"
            f" {', '.join(names.values())[:300]}",
            option="columns",
        )
    merged = {**dataset.column_descriptions, **{names[name.lower()]: text for name, text in change.items()}}
    return {name: text for name, text in merged.items() if text}
