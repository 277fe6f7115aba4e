"""Every failure has a place in gRPC; nothing of the server's inside leaves with it."""

import json
import traceback

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from flight_core.domain import errors as domain
from flight_server.errors import flight_errors, keep_tracebacks_home, to_wire


def all_failures(root=domain.FlightCoreError):
    for kind in root.__subclasses__():
        yield kind
        yield from all_failures(kind)


EXPECTED = {
    domain.InvalidRequest: pa.ArrowInvalid,
    domain.Conflict: pa.ArrowInvalid,
    domain.NotFound: pa.ArrowKeyError,
    domain.Unauthenticated: fl.FlightUnauthenticatedError,
    domain.PermissionDenied: fl.FlightUnauthorizedError,
    domain.ResourceExhausted: fl.FlightUnavailableError,
    domain.DependencyFailed: fl.FlightUnavailableError,
    domain.DeadlineExceeded: fl.FlightTimedOutError,
    domain.Unsupported: pa.ArrowNotImplementedError,
    domain.Cancelled: fl.FlightServerError,
}


@pytest.mark.parametrize(
    "kind", sorted(all_failures(), key=lambda kind: kind.code), ids=lambda kind: kind.code
)
def test_every_failure_becomes_the_error_of_its_family(kind):
    (family,) = [family for family in EXPECTED if issubclass(kind, family)]
    wire = to_wire(kind("what is wrong", value=7))
    assert isinstance(wire, EXPECTED[family])
    assert str(wire) == f"[{kind.code}] what is wrong"
    if isinstance(wire, fl.FlightError):
        details = {"code": kind.code, "retryable": kind.retryable, "details": {"value": 7}}
        assert json.loads(wire.extra_info) == details


def test_codes_are_unique():
    codes = [kind.code for kind in all_failures()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("surprise", [OSError("/srv/secret"), KeyError("k"), pa.ArrowInvalid("/srv/secret")])
def test_a_surprise_tells_only_where_to_look(surprise, caplog):
    with pytest.raises(fl.FlightInternalError) as caught, flight_errors():
        raise surprise
    text = str(caught.value)
    assert text.startswith("[internal_error] internal error")
    assert "secret" not in text
    (record,) = caplog.records
    assert record.reference in text
    assert record.exc_info[1] is surprise
    assert caught.value.__suppress_context__


def test_what_was_translated_once_passes_unchanged():
    wire = to_wire(domain.InvalidSql("syntax error"))
    with pytest.raises(pa.ArrowInvalid) as caught, flight_errors():
        raise wire
    assert caught.value is wire


def test_the_end_of_a_generator_passes():
    def numbers():
        with flight_errors():
            yield 1
            yield 2

    generator = numbers()
    next(generator)
    generator.close()


def test_long_texts_are_cut_to_what_grpc_carries():
    wire = to_wire(domain.OutOfMemory("ü" * 5000 + " ", statement="x" * 5000))
    assert len(str(wire).encode()) < 2048
    assert len(wire.extra_info) <= 1024
    assert json.loads(wire.extra_info)["code"] == "out_of_memory"


def test_no_text_ends_in_white_space():
    assert str(to_wire(domain.QueryFailed("failed: \n"))) == "[query_failed] failed:"


def test_python_still_formats_its_own_tracebacks():
    keep_tracebacks_home()
    with pytest.raises(ValueError, match="here") as caught:
        raise ValueError("here")
    assert "Traceback" in "".join(traceback.format_exception(caught.value))
