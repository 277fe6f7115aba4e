"""Repository of datasets: names, current versions, and annotations."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion, LakeState
from flight_core.domain.events import Event


class DatasetRepository(Protocol):
    def get(self, name: DatasetName) -> Dataset:
        """The dataset of that name, ignoring case.

        Raises:
            DatasetNotFound: suggests a similar name.
        """

    def find(self, name: DatasetName) -> Dataset | None: ...

    def list(self) -> Sequence[Dataset]:
        """All datasets, ordered by name."""

    def lake_state(self) -> LakeState:
        """A snapshot of all current versions. Called for every query: takes well under a millisecond if
        nothing has changed, and sees commits of other processes at once."""

    def publish(self, name: DatasetName, version: DatasetVersion, event: Event) -> Dataset:
        """Make `version` current and append `event`, in one transaction; creates a new dataset if necessary.

        If the version is not newer than the current one nothing changes and there is no event, so that a
        restarted process may repeat the call.

        Raises:
            DatasetExists: the name belongs to another dataset id.
            CommitConflict: the dataset was dropped meanwhile.
        """

    def reserve(self, name: DatasetName, dataset_id: str) -> str:
        """The id of the dataset of that name; a new name gets `dataset_id`.

        A name that was reserved but never published stays reserved, and is not listed.
        """

    def reservations(self) -> Sequence[tuple[DatasetName, str]]:
        """The names and ids that were reserved but never published."""

    def dropped(self, *, before: datetime) -> Sequence[str]:
        """The ids of datasets dropped before that moment."""

    def annotate(self, dataset: Dataset, event: Event) -> Dataset:
        """Store the annotations of `dataset` (description, tags, owners, column descriptions) and append
        `event`, in one transaction.

        Raises:
            DatasetNotFound: see `get`.
            CommitConflict: they were changed since `dataset` was read.
        """

    def drop(self, name: DatasetName, event: Event, *, seen: Dataset | None = None) -> Dataset:
        """Remove the dataset from the catalog and append `event`, in one transaction. Its files stay.

        Raises:
            DatasetNotFound: see `get`.
            CommitConflict: its version or annotations have changed since it was `seen`.
        """
