"""Traces, as a collector gets them from a server of its own process, and the logs that belong to them."""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import adbc_driver_flightsql.dbapi as adbc
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from websockets.sync.client import connect

from flight_core.domain.errors import InvalidOption
from skein.settings import load_settings
from skein.wiring.telemetry import Telemetry, telemetry
from tests.protocol.live_client import live_client
from tests.stack import skein_process

SECRET = "sesame"
SQL = f"SELECT i, '{SECRET}' AS word FROM range(10) t(i)"
TRACES = {"flight": "a" * 32, "adbc": "b" * 32, "http": "c" * 32}  # by client
SOCKETS = "d" * 32  # the trace of what is done over WebSockets
WAIT = {"Prefer": "wait=60"}
CALLER = "1234567890abcdef"  # the span of the client


def traceparent(trace_id: str) -> str:
    return f"00-{trace_id}-{CALLER}-01"


@dataclass
class Collector:
    """What an OTLP/HTTP receiver got."""

    endpoint: str
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)

    def spans(self) -> list[Span]:
        scopes = [
            each for request in self.requests for sent in request.resource_spans for each in sent.scope_spans
        ]
        return [span for scope in scopes for span in scope.spans]

    def one(self, name: str, **attributes: object) -> Span:
        (found,) = [
            span for span in self.spans() if span.name == name and attributes.items() <= values(span).items()
        ]
        return found


def values(span: Span) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


@contextmanager
def collector() -> Iterator[Collector]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            made.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        made = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@dataclass
class Seen:
    collector: Collector
    logs: list[dict]
    answers: list[str]  # the traceparent of each answer over Flight
    job_id: str  # of an ingestion
    derived_id: str  # of a job that makes a derived dataset


@pytest.fixture(scope="module", params=[False, True], ids=["without SQL", "with SQL"])
def seen(request, tmp_path_factory):
    """A server to which all of it happened, and which then was stopped."""
    folder = tmp_path_factory.mktemp("traces")
    (folder / "rows.csv").write_text("a,b\n1,x\n2,y\n")
    with collector() as received:
        settings = {
            "SKEIN_OTLP_ENDPOINT": received.endpoint,
            "SKEIN_OTLP_SQL": str(request.param),
            "SKEIN_INGEST_ROOTS": str(folder),
            "SKEIN_LOG_FORMAT": "json",
        }
        with skein_process(folder / "data", **settings) as server:
            flight_uri, http_url = server.endpoints["flight"], server.endpoints["http"]
            answers = read_with_flight(flight_uri)
            read_with_adbc(flight_uri)
            job_ids = use_http(http_url)
            use_sockets(http_url)
            assert server.stop() == 0
        logs = [json.loads(line) for line in "".join(server.errors).splitlines() if line.startswith("{")]
        yield Seen(received, logs, answers, *job_ids)


def read_with_flight(uri: str) -> list[str]:
    answers: list[str] = []

    class Listener(fl.ClientMiddleware):
        def received_headers(self, headers):
            answers.extend(headers.get("traceparent", []))

    class Factory(fl.ClientMiddlewareFactory):
        def start_call(self, info):
            return Listener()

    options = fl.FlightCallOptions(headers=[(b"traceparent", traceparent(TRACES["flight"]).encode())])
    command = json.dumps({"sql": SQL}).encode()
    with fl.connect(uri, middleware=[Factory()]) as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(command), options)
        assert client.do_get(info.endpoints[0].ticket, options).read_all().num_rows == 10
        with pytest.raises(pa.ArrowKeyError):
            client.get_flight_info(fl.FlightDescriptor.for_path("nowhere"), options)
    return answers


