"""`skein serve-flight` and `skein serve-control` on one data directory."""

import json
from contextlib import closing

import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from websockets.sync.client import connect as websocket

from flight_core.adapters.catalog.own_tables import SqlOwnTableRepository
from flight_core.infrastructure.database import Database
from skein.directory import DataDirectory
from tests.protocol.http_stack import until
from tests.stack import skein_process

TABLE = pa.table({"id": pa.array(range(1000), pa.int64()), "name": [f"row {i}" for i in range(1000)]})


@pytest.fixture
def pair(tmp_path):
    """The control process was started first: the order does not matter."""
    with (
        skein_process(
            tmp_path,
            command="serve-control",
            SKEIN_INGEST_ROOTS=str(tmp_path.parent),
            SKEIN_REFRESH_DELAY_S="2",
        ) as control,
        skein_process(tmp_path, command="serve-flight", SKEIN_METRICS_PORT="0") as flight,
    ):
        yield control, flight


def metrics_address(flight):
    """As the log tells."""
    told = []

    def tells():
        lines = [json.loads(line) for line in list(flight.errors)]
        told.extend(line["address"] for line in lines if line["event"] == "answers probes and Prometheus")
        return told

    until(tells)
    return told[0]


def put(uri, name, table):
    with fl.connect(uri) as client:
        writer, _ = client.do_put(fl.FlightDescriptor.for_path(name), table.schema)
        with writer:
            writer.write_table(table)


def read(uri, sql):
    with fl.connect(uri) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql))
        return client.do_get(info.endpoints[0].ticket).read_all()


def test_the_runtime_file_names_both_servers_until_each_one_stops(pair):
    control, flight = pair
    both = flight.endpoints
    assert both["pids"] == {"flight": flight.process.pid, "http": control.process.pid}
    assert httpx.get(both["http"] + "/readyz").json()["status"] == "ready"
    assert read(both["flight"], "SELECT 1 AS one").num_rows == 1
    with httpx.Client(base_url=metrics_address(flight)) as probe:
        assert probe.get("/readyz").json()["checks"]["engine"] == "ok"
        assert 'skein_queries_total{door="flight",state="succeeded"} 1.0' in probe.get("/metrics").text
        assert probe.get("/api/v1/datasets").status_code == 404
        assert probe.get("/openapi.json").status_code == 200
    assert control.stop() == 0
    assert flight.endpoints["pids"] == {"flight": flight.process.pid}
    assert "http" not in flight.endpoints
    assert flight.stop() == 0
    assert not (flight.data / "skein.json").exists()


def test_events_of_one_process_arrive_in_the_other(pair):
    control, flight = pair
    with websocket(control.endpoints["http"].replace("http", "ws") + "/api/v1/events") as events:
        assert json.loads(events.recv(10))["type"] == "skein.hello"
        put(flight.endpoints["flight"], "sent", TABLE)
        message = json.loads(events.recv(10))
        while message["type"] != "skein.dataset.committed":
            message = json.loads(events.recv(10))
        assert message["subject"] == "sent"
        assert message["data"]["rows"] == 1000


def test_what_one_process_wrote_the_other_one_reads_at_once(pair, tmp_path):
    control, flight = pair
    source = tmp_path.parent / f"{tmp_path.name}.csv"
    source.write_text("id,name\n1,one\n2,two\n")
    reply = httpx.post(
        control.endpoints["http"] + "/api/v1/ingestions",
        json={"dataset": "loaded", "source": {"kind": "file", "path": str(source)}},
        headers={"Prefer": "wait=30"},
        timeout=60,
    )
    assert reply.json()["state"] == "succeeded", reply.text
    loaded = read(flight.endpoints["flight"], "SELECT * FROM loaded ORDER BY id")
    assert loaded.to_pylist() == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]

    put(flight.endpoints["flight"], "sent", TABLE)
    query = {"sql": "SELECT count(*) AS n, sum(id) AS s FROM sent"}
    rows = httpx.post(control.endpoints["http"] + "/api/v1/query", json=query).json()["rows"]
    assert rows == [{"n": 1000, "s": 499_500}]


def test_a_table_of_the_users_keeps_its_name_from_new_datasets_of_the_other_process(pair, tmp_path):
    """Also while the process that has it is away."""
    control, flight = pair
    catalog = Database(DataDirectory(tmp_path).catalog_url)
    told = SqlOwnTableRepository(catalog)
    source = {"kind": "sql", "sql": "SELECT 1 AS x"}
    with (
        closing(catalog),
        httpx.Client(base_url=control.endpoints["http"], headers={"Prefer": "wait=60"}, timeout=90) as client,
    ):

        def ingest(name):
            job = client.post("/api/v1/ingestions", json={"dataset": name, "source": source}).json()
            return (job["error"] or {"code": job["state"]})["code"]

        read(flight.endpoints["flight"], "CREATE TABLE Taken AS SELECT 1 AS a")
        read(flight.endpoints["flight"], "CREATE TABLE gone AS SELECT 1 AS a")
        until(lambda: told.has("taken") and told.has("gone"))
        assert ingest("taken") == "table_exists"
        read(flight.endpoints["flight"], "DROP TABLE gone")
        until(lambda: not told.has("gone"))
        assert ingest("gone") == "succeeded"
        assert flight.stop() == 0
        assert ingest("TAKEN") == "table_exists"


def test_a_ticket_of_the_flight_process_survives_its_restart(tmp_path):
    with skein_process(tmp_path, command="serve-flight") as flight:
        put(flight.endpoints["flight"], "sent", TABLE)
        with fl.connect(flight.endpoints["flight"]) as client:
            info = client.get_flight_info(fl.FlightDescriptor.for_command("SELECT count(*) AS n FROM sent"))
            ticket = info.endpoints[0].ticket
        put(flight.endpoints["flight"], "sent", TABLE)
    with (
        skein_process(tmp_path, command="serve-flight") as flight,
        fl.connect(flight.endpoints["flight"]) as client,
    ):
        assert client.do_get(ticket).read_all().to_pylist() == [{"n": 1000}]


def test_a_burst_of_writes_in_one_process_leads_to_one_run_in_the_other(pair):
    control, flight = pair
    uri = flight.endpoints["flight"]
    put(uri, "sent", TABLE)
    with httpx.Client(base_url=control.endpoints["http"] + "/api/v1", timeout=60) as client:
        sql = "SELECT count(*) AS n FROM sent"
        assert client.put("/datasets/counted/derivation", json={"sql": sql}).status_code == 200

        def runs():
            return client.get("/jobs", params={"dataset": "counted"}).json()["items"]

        def status():
            return client.get("/datasets/counted/derivation").json()

        until(lambda: [run["state"] for run in runs()] == ["succeeded"], deadline_s=60)
        for _ in range(8):
            put(uri, "sent", TABLE)
        until(lambda: status()["inputs"][0]["used"] == 8 and status()["state"] == "fresh", deadline_s=60)
        assert read(uri, "SELECT n FROM counted").to_pylist() == [{"n": 9000}]
        assert len(runs()) == 2
        with pytest.raises(pa.ArrowInvalid, match="dataset_derived"):
            put(uri, "counted", TABLE)
