"""Session options and the end of sessions."""

from collections.abc import Iterator

from flight_core.application.access.rights import require
from flight_core.domain.access import Scope
from flight_core.domain.errors import InvalidOption
from flight_server.auth import Call
from flight_server.flight_sql.partitions import OPTION, checked
from flight_server.flight_sql.use_cases import FlightSqlUseCases, session_of
from schemas.flight_sql.flight_pb2 import (
    CloseSessionRequest,
    CloseSessionResult,
    GetSessionOptionsRequest,
    GetSessionOptionsResult,
    SessionOptionValue,
    SetSessionOptionsRequest,
    SetSessionOptionsResult,
)

_REASONS = {
    "name": SetSessionOptionsResult.INVALID_NAME,
    "value": SetSessionOptionsResult.INVALID_VALUE,
}


class SessionOptions:
    def __init__(self, use_cases: FlightSqlUseCases) -> None:
        self._use_cases = use_cases

    def set(self, call: Call, request: SetSessionOptionsRequest) -> Iterator[SetSessionOptionsResult]:
        require(call.actor, Scope.READ)
        session = session_of(call, self._use_cases.sessions)
        result = SetSessionOptionsResult()
        for name, value in request.session_options.items():
            try:
                if name == OPTION:
                    session.parallel_endpoints = checked(_plain(value))
                else:
                    session.connections.set_option(name, _plain(value))
            except InvalidOption as error:
                reason = str(error.details.get("reason"))
                result.errors[name].value = _REASONS.get(reason, SetSessionOptionsResult.ERROR)
        yield result

    def get(self, call: Call, request: GetSessionOptionsRequest) -> Iterator[GetSessionOptionsResult]:
        require(call.actor, Scope.READ)
        session = session_of(call, self._use_cases.sessions)
        result = GetSessionOptionsResult()
        options = {**session.connections.options(), OPTION: session.parallel_endpoints}
        for name, value in options.items():
            result.session_options[name].CopyFrom(_wire(value))
        yield result

    def close(self, call: Call, request: CloseSessionRequest) -> Iterator[CloseSessionResult]:
        self._use_cases.sessions.end(call.session_key, call.actor)
        yield CloseSessionResult(status=CloseSessionResult.CLOSED)


def _plain(value: SessionOptionValue) -> object:
    """None where nothing is set, which takes the option back."""
    kind = value.WhichOneof("option_value")
    if kind is None:
        return None
    if kind == "string_list_value":
        return list(value.string_list_value.values)
    return getattr(value, kind)


def _wire(value: object) -> SessionOptionValue:
    match value:
        case bool():
            return SessionOptionValue(bool_value=value)
        case int():
            return SessionOptionValue(int64_value=value)
        case _:
            return SessionOptionValue(string_value=str(value))
