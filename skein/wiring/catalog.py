"""The catalog: one database, and what is kept in it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from flight_core.adapters.catalog.audit import SqlAuditRepository
from flight_core.adapters.catalog.contracts import SqlContractRepository
from flight_core.adapters.catalog.datasets import SqlDatasetRepository
from flight_core.adapters.catalog.derivations import SqlDerivationRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.adapters.catalog.idempotency import SqlIdempotencyRepository
from flight_core.adapters.catalog.ingestions import SqlIngestionRepository
from flight_core.adapters.catalog.issuer_users import SqlIssuerUserRepository
from flight_core.adapters.catalog.jobs import SqlJobRepository
from flight_core.adapters.catalog.open_reads import SqlOpenReadRepository
from flight_core.adapters.catalog.own_tables import SqlOwnTableRepository
from flight_core.adapters.catalog.profiles import SqlProfileRepository
from flight_core.adapters.catalog.schedules import SqlScheduleRepository
from flight_core.adapters.catalog.source_memories import SqlSourceMemoryRepository
from flight_core.adapters.catalog.tokens import SqlTokenRepository
from flight_core.adapters.catalog.usage import SqlUsageRepository
from flight_core.adapters.catalog.users import SqlUserRepository
from flight_core.adapters.catalog.versions import SqlVersionRepository
from flight_core.application.ports.clock import utc_now
from flight_core.infrastructure.database import Database
from skein.directory import DataDirectory
from skein.settings import Settings


class Catalog:
    """The repositories of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.audit = SqlAuditRepository(database)
        self.contracts = SqlContractRepository(database)
        self.datasets = SqlDatasetRepository(database)
        self.derivations = SqlDerivationRepository(database)
        self.events = SqlEventRepository(database)
        self.idempotency = SqlIdempotencyRepository(database)
        self.ingestions = SqlIngestionRepository(database, utc_now)
        self.jobs = SqlJobRepository(database, utc_now)
        self.own_tables = SqlOwnTableRepository(database)
        self.profiles = SqlProfileRepository(database)
        self.open_reads = SqlOpenReadRepository(database)
        self.schedules = SqlScheduleRepository(database)
        self.issuer_users = SqlIssuerUserRepository(database)
        self.source_memories = SqlSourceMemoryRepository(database)
        self.tokens = SqlTokenRepository(database)
        self.usage = SqlUsageRepository(database)
        self.users = SqlUserRepository(database)
        self.versions = SqlVersionRepository(database)


@contextmanager
def open_catalog(settings: Settings, directory: DataDirectory) -> Iterator[Catalog]:
    url = settings.catalog_url.get_secret_value() if settings.catalog_url else directory.catalog_url
    with closing(Database(url, directory.key_for("catalog"))) as database:
        database.migrate()
        yield Catalog(database)
