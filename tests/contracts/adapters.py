"""The adapters that the contract suites run against: another one goes into the list of its kind.

One that is elsewhere is added by a module of yours, `pytest -p MODULE tests/contracts`, that says
`from tests.contracts.adapters import ENGINES` and `ENGINES.append(my_engine)`.
"""

from collections.abc import Callable
from pathlib import Path

from flight_core.adapters.parsers.polars import ParserOptions, PolarsParser
from flight_core.application.ports.engine import QueryEngine
from flight_core.application.ports.parsing import Parser
from flight_core.application.ports.storage import TableStore
from tests.adapters.parsing_processes import PROCESSES
from tests.contracts.query_engines import duckdb_engine
from tests.contracts.table_stores import delta_store
from tests.fakes.lake import FakeLake


def polars_parser() -> Parser:
    return PolarsParser(ParserOptions(), PROCESSES)


# Makes an engine over the lake; what it keeps is in the folder.
ENGINES: list[Callable[[FakeLake, Path], QueryEngine]] = [duckdb_engine]

# Makes a store that keeps everything below the folder, as every process would open it.
TABLE_STORES: list[Callable[[Path], TableStore]] = [delta_store]

PARSERS: list[Callable[[], Parser]] = [polars_parser]
