"""Every failure Skein reports, as one tree.

    FlightCoreError
    ├── InvalidRequest          the caller must change the request
    │   ├── InvalidDatasetName, InvalidCommand, InvalidTicket, InvalidParameters
    │   ├── InvalidSql, QueryFailed, DerivationCycle
    │   ├── InvalidSource, SecretNotFound, ChecksumMismatch
    │   ├── UnreadableData, UnknownFormat
    │   ├── SchemaMismatch, LossyType, UnsupportedType, InvalidKeys
    │   ├── InvalidOption, InvalidTag, IdempotencyKeyReused, InvalidContract
    │   └── ContractViolated
    ├── NotFound                the thing named does not exist
    │   ├── DatasetNotFound, TableNotFound, VersionNotFound, VersionExpired, TagNotFound
    │   ├── ScheduleNotFound
    │   └── IngestionNotFound, UploadNotFound, QueryNotFound, TokenNotFound, UserNotFound,
    │       HandleNotFound, ContractNotFound, DerivationNotFound,
    │       StepNotFound
    ├── Conflict                somebody else was first, or the state forbids it
    │   ├── DatasetExists, DatasetDerived, TableExists, UserExists, CommitConflict, TransactionFailed
    │   ├── ScheduleExists, ScheduleRunning
    │   └── IngestionFinished, NotRetryable, UploadFinished, OffsetMismatch, SourceBusy
    ├── Unauthenticated         no valid credentials
    ├── PermissionDenied        valid credentials, not allowed
    │   └── StatementNotAllowed, SourceNotAllowed, ReservedName
    ├── ResourceExhausted       a configured limit was reached; try again later
    │   └── TooManyStreams, TooManySessions, TooManyRequests, TooManyQueries,
    │       OutOfMemory, OutOfDisk, LimitExceeded
    ├── DependencyFailed        something outside Skein failed
    │   └── SourceUnavailable, EngineUnavailable, AttemptsExhausted
    ├── DeadlineExceeded        the time allowed is over
    ├── Unsupported             a valid request that this server does not implement
    └── Cancelled               somebody asked for it to stop

`code` is published and never renamed. `retryable` tells whether the same request may succeed later.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar


class FlightCoreError(Exception):
    """A failure with a stable code. The message has the value at fault and a way out."""

    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details: Mapping[str, object] = MappingProxyType(details)

    def __str__(self) -> str:
        return f"[{self.code}] {self.message}"


class InvalidRequest(FlightCoreError):
    code = "invalid_request"


class InvalidDatasetName(InvalidRequest):
    code = "invalid_dataset_name"


class InvalidCommand(InvalidRequest):
    code = "invalid_command"


class InvalidTicket(InvalidRequest):
    code = "invalid_ticket"


class InvalidParameters(InvalidRequest):
    code = "invalid_parameters"


class InvalidOption(InvalidRequest):
    code = "invalid_option"


class InvalidTag(InvalidRequest):
    code = "invalid_tag"


class InvalidContract(InvalidRequest):
    """The contract cannot be applied to any data."""

    code = "invalid_contract"


class ContractViolated(InvalidRequest):
    """Rows broke a rule of the severity `fail`, or too many were rejected. Nothing was committed."""

    code = "contract_violated"


class InvalidSql(InvalidRequest):
    """The statement cannot be parsed or bound; `details` may hold `line` and `column`."""

    code = "invalid_sql"


class QueryFailed(InvalidRequest):
    """The statement is valid and failed on the data: a cast, an overflow, a constraint."""

    code = "query_failed"


class DerivationCycle(InvalidRequest):
    """A dataset would be derived from itself; `details["cycle"]` lists the datasets on the way."""

    code = "derivation_cycle"


class InvalidSource(InvalidRequest):
    code = "invalid_source"


class SecretNotFound(InvalidRequest):
    """The server has no secret of the name that the source gives."""

    code = "secret_not_found"


class ChecksumMismatch(InvalidRequest):
    """Data that was fetched or sent does not match its checksum."""

    code = "checksum_mismatch"


class UnreadableData(InvalidRequest):
    """A file or stream is truncated, damaged, or not of its format."""

    code = "unreadable_data"


class UnknownFormat(InvalidRequest):
    code = "unknown_format"


class SchemaMismatch(InvalidRequest):
    code = "schema_mismatch"


class LossyType(InvalidRequest):
    """Storing a column would lose information, which the caller has not allowed."""

    code = "lossy_type"


class UnsupportedType(InvalidRequest):
    code = "unsupported_type"


class InvalidKeys(InvalidRequest):
    """New rows have no key although their mode needs one, or two of them have the same."""

    code = "invalid_keys"


class IdempotencyKeyReused(InvalidRequest):
    """The key was used for another request before."""

    code = "idempotency_key_reused"


class NotFound(FlightCoreError):
    code = "not_found"


class DatasetNotFound(NotFound):
    code = "dataset_not_found"


class TableNotFound(NotFound):
    code = "table_not_found"


class VersionNotFound(NotFound):
    code = "version_not_found"


class VersionExpired(NotFound):
    """The version existed, but the retention policy does not keep it."""

    code = "version_expired"


class TagNotFound(NotFound):
    code = "tag_not_found"


class IngestionNotFound(NotFound):
    code = "ingestion_not_found"


class DerivationNotFound(NotFound):
    code = "derivation_not_found"


class StepNotFound(NotFound):
    code = "step_not_found"


class ContractNotFound(NotFound):
    code = "contract_not_found"


class UploadNotFound(NotFound):
    code = "upload_not_found"


class ScheduleNotFound(NotFound):
    code = "schedule_not_found"


class TokenNotFound(NotFound):
    code = "token_not_found"


class UserNotFound(NotFound):
    code = "user_not_found"


class QueryNotFound(NotFound):
    code = "query_not_found"


class HandleNotFound(NotFound):
    """A prepared statement, transaction or session handle is unknown, closed or expired."""

    code = "handle_not_found"


class Conflict(FlightCoreError):
    code = "conflict"


class DatasetExists(Conflict):
    code = "dataset_exists"


class DatasetDerived(Conflict):
    """The dataset is derived, so only its derivation writes rows."""

    code = "dataset_derived"


class TableExists(Conflict):
    code = "table_exists"


class UserExists(Conflict):
    code = "user_exists"


class CommitConflict(Conflict):
    code = "commit_conflict"
    retryable = True


class IdempotencyKeyPending(Conflict):
    """The first request with the key has not ended, or its outcome is unknown."""

    code = "idempotency_key_pending"
    retryable = True


class TransactionFailed(Conflict):
    code = "transaction_failed"


class IngestionFinished(Conflict):
    code = "ingestion_finished"


class NotRetryable(Conflict):
    """Only jobs that failed or were cancelled can be retried."""

    code = "not_retryable"


class ScheduleExists(Conflict):
    code = "schedule_exists"


class ScheduleRunning(Conflict):
    """The last job of the schedule has not ended; its runs do not overlap."""

    code = "schedule_running"
    retryable = True


class SourceBusy(Conflict):
    """Another ingestion of the same source into the same dataset is running."""

    code = "source_busy"
    retryable = True


class UploadFinished(Conflict):
    code = "upload_finished"


class OffsetMismatch(Conflict):
    """`details["offset"]` is where the upload has to continue."""

    code = "offset_mismatch"


class Unauthenticated(FlightCoreError):
    code = "unauthenticated"


class PermissionDenied(FlightCoreError):
    code = "permission_denied"


class StatementNotAllowed(PermissionDenied):
    code = "statement_not_allowed"


class SourceNotAllowed(PermissionDenied):
    code = "source_not_allowed"


class ReservedName(PermissionDenied):
    """The name belongs to Skein itself, so no token or user can have it."""

    code = "reserved_name"


class ResourceExhausted(FlightCoreError):
    code = "resource_exhausted"
    retryable = True


class TooManyStreams(ResourceExhausted):
    code = "too_many_streams"


class TooManySessions(ResourceExhausted):
    code = "too_many_sessions"


class TooManyQueries(ResourceExhausted):
    """The actor runs as many queries as they may."""

    code = "too_many_queries"


class TooManyRequests(ResourceExhausted):
    """The actor sends requests too often; `details["retry_after_s"]` is the time to wait."""

    code = "too_many_requests"


class OutOfMemory(ResourceExhausted):
    code = "out_of_memory"


class OutOfDisk(ResourceExhausted):
    code = "out_of_disk"


class LimitExceeded(ResourceExhausted):
    """The input is larger than a configured limit; the message names the setting."""

    code = "limit_exceeded"
    retryable = False


class DependencyFailed(FlightCoreError):
    code = "dependency_failed"
    retryable = True


class SourceUnavailable(DependencyFailed):
    code = "source_unavailable"


class EngineUnavailable(DependencyFailed):
    code = "engine_unavailable"


class AttemptsExhausted(DependencyFailed):
    """The server ended in each attempt of a job."""

    code = "attempts_exhausted"


class DeadlineExceeded(FlightCoreError):
    code = "deadline_exceeded"
    retryable = True


class Unsupported(FlightCoreError):
    code = "unsupported"


class Cancelled(FlightCoreError):
    code = "cancelled"
