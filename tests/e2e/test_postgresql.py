"""The servers with their catalog in PostgreSQL, apart and together."""

import json
import signal

import pytest
from websockets.sync.client import connect as websocket

from tests import postgresql
from tests.e2e.commands import skein
from tests.e2e.test_crash import BODY, COMPLETE, HalfwaySource, rows, source, started, succeeded  # noqa: F401
from tests.e2e.test_two_processes import TABLE, put, read
from tests.stack import skein_process

FREE_PORTS = {"SKEIN_FLIGHT_PORT": "0", "SKEIN_HTTP_PORT": "0"}


@pytest.fixture(scope="module")
def database():
    if reason := postgresql.missing():
        pytest.skip(reason)
    with postgresql.running() as server:
        yield server


@pytest.fixture
def catalog(database):
    with database.catalog() as url:
        yield url


def test_servers_apart_and_commands_share_the_catalog(tmp_path, catalog):
    data, settings = tmp_path / "data", {"SKEIN_CATALOG_URL": catalog}
    (tmp_path / "numbers.csv").write_bytes(BODY)
    with (
        skein_process(data, command="serve-control", SKEIN_INGEST_ROOTS=str(tmp_path), **settings) as control,
        skein_process(data, command="serve-flight", **settings) as flight,
        websocket(control.endpoints["http"].replace("http", "ws") + "/api/v1/events") as events,
    ):
        assert json.loads(events.recv(10))["type"] == "skein.hello"
        put(flight.endpoints["flight"], "sent", TABLE)
        assert json.loads(events.recv(10))["subject"] == "sent"
        told = skein("ingest", tmp_path / "numbers.csv", "--as", "numbers", "--data", data, **settings)
        assert told.stdout.startswith("numbers: version 0, 200,000 rows"), told.stderr
        found = read(flight.endpoints["flight"], "SELECT count(*) AS n, sum(n) AS s FROM numbers")
        assert found.to_pylist() == COMPLETE
        made = skein("token", "create", "ann", "--scope", "admin", "--offline", "--data", data, **settings)
        assert made.returncode == 0, made.stderr
        listed = skein("token", "list", "--data", data, SKEIN_TOKEN=made.stdout.strip())
        assert "ann" in listed.stdout, listed.stderr
        doctor = skein("doctor", "--data", data, SKEIN_TOKEN=made.stdout.strip(), **FREE_PORTS, **settings)
        assert doctor.returncode == 0, doctor.stdout
        assert control.stop() == 0
        assert flight.stop() == 0
    assert not (data / "catalog.sqlite").exists()


def test_an_ingestion_outlives_the_death_of_its_server(tmp_path, catalog, source):  # noqa: F811
    with skein_process(tmp_path, SKEIN_CATALOG_URL=catalog) as server:
        job = started(server, source)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL
    source.released.set()
    with skein_process(tmp_path, SKEIN_CATALOG_URL=catalog) as server:
        assert succeeded(server, job)["attempt"] == 2
        assert rows(server) == COMPLETE
