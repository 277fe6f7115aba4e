"""Windows of rows: anywhere in a dataset, sorted and filtered, for everybody who may read it."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from flight_core.domain.dataset import WriteMode
from flight_core.domain.query import OWN_DOOR, QueryRecord, QueryState
from tests.stack import Stack, skein_stack, until

ARROW = "application/vnd.apache.arrow.stream"
WRITER = {"Authorization": "Bearer wr1te", "Accept": ARROW}
READER = {"Authorization": "Bearer re4d", "Accept": ARROW}
# Files of several row groups and of a few rows, the boundaries at odd places.
SIZES = (130_000, 7, 61_440, 1, 70_001)
TOTAL = sum(SIZES)


def rows(first: int, count: int) -> pa.Table:
    numbers = pa.array(range(first, first + count), pa.int64())
    return pa.table({"n": numbers, "m": [n * 7919 % 1000 for n in range(first, first + count)]})


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("data")
    with skein_stack(data, tokens="ann=wr1te,bob/read=re4d", cache_min_run_s=0.0) as made:
        for place, size in enumerate(SIZES):
            made.write("w", rows(sum(SIZES[:place]), size))
        yield made


def window(stack: Stack, headers=WRITER, name: str = "w", **asked) -> pa.Table:
    return told_window(stack, headers, name, **asked)[1]


def told_window(stack: Stack, headers, name: str = "w", **asked) -> tuple[str, pa.Table]:
    """What the cache did for it, and its rows."""
    with stack.http(headers=headers) as client:
        reply = client.get(f"/api/v1/datasets/{name}/rows", params=asked)
        assert reply.status_code == 200, reply.text
        return reply.headers["skein-cache"], pa.ipc.open_stream(reply.content).read_all()


def kept_runs(stack: Stack) -> list[QueryRecord]:
    """What the server has run to keep it for windows to come."""
    return [record for record in stack.skein.control.queries.log.list() if record.door == OWN_DOOR]


@given(
    offset=st.one_of(
        st.integers(0, TOTAL + 10), st.sampled_from([sum(SIZES[:place]) - 1 for place in range(1, 6)])
    ),
    limit=st.sampled_from([0, 1, 2, 100, 2000, 62_000, TOTAL]),
)
@settings(max_examples=10, suppress_health_check=list(HealthCheck))
def test_a_window_is_a_slice_of_the_rows_as_they_are_stored(stack, offset, limit):
    expected = list(range(TOTAL))[offset : offset + limit]
    assert window(stack, offset=offset, limit=limit, columns="n")["n"].to_pylist() == expected


def test_who_may_only_read_gets_the_same_window(stack):
    asked = {"offset": 129_990, "limit": 100}
    assert window(stack, READER, **asked).equals(window(stack, **asked))


def test_a_window_of_a_sorted_view_is_a_slice_of_the_sorted_rows(stack):
    ordered = rows(0, TOTAL).sort_by([("m", "descending"), ("n", "ascending")])
    found = window(stack, order_by=["-m", "n"], offset=1_000, limit=50)
    assert found["n"].to_pylist() == ordered["n"].slice(1_000, 50).to_pylist()


@pytest.mark.parametrize("headers", [WRITER, READER], ids=["writer", "reader"])
def test_windows_of_rows_with_equal_keys_are_pieces_of_one_order(stack, headers):
    stored = sorted(range(20_000), key=lambda n: n * 7919 % 1000)
    asked = {"where": "n < 20000", "order_by": "m", "limit": 4_000}
    found = [window(stack, headers, **asked, offset=offset)["n"] for offset in range(0, 20_000, 4_000)]
    assert [n for each in found for n in each.to_pylist()] == stored


def test_a_condition_that_looks_elsewhere_is_looked_at_again(stack):
    stack.write("chosen", pa.table({"n": pa.array([1], pa.int64())}), WriteMode.REPLACE)
    asked = {"where": "n IN (SELECT n FROM chosen)"}
    with stack.http(headers=WRITER) as client:
        before = client.get("/api/v1/datasets/w/rows", params=asked)
        stack.write("chosen", pa.table({"n": pa.array([2], pa.int64())}))
        known = {"If-None-Match": before.headers.get("etag", "*")}
        after = client.get("/api/v1/datasets/w/rows", params=asked, headers=known)
    assert pa.ipc.open_stream(after.content).read_all()["n"].to_pylist() == [1, 2]


def test_a_window_of_a_filtered_view_has_the_rows_for_which_the_condition_holds(stack):
    found = window(stack, where="m = 0 -- and nothing else", offset=10, limit=5)["n"].to_pylist()
    assert found == [n for n in range(TOTAL) if n * 7919 % 1000 == 0][10:15]


@given(
    order_by=st.lists(st.sampled_from(["n", "-n", "m", "-m"]), max_size=2, unique_by=lambda key: key[-1]),
    where=st.sampled_from([None, "n % 3 = 0", "m < 500", "false"]),
    columns=st.sampled_from([["m", "n"], ["n"]]),
    headers=st.sampled_from([WRITER, READER]),
    windows=st.lists(
        st.tuples(st.integers(1, TOTAL + 10), st.sampled_from([0, 1, 2_000, TOTAL])), min_size=1, max_size=3
    ),
)
@settings(max_examples=8, suppress_health_check=list(HealthCheck))
def test_windows_are_the_same_computed_and_out_of_a_kept_view(
    stack, order_by, where, columns, headers, windows
):
    assume(order_by or where)
    view = {"order_by": order_by, "columns": columns, **({"where": where} if where else {})}
    whole = sorted_and_filtered(order_by, where).select(columns)

    def look() -> list[str]:
        """What the cache did for each."""
        used = []
        for offset, limit in [(0, 1), (1, 1), *windows]:
            cache, found = told_window(stack, headers, **view, offset=offset, limit=limit)
            assert found.equals(whole.slice(offset, limit))
            used.append(cache)
        return used

    look()
    sql = stack.skein.control.queries.log.list()[0].sql
    until(lambda: QueryState.SUCCEEDED in (run.state for run in kept_runs(stack) if run.sql == sql))
    assert set(look()) == {"hit"}
    assert window(stack, headers, **view, offset=0, limit=10).nbytes <= 200
    assert stack.skein.control.queries.log.list()[0].size_bytes <= 200, (
        "the rows count, not where they are from"
    )


def sorted_and_filtered(order_by: list[str], where: str | None) -> pa.Table:
    table = rows(0, TOTAL)
    n, m = table["n"].to_numpy(), table["m"].to_numpy()
    holds = {None: n >= 0, "n % 3 = 0": n % 3 == 0, "m < 500": m < 500, "false": n < 0}[where]
    order = [(key.removeprefix("-"), "descending" if "-" in key else "ascending") for key in order_by]
    return table.filter(pa.array(holds)).sort_by([*order, ("n", "ascending")])


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"where": "nope > 1"}, "invalid_sql"),
        ({"where": "true); DROP TABLE w; --"}, "invalid_sql"),
        ({"order_by": "nope"}, "invalid_sql"),
        ({"where": ""}, "invalid_request"),
        ({"order_by": ""}, "invalid_request"),
        ({"columns": ""}, "invalid_request"),
    ],
)
def test_a_view_that_cannot_be_is_refused(stack, asked, code):
    with stack.http(headers=WRITER) as client:
        assert client.get("/api/v1/datasets/w/rows", params=asked).json()["code"] == code


def test_a_column_called_as_the_engine_counts_rows_does_no_harm(stack):
    stack.write("odd", pa.table({"file_row_number": pa.array(range(100), pa.int64())}), WriteMode.REPLACE)
    assert window(stack, name="odd", offset=40, limit=2)["file_row_number"].to_pylist() == [40, 41]
