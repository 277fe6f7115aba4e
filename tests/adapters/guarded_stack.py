"""A lake with a dataset that is granted and one that is not, for attacks on the guarded engine."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from flight_core.adapters.engines.duckdb.guarded.engine import GuardedDuckDbEngine
from flight_core.adapters.engines.duckdb.guarded.process import GuardedOptions
from flight_core.application.ports.engine import Principal
from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import LakeState
from flight_core.domain.query import Statement
from tests.fakes.lake import FakeLake

SECRET = "SECRETB"
READER = Actor("reader", frozenset({Scope.READ}), ("ds_a",))
CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[1] / "data" / "sql_attacks.json").read_text("utf-8")
)


@dataclass(frozen=True)
class GuardedStack:
    engine: GuardedDuckDbEngine
    lake: FakeLake
    root: Path
    outside: Path

    @property
    def view(self) -> LakeState:
        return READER.view_of(self.lake.state)

    def rows(self, sql: str, *values: object, principal: str = READER.name, **options: Any) -> pa.Table:
        query = self.engine.plan(Statement(sql, values, **options), self.view, principal=Principal(principal))
        try:
            return pa.Table.from_batches(list(query), query.schema)
        finally:
            query.close()

    def text_of(self, case: dict[str, Any]) -> str:
        """The SQL of an attack, its placeholders filled in."""
        text: str = case.get("sql") or eval(case["gen"])
        state = self.lake.state
        (file_a,) = self.lake.files(state.datasets["ds_a"].ref).uris
        (file_b,) = self.lake.files(state.datasets["ds_b"].ref).uris
        places = {
            "{AF}": file_a,
            "{BF}": file_b,
            "{A}": str(self.lake.folder),
            "{B}": str(self.lake.folder),
            "{OUT}": str(self.outside),
            "{SPILL}": str(self.root / "temp"),
            "{ROOT}": str(self.root),
        }
        for place, path in places.items():
            text = text.replace(place, path)
        return text


@contextmanager
def guarded_stack(root: Path, **options: Any) -> Iterator[GuardedStack]:
    lake_folder, temp, outside = root / "lake", root / "temp", root / "outside"
    for folder in (lake_folder, temp, outside):
        folder.mkdir()
    (outside / "secret.txt").write_text(SECRET)
    lake = FakeLake(lake_folder)
    lake.commit("ds_a", pa.table({"i": pa.array(range(20), pa.int64()), "t": ["A", "B"] * 10}))
    lake.commit("ds_b", pa.table({"i": pa.array([1, 2], pa.int64()), "t": [SECRET, SECRET]}))
    folders = {str(lake_folder): "<lake>", str(temp): "<temp>"}
    engine = GuardedDuckDbEngine(GuardedOptions(temp=temp, folders=folders, **options), lake)  # type: ignore[arg-type] # the fake has the part engines use
    try:
        yield GuardedStack(engine, lake, root, outside)
    finally:
        engine.close()
