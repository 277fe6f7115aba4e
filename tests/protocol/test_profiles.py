"""Profiles of columns, against what pandas and numpy say of the same values."""

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.domain.dataset import WriteMode
from flight_core.domain.events import Event, EventKind
from tests.stack import skein_stack

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profiles")
    with skein_stack(folder, tokens="ann=all,eve/read@t=little") as stack, client_of(stack, "all") as client:
        yield stack, client


def client_of(stack, token):
    return stack.http(timeout=60, headers={"Authorization": f"Bearer {token}"})


def profile(stack, table, **params):
    stack, client = stack
    stack.write("t", table, WriteMode.REPLACE)
    answer = client.get("/api/v1/datasets/t/profile", params=params)
    assert answer.status_code == 200, answer.text
    return {column["name"]: column for column in answer.json()["columns"]}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    numbers=st.lists(st.none() | st.floats(width=64), max_size=60),
    integers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=60),
    texts=st.lists(st.none() | st.text("abä'\" ", max_size=3), max_size=60),
)
def test_numbers_and_texts_are_those_of_pandas(stack, numbers, integers, texts):
    rows = max(len(numbers), len(integers), len(texts))
    pad = lambda values: values + [None] * (rows - len(values))  # noqa: E731
    found = profile(
        stack,
        pa.table(
            {
                "x": pa.array(pad(numbers), pa.float64()),
                "i": pa.array(pad(integers), pa.int64()),
                "s": pa.array(pad(texts), pa.string()),
            }
        ),
    )
    given = [x for x in numbers if x is not None]
    finite = np.array([x for x in given if math.isfinite(x)])
    x = found["x"]
    assert x["nulls"] == rows - len(given)
    assert x["nans"] == sum(map(math.isnan, given))
    ordered = [value for value in given if not math.isnan(value)]
    assert (x["minimum"] is None) == (not ordered)
    if ordered:
        assert (float(x["minimum"]), float(x["maximum"])) == (min(ordered), max(ordered))
    assert sum(bin["count"] for bin in x["histogram"]) == len(finite)
    if len(finite):
        scale = max(abs(finite).max(), 1.0)
        assert x["mean"] / scale == pytest.approx((finite / scale).mean(), abs=1e-9)
    if len(finite) > 1 and x["deviation"] is not None:
        assert x["deviation"] / scale == pytest.approx((finite / scale).std(ddof=1), abs=1e-7)
    ints = [value for value in integers if value is not None]
    if ints:
        assert (int(found["i"]["minimum"]), int(found["i"]["maximum"])) == (min(ints), max(ints))
        assert sum(bin["count"] for bin in found["i"]["histogram"]) == len(ints)
    counts = pd.Series(texts, dtype=object).value_counts()
    for top in found["s"]["top"]:
        assert counts[top["value"]] == top["count"]
    assert [top["count"] for top in found["s"]["top"]] == sorted(counts, reverse=True)[:10]
    there = [len(text) for text in texts if text is not None]
    if there:
        lengths = found["s"]["lengths"]
        assert (lengths["minimum"], lengths["maximum"]) == (min(there), max(there))
        assert lengths["mean"] == pytest.approx(np.mean(there))


def test_the_histogram_is_that_of_numpy_and_quantiles_are_near(stack):
    values = np.random.default_rng(1).normal(size=20_000)
    found = profile(stack, pa.table({"x": values}))["x"]
    counts, edges = np.histogram(values, bins=20)
    assert np.abs(np.array([bin["count"] for bin in found["histogram"]]) - counts).sum() <= 2
    assert [bin["start"] for bin in found["histogram"]] == pytest.approx(edges[:-1])
    for quantile in found["quantiles"]:
        share = (values <= quantile["value"]).mean()
        assert share == pytest.approx(quantile["fraction"], abs=0.02)
    assert found["distinct"] == pytest.approx(20_000, rel=0.2)


EVERY_TYPE = {
    "all nulls": pa.array([None, None], pa.int32()),
    "flag": pa.array([True, None]),
    "money": pa.array([Decimal("1.50"), Decimal("-2.25")], pa.decimal128(38, 2)),
    "day": pa.array([dt.date(1, 1, 1), dt.date(9999, 12, 31)]),
    "far day": pa.array([-(2**30), 2**30], pa.date32()),
    "moment": pa.array([1_577_836_800_000_000, None], pa.timestamp("us")),
    "instant": pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC)] * 2, pa.timestamp("us", "UTC")),
    "clock": pa.array([dt.time(1, 2, 3), dt.time(23, 0)], pa.time64("us")),
    "bytes": pa.array([b"\xff\x00", b""]),
    "list": pa.array([[1, 2], None]),
    "struct": pa.array([{"a": 1}, {"a": None}]),
    "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
    'odd "name" c0; --': pa.array(["x" * 1000, ""]),
    "FILTER": pa.array([2**64 - 1, 0], pa.uint64()),
    "half": pa.array([1.5, float("inf")], pa.float32()),
}


