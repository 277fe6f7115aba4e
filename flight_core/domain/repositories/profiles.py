"""Profiles of versions."""

from collections.abc import Sequence
from typing import Protocol

from flight_core.domain.dataset import VersionRef
from flight_core.domain.profile import ColumnProfile


class ProfileRepository(Protocol):
    """Profiles of versions, which never change. They go when the version or the dataset does."""

    def find(self, ref: VersionRef) -> Sequence[ColumnProfile] | None: ...

    def put(self, ref: VersionRef, columns: Sequence[ColumnProfile]) -> None:
        """Keep it, if the dataset is there. Where there is one already, that one stays."""
