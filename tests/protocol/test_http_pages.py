"""Every list of the API, page by page, while others add to it."""

import itertools

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from flight_core.domain.access import LOCAL
from flight_core.domain.query import Statement
from tests.stack import skein_stack

SOURCE = {"kind": "http", "url": "http://127.0.0.1:9/x.csv"}
numbers = itertools.count()


class Lists:
    """One server; a way to add to each of its lists, by the path of the list."""

    def __init__(self, stack, client):
        self.stack, self.client = stack, client
        self.add = {
            "datasets": self.dataset,
            "datasets/grown/versions": lambda: stack.write("grown", pa.table({"n": [1]})),
            "datasets/grown/tags": lambda: client.put(
                f"/api/v1/datasets/grown/tags/t{next(numbers)}", json={}
            ),
            "ingestions": self.ingestion,
            "jobs": self.ingestion,
            "schedules": self.schedule,
            "uploads": lambda: client.post("/api/v1/uploads", content=b"x"),
            "queries": self.query,
            "tokens": self.token,
        }

    def dataset(self):
        self.stack.write(f"{'az'[next(numbers) % 2]}_{next(numbers)}", pa.table({"n": [1]}))

    def ingestion(self):
        self.client.post("/api/v1/ingestions", json={"dataset": "never", "source": SOURCE}).raise_for_status()

    def schedule(self):
        body = {"name": f"{'az'[next(numbers) % 2]}{next(numbers)}", "every_s": 9e5, "paused": True}
        body["ingestion"] = {"dataset": "never", "source": SOURCE}
        self.client.post("/api/v1/schedules", json=body).raise_for_status()

    def token(self):
        body = {"name": f"t{next(numbers)}", "scopes": ["read"]}
        self.client.post("/api/v1/tokens", json=body).raise_for_status()

    def query(self):
        with self.stack.skein.control.queries.open(Statement("SELECT 1"), actor=LOCAL, door="http") as query:
            list(query)


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    root = {"Authorization": "Bearer r00t"}
    with (
        skein_stack(tmp_path_factory.mktemp("data"), tokens="root=r00t") as stack,
        stack.http(timeout=60, headers=root) as client,
    ):
        stack.write("grown", pa.table({"n": [1]}))
        made = Lists(stack, client)
        for add in made.add.values():
            for _ in range(4):
                add()
        yield made


def place(item):
    """What tells the items of a list apart."""
    return next(str(item[key]) for key in ("id", "name", "version") if key in item)


@given(
    grows=st.lists(st.booleans(), min_size=12, max_size=12),
    path=st.sampled_from(sorted({*Lists(None, None).add})),
    limit=st.integers(1, 4),
)
@settings(max_examples=24, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_what_was_there_is_shown_once_while_others_add(lists, grows, path, limit):
    whole = lists.client.get(f"/api/v1/{path}", params={"limit": 1000}).json()["items"]
    shown, following = [], f"/api/v1/{path}?limit={limit}"
    while following is not None:
        page = lists.client.get(following)
        assert len(page.json()["items"]) <= limit
        shown += map(place, page.json()["items"])
        following = page.json()["next"]
        assert page.links.get("next", {}).get("url") == following
        if len(shown) < 3 * limit and grows.pop():
            lists.add[path]()
    assert len(shown) == len(set(shown))
    assert set(map(place, whole)) <= set(shown)
    in_order = [each for each in shown if each in set(map(place, whole))]
    assert in_order == list(map(place, whole))
