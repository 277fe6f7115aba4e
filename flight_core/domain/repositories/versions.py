"""Repository of tags, retention policies and expired versions."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.events import Event
from flight_core.domain.versions import RetentionPolicy, Tag, TagName


class VersionRepository(Protocol):
    """The tags, the retention policy and the expired versions of each dataset."""

    def tags(self, dataset_id: str) -> Sequence[Tag]:
        """Ordered by name."""

    def put_tag(self, dataset_id: str, tag: Tag, event: Event) -> None:
        """Create or move the tag and append `event`, in one transaction.

        Raises:
            VersionExpired: the version has expired; tagging it does not bring it back.
            DatasetNotFound: the dataset was dropped.
        """

    def remove_tag(self, dataset_id: str, name: TagName, event: Event) -> None:
        """Remove the tag. An old version expires with its last tag.

        Raises:
            TagNotFound
        """

    def retention(self, dataset_id: str) -> RetentionPolicy | None:
        """The policy of the dataset; None if it has none of its own."""

    def set_retention(self, dataset_id: str, policy: RetentionPolicy | None, event: Event) -> None: ...

    def expire(self, dataset_id: str, *, before: int, event: Event) -> Sequence[int]:
        """Expire all versions before that one that have no tag; returns the newly expired ones, in order.
        They cannot be read by new queries any more. Appends no event if there are none."""

    def expired(self, dataset_id: str) -> Mapping[int, datetime]:
        """When each version expired whose files may not be deleted yet."""

    def forget_expired(self, dataset_id: str, versions: Collection[int]) -> None:
        """Remove the entries of versions whose files have been deleted."""
