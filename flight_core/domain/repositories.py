"""What the catalog remembers. All calls are synchronous, short and thread-safe."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from flight_core.domain.contract import Contract, StoredContract
from flight_core.domain.dataset import Dataset, DatasetName, DatasetVersion, LakeState, VersionRef
from flight_core.domain.events import Event, StoredEvent
from flight_core.domain.idempotency import IdempotencyKey
from flight_core.domain.ingestion import Ingestion
from flight_core.domain.job import Job, JobFilter, LogLine, Maintenance, Progress
from flight_core.domain.profile import ColumnProfile
from flight_core.domain.schedule import Schedule
from flight_core.domain.usage import Usage, Use
from flight_core.domain.versions import RetentionPolicy, Tag, TagName

EVERY_JOB = JobFilter()


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


class OpenReadRepository(Protocol):
    """What processes say about the reads they serve, so that others do not delete what is read.

    `oldest_reads` is when the oldest open read of each dataset began, by the dataset's id; under the
    empty id, of any dataset.
    """

    def beat(self, process: str, at: datetime, oldest_reads: Mapping[str, datetime]) -> None:
        """All reads that began before `at` and are still open are among them."""

    def leave(self, *processes: str) -> None: ...

    def horizon(self, dataset_id: str, *, alive_since: datetime) -> datetime | None:
        """No open read of the dataset began earlier; None if there is no process. Processes that said
        nothing since `alive_since` are taken for dead."""


class IngestionRepository(Protocol):
    """Jobs that ingest. `JobRepository` has these and all others."""

    def add(self, ingestion: Ingestion, event: Event, *, key: IdempotencyKey | None = None) -> Ingestion:
        """Store the job and append `event`; nothing of it if `key` has a job, which is the answer then.

        Raises:
            IdempotencyKeyReused: see `started_with`.
        """

    def started_with(self, key: IdempotencyKey) -> Ingestion | None:
        """The job that was added with the key, less than `IdempotencyKey.KEPT` ago.

        Raises:
            IdempotencyKeyReused: that job was asked for by another request.
        """

    def get(self, ingestion_id: str) -> Ingestion:
        """
        Raises:
            IngestionNotFound: no such job, or it does something else.
        """


class JobRepository(Protocol):
    """All jobs, and which worker holds which."""

    def request_maintenance(self, job: Maintenance, event: Event) -> Maintenance:
        """Add a job, unless one of that kind, with the same options, waits or runs for the dataset: then that
        one is the answer."""

    def get(self, job_id: str) -> Job:
        """
        Raises:
            IngestionNotFound: no such job.
        """

    def list(
        self, wanted: JobFilter = EVERY_JOB, *, limit: int = 100, before: str | None = None
    ) -> Sequence[Job]:
        """Newest first; those that were added before the job of the id `before`.

        Raises:
            IngestionNotFound: no job has the id `before` (any more).
        """

    def claim(self, *, worker: str, lease_until: datetime) -> Job | None:
        """Take the job whose turn it is; None if there is nothing to do.

        First the jobs whose lease ran out. Then by priority; then those that have the fewest jobs of
        their own dataset before them, so that many for one dataset do not keep others waiting; then
        in the order in which they were added. A job does not overtake an exclusive one of its dataset.

        Atomic: of several workers one gets it. The job comes back RUNNING with `attempt` + 1.
        """

    def report(self, job_id: str, progress: Progress, *, worker: str, lease_until: datetime) -> Job:
        """Store progress and extend the lease. The answer tells `cancel_requested`.

        Raises:
            Conflict: another worker holds the job now; stop without committing.
        """

    def release(self, job_id: str, *, worker: str) -> None:
        """Give a claimed job back: it is QUEUED again and this attempt does not count.

        Nothing happens if `worker` does not hold the job.
        """

    def request_cancel(self, job_id: str) -> Job:
        """A queued job becomes CANCELLED at once; a running one is marked.

        Raises:
            IngestionNotFound: no such job.
            IngestionFinished: it is in a final state.
        """

    def finish(self, job: Job, event: Event) -> None:
        """Store a final state and append `event`, in one transaction. A final state never changes again."""

    def write_log(self, job_id: str, lines: Sequence[LogLine]) -> None:
        """Add to the job's log."""

    def read_log(self, job_id: str, *, after: int = 0, limit: int = 1000) -> Sequence[tuple[int, LogLine]]:
        """Numbered lines, oldest first: those with a larger number than `after`.

        Raises:
            IngestionNotFound: no such job.
        """

    def prune(self, *, keep: int) -> int:
        """Delete all but the newest `keep` jobs that have ended, with their logs; the number deleted."""


