"""Fields of sources that were stored before they were encrypted."""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

from flight_core.infrastructure.seal import MARK, Private

Document = dict[str, Any]

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")  # what was there is not left in free pages
    _seal("jobs", "id", "source", _sealed)
    _seal("schedules", "key", "request", lambda request: {**request, "source": _sealed(request["source"])})


def _seal(table: str, key: str, document: str, sealed: Callable[[Document], Document]) -> None:
    rows = sa.table(table, sa.column(key), sa.column(document, sa.JSON))
    plain = ~sa.cast(rows.c[document], sa.Text).contains(MARK)
    connection = op.get_bind()
    for name, value in connection.execute(sa.select(rows.c[key], rows.c[document]).where(plain)).all():
        connection.execute(rows.update().where(rows.c[key] == name).values({document: sealed(value)}))


def _sealed(source: Document) -> Document:
    return {**source, "fields": Private(source["fields"])}
