"""Proposing a contract that the current rows satisfy, from their column profiles."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from flight_core.application.access.rights import get_seen, require
from flight_core.application.contracts.prepare import contract_type
from flight_core.application.maintenance.runs import TellStep, say_nothing
from flight_core.application.maintenance.start import StartMaintenance
from flight_core.application.profiles.job import VersionRunner
from flight_core.application.profiles.profile import ComputeProfile, is_quick
from flight_core.application.profiles.sql import TEXT_CHARS
from flight_core.application.profiles.version_queries import VersionQueries
from flight_core.application.queries.cancellation import Cancellation
from flight_core.domain.access import Actor, Scope
from flight_core.domain.contract import ColumnContract, Contract, UniqueKey, contract_document
from flight_core.domain.dataset import DatasetName, DatasetVersion
from flight_core.domain.errors import TooManyStreams
from flight_core.domain.job import Maintenance, Task
from flight_core.domain.profile import ColumnProfile
from flight_core.domain.query import quoted
from flight_core.domain.repositories.datasets import DatasetRepository

_ROWS_A_MEMBER = 10  # on average, for which an enum is proposed
_NEARLY = 0.9  # with that share of distinct values, by estimate, a column may be unique
_MAX_KEYS = 3  # columns that are tried as a key
_KEY_ROWS = 20_000_000  # no key is searched in larger versions
_PATTERN_ROWS = 1_000_000
# Common patterns, in the syntax that all regular expression engines share.
_FORMS = (
    "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$",
    "^[^@ ]+@[^@ ]+[.][^@ ]+$",
    "^https?://[^ ]+$",
)


@dataclass(frozen=True, slots=True)
class ProposeContract:
    """A draft of a contract, from the rows of one version.

    Raises as `ComputeProfile`.
    """

    compute: ComputeProfile

    def __call__(
        self,
        name: DatasetName,
        version: DatasetVersion,
        *,
        report: TellStep = say_nothing,
        stop: Cancellation | None = None,
        patient: bool = False,
    ) -> Contract:
        """As `ComputeProfile` takes them."""
        stop = stop or Cancellation()
        profiles = self.compute(name, version, report=report, stop=stop, patient=patient)
        columns = [_proposed(profile, version.row_count) for profile in profiles]
        read = VersionQueries(name, version, self.compute.open_query, stop, patient=patient)
        patterns = _patterns(read, profiles, columns)
        return Contract(
            columns=tuple(
                replace(column, pattern=patterns[column.name], min_length=None)
                if column.name in patterns
                else column
                for column in columns
            ),
            unique=tuple(UniqueKey((key,)) for key in _keys(read, profiles)),
        )


@dataclass(frozen=True, slots=True)
class InferContract:
    """A contract proposed from the current rows if they are few; otherwise the job that proposes it.

    Raises:
        DatasetNotFound, PermissionDenied, and as `ProposeContract`.
    """

    datasets: DatasetRepository
    propose: ProposeContract
    start: StartMaintenance

    def __call__(self, name: DatasetName, *, actor: Actor) -> Contract | Maintenance:
        require(actor, Scope.READ)
        dataset = get_seen(self.datasets, name, actor)
        version = dataset.current
        if is_quick(version):
            with suppress(TooManyStreams):  # a job can wait for a stream
                return self.propose(dataset.name, version)
        options = {"version": version.ref.version}
        return self.start.queue(dataset.name, Task.INFER, actor=actor, options=options)


@dataclass(frozen=True)
class RunInference(VersionRunner):
    """The result is the proposed `contract` and the `version` it was made from."""

    propose: ProposeContract

    def result(
        self, name: DatasetName, version: DatasetVersion, tell: TellStep, stop: Cancellation
    ) -> Mapping[str, Any]:
        """Raises as `ProposeContract`."""
        contract = self.propose(name, version, report=tell, stop=stop, patient=True)
        return {"version": version.ref.version, "contract": contract_document(contract)}


def _patterns(
    read: VersionQueries, profiles: Sequence[ColumnProfile], columns: Sequence[ColumnContract]
) -> Mapping[str, str]:
    """For each column, the first pattern that its values match, in the rows that are examined."""
    asked = [
        (profile.name, form)
        for profile, column in zip(profiles, columns, strict=True)
        if column.type == "string" and not column.enum
        for form in _forms(profile)
    ]
    if not asked:
        return {}
    tests = (f"bool_and(regexp_matches({quoted(column)}, '{form}'))" for column, form in asked)
    rows = f"(SELECT * FROM {read.table} LIMIT {_PATTERN_ROWS})"
    (held,) = read.rows(f"SELECT [{', '.join(tests)}] AS held FROM {rows}")
    found = [pair for pair, holds in zip(asked, held["held"], strict=True) if holds]
    return dict(reversed(found))


def _keys(read: VersionQueries, profiles: Sequence[ColumnProfile]) -> Iterator[str]:
    """The first column with unique values, if there is one."""
    rows = read.version.row_count
    likely = [
        profile.name
        for profile in profiles
        if profile.type.startswith(("int", "uint", "string"))
        if 1 < rows <= _KEY_ROWS and not profile.nulls and profile.distinct >= _NEARLY * rows
    ]
    for column in likely[:_MAX_KEYS]:
        name = quoted(column)
        if not read.rows(f"SELECT {name} FROM {read.table} GROUP BY {name} HAVING count(*) > 1 LIMIT 1"):
            yield column
            return


def _forms(profile: ColumnProfile) -> Iterator[str]:
    lengths = profile.lengths
    if lengths is None or not lengths.minimum:
        return
    yield from _FORMS
    if lengths.minimum == lengths.maximum:
        yield f"^[0-9]{{{lengths.minimum}}}$"


def _proposed(profile: ColumnProfile, rows: int) -> ColumnContract:
    type = contract_type(profile.type)
    enum = _members(profile, rows - profile.nulls) if type == "string" else ()
    lowest, highest = _bounds(profile)
    within = type is not None and lowest is not None and lowest >= 0
    return ColumnContract(
        name=profile.name,
        type=type,
        nullable=profile.nulls > 0 or rows == 0,
        ge=0 if within else None,
        le=1
        if within and highest is not None and highest <= 1 and not profile.type.startswith(("int", "uint"))
        else None,
        min_length=1
        if not enum and profile.lengths is not None and type == "string" and profile.lengths.minimum
        else None,
        enum=enum,
    )


def _bounds(profile: ColumnProfile) -> tuple[Decimal | None, Decimal | None]:
    """Minimum and maximum, of numeric columns without NaN."""
    numeric = profile.type.startswith(("int", "uint", "float", "double", "decimal"))
    if not numeric or profile.nans or profile.minimum is None or profile.maximum is None:
        return None, None
    return Decimal(profile.minimum), Decimal(profile.maximum)


def _members(profile: ColumnProfile, values: int) -> tuple[str, ...]:
    """All values, if they are few and frequent; otherwise empty."""
    top = profile.top
    whole = sum(member.count for member in top) == values
    if not whole or len(top) < 2 or values < _ROWS_A_MEMBER * len(top):
        return ()
    members = tuple(sorted(member.value for member in top))
    return members if all(len(member) <= TEXT_CHARS for member in members) else ()
