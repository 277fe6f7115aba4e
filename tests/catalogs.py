"""Empty catalogs without the time that migrations take: copies of one that they made."""

import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

from flight_core.infrastructure.database import Database

KEY = b"a key of the right size: 32 byte"

_NAME = "catalog.sqlite"


def open_catalog(folder: Path) -> Database:
    """The catalog of the folder, which is made where there is none."""
    database = Database(sqlite_catalog(folder), KEY)
    database.migrate()
    return database


def sqlite_catalog(folder: Path) -> str:
    """Its URL."""
    prepare_catalog(folder)
    return f"sqlite:///{folder / _NAME}"


def prepare_catalog(folder: Path) -> None:
    """Leave nothing to do for migrations, unless there is a catalog."""
    path = folder / _NAME
    if not path.exists():
        path.write_bytes(_empty())


@cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _NAME
        with closing(Database(f"sqlite:///{path}")) as database:
            database.migrate()
        return path.read_bytes()
