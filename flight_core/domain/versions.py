"""Versions: how they are named, tagged, and retained."""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from flight_core.domain.dataset import DatasetVersion, LakeState, VersionRef, dataset_not_found
from flight_core.domain.errors import InvalidOption, InvalidTag, TagNotFound, VersionNotFound

_NUMBER = re.compile(r"v?(\d{1,18})", re.IGNORECASE)
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_RESERVED = ("current", "latest", "history")
_LONGEST_S = 10_000_000_000  # 317 years: timestamps cannot be much older


@dataclass(frozen=True, slots=True)
class TagName:
    """1 to 64 ASCII letters, digits, `_`, `-` and `.`, starting with a letter; compared ignoring case.

    Raises:
        InvalidTag: on construction; also for a name that could be a version number, such as `v3`.
    """

    value: str

    def __post_init__(self) -> None:
        if not _TAG.fullmatch(self.value) or _NUMBER.fullmatch(self.value) or self.key in _RESERVED:
            raise InvalidTag(
                f"{self.value[:70]!r} cannot be a tag: begin with a letter, use up to 64 letters, digits,"
                f" '_', '-' and '.', and neither a version such as v3 nor one of {', '.join(_RESERVED)}",
                tag=self.value[:70],
            )

    @property
    def key(self) -> str:
        return self.value.lower()

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class Tag:
    """A name for a version. A version does not expire while it has a tag."""

    name: TagName
    version: int
    tagged_at: datetime
    actor: str = ""
    message: str = ""


# A version number, a timestamp at which the version was current, or a tag.
VersionName = int | datetime | TagName


def version_named(text: str) -> VersionName:
    """Parses what follows the `@` in SQL: `3`, `v3`, a timestamp in ISO 8601 (in UTC by default), or a tag.

    Raises:
        VersionNotFound: it is none of these.
    """
    if number := _NUMBER.fullmatch(text):
        return int(number.group(1))
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return TagName(text)
    except InvalidTag:
        raise VersionNotFound(
            f"{text[:60]!r} is not a version; write 3, v3, a moment such as 2026-01-31T12:00:00Z, or a tag"
        ) from None


def ref_named(name: str, lake: LakeState, version_at: Callable[[str, datetime], int]) -> VersionRef:
    """The version that a name in SQL refers to: the name of a dataset, or `name@version`.

    `version_at` is that of `TableStore`.

    Raises:
        DatasetNotFound, VersionNotFound, TagNotFound, VersionExpired
    """
    base, at, version = name.partition("@")
    entry = lake.datasets.get(base.lower())
    if entry is None:
        raise dataset_not_found(base, lake.datasets)
    if not at:
        return entry.ref
    match version_named(version):
        case int(number):
            if number > entry.ref.version:
                raise VersionNotFound(
                    f"dataset '{entry.name}' has no version {number}; the newest is {entry.ref.version}",
                    name=str(entry.name),
                    version=number,
                )
        case datetime() as moment:
            if moment > datetime.now(UTC):
                raise VersionNotFound(
                    f"'{version[:60]}' lies in the future; leave it out to read the current version"
                )
            number = version_at(entry.ref.dataset_id, moment)
        case TagName() as tag:
            if tag.key not in entry.version_tags:
                raise tag_not_found(entry.name, tag, entry.version_tags)
            number = entry.version_tags[tag.key]
    entry.require_kept(number)
    return VersionRef(entry.ref.dataset_id, number)


def tag_not_found(dataset: object, name: TagName, known: Iterable[str]) -> TagNotFound:
    known = sorted(known)
    near = difflib.get_close_matches(name.key, known, n=1, cutoff=0.5)
    if near:
        hint = f"did you mean '{near[0]}'?"
    else:
        hint = f"it has {', '.join(known[:10])}" if known else "it has none; list its versions"
    return TagNotFound(f"dataset '{dataset}' has no tag '{name}'; {hint}", tag=name.value)


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Keeps the newest `keep_versions` versions, and those that were current within the last `keep_s`
    seconds. A version is kept if either rule says so; without any rule all are kept. The current version and
    tagged versions are always kept.

    Raises:
        InvalidOption: on construction.
    """

    keep_versions: int | None = None
    keep_s: float | None = None

    def __post_init__(self) -> None:
        if self.keep_versions is not None and not 1 <= self.keep_versions < 2**63:
            raise InvalidOption(f"keep_versions is {self.keep_versions}; at least 1 version is kept")
        if self.keep_s is not None and not 0 <= self.keep_s <= _LONGEST_S:
            raise InvalidOption(f"keep_s is {self.keep_s}; give seconds, 0 to {_LONGEST_S:,}, or nothing")

    def first_kept(self, history: Sequence[DatasetVersion], now: datetime) -> int:
        """The oldest version that is kept without a tag. `history` is newest first."""
        if not history or (self.keep_versions is None and self.keep_s is None):
            return 0
        newest = history[0].ref.version
        first = newest
        if self.keep_versions is not None:
            first = min(first, newest - self.keep_versions + 1)
        if self.keep_s is not None:
            horizon = now - timedelta(seconds=self.keep_s)
            for after, version in pairwise(history):
                if after.committed_at < horizon:
                    break
                first = min(first, version.ref.version)
        return max(first, 0)
