"""A PostgreSQL server of the tests' own, where its programs are installed, and empty catalogs in it."""

import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import sqlalchemy as sa

from flight_core.infrastructure.database import Database
from tests.catalogs import KEY

_TEMPLATE = "template_of_catalogs"


def missing() -> str:
    """What keeps it from starting; nothing if it can."""
    if not find_spec("psycopg"):
        return "psycopg is not installed"
    return "" if _program("initdb") else "PostgreSQL is not installed"


@contextmanager
def running() -> Iterator["PostgreSql"]:
    """It listens on a socket in a folder of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="postgresql-") as name:
        user = getpass.getuser()
        as_user = None
        if os.getuid() == 0:  # as which it refuses to run
            user = as_user = "postgres"
            shutil.chown(name, as_user)
        data, log = f"{name}/data", f"{name}/log"
        settings = f"-c listen_addresses= -c unix_socket_directories={name} -c fsync=off"
        start = (_program("pg_ctl"), "-D", data, "-l", log, "-w", "-o", settings, "start")
        stop = (_program("pg_ctl"), "-D", data, "-w", "-m", "immediate", "stop")
        _run(as_user, name, _program("initdb"), "-D", data, "-U", user, "-A", "trust", "--no-sync")
        _run(as_user, name, *start)
        try:
            yield PostgreSql(f"postgresql+psycopg://{user}@/{{}}?host={name}")
        finally:
            _run(as_user, name, *stop)


class PostgreSql:
    def __init__(self, url: str) -> None:
        self._url = url
        self._count = 0
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        with closing(Database(url.format(_TEMPLATE), KEY)) as database:
            database.migrate()

    @contextmanager
    def catalog(self) -> Iterator[str]:
        """The URL of a new one, which is a copy of one that was migrated."""
        self._count += 1
        name = f"catalog_{self._count}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        try:
            yield self._url.format(name)
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(self._url.format("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()


def _program(name: str) -> str:
    places = [os.environ.get("PATH", ""), *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return shutil.which(name, path=os.pathsep.join(places)) or ""


def _run(user: str | None, folder: str, *command: str) -> None:
    subprocess.run(command, user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL)