def read_with_adbc(uri: str) -> None:
    header = {"adbc.flight.sql.rpc.call_header.traceparent": traceparent(TRACES["adbc"])}
    with adbc.connect(uri, db_kwargs=header, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(SQL)
        assert cursor.fetch_arrow_table().num_rows == 10


def use_http(url: str) -> tuple[str, str]:
    headers = {"traceparent": traceparent(TRACES["http"])}
    with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
        assert client.get("/healthz").is_success
        assert client.post("/api/v1/query", json={"sql": SQL}).is_success
        assert client.get("/api/v1/query", params={"sql": "SELECT 'again'"}).is_success
        ingestion = {"dataset": "rows", "source": {"kind": "file", "path": "rows.csv"}}
        ingested = client.post("/api/v1/ingestions", json=ingestion, headers=WAIT).json()
        derivation = {"sql": 'SELECT a FROM "rows"', "refresh": "manual"}
        assert client.put("/api/v1/datasets/derived/derivation", json=derivation).is_success
        derived = client.post("/api/v1/datasets/derived/derivation/refresh", headers=WAIT).json()
        assert (ingested["state"], derived["state"]) == ("succeeded", "succeeded")
        return ingested["id"], derived["id"]


def use_sockets(url: str) -> None:
    headers = {"traceparent": traceparent(SOCKETS)}
    with live_client(url, additional_headers=headers) as client:
        client.follow("SELECT i FROM range(3) t(i)")
        assert client.result().table.num_rows == 3
        client.say(unsubscribe={"id": "q"})
        assert client.hear()["type"] == "unsubscribed"
    with connect(f"{url.replace('http', 'ws', 1)}/api/v1/events", additional_headers=headers) as socket:
        for _ in range(2):
            assert json.loads(socket.recv(timeout=30))["type"] == "skein.hello"
            socket.send(json.dumps({"subscribe": {"datasets": ["none"]}}))
        socket.recv(timeout=30)


REQUESTS = {
    "flight": "arrow.flight.protocol.FlightService/DoGet",
    "adbc": "arrow.flight.protocol.FlightService/DoGet",
    "http": "POST /api/v1/query",
}


@pytest.mark.parametrize("client", TRACES)
def test_a_query_is_a_part_of_the_request_that_is_a_part_of_what_the_client_does(seen, client):
    spans = [span for span in seen.collector.spans() if span.trace_id.hex() == TRACES[client]]
    (query,) = [span for span in spans if span.name == "query" and values(span)["skein.rows"] == 10]
    (request,) = [span for span in spans if span.span_id == query.parent_span_id]
    assert (request.name, request.kind) == (REQUESTS[client], Span.SPAN_KIND_SERVER)
    assert request.parent_span_id.hex() == CALLER
    told = values(query)
    assert (told["skein.state"], told["skein.cache"]) == ("succeeded", "bypass")
    assert told["skein.door"] == ("http" if client == "http" else "flight")
    assert told["skein.size_bytes"] > 0
    (line,) = [
        each
        for each in seen.logs
        if each["event"] == "query ended" and each["query_id"] == told["skein.query_id"]
    ]
    assert (line["trace_id"], line["span_id"]) == (TRACES[client], query.span_id.hex())


def test_the_log_line_of_a_request_names_its_span(seen):
    span = seen.collector.one("POST /api/v1/query")
    (line,) = [each for each in seen.logs if each["event"] == "request" and each["path"] == "/api/v1/query"][
        :1
    ]
    assert (line["trace_id"], line["span_id"]) == (span.trace_id.hex(), span.span_id.hex())


def test_statements_are_in_traces_only_where_a_setting_allows_it(seen, request):
    texts = {values(span).get("db.query.text") for span in seen.collector.spans() if span.name == "query"}
    sent = b"".join(each.SerializeToString() for each in seen.collector.requests)
    if "without" in request.node.name:
        assert texts == {None}
        assert SECRET.encode() not in sent
        assert b"again" not in sent
        assert values(seen.collector.one("GET /api/v1/query"))["url.query"] == "REDACTED"
    else:
        assert SQL in texts


def test_a_call_that_fails_tells_the_code_and_not_the_message(seen):
    (failed,) = [span for span in seen.collector.spans() if span.status.code == Status.STATUS_CODE_ERROR]
    assert failed.name == "arrow.flight.protocol.FlightService/GetFlightInfo"
    assert values(failed)["error.type"] == "dataset_not_found"
    assert not failed.events


def test_a_job_tells_its_phases(seen):
    job = seen.collector.one("job ingest", **{"skein.job_id": seen.job_id})
    told = values(job)
    assert [event.name for event in job.events] == ["fetching", "parsing", "committing"]
    assert (told["skein.dataset"], told["skein.state"], told["skein.rows"]) == ("rows", "succeeded", 2)
    assert told["skein.version"] == 0
    assert not job.parent_span_id


def test_the_queries_of_a_job_are_parts_of_it(seen):
    job = seen.collector.one("job ingest", **{"skein.job_id": seen.derived_id})
    (query,) = [span for span in seen.collector.spans() if span.parent_span_id == job.span_id]
    assert (query.name, values(query)["skein.door"], values(query)["skein.rows"]) == ("query", "ingestion", 2)


def test_subscriptions_over_sockets_are_spans_and_their_queries_parts_of_them(seen):
    spans = [span for span in seen.collector.spans() if span.trace_id.hex() == SOCKETS]
    (live,) = [span for span in spans if span.name == "live query"]
    told = values(live)
    assert (told["skein.results"], told["skein.rows"], told["skein.door"]) == (1, 3, "websocket")
    (query,) = [span for span in spans if span.name == "query"]
    assert query.parent_span_id == live.span_id
    events = [span for span in spans if span.name == "events"]
    assert [values(span)["skein.messages"] for span in events] == [1, 1, 1]
    sockets = {span.span_id: span for span in spans if span.kind == Span.SPAN_KIND_SERVER}
    assert len(sockets) == 2
    assert {live.parent_span_id, *(span.parent_span_id for span in events)} == set(sockets)
    assert all(span.parent_span_id.hex() == CALLER for span in sockets.values())


def test_flight_answers_with_the_spans_of_its_calls(seen):
    spans = {span.span_id.hex(): span.name for span in seen.collector.spans()}
    calls = [answer.split("-") for answer in seen.answers]
    assert {trace_id for _, trace_id, _, _ in calls} == {TRACES["flight"]}
    assert [spans[span_id].rpartition("/")[2] for _, _, span_id, _ in calls][:2] == ["GetFlightInfo", "DoGet"]


def test_probes_make_no_spans_and_spans_tell_who_sent_them(seen):
    assert not [span for span in seen.collector.spans() if "healthz" in span.name]
    for request in seen.collector.requests:
        for sent in request.resource_spans:
            resource = {each.key: each.value.string_value for each in sent.resource.attributes}
            assert resource["service.name"] == "skein"
            assert resource["service.version"]


def test_without_the_extra_the_setting_is_refused_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "flight_core.adapters.telemetry.otlp", None)
    with ExitStack() as stack, pytest.raises(InvalidOption, match=r"pip install 'skein-flight\[otel\]'"):
        telemetry(load_settings(otlp_endpoint="http://127.0.0.1:4318"), stack)


def test_without_the_setting_nothing_is_traced_and_nothing_for_it_is_loaded():
    assert telemetry(load_settings(), ExitStack()) == Telemetry()
    loaded = (
        "import sys, skein.lifecycle; sys.exit(any(m.startswith('opentelemetry.sdk') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", loaded], check=False).returncode == 0


@pytest.mark.parametrize("url", ["collector:4318", "ftp://collector", "http://"])
def test_an_endpoint_that_is_no_url_is_refused(monkeypatch, url):
    monkeypatch.setenv("SKEIN_OTLP_ENDPOINT", url)
    with pytest.raises(InvalidOption, match="SKEIN_OTLP_ENDPOINT"):
        load_settings()
