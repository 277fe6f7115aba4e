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
from flight_core.domain.repositories.audit import AuditRepository
from flight_core.domain.repositories.contracts import ContractRepository
from flight_core.domain.repositories.datasets import DatasetRepository
from flight_core.domain.repositories.derivations import DerivationRepository
from flight_core.domain.repositories.events import EventRepository
from flight_core.domain.repositories.idempotency import IdempotencyRepository
from flight_core.domain.repositories.ingestions import IngestionRepository
from flight_core.domain.repositories.issuer_users import IssuerUserRepository
from flight_core.domain.repositories.jobs import JobRepository
from flight_core.domain.repositories.open_reads import OpenReadRepository
from flight_core.domain.repositories.own_tables import OwnTableRepository
from flight_core.domain.repositories.profiles import ProfileRepository
from flight_core.domain.repositories.schedules import ScheduleRepository
from flight_core.domain.repositories.source_memories import SourceMemoryRepository
from flight_core.domain.repositories.tokens import TokenRepository
from flight_core.domain.repositories.usage import UsageRepository
from flight_core.domain.repositories.users import UserRepository
from flight_core.domain.repositories.versions import VersionRepository
from flight_core.infrastructure.database import Database
from skein.directory import DataDirectory
from skein.settings import Settings


class Catalog:
    """The repositories of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.audit: AuditRepository = SqlAuditRepository(database)
        self.contracts: ContractRepository = SqlContractRepository(database)
        self.datasets: DatasetRepository = SqlDatasetRepository(database)
        self.derivations: DerivationRepository = SqlDerivationRepository(database)
        self.events: EventRepository = SqlEventRepository(database)
        self.idempotency: IdempotencyRepository = SqlIdempotencyRepository(database)
        self.ingestions: IngestionRepository = SqlIngestionRepository(database, utc_now)
        self.jobs: JobRepository = SqlJobRepository(database, utc_now)
        self.own_tables: OwnTableRepository = SqlOwnTableRepository(database)
        self.profiles: ProfileRepository = SqlProfileRepository(database)
        self.open_reads: OpenReadRepository = SqlOpenReadRepository(database)
        self.schedules: ScheduleRepository = SqlScheduleRepository(database)
        self.issuer_users: IssuerUserRepository = SqlIssuerUserRepository(database)
        self.source_memories: SourceMemoryRepository = SqlSourceMemoryRepository(database)
        self.tokens: TokenRepository = SqlTokenRepository(database)
        self.usage: UsageRepository = SqlUsageRepository(database)
        self.users: UserRepository = SqlUserRepository(database)
        self.versions: VersionRepository = SqlVersionRepository(database)


@contextmanager
def open_catalog(settings: Settings, directory: DataDirectory) -> Iterator[Catalog]:
    url = settings.catalog_url.get_secret_value() if settings.catalog_url else directory.catalog_url
    with closing(Database(url, directory.key_for("catalog"))) as database:
        database.migrate()
        yield Catalog(database)
