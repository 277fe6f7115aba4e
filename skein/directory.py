"""The data directory: what lies where, and who may use it.

lake/              the datasets, one Delta table each
catalog.sqlite     names, jobs and events
workspace.duckdb   the users' own tables
jobs/              scratch of running ingestions
uploads/           what clients have sent and not ingested yet
tmp/               what the SQL engine spills
secret.key         what all keys come of
skein.json         where the servers are, while they are ready
*.lock             held by the processes that use the directory
"""

import fcntl
import hmac
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path

from flight_core.domain.errors import Conflict, InvalidOption

_KEY_BYTES = 32


class Role(StrEnum):
    """Which server a process runs; `skein serve` runs both."""

    FLIGHT = "flight"
    CONTROL = "control"


class DataDirectory:
    """Makes the folder when it is first used."""

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.lake = self.root / "lake"
        self.jobs = self.root / "jobs"
        self.uploads = self.root / "uploads"
        self.workspace = self.root / "workspace.duckdb"
        self.runtime_file = self.root / "skein.json"

    @property
    def catalog_url(self) -> str:
        return f"sqlite:///{self.root / 'catalog.sqlite'}"

    def prepare(self) -> None:
        """Make the folders, for their owner alone; those that are there stay as they are.

        Raises:
            InvalidOption: the folder cannot be made or written to, or databases would misread its path.
        """
        if "?" in str(self.root):
            raise InvalidOption(
                f"the data directory '{self.root}' has a '?' in its path, after which databases read options;"
                " choose another with --data"
            )
        try:
            for folder in (self.root, self.lake, self.jobs, self.uploads):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidOption(
                f"the data directory '{self.root}' cannot be used: {error.strerror};"
                " choose another with --data"
            ) from None
        if not os.access(self.root, os.W_OK):
            raise InvalidOption(
                f"the data directory '{self.root}' cannot be written to; choose another with --data"
            )

    def temp(self, roles: Iterable[Role]) -> Path:
        """A folder of the process that runs these roles."""
        return self.root / "tmp" / "+".join(sorted(roles))

    def secret_key(self) -> bytes:
        """The same key for every process, made by the first one.

        Raises:
            InvalidOption: what is there is too short to be one, so that others could guess it.
        """
        path = self.root / "secret.key"
        if not path.exists():
            draft = path.with_suffix(f".{secrets.token_hex(4)}")
            draft.touch(mode=0o600, exist_ok=False)
            with draft.open("wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with suppress(FileExistsError):  # another process was first
                path.hardlink_to(draft)
            draft.unlink()
        key = path.read_bytes()
        if len(key) < _KEY_BYTES:
            raise InvalidOption(
                f"'{path}' is damaged: it has {len(key)} bytes of {_KEY_BYTES}; restore it from a backup, or"
                " delete it for a new one, with which all tickets and logins so far are worthless, and so are"
                " the sources of schedules and jobs"
            )
        return key

    def key_for(self, purpose: str) -> bytes:
        """32 bytes that come of the secret key and tell neither that nor those of other purposes."""
        return hmac.digest(self.secret_key(), f"skein {purpose}".encode(), "sha256")

    @contextmanager
    def claimed(self, roles: Iterable[Role]) -> Iterator[None]:
        """Be the only process with these roles here.

        Raises:
            Conflict: another process has one of them.
        """
        with ExitStack() as stack:
            for role in sorted(roles):
                stack.enter_context(self._lock(role))
            yield

    @contextmanager
    def _lock(self, role: Role) -> Iterator[None]:
        with (self.root / f"{role}.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise Conflict(
                    f"the data directory '{self.root}' is in use by the process {holder}; stop that one,"
                    " or choose another directory with --data"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield
