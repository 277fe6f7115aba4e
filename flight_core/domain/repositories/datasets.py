"""Datasets: names, current versions, and what people say."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion, LakeState
from flight_core.domain.events import Event


class DatasetRepository(Protocol):
    def get(self, name: DatasetName) -> Dataset:
        """The dataset of that name, compared without case.

        Raises:
            DatasetNotFound: with the nearest name that exists.
        """

    def find(self, name: DatasetName) -> Dataset | None: ...

    def list(self) -> Sequence[Dataset]:
        """All datasets, ordered by name."""

    def lake_state(self) -> LakeState:
        """Every dataset's current version. Called once a query: answers in well under a millisecond
        when nothing changed, and sees commits of other processes at once."""

    def publish(self, name: DatasetName, version: DatasetVersion, event: Event) -> Dataset:
        """Make `version` current and append `event`, in one transaction; creates the entry if it is new.

        Publishing a version that is not newer than the current one changes nothing (no event):
        a restarted process may repeat it.

        Raises:
            DatasetExists: the name belongs to another dataset id.
            CommitConflict: the dataset was dropped meanwhile.
        """

    def reserve(self, name: DatasetName, dataset_id: str) -> str:
        """The id of the dataset of that name; `dataset_id` is bound to the name if it has none.

        A name that was reserved and never published stays invisible, and stays reserved.
        """

    def reservations(self) -> Sequence[tuple[DatasetName, str]]:
        """Names that are bound to an id and were never published."""

    def dropped(self, *, before: datetime) -> Sequence[str]:
        """The ids of datasets dropped before that moment."""

    def annotate(self, dataset: Dataset, event: Event) -> Dataset:
        """Store what people say about a dataset: description, tags, owners, descriptions of columns; and
        append `event`, in one transaction.

        Raises:
            DatasetNotFound: see `get`.
            CommitConflict: somebody changed them since `dataset` was read.
        """

    def drop(self, name: DatasetName, event: Event, *, seen: Dataset | None = None) -> Dataset:
        """Forget the name and append `event`, in one transaction. Files are not touched.

        Raises:
            DatasetNotFound: see `get`.
            CommitConflict: it has another version, or other notes, than when it was `seen`.
        """
