"""Files on the server's own disks, in folders that the operator allowed."""

import glob
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path, PurePath

import anyio.to_thread

from flight_core.adapters.sources.fields import fields_of
from flight_core.application.ports.sources import Fetched, FetchedFile, Report
from flight_core.domain.errors import InvalidSource, LimitExceeded, SourceNotAllowed
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.job import Phase, Progress
from flight_core.domain.source_state import SourceState

MAX_FILES = 10_000

_MAX_MATCHES = 10 * MAX_FILES  # folders count, and files that match in several ways

_MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class FileSourceOptions:
    """Files below `roots` may be read, except those below `closed` (the server's own data)."""

    roots: tuple[Path, ...] = ()
    closed: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class FileSource:
    """See `Source`. Reads files in place.

    Fields: `path`, a file, a folder (all files in it, at any depth, but none whose name starts with
    `.` or `_`) or a pattern; or a list of these. `only_new` leaves out files that were there the last
    time, with the same size and time of change.
    """

    options: FileSourceOptions

    def check(self, spec: SourceSpec) -> None:
        for given in _paths(spec):
            if not _exists(self._locate(given)) and not _MAGIC.search(given):
                raise _missing(given)

    async def fetch(
        self, spec: SourceSpec, folder: Path, report: Report, *, state: SourceState | None = None
    ) -> Fetched:
        files = await anyio.to_thread.run_sync(self.find_all, spec, abandon_on_cancel=True)
        new_state = SourceState()
        if _only_new(spec):
            now = {str(file.path): _marks(file.path) for file in files}
            before = _before(state)
            files = [file for file in files if now[str(file.path)] != before.get(str(file.path))]
            new_state = SourceState(cursor={"files": now})
        size_bytes = sum(file.size_bytes for file in files)
        await report(Progress(Phase.FETCHING, size_bytes, size_bytes))
        return Fetched(files, new_state)

    def find_all(self, spec: SourceSpec) -> list[FetchedFile]:
        """All files that the spec names. Blocks. Raises as `fetch`."""
        found: dict[Path, FetchedFile] = {}
        for given in _paths(spec):
            with _readable(given):
                found |= {file.path: file for file in self._find(given)}
            if len(found) > MAX_FILES:
                raise LimitExceeded(f"'{given}' makes it more than {MAX_FILES} files; ingest them in parts")
        return list(found.values())

    def _find(self, given: str) -> Iterator[FetchedFile]:
        files = [(path, label) for path, label in self._matches(given) if path.is_file()]
        if not files:
            raise _empty(given) if self._locate(given).is_dir() else _missing(given)
        for path, label in files:
            resolved = path.resolve()
            self._check_allowed(resolved, given)
            with resolved.open("rb"):  # checks the permission
                pass
            yield FetchedFile(resolved, label, resolved.stat().st_size, temporary=False)

    def _matches(self, given: str) -> Iterator[tuple[Path, str]]:
        """What `given` may stand for, and what to call it."""
        located = self._locate(given)
        if located.is_dir():
            for path in sorted(located.rglob("*")):
                label = path.relative_to(located)
                if not any(part.startswith((".", "_")) for part in label.parts):
                    yield path, str(label)
        elif located.exists() or not _MAGIC.search(given):
            yield located, PurePath(given).name
        else:
            base = _fixed_part(located)
            matches = glob.iglob(_plain(located), recursive=True)  # noqa: PTH207
            found = list(islice(matches, _MAX_MATCHES + 1))
            if len(found) > _MAX_MATCHES:
                raise LimitExceeded(f"'{given}' matches more than {_MAX_MATCHES} times; name a folder below")
            for match in sorted(found):
                yield Path(match), str(PurePath(match).relative_to(base))

    def _locate(self, given: str) -> Path:
        """Where `given` is, which may be a pattern; what is fixed of it is resolved and checked."""
        candidates = (
            [Path(given)] if PurePath(given).is_absolute() else [r / given for r in self.options.roots]
        )
        located = [self._resolved(path) for path in candidates]
        if not located:
            raise self._not_allowed(given)
        best = next((path for path in located if _exists(_fixed_part(path))), located[0])
        fixed = _fixed_part(best)
        self._check_allowed(fixed, given)
        if ".." in best.relative_to(fixed).parts:  # would tell what there is elsewhere
            raise InvalidSource(
                f"'{given[:200]}' leads up after a wildcard; name the folder", path=given[:200]
            )
        return best

    def _resolved(self, path: Path) -> Path:
        fixed = _fixed_part(path)
        return fixed.resolve() / path.relative_to(fixed)

    def _check_allowed(self, path: Path, given: str) -> None:
        if not any(path.is_relative_to(root.resolve()) for root in self.options.roots):
            raise self._not_allowed(given)
        if any(path.is_relative_to(folder.resolve()) for folder in self.options.closed):
            raise SourceNotAllowed(
                f"'{given}' leads to the server's own data, which ingestions may not read; name a folder"
                " without it, or the files",
                path=given,
            )

    def _not_allowed(self, given: str) -> SourceNotAllowed:
        return SourceNotAllowed(
            f"'{given}' is not under a folder that ingestions may read; an operator can add its folder to"
            " SKEIN_INGEST_ROOTS",
            path=given,
        )


def _only_new(spec: SourceSpec) -> bool:
    wanted = spec.fields.get("only_new", False)
    if not isinstance(wanted, bool):
        raise InvalidSource("'only_new' is true or false")
    return wanted


def _marks(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _before(state: SourceState | None) -> Mapping[str, object]:
    files = None if state is None else state.cursor.get("files")
    return files if isinstance(files, Mapping) else {}


def _paths(spec: SourceSpec) -> list[str]:
    _only_new(spec)
    value = fields_of(spec, "path", "only_new").get("path")
    paths = value if isinstance(value, list | tuple) else [value]
    if not paths or not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise InvalidSource("a source of kind 'file' needs 'path': a file, a folder, a pattern, or a list")
    return list(paths)


def _missing(given: str) -> InvalidSource:
    return InvalidSource(f"there is no file '{given[:200]}'; check the path", path=given[:200])


def _empty(given: str) -> InvalidSource:
    return InvalidSource(
        f"the folder '{given[:200]}' holds no file whose name begins with neither '.' nor '_'",
        path=given[:200],
    )


@contextmanager
def _readable(given: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidSource(
            f"the server cannot read '{given}': {error.strerror}; check the path and its permissions",
            path=given,
        ) from None


def _fixed_part(path: Path) -> Path:
    """`path` up to its first component with a wildcard; all of it if it exists as it stands."""
    if _exists(path):
        return path
    for parent in reversed(path.parents):
        if _MAGIC.search(parent.name):
            return parent.parent
    return path.parent if _MAGIC.search(path.name) else path


def _plain(pattern: Path) -> str:
    """The same pattern; `**/**` would match a file once for each way to divide its folders between them."""
    parts = (part for part, same in groupby(pattern.parts) for part in ([part] if part == "**" else same))
    return str(PurePath(*parts))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # no permission to look
        return False
