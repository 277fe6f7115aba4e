"""Annotating datasets: descriptions, tags and owners."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from flight_core.application.access.rights import get_seen, require
from flight_core.application.ports.clock import Clock
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.errors import InvalidOption
from flight_core.domain.events import EventKind, dataset_event
from flight_core.domain.repositories.datasets import DatasetRepository


@dataclass(frozen=True, slots=True)
class AnnotateDataset:
    """Change the description, tags, owners or column descriptions of a dataset.

    `change` may have the keys `description`, `tags`, `owners` and `columns`; the value None clears one.
    `seen` is the state that the change is based on, if it must not have changed since.

    Raises:
        DatasetNotFound
        InvalidOption: there is no such column.
        CommitConflict: somebody else has changed the annotations, now or since they were `seen`.
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
        event = dataset_event(
            EventKind.DATASET_ANNOTATED, dataset.name, self.clock(), changed=sorted(change), actor=actor.name
        )
        return self.datasets.annotate(changed, event)


def _once_each(words: Iterable[str]) -> tuple[str, ...]:
    """Without duplicates that differ only in case. The order and the first spelling are kept."""
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
