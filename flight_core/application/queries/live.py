"""Live queries, whose results are read again when a dataset that they read has changed."""

from dataclasses import dataclass, field

from flight_core.application.access.rights import require
from flight_core.application.ports.engine import ScanningEngine
from flight_core.application.ports.storage import TableStore
from flight_core.application.queries.added_rows import added_rows
from flight_core.application.queries.reader import Reader
from flight_core.application.queries.reads import OpenQuery
from flight_core.application.queries.running import RunningQuery
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import LakeState, VersionRef
from flight_core.domain.errors import NotFound
from flight_core.domain.query import Pins, Statement, datasets_of

_KEEPS_ROWS = "compact"


@dataclass(frozen=True, slots=True)
class LiveResult:
    """A result of a live query. The caller closes `running`. `pins` are the versions that it reads.

    `added`: the rows are to be added to those of the earlier results; otherwise they replace them.
    """

    running: RunningQuery
    pins: Pins
    added: bool


@dataclass(slots=True)
class LiveQuery:
    """A live query. It uses no resources while no result is read. Its methods block; not thread-safe."""

    reader: Reader
    store: TableStore
    engine: ScanningEngine
    open_query: OpenQuery
    statement: Statement
    actor: Actor
    door: str
    whole: bool
    _pins: Pins | None = field(default=None, init=False)

    @property
    def datasets(self) -> frozenset[str]:
        """The keys of the datasets that the query reads; empty before the first result."""
        return frozenset(name.key for name in datasets_of(self._pins or ()))

    def changed(self) -> bool:
        """Whether a new result is due, as the first one always is. Cheap if nothing has changed.

        New versions with the same rows in other files are not a change.
        """
        if self._pins is None:
            return True
        lake = self.reader.lake(self.actor)
        now = {key: self._same_rows(key, ref, lake) for key, ref in self._pins.items()}
        if None in now.values():
            return True
        self._pins = {key: ref for key, ref in now.items() if ref is not None}
        return False

    def open(self, query_id: str | None = None) -> LiveResult:
        """Start reading the next result. Raises as `OpenQuery`."""
        added = self._added_rows()
        running = self.open_query(
            self.statement, actor=self.actor, door=self.door, pins=added, query_id=query_id
        )
        read = {key: VersionRef(ref.dataset_id, ref.version) for key, ref in running.pins.items()}
        self._pins = read
        return LiveResult(running, read, added is not None)

    def _same_rows(self, key: str, ref: VersionRef, lake: LakeState) -> VersionRef | None:
        """The version to which the name refers now, if it has the same rows as `ref`; otherwise None."""
        name, _, version = key.partition("@")
        entry = lake.datasets.get(name)
        if entry is None or entry.ref.dataset_id != ref.dataset_id:
            return None
        if version:
            return ref if entry.version_tags.get(version, ref.version) == ref.version else None
        newer = self.store.history(ref.dataset_id) if entry.ref != ref else ()
        between = [each for each in newer if ref.version < each.ref.version <= entry.ref.version]
        return entry.ref if all(each.operation == _KEEPS_ROWS for each in between) else None

    def _added_rows(self) -> Pins | None:
        """The pins that read only new rows, if rows were only added since the last result; otherwise None."""
        if self._pins is None or len(self._pins) != 1 or self.whole or self.actor.guarded:
            return None
        ((key, ref),) = self._pins.items()
        entry = self.reader.lake(self.actor).datasets.get(key)
        if entry is None or entry.ref.dataset_id != ref.dataset_id or entry.ref == ref:
            return None
        try:
            if not self.engine.is_scan(self.statement, self._pins):
                return None
        except NotFound:  # expired meanwhile
            return None
        added = added_rows(self.store, ref, entry.ref)
        return None if added is None else {key: added}


@dataclass(frozen=True, slots=True)
class FollowQuery:
    """Start a live query. `whole`: each result has all rows, instead of only those that were added."""

    reader: Reader
    store: TableStore
    engine: ScanningEngine
    open_query: OpenQuery

    def __call__(self, statement: Statement, *, actor: Actor, door: str, whole: bool = False) -> LiveQuery:
        require(actor, Scope.READ)
        return LiveQuery(self.reader, self.store, self.engine, self.open_query, statement, actor, door, whole)
