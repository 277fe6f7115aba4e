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
    prepare_catalog(folder)
    database = Database(f"sqlite:///{folder / _NAME}", KEY)
    database.migrate()
    return database


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
