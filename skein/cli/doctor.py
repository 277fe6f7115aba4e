"""`skein doctor`: what is installed, whether the SQL sandbox holds, and what is in a server's way.

Checks import what they examine themselves: one that cannot be imported is a finding.
"""

import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from rich.text import Text

from flight_core.application.ports.engine import QueryEngine
from flight_core.domain.dataset import LakeState
from flight_core.domain.errors import Conflict, StatementNotAllowed
from flight_core.domain.query import Statement
from skein.cli.remote.failures import CliError, printable
from skein.cli.terminal.wording import size
from skein.directory import DataDirectory
from skein.listening import bind
from skein.runtime import RuntimeFile
from skein.settings import Settings, load_settings

_LIBRARIES = ("pyarrow", "duckdb", "polars", "deltalake", "fastapi", "pydantic", "sqlalchemy")
_PACKAGES = ("flight_core", "flight_server", "control_api", "schemas", "skein")
_LOW_BYTES = 1 << 30
_NO_LAKE = LakeState(0, {})


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    detail: str
    ok: bool = True


Check = Callable[[], Iterator[Finding]]


def examine(*, server: str | None, data: Path | None) -> bool:
    """Print what was found, a line each; whether all is well."""
    checks: dict[str, Check] = {
        "versions": _versions,
        "packages": _packages,
        "sandbox": _sandbox,
        "ports": lambda: _ports(load_settings(data=data)),
        "disk": lambda: _disk(load_settings(data=data)),
        "server": lambda: _server(server, data),
    }
    findings = [finding for subject, check in checks.items() for finding in _made(subject, check)]
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        state = ("ok     ", "green") if finding.ok else ("problem", "bold red")
        console.print(Text.assemble(state, f"  {finding.subject:<9} {printable(finding.detail)}"))
    return all(finding.ok for finding in findings)


def _made(subject: str, check: Check) -> Iterator[Finding]:
    """The findings of a check. One that fails is a finding, too."""
    try:
        yield from check()
    except Exception as error:
        yield Finding(subject, str(error) or type(error).__name__, ok=False)


def _versions() -> Iterator[Finding]:
    yield Finding("versions", f"skein {version('skein-flight')}, Python {platform.python_version()}")
    yield Finding("versions", ", ".join(f"{name} {version(name)}" for name in _LIBRARIES))


def _packages() -> Iterator[Finding]:
    """A folder of the same name elsewhere on the path would be imported in place of ours."""
    places = {package: _place(package) for package in _PACKAGES}
    home = places["skein"]
    strays = {package: place for package, place in places.items() if place != home}
    yield Finding(
        "packages", f"{', '.join(package for package in places if package not in strays)} from {home}"
    )
    for package, place in strays.items():
        detail = f"{package} from {place}: it hides ours; start skein elsewhere, or rename that folder"
        yield Finding("packages", detail, ok=False)


def _place(package: str) -> Path | None:
    spec = find_spec(package)
    return Path(spec.origin).parent.parent if spec and spec.origin else None


def _sandbox() -> Iterator[Finding]:
    """A throw-away engine, set up as the server's, has to compute and to refuse."""
    from flight_core.adapters.engines.duckdb.engine import DuckDbEngine
    from flight_core.adapters.storage.delta import DeltaTableStore
    from flight_core.infrastructure.duckdb_pool import DuckDbOptions

    with tempfile.TemporaryDirectory(prefix="skein-doctor-") as folder:
        root = Path(folder)
        (lake := root / "lake").mkdir()
        (temp := root / "temp").mkdir()
        options = DuckDbOptions(workspace=None, readable=(lake,), temp=temp)
        engine: QueryEngine = DuckDbEngine(options, DeltaTableStore(lake))
        with closing(engine):
            yield _computes(engine)
            yield _refuses(engine, "reading /etc/passwd", "SELECT * FROM read_text('/etc/passwd')")
            target = root / "copied"
            finding = _refuses(engine, "COPY to a file", f"COPY (SELECT 42) TO '{target}' (FORMAT csv)")
            yield Finding(finding.subject, finding.detail, finding.ok and not target.exists())
            yield _refuses(engine, "INSTALL of an extension", "INSTALL httpfs")


def _computes(engine: QueryEngine) -> Finding:
    with closing(engine.plan(Statement("SELECT 40 + 2"), _NO_LAKE)) as query:
        answer = [batch.column(0).to_pylist() for batch in query]
    return Finding("sandbox", f"DuckDB computes 40 + 2 as {answer[0][0]}", ok=answer == [[42]])


def _refuses(engine: QueryEngine, what: str, sql: str) -> Finding:
    try:
        with closing(engine.open_session()) as session:
            session.execute(Statement(sql), _NO_LAKE)
    except StatementNotAllowed:
        return Finding("sandbox", f"{what} is refused")
    return Finding("sandbox", f"{what} is NOT refused: do not serve from this installation", ok=False)


def _ports(settings: Settings) -> Iterator[Finding]:
    running = RuntimeFile(DataDirectory(settings.data).runtime_file).read()
    doors = (
        ("Flight", settings.flight_port, "--flight-port", running.get("flight")),
        ("HTTP", settings.http_port, "--http-port", running.get("http")),
    )
    for door, port, flag, uri in doors:
        if uri is not None and urlsplit(uri).port == port:
            yield Finding("ports", f"{door} {port} is used by the running server")
            continue
        try:
            bind(settings.host, port, flag=flag).close()
        except Conflict:
            detail = f"{door} {port} is taken by {_holder(port)}; stop that, or serve with {flag} 0"
            yield Finding("ports", detail, ok=False)
        else:
            yield Finding("ports", f"{door} {port} is free" if port else f"{door} takes any free one")


def _holder(port: int) -> str:
    """The process that listens on a port, as far as one may know."""
    try:
        listening = [
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        ]
        return f"{psutil.Process(listening[0]).name()} (process {listening[0]})"
    except (psutil.Error, IndexError, TypeError):
        return "another process"


def _disk(settings: Settings) -> Iterator[Finding]:
    root = DataDirectory(settings.data).root
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    free = psutil.disk_usage(str(there)).free
    yield Finding("disk", f"{size(free)} free for {root}", ok=free >= _LOW_BYTES)


def _server(server: str | None, data: Path | None) -> Iterator[Finding]:
    from schemas.system import Readiness
    from skein.cli.remote.client import find_server, open_api
    from skein.cli.remote.login import client_settings

    settings = client_settings(server, data)
    try:
        address = find_server(settings)
    except CliError:
        yield Finding("server", f"none is running on {settings.data}")
        return
    if address.flight is not None:
        yield Finding("server", f"Flight at {address.flight}")
    if address.http is not None:
        with open_api(settings, address) as api:
            readiness = api.get(Readiness, "/readyz")
        checks = ", ".join(f"{name}: {result}" for name, result in readiness.checks.items())
        ready = readiness.status == "ready"
        details = f" ({checks})" if checks else ""
        yield Finding("server", f"{address.http} is {readiness.status}{details}", ok=ready)
