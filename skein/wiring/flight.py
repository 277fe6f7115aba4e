"""What the Flight doors offer: plain Flight and Flight SQL."""

import shutil
import threading

from flight_core.application.datasets.describe import DescribeDataset, GetDataset, ListDatasets
from flight_core.application.datasets.drop import DropDataset
from flight_core.application.ports.clock import new_id, utc_now
from flight_core.application.queries.inspect import InspectStatement
from flight_core.application.queries.live import FollowQuery
from flight_core.application.queries.log import CancelQuery
from flight_core.application.queries.parts import SplitPlan
from flight_core.application.sessions.statements import (
    AnswerInSession,
    BrowseCatalog,
    InspectInSession,
    ReadInSession,
)
from flight_core.application.sessions.writes import LoadInSession
from flight_core.application.writes.changes import ChangeDataset
from flight_core.application.writes.rows import CheckRows, TakeRows, WriteDataset
from flight_core.application.writes.statements import RunStatement
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightUseCases
from skein.wiring.access import gate
from skein.wiring.ingestion import checked_commit
from skein.wiring.parts import Parts, find_version


def flight_use_cases(parts: Parts) -> FlightUseCases:
    datasets, queries = parts.catalog.datasets, parts.queries
    drop = DropDataset(datasets, utc_now)
    take_rows = _take_rows(parts)
    change = ChangeDataset(datasets, take_rows, drop)
    return FlightUseCases(
        gate=gate(parts),
        list_datasets=ListDatasets(datasets),
        get_dataset=GetDataset(datasets),
        describe_dataset=DescribeDataset(datasets, parts.store, find_version(parts), parts.catalog.profiles),
        drop_dataset=drop,
        write_dataset=WriteDataset(take_rows),
        plan_query=queries.plan,
        open_query=queries.open,
        inspect_statement=InspectStatement(queries.reader),
        run_statement=RunStatement(parts.engine, queries.admission, queries.log, change),
        cancel_query=CancelQuery(queries.log),
        queries=queries.log,
        follow_query=FollowQuery(queries.reader, parts.store, parts.engine, queries.open),
    )


def flight_sql_use_cases(parts: Parts, flight: FlightUseCases) -> FlightSqlUseCases:
    change, queries = flight.run_statement.change_dataset, parts.queries
    return FlightSqlUseCases(
        sessions=queries.sessions,
        inspect=InspectInSession(queries.reader),
        answer=AnswerInSession(flight.plan_query, change, queries.log),
        split=SplitPlan(parts.engine),
        read=ReadInSession(parts.catalog.datasets, flight.open_query),
        load=LoadInSession(change, queries.log),
        catalog=BrowseCatalog(queries.reader),
        cancel=flight.cancel_query,
        queries=queries.log,
    )


def _take_rows(parts: Parts) -> TakeRows:
    scratch = parts.temp / "writes"
    shutil.rmtree(scratch, ignore_errors=True)  # of a process that was killed
    contracts = parts.catalog.contracts
    slots = threading.Semaphore(parts.settings.ingest_jobs)
    check = CheckRows(checked_commit(parts), contracts, scratch, slots, utc_now, new_id)
    return TakeRows(parts.open_write, check)
