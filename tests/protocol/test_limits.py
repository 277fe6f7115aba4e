"""What one identity may use: refused with a code beyond that, at every door, never cut short in silence."""

import threading
from collections.abc import Iterator

import adbc_driver_flightsql.dbapi as dbapi
import httpx
import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.application.access.request_rate import RequestRate
from flight_core.domain.access import Actor
from flight_core.domain.errors import InvalidOption, TooManyRequests
from flight_core.domain.limits import Limits
from tests.protocol.http_stack import ENDLESS, until
from tests.stack import Stack, skein_stack

ADMIN = {"Authorization": "Bearer r00t"}
BIG = "SELECT range AS i FROM range(300000)"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("limits") / "data"
    with skein_stack(data, tokens="root=r00t,tiny/read=t1ny", limit_rows=200_000) as made:
        made.write("d", pa.table({"x": pa.array([1, 2], pa.int64())}))
        yield made


def token(stack: Stack, name: str, scopes=("read", "write"), **limits) -> dict[str, str]:
    with stack.http(headers=ADMIN, timeout=60) as admin:
        asked = {"name": name, "scopes": scopes, "limits": limits}
        made = admin.post("/api/v1/tokens", json=asked)
        assert made.status_code == 201, made.text
        assert {name: made.json()["limits"][name] for name in limits} == limits
    return {"Authorization": f"Bearer {made.json()['token']}"}


def query(stack: Stack, headers: dict[str, str], sql: str):
    with stack.http(headers=headers, timeout=60) as client:
        return client.post("/api/v1/query", json={"sql": sql}, headers={"Accept": "text/csv"})


def over_flight(stack: Stack, headers: dict[str, str], sql: str) -> int:
    options = fl.FlightCallOptions(headers=[(b"authorization", headers["Authorization"].encode())])
    with stack.flight() as client:
        info = client.get_flight_info(fl.FlightDescriptor.for_command(sql.encode()), options)
        return client.do_get(info.endpoints[0].ticket, options).read_all().num_rows


def over_flight_sql(stack: Stack, headers: dict[str, str], sql: str) -> int:
    header = {"adbc.flight.sql.authorization_header": headers["Authorization"]}
    opened = dbapi.connect(stack.flight_uri, db_kwargs=header, autocommit=True)
    with opened as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetch_arrow_table().num_rows


@pytest.mark.parametrize("limits", [{}, {"rows": 1000}, {"rows": 10**6, "result_bytes": 1000}], ids=str)
def test_a_result_past_the_limit_fails_at_every_door(stack, limits):
    headers = token(stack, "small", **limits)
    told = "limit_exceeded.*'small'"
    for door in (over_flight, over_flight_sql):
        with pytest.raises((fl.FlightUnavailableError, dbapi.Error, OSError), match=told):
            door(stack, headers, BIG)
    with pytest.raises((httpx.RemoteProtocolError, httpx.HTTPStatusError), match=r"(?i)peer closed|413"):
        query(stack, headers, BIG).raise_for_status()
    assert query(stack, headers, "SELECT 1 AS x").text.split() == ['"x"', "1"]


def test_a_token_can_have_more_than_everybody_and_guarded_readers_have_the_same_limits(stack):
    assert over_flight(stack, token(stack, "large", rows=10**6), BIG) == 300_000
    with pytest.raises(fl.FlightUnavailableError, match="limit_exceeded"):
        over_flight(stack, {"Authorization": "Bearer t1ny"}, BIG)


def test_queries_beyond_those_allowed_at_a_time_are_refused_until_one_ends(stack):
    headers = token(stack, "busy", queries=1)
    replies = []
    first = threading.Thread(target=lambda: replies.append(query(stack, headers, ENDLESS)))
    first.start()
    log = stack.skein.control.queries.log
    until(lambda: any(each.actor == "busy" for each in log.list()), deadline_s=30)
    refused = query(stack, headers, "SELECT 1")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_queries")
    assert int(refused.headers["Retry-After"]) >= 1
    for door in (over_flight, over_flight_sql):
        with pytest.raises((fl.FlightUnavailableError, dbapi.Error, OSError), match="too_many_queries"):
            door(stack, headers, "SELECT 1")
    assert query(stack, ADMIN, "SELECT 1").status_code == 200
    with stack.http(headers=headers) as client:
        (running,) = client.get("/api/v1/queries?state=running").json()["items"]
        client.delete(f"/api/v1/queries/{running['id']}")
    first.join(30)
    until(lambda: not any(e.actor == "busy" and e.finished_at is None for e in log.list()), deadline_s=30)
    assert query(stack, headers, "SELECT 1").status_code == 200


def test_who_asks_too_often_is_told_when_to_come_again(stack):
    headers = token(stack, "eager", requests_per_s=0.01)
    with stack.http(headers=headers) as client:
        assert client.get("/api/v1/datasets").status_code == 200
        refused = client.get("/api/v1/datasets")
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
        assert 1 <= int(refused.headers["Retry-After"]) <= 100
    with pytest.raises(fl.FlightUnavailableError, match="too_many_requests"):
        over_flight(stack, headers, "SELECT 1")
    with pytest.raises((dbapi.Error, OSError), match="too_many_requests"):
        over_flight_sql(stack, headers, "SELECT 1")


def test_what_a_job_reads_has_bounds_of_its_own(stack):
    headers = token(stack, "loader", ["read", "write"], rows=10, queries=1)
    asked = {"dataset": "copied", "source": {"kind": "sql", "sql": BIG}}
    with stack.http(headers={**headers, "Prefer": "wait=30"}, timeout=60) as client:
        done = client.post("/api/v1/ingestions", json=asked)
        assert done.json()["state"] == "succeeded", done.text


def test_a_reader_can_have_memory_of_its_own(stack):
    hungry = "SELECT max(len(s)) FROM (SELECT string_agg(repeat('x', 1000), '') AS s FROM range(400000))"
    refused = query(stack, token(stack, "poor", ["read"], memory_bytes=64 << 20), hungry)
    assert (refused.status_code, refused.json()["code"]) == (429, "out_of_memory"), refused.text


def test_limits_that_are_none_are_refused(stack):
    with stack.http(headers=ADMIN) as admin:
        for limits in ({"rows": 0}, {"queries": -1}, {"colour": 1}):
            asked = {"name": "x", "scopes": ["read"], "limits": limits}
            assert admin.post("/api/v1/tokens", json=asked).status_code == 422
    with pytest.raises(InvalidOption, match="rows"):
        Limits(rows=0)


def test_requests_are_counted_for_each_name_and_come_back_with_time():
    now = 0.0
    rate = RequestRate(lambda: now)
    ann, bob = (Actor(name, limits=Limits(requests_per_s=2.0)) for name in ("ann", "bob"))
    for actor in (ann, ann, bob):
        rate.check(actor)
    with pytest.raises(TooManyRequests) as refused:
        rate.check(ann)
    assert refused.value.details["retry_after_s"] == 0.5
    now += 0.5
    rate.check(ann)
    rate.check(Actor("free"))
