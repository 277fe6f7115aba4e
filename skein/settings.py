"""What an operator can set: by environment variables `SKEIN_*`, or by flags, which win.

The only place where the environment is read. `docs/reference/settings.md` has a heading for each.
"""

import difflib
import ipaddress
import os
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar
from urllib.parse import urlsplit

import psutil
from pydantic import (
    BeforeValidator,
    ByteSize,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flight_core.adapters.authentication.static import ClaimGrant, Credential
from flight_core.domain.errors import InvalidOption
from skein.credentials import claim_grant, credential

Model = TypeVar("Model", bound=BaseSettings)

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


class LogFormat(StrEnum):
    AUTO = "auto"  # console on a terminal, else json
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def machine_memory_bytes() -> int:
    """What this process may use at most: the machine's memory, or its container's."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return total


def _split_at(separator: str) -> BeforeValidator:
    def split(value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(separator) if part.strip())

    return BeforeValidator(split)


Port = Annotated[int, Field(ge=0, le=65535)]
Names = Annotated[tuple[str, ...], NoDecode, _split_at(",")]
Folders = Annotated[tuple[Path, ...] | None, NoDecode, _split_at(os.pathsep)]


class _FromEnvironment(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SKEIN_", extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_unset(cls, values: dict[str, object]) -> dict[str, object]:
        """So that `SKEIN_SECRETS_DIR=` names no folder. An empty list says that there is none of it."""
        lists = {name for name, field in cls.model_fields.items() if NoDecode in field.metadata}
        return {name: value for name, value in values.items() if value != "" or name in lists}


class Settings(_FromEnvironment):
    """Read once at start. Sizes are written like `4GB` or `512MiB`, times are in seconds."""

    data: Path = Field(Path("skein-data"), description="The data directory; it is made if it is missing.")
    host: str = Field("127.0.0.1", description="The address both servers listen on.")
    flight_port: Port = Field(8815, description="The Flight server's port; 0 takes a free one.")
    http_port: Port = Field(8816, description="The HTTP server's port; 0 takes a free one.")
    metrics_port: Port | None = Field(
        None, description="Where `skein serve-flight` answers probes and Prometheus; nowhere without."
    )
    demo: bool = Field(False, description="Make sure there is a dataset `flights`.")
    demo_rows: PositiveInt | None = Field(
        None, description="How many rows the demo dataset has; resampled from the 200,000 shipped."
    )

    tokens: SecretStr = Field(SecretStr(""), description="API tokens: `NAME=TOKEN`, comma-separated.")
    users: SecretStr = Field(SecretStr(""), description="Logins: `NAME=PASSWORD`, comma-separated.")
    oidc_issuer: str | None = Field(None, description="Issuer of OpenID Connect whose tokens are good here.")
    oidc_audience: str | None = Field(None, description="What its tokens have to be for.")
    oidc_jwks_url: str | None = Field(None, description="Where its keys are; found out if left out.")
    oidc_name_claim: str = Field("sub", description="The claim that tells who somebody is.")
    oidc_grant_claim: str = Field("groups", description="The claim whose values are granted something.")
    oidc_grants: Names = Field(
        (), description="What for: `VALUE/SCOPE+SCOPE@DATASET+DATASET`, comma-separated; the first counts."
    )
    session_ttl_s: PositiveFloat = Field(86_400.0, description="How long a login is good.")
    allowed_hosts: Names = Field(
        (), description="Host names that HTTP requests may use besides the usual ones, comma-separated."
    )
    allowed_origins: Names = Field(
        (), description="Origins of web pages elsewhere that may use the HTTP API, comma-separated."
    )
    max_body_bytes: ByteSize = Field(ByteSize(4 << 20), description="What one HTTP request may send.")
    tls_cert: Path | None = Field(None, description="Certificate chain (PEM) of both servers.")
    tls_key: Path | None = Field(None, description="Private key (PEM) of the certificate.")
    tls_client_ca: Path | None = Field(None, description="Clients must show a certificate of this CA (PEM).")

    memory_limit: ByteSize = Field(
        default_factory=lambda: ByteSize(machine_memory_bytes() // 2),
        description="What the SQL engine may hold in memory.",
    )
    temp_limit: ByteSize = Field(ByteSize(20 << 30), description="What the SQL engine may spill to disk.")
    guarded_memory: ByteSize = Field(
        ByteSize(512 << 20), description="What SQL of a user who may only read may hold in memory."
    )
    guarded_timeout_s: PositiveFloat = Field(
        60.0, description="How long the engine may work on a query of a user who may only read."
    )
    guarded_processes: PositiveInt = Field(
        8, description="How many users who may only read can have an engine at the same time."
    )
    limit_queries: PositiveInt | None = Field(
        None, description="How many queries of one identity may run at the same time."
    )
    limit_rows: PositiveInt | None = Field(None, description="How many rows one result may have.")
    limit_result_bytes: ByteSize | None = Field(None, description="How large one result may be, as Arrow.")
    limit_requests_per_s: PositiveFloat | None = Field(
        None, description="How many requests one identity may send a second."
    )
    threads: PositiveInt = Field(
        default_factory=lambda: os.cpu_count() or 1, description="Threads of the SQL engine."
    )
    max_streams: PositiveInt = Field(32, description="How many result streams may be open.")
    max_queue: NonNegativeInt = Field(64, description="How many queries may wait for a stream to end.")
    queue_timeout_s: PositiveFloat = Field(10.0, description="How long a query waits for a stream to end.")
    stall_timeout_s: PositiveFloat = Field(600.0, description="How long a client may leave a stream unread.")
    cache_bytes: ByteSize = Field(
        ByteSize(1 << 30), description="What results that are kept may take on the disk; 0: none is kept."
    )
    cache_entry_bytes: ByteSize = Field(
        ByteSize(64 << 20), description="How large a result may be that is kept."
    )
    cache_ttl_s: PositiveFloat = Field(3600.0, description="How long a result is kept.")
    cache_min_run_s: NonNegativeFloat = Field(
        0.01, description="How long the engine must have worked on a result that is kept."
    )
    ticket_ttl_s: PositiveFloat = Field(86_400.0, description="How long a Flight ticket is good.")
    max_sessions: PositiveInt = Field(1000, description="How many Flight SQL sessions may be open.")
    session_idle_s: PositiveFloat = Field(3600.0, description="When an unused session is closed.")
    transaction_idle_s: PositiveFloat = Field(900.0, description="When an unused transaction is rolled back.")

    ingest_roots: Folders = Field(
        None, description="Folders that ingestions may read local files from, as a path list."
    )
    ingest_jobs: PositiveInt = Field(2, description="How many jobs run at a time.")
    steps: Names = Field(
        (), description="Modules, or Python files, with steps that derived datasets may be made by."
    )
    refresh_delay_s: PositiveFloat = Field(
        1.0, description="How long the inputs of a derived dataset have to be quiet before it is made anew."
    )
    ingest_allow_private: bool = Field(
        False, description="Whether ingestions may fetch from private and link-local addresses."
    )
    ingest_allow_loopback: bool | None = Field(
        None,
        description="Whether ingestions may fetch from this machine; if left out, when only it can connect.",
    )
    ingest_adbc_drivers: Names = Field(
        ("flightsql", "sqlite", "postgresql"),
        description="Drivers of databases that ingestions may use, comma-separated.",
    )
    secrets_dir: Path | None = Field(None, description="A folder with a file for each secret of sources.")
    secret_hosts: Names = Field(
        (), description="Where secrets may be sent: `NAME=HOST+HOST`, comma-separated."
    )
    ingest_max_bytes: ByteSize = Field(
        ByteSize(64 << 30), description="What one ingestion may fetch, and decompress to."
    )
    upload_ttl_s: PositiveFloat = Field(
        86_400.0, description="How long an upload is kept to which nothing is added."
    )
    ingest_max_ratio: PositiveInt = Field(250, description="How many times larger a file may decompress.")
    ingest_memory_bytes: ByteSize = Field(
        default_factory=lambda: ByteSize(min(3 << 30, machine_memory_bytes() // 4)),
        description="What the process that parses a file may hold in memory.",
    )
    ingest_parse_timeout_s: PositiveFloat = Field(3600.0, description="How long parsing may take.")
    ingest_fetch_timeout_s: PositiveFloat = Field(3600.0, description="How long fetching may take.")
    catalog_url: SecretStr | None = Field(None, description="SQLAlchemy URL of the catalog.")
    keep_events: PositiveInt = Field(100_000, description="How many events the log keeps.")
    keep_audit: PositiveInt = Field(1_000_000, description="How many entries the audit log keeps.")
    keep_versions: PositiveInt | None = Field(
        None, description="How many versions of a dataset stay; all if neither this nor the time is set."
    )
    keep_versions_s: NonNegativeFloat | None = Field(
        None, description="How long a version stays that is not current any more."
    )
    compact_files: NonNegativeInt = Field(
        100, description="How many small files make a dataset be compacted by itself; 0: never."
    )
    vacuum_every_s: NonNegativeFloat = Field(
        86_400.0, description="How often datasets are vacuumed by themselves; 0: never."
    )
    keep_jobs: PositiveInt = Field(10_000, description="How many jobs that have ended are remembered.")
    orphan_grace_s: PositiveFloat = Field(
        86_400.0, description="How long the files of dropped datasets are kept."
    )
    drain_timeout_s: PositiveFloat = Field(10.0, description="How long a stop waits for open streams.")
    log_level: LogLevel = Field(LogLevel.INFO, description="What is worth a line in the log.")
    log_format: LogFormat = Field(LogFormat.AUTO, description="How a line looks.")
    otlp_endpoint: str | None = Field(None, description="Collector that traces are sent to, by OTLP/HTTP.")
    otlp_sql: bool = Field(False, description="Whether traces hold SQL and the query strings of URLs.")

    @field_validator("otlp_endpoint")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        address = urlsplit(value or "http://none")
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ValueError("it is no URL like http://collector:4318")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("SKEIN_TLS_CERT and SKEIN_TLS_KEY belong together: set both or none")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("SKEIN_TLS_CLIENT_CA needs SKEIN_TLS_CERT and SKEIN_TLS_KEY")
        self._check_oidc()
        _ = self.has_credentials  # raises where an entry is none
        return self

    def _check_oidc(self) -> None:
        if self.oidc_issuer is None:
            return
        if self.oidc_audience is None or not self.oidc_grants:
            raise ValueError("SKEIN_OIDC_ISSUER needs SKEIN_OIDC_AUDIENCE and SKEIN_OIDC_GRANTS")
        for url in filter(None, (self.oidc_issuer, self.oidc_jwks_url)):
            address = urlsplit(url)
            if address.scheme != "https" and not _is_loopback(address.hostname or ""):
                raise ValueError(f"'{url}' of SKEIN_OIDC_ISSUER or SKEIN_OIDC_JWKS_URL is not https")
        _ = self.claim_grants

    @property
    def claim_grants(self) -> tuple[ClaimGrant, ...]:
        return tuple(claim_grant(entry) for entry in self.oidc_grants)

    @property
    def has_credentials(self) -> bool:
        return self.oidc_issuer is not None or bool(self.credentials("tokens") + self.credentials("users"))

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        return _is_loopback(self.host)

    @property
    def hosts(self) -> tuple[str, ...]:
        """The host names that HTTP requests may use. Where credentials are needed to do anything, a web
        page gains nothing by pointing a name of its own at this server."""
        if self.loopback:
            return ("localhost", "127.0.0.1", "[::1]", *self.allowed_hosts)
        return self.allowed_hosts or ("*",)

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that ingestions may read from, absolute."""
        if self.ingest_roots is not None:
            return tuple(path.expanduser().resolve() for path in self.ingest_roots)
        return (Path.cwd().resolve(), Path.home().resolve()) if self.loopback else ()

    @property
    def loopback_sources(self) -> bool:
        """Whether ingestions may fetch from this machine."""
        return self.loopback if self.ingest_allow_loopback is None else self.ingest_allow_loopback

    @property
    def hosts_of_secrets(self) -> Mapping[str, frozenset[str]]:
        """Where each secret that is listed may be sent."""
        entries = (entry.partition("=") for entry in self.secret_hosts)
        return {
            name.strip().lower().replace("-", "_"): frozenset(hosts.lower().split("+"))
            for name, _, hosts in entries
        }

    def credentials(self, kind: str) -> tuple[Credential, ...]:
        """The `tokens` or the `users`."""
        secret: SecretStr = getattr(self, kind)
        entries = [entry.strip() for entry in secret.get_secret_value().split(",")]
        return tuple(credential(entry, kind) for entry in entries if entry)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def environment_secrets() -> Mapping[str, str]:
    """The secrets of sources in `SKEIN_SECRET_<NAME>`, by name in lower case."""
    prefix = "SKEIN_SECRET_"
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in os.environ.items()
        if name.startswith(prefix) and name != f"{prefix}HOSTS"
    }