class ScheduleRepository(Protocol):
    """Names compare without case."""

    def add(self, schedule: Schedule, event: Event) -> None:
        """
        Raises:
            ScheduleExists: the name is taken.
        """

    def get(self, name: str) -> Schedule:
        """
        Raises:
            ScheduleNotFound
        """

    def list(self) -> Sequence[Schedule]:
        """By name."""

    def due(self, now: datetime) -> Sequence[Schedule]:
        """Those that are due, and whose last job has ended; the one that waits longest first."""

    def save(self, schedule: Schedule, event: Event) -> Schedule:
        """Store a changed schedule and append `event`, in one transaction; its next revision.

        Raises:
            ScheduleNotFound
            Conflict: it is not the revision that `schedule` was made from.
        """

    def fire(self, schedule: Schedule, ingestion: Ingestion, event: Event) -> None:
        """Store a changed schedule, add the job and append its event, in one transaction: of several
        processes that see the same revision one gets through.

        Raises:
            ScheduleNotFound, Conflict: as `save`.
            ScheduleRunning: the last job has not ended.
        """

    def remove(self, name: str, event: Event) -> None:
        """
        Raises:
            ScheduleNotFound
        """


class ContractRepository(Protocol):
    """By the dataset's name, whether there is such a dataset or not."""

    def find(self, name: DatasetName, version: int | None = None) -> StoredContract | None:
        """The contract in force, or the one of that version; None if there is none."""

    def list(self) -> Sequence[StoredContract]:
        """All that are in force, ordered by name."""

    def put(self, name: DatasetName, contract: Contract, *, actor: str, at: datetime) -> StoredContract:
        """Store it as the next version, with an event. The same contract again changes nothing."""

    def withdraw(self, name: DatasetName, *, actor: str, at: datetime) -> None:
        """From now on there is no contract.

        Raises:
            ContractNotFound: there was none.
        """


class ProfileRepository(Protocol):
    """Profiles of versions, which never change. They go when the version or the dataset does."""

    def find(self, ref: VersionRef) -> Sequence[ColumnProfile] | None: ...

    def put(self, ref: VersionRef, columns: Sequence[ColumnProfile]) -> None:
        """Keep it, if the dataset is there. Where there is one already, that one stays."""


class UsageRepository(Protocol):
    """Which identities have read which dataset (by id), and how often."""

    def add(self, uses: Mapping[tuple[str, str], Use]) -> None:
        """Count more, by dataset and identity. Several processes may add at once."""

    def of(self, dataset_id: str) -> Sequence[Use]:
        """Each identity once."""

    def totals(self) -> Mapping[str, Usage]:
        """Of every dataset that was ever read."""


class OwnTableRepository(Protocol):
    """The names that the users' own tables take, in lower case: for processes that do not have these."""

    def replace(self, names: frozenset[str]) -> None: ...

    def has(self, name: str) -> bool:
        """Compared without case."""


class EventRepository(Protocol):
    def append(self, event: Event) -> StoredEvent: ...

    def after(self, seq: int, *, limit: int = 1000) -> Sequence[StoredEvent]:
        """Events with a larger number, in order."""

    def bounds(self) -> tuple[int, int]:
        """The oldest number kept and the newest (0, 0 when there is none)."""

    def prune(self, *, keep: int) -> int:
        """Delete all but the newest `keep` events; the number of events deleted."""