def test_every_type_has_a_profile_also_without_rows(stack):
    table = pa.table(EVERY_TYPE)
    found = profile(stack, table)
    assert list(found) == table.column_names
    assert {name: column["nulls"] for name, column in found.items()} == {
        name: column.null_count for name, column in EVERY_TYPE.items()
    }
    assert (found["money"]["minimum"], found["money"]["mean"]) == ("-2.25", -0.375)
    assert found["day"]["minimum"] == "0001-01-01"
    assert found["clock"]["minimum"].startswith("01:02:03")
    assert found["FILTER"]["maximum"] == str(2**64 - 1)
    assert found["bytes"]["lengths"] == {"minimum": 0, "maximum": 2, "mean": 1.0}
    assert {"value": "true", "count": 1} in found["flag"]["top"]
    assert len(found['odd "name" c0; --']["maximum"]) == 201
    for column in profile(stack, table.slice(0, 0)).values():
        assert (column["nulls"], column["minimum"], column["histogram"], column["top"]) == (0, None, [], [])


def test_a_profile_is_of_one_version_and_computed_once(stack):
    server, client = stack
    server.write("versions", pa.table({"a": [1, 2], "b": ["x", "y"]}))
    server.write("versions", pa.table({"a": [3], "b": ["z"]}))
    url = "/api/v1/datasets/versions/profile"
    queries = lambda: len(server.skein.flight.open_query.log.list())  # noqa: E731
    now, before = client.get(url).json(), client.get(url, params={"version": "v0"}).json()
    assert (now["rows"], before["rows"]) == (3, 2)
    assert (now["columns"][0]["maximum"], before["columns"][0]["maximum"]) == ("3", "2")
    ran = queries()
    again = client.get(url, params={"columns": "B"}).json()
    assert again["columns"] == now["columns"][1:]
    assert queries() == ran


def test_what_files_tell_is_what_a_computation_finds(stack, monkeypatch):
    table = pa.table({**EVERY_TYPE, "x": [1e300, -1e300], "nan": [math.nan, 2.0], "inf": [-math.inf, 0.5]})
    told = profile(stack, table)
    monkeypatch.setattr("flight_core.application.profiles.profile.known_of", lambda _: {})
    assert profile(stack, table) == told


def test_what_takes_long_is_a_job_that_anybody_may_wait_for(stack, monkeypatch):
    server, client = stack
    url = "/api/v1/datasets/t/profile"
    quick = profile(stack, pa.table({"x": range(1000), "s": ["a", "b"] * 500}))
    monkeypatch.setattr("flight_core.application.profiles.profile._QUICK_CELLS", 0)
    server.write("t", pa.table({"x": range(1000), "s": ["a", "b"] * 500}), WriteMode.REPLACE)
    with client_of(server, "little") as reader:
        asked = reader.get(url)
        assert (asked.status_code, asked.json()["task"]) == (202, "profile")
        waited = reader.get(url, headers={"Prefer": "wait=50"})
    assert waited.status_code == 200
    assert {column["name"]: column for column in waited.json()["columns"]} == quick
    job = client.get(asked.headers["Location"]).json()
    assert (job["state"], job["result"], job["error"]) == ("succeeded", {"columns": 2}, None)
    described = client.get("/api/v1/datasets/t").json()["columns"]
    assert [column["distinct"] for column in described] == [quick["x"]["distinct"], 2]
    server.write("t", pa.table({"x": [1]}), WriteMode.REPLACE)
    assert client.get("/api/v1/datasets/t").json()["columns"][0]["distinct"] is None


def test_a_profile_goes_with_its_dataset_and_with_its_version(stack):
    server, client = stack
    profiles = server.skein.control.datasets.profile.profiles
    refs = []
    for number in range(2):
        refs.append(server.write("gone", pa.table({"x": [number]})).ref)
        assert client.get("/api/v1/datasets/gone/profile").status_code == 200
    versions = server.skein.vacuum.versions
    versions.expire(refs[0].dataset_id, before=1, event=Event(EventKind.DATASET_EXPIRED, "gone", {}, NOW))
    versions.forget_expired(refs[0].dataset_id, [0])
    known = profiles.find(refs[1])
    assert (profiles.find(refs[0]), known and known[0].maximum) == (None, "1")
    client.delete("/api/v1/datasets/gone")
    assert profiles.find(refs[1]) is None
    profiles.put(refs[1], known)  # by a job that ran meanwhile
    assert profiles.find(refs[1]) is None


def test_a_column_that_is_not_there_is_refused_with_those_that_are(stack):
    server, client = stack
    server.write("versions", pa.table({"a": [1], "b": ["x"]}))
    answer = client.get("/api/v1/datasets/versions/profile", params={"columns": "c"})
    assert answer.status_code in (400, 422)
    assert "a, b" in answer.json()["detail"]


def test_a_dataset_that_does_not_exist_has_no_profile(stack):
    assert stack[1].get("/api/v1/datasets/none/profile").status_code == 404
