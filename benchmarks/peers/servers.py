"""The peers: what each needs, how its server starts, and which client speaks to it."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import psutil

HERE = Path(__file__).parent
START_S = 600.0  # roapi and PostgreSQL load their tables first
Tables = Mapping[str, list[str]]  # the Parquet files of each


@dataclass(frozen=True, slots=True)
class Running:
    address: str
    process: psutil.Process


@dataclass(frozen=True, slots=True)
class Peer:
    """`rows` bounds what its tables hold: a peer that would take minutes is compared by rows a second."""

    name: str
    client: str
    requirements: tuple[str, ...]
    start: Callable[[Path, Tables, Path], Iterator[Running]]
    rows: int | None = None
    about: str = ""


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _process(
    command: list[str], ready: Callable[[subprocess.Popen[bytes]], bool], cwd: Path
) -> Iterator[psutil.Process]:
    log = cwd / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_S
            while not ready(process):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[0]} did not start:\n{log.read_text()[-1500:]}")
                time.sleep(0.1)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _listens(port: int) -> Callable[[subprocess.Popen[bytes]], bool]:
    def listens(_: subprocess.Popen[bytes]) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return listens


def naive_flight(python: Path, tables: Tables, folder: Path) -> Iterator[Running]:
    port = _free_port()
    command = [str(python), str(HERE.parent / "naive_server.py"), json.dumps(tables), str(port)]
    with _process(command, _listens(port), folder) as process:
        yield Running(f"grpc://127.0.0.1:{port}", process)


def naive_json(python: Path, tables: Tables, folder: Path) -> Iterator[Running]:
    port = _free_port()
    command = [str(python), str(HERE / "json_server.py"), json.dumps(tables), str(port)]
    with _process(command, _listens(port), folder) as process:
        yield Running(f"127.0.0.1:{port}", process)


def quack(python: Path, tables: Tables, folder: Path) -> Iterator[Running]:
    port = _free_port()
    command = [str(python), str(HERE / "quack_server.py"), json.dumps(tables), str(port)]
    with _process(command, _listens(port), folder) as process:
        yield Running(f"quack:127.0.0.1:{port}", process)


def mosaic(python: Path, tables: Tables, folder: Path) -> Iterator[Running]:
    """Always on port 3000: this version knows no other."""
    with _process([str(python.parent / "duckdb-server")], _listens(3000), folder) as process:
        for name, files in tables.items():
            sql = f"CREATE VIEW {name} AS FROM read_parquet({files!r})"
            body = json.dumps({"type": "exec", "sql": sql}).encode()
            with urllib.request.urlopen("http://127.0.0.1:3000/", body) as reply:
                reply.read()
        yield Running("127.0.0.1:3000", process)


def roapi(python: Path, tables: Tables, folder: Path) -> Iterator[Running]:
    http, flight, postgres = _free_port(), _free_port(), _free_port()
    command = [str(python.parent / "roapi"), "--addr-http", f"127.0.0.1:{http}"]
    command += ["--addr-flight-sql", f"127.0.0.1:{flight}", "--addr-postgres", f"127.0.0.1:{postgres}"]
    config = folder / "roapi.yml"  # of which JSON is a part
    as_folders = [
        {"name": name, "uri": str(_folder_of(files, folder / name)), "option": {"format": "parquet"}}
        for name, files in tables.items()
    ]
    config.write_text(json.dumps({"tables": as_folders}))
    with _process([*command, "-c", str(config)], _listens(flight), folder) as process:
        yield Running(f"grpc://127.0.0.1:{flight}", process)


def _folder_of(files: list[str], folder: Path) -> Path:
    """The same files in a folder of their own."""
    folder.mkdir()
    for number, file in enumerate(files):
        (folder / f"{number:05}.parquet").hardlink_to(file)
    return folder


def postgres(_: Path, tables: Tables, folder: Path) -> Iterator[Running]:
    """A cluster of its own in `folder`, with the tables in it."""
    port, home = _free_port(), folder / "cluster"
    as_user: list[str] = []
    if os.getuid() == 0:  # PostgreSQL will not run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    user = "postgres" if as_user else getpass.getuser()
    subprocess.run(
        [*as_user, "initdb", "-D", str(home), "-U", user, "-A", "trust", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = [
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        f"unix_socket_directories={folder}",
        "-c",
        "fsync=off",
    ]
    command = [*as_user, "postgres", "-D", str(home), "-p", str(port), *options, "-c", "shared_buffers=2GB"]
    with _process(command, _listens(port), folder) as process:
        uri = f"postgresql://{user}@127.0.0.1:{port}/postgres"
        for name, files in tables.items():
            _load_postgres(uri, name, files, folder)
        yield Running(uri, process)


def _load_postgres(uri: str, name: str, files: list[str], folder: Path) -> None:
    relation = duckdb.sql(f"FROM read_parquet({files!r})")
    kinds = {"VARCHAR": "text", "DOUBLE": "double precision"}
    columns = ", ".join(
        f"{column} {kinds.get(str(kind), str(kind))}"
        for column, kind in zip(relation.columns, relation.types, strict=True)
    )
    path = folder / f"{name}.csv"
    relation.write_csv(str(path), header=False)
    script = f"CREATE TABLE {name} ({columns});\n\\copy {name} FROM '{path}' CSV\nVACUUM ANALYZE {name};"
    subprocess.run(["psql", uri, "-q", "-v", "ON_ERROR_STOP=1"], input=script, text=True, check=True)
    path.unlink()


PEERS = (
    Peer("naive Flight", "flight_tickets", (), naive_flight, about="pyarrow.flight over DuckDB, 30 lines"),
    Peer(
        "Flight from memory", "flight_memory", (), naive_flight, about="the ceiling: batches that lie ready"
    ),
    Peer(
        "DuckDB quack",
        "quack",
        ("duckdb==1.5.5", "duckdb-extension-quack==1.5.5", "duckdb-extension-httpfs==1.5.5", "pyarrow==26.*"),
        quack,
        about="DuckDB's own remote protocol",
    ),
    # Later ones need Python 3.12.
    Peer(
        "Mosaic",
        "mosaic",
        ("duckdb-server==0.32.1", "pyarrow==26.*"),
        mosaic,
        about="duckdb-server, Arrow over HTTP",
    ),
    Peer(
        "roapi",
        "adbc",
        ("roapi==0.12.7", "adbc-driver-flightsql==1.*", "pyarrow==26.*"),
        roapi,
        about="DataFusion, tables in memory, Flight SQL",
    ),
    Peer("naive JSON", "json_rows", (), naive_json, rows=200_000, about="FastAPI, rows as JSON"),
    Peer(
        "PostgreSQL COPY",
        "postgres",
        ("adbc-driver-postgresql==1.*", "adbc-driver-manager==1.*", "pyarrow==26.*"),
        postgres,
        rows=1_000_000,
        about="ADBC over binary COPY; needs `postgres` and `initdb` on the path",
    ),
)


def available(peer: Peer) -> bool:
    return peer.client != "postgres" or all(shutil.which(name) for name in ("postgres", "initdb", "psql"))


def cpu_s(process: psutil.Process) -> float:
    """Processor time of a server and of what it has started, so far."""
    family = [process]
    with_children = process.children(recursive=True)
    family += with_children
    total = 0.0
    for each in family:
        try:
            times = each.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