class ClientSettings(_FromEnvironment):
    """What the client commands need to find a server and be let in."""

    server: str | None = Field(None, description="URL of the HTTP server; a local one if left out.")
    data: Path = Field(Path("skein-data"), description="The data directory of the local server.")
    token: SecretStr = Field(SecretStr(""), description="The API token to show.")
    user: str | None = Field(None, description="Who logs in with a password, instead of a token.")
    password: SecretStr = Field(SecretStr(""), description="Of that user; asked for if left out.")
    ca: Path | None = Field(None, description="The CA (PEM) that signed the server's certificate.")
    cert: Path | None = Field(None, description="The certificate (PEM) to show to the server.")
    key: Path | None = Field(None, description="The private key (PEM) of that certificate.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("SKEIN_CERT and SKEIN_KEY belong together: set both or none")
        return self


def load_settings(**flags: object) -> Settings:
    """The environment, overridden by the flags that are not None.

    Raises:
        InvalidOption: a value does not fit; the message names the flag or the variable, and never holds a
            secret.
    """
    return _load(Settings, flags)


def load_client_settings(**flags: object) -> ClientSettings:
    """Likewise."""
    return _load(ClientSettings, flags)


def unknown_variables() -> Mapping[str, str | None]:
    """Variables that look like settings and are none, each with the setting that comes closest."""
    known = {f"SKEIN_{name.upper()}" for model in (Settings, ClientSettings) for name in model.model_fields}
    unknown = {name for name in os.environ if name.startswith("SKEIN_")} - known
    return {
        name: next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.8)), None)
        for name in sorted(unknown)
        if not name.removeprefix("SKEIN_").startswith(("SECRET_", "TEST_"))
    }


def _load(model: type[Model], flags: Mapping[str, object]) -> Model:
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        return model(**given)
    except ValidationError as error:
        raise _invalid(error, given) from None


def _invalid(error: ValidationError, flags: Collection[str]) -> InvalidOption:
    first = error.errors(include_context=False, include_url=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return InvalidOption(reason)
    name = str(first["loc"][0])
    value = "" if name in ("tokens", "users", "catalog_url") else f" is {first['input']!r:.80}:"
    shown = f"--{name.replace('_', '-')}" if name in flags else f"SKEIN_{name.upper()}"
    return InvalidOption(f"{shown}{value} {reason[0].lower()}{reason[1:]}", option=name)
