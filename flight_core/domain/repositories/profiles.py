"""Repository of column profiles."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.dataset import VersionRef
from flight_core.domain.profile import ColumnProfile


class ProfileRepository(Protocol):
    """Profiles of versions. They are deleted together with the version or the dataset."""

    def find(self, ref: VersionRef) -> Sequence[ColumnProfile] | None: ...

    def put(self, ref: VersionRef, columns: Sequence[ColumnProfile]) -> None:
        """Store the profile, unless the dataset was dropped. An existing profile of the version is kept."""
