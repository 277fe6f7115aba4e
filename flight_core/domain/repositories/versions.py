"""Versions: tags, retention, and what has expired."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.versions import RetentionPolicy, Tag, TagName


class VersionRepository(Protocol):
    """Which versions of a dataset have names, how long they stay, and which have expired."""

    def tags(self, dataset_id: str) -> Sequence[Tag]:
        """Ordered by name."""

    def put_tag(self, dataset_id: str, tag: Tag, event: Event) -> None:
        """Make the tag, or move it, and append `event`, in one transaction.

        Raises:
            VersionExpired: the version has; a tag does not bring it back.
            DatasetNotFound: the dataset was dropped.
        """

    def remove_tag(self, dataset_id: str, name: TagName, event: Event) -> None:
        """An old version that this was the last tag of expires with it.

        Raises:
            TagNotFound
        """

    def retention(self, dataset_id: str) -> RetentionPolicy | None:
        """None: the dataset has no policy of its own."""

    def set_retention(self, dataset_id: str, policy: RetentionPolicy | None, event: Event) -> None: ...

    def expire(self, dataset_id: str, *, before: int, event: Event) -> Sequence[int]:
        """Let every version before that one go, unless it has a tag; those that had not yet, in order.
        From now on nobody can ask for them. No event if there are none."""

    def expired(self, dataset_id: str) -> Mapping[int, datetime]:
        """Since when versions have expired whose files may be there still."""

    def forget_expired(self, dataset_id: str, versions: Collection[int]) -> None:
        """Their files are gone."""
