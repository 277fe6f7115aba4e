"""The reference has a heading for each thing there is, and none for a thing there is not."""

import re
from dataclasses import is_dataclass
from inspect import isclass, signature
from typing import get_type_hints

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from control_api.errors import status_of
from control_api.options import ControlUseCases
from flight_core.application.access.audited import action_of
from flight_core.domain.errors import FlightCoreError
from flight_core.domain.system import SYSTEM_TABLES
from flight_server.errors import to_wire
from flight_server.flight_sql.use_cases import FlightSqlUseCases
from flight_server.options import FlightUseCases
from schemas.errors import PROBLEM_TYPES
from schemas.sources import SOURCES
from skein.settings import ClientSettings, Settings
from tests.architecture import documents

REFERENCE = documents.DOCS / "reference"

GRPC = {
    pa.ArrowInvalid: "INVALID_ARGUMENT",
    pa.ArrowKeyError: "NOT_FOUND",
    pa.ArrowNotImplementedError: "UNIMPLEMENTED",
    fl.FlightUnauthenticatedError: "UNAUTHENTICATED",
    fl.FlightUnauthorizedError: "PERMISSION_DENIED",
    fl.FlightUnavailableError: "UNAVAILABLE",
    fl.FlightTimedOutError: "DEADLINE_EXCEEDED",
    fl.FlightServerError: "UNKNOWN",
    fl.FlightInternalError: "INTERNAL",
}


def named_in_headings(page):
    """What the headings name that hold nothing but one piece of code: `name`."""
    named = [re.fullmatch(r"`([^`]+)`", heading) for heading in documents.headings(page)]
    return [match.group(1) for match in named if match]


def test_every_system_table_has_a_heading_and_a_line_for_each_column():
    sections = documents.sections(REFERENCE / "system-tables.md")
    headings = named_in_headings(REFERENCE / "system-tables.md")
    assert headings == [f"skein.{table}" for table in SYSTEM_TABLES]
    for heading, columns in zip(headings, SYSTEM_TABLES.values(), strict=True):
        cells = re.findall(r"^\| (`[^|]*`) \|", sections[f"`{heading}`"], re.MULTILINE)
        assert re.findall(r"`(\w+)`", " ".join(cells)) == columns.names


def audited_actions(bundle):
    """What the log calls the use cases of a bundle, and of the bundles in it."""
    for part in get_type_hints(bundle).values():
        if isclass(part) and "actor" in signature(part.__call__).parameters:
            yield action_of(part)
        elif is_dataclass(part):
            yield from audited_actions(part)


def test_the_actions_of_the_audit_log_keep_their_published_names():
    section = documents.sections(REFERENCE / "http-api.md")["`GET /api/v1/audit`"]
    published = set(re.findall("`([a-z_]+)`", section.partition("Reads are stored")[2]))
    bundles = (ControlUseCases, FlightUseCases, FlightSqlUseCases)
    assert published == {action for bundle in bundles for action in audited_actions(bundle)}


def all_failures(root=FlightCoreError):
    yield root
    for kind in root.__subclasses__():
        yield from all_failures(kind)


def test_every_error_code_has_a_heading_and_no_heading_lacks_a_code():
    headings = named_in_headings(REFERENCE / "errors.md")
    assert len(headings) == len(set(headings))
    assert set(headings) == {kind.code for kind in all_failures()} | set(PROBLEM_TYPES)


@pytest.mark.parametrize("kind", tuple(all_failures()), ids=lambda kind: kind.code)
def test_the_reference_tells_how_a_failure_travels(kind):
    error = kind("what is wrong")
    grpc = next(GRPC[base] for base in type(to_wire(error)).__mro__ if base in GRPC)
    retry = "yes" if error.retryable else "no"
    section = documents.sections(REFERENCE / "errors.md")[f"`{kind.code}`"]
    assert f"\nHTTP {status_of(error)} · gRPC {grpc} · retry: {retry}\n" in section


@pytest.mark.parametrize("code", sorted(PROBLEM_TYPES.keys() - {kind.code for kind in all_failures()}))
def test_a_code_of_http_alone_tells_its_status(code):
    section = documents.sections(REFERENCE / "errors.md")[f"`{code}`"]
    assert re.search(r"\nHTTP 4\d\d · retry: no\n", section)


def test_every_failure_is_a_problem_that_http_explains():
    assert {kind.code for kind in all_failures()} <= PROBLEM_TYPES.keys()


def test_every_setting_has_a_heading_and_no_heading_lacks_a_setting():
    headings = named_in_headings(REFERENCE / "settings.md")
    fields = {*Settings.model_fields, *ClientSettings.model_fields}
    assert sorted(headings) == sorted(f"SKEIN_{field.upper()}" for field in fields)


def test_every_source_kind_has_a_heading_and_no_heading_lacks_a_source_kind():
    assert sorted(named_in_headings(REFERENCE / "sources.md")) == sorted(SOURCES)
