"""The open reads of all processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from flight_core.adapters.catalog.tables import open_reads
from flight_core.infrastructure.database import Database

_ANY = ""


@dataclass(frozen=True, slots=True)
class SqlOpenReadRepository:
    """See `OpenReadRepository`."""

    database: Database

    def report(self, process: str, at: datetime, oldest_reads: Mapping[str, datetime]) -> None:
        reads = {
            dataset_id: moment.astimezone(UTC).isoformat() for dataset_id, moment in oldest_reads.items()
        }
        with self.database.write() as connection:
            connection.execute(open_reads.delete().where(open_reads.c.process == process))
            connection.execute(open_reads.insert().values(process=process, beat_at=at, oldest_reads=reads))

    def leave(self, *processes: str) -> None:
        with self.database.write() as connection:
            connection.execute(open_reads.delete().where(open_reads.c.process.in_(processes)))

    def horizon(self, dataset_id: str, *, alive_since: datetime) -> datetime | None:
        with self.database.read() as connection:
            rows = connection.execute(open_reads.select().where(open_reads.c.beat_at >= alive_since)).all()
        moments = [row.beat_at for row in rows]
        for row in rows:
            known = [row.oldest_reads[key] for key in (dataset_id, _ANY) if key in row.oldest_reads]
            moments += [datetime.fromisoformat(text) for text in known]
        return min(moments, default=None)
