"""The log of events, as it grows."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, WebSocket
from starlette.requests import HTTPConnection
from starlette.responses import Response

from control_api.dependencies import Caller, Options, UseCases
from control_api.errors import problem_response
from control_api.events import EventStreamResponse, Filter, Subscription, follow_socket
from control_api.mapping import API
from control_api.options import ControlOptions, ControlUseCases
from control_api.security import TOKEN_SUBPROTOCOL
from flight_core.application.queries import require
from flight_core.domain.access import Scope
from flight_core.domain.errors import FlightCoreError, InvalidRequest
from flight_core.domain.events import EventKind
from schemas.events import EventMessage

router = APIRouter(prefix=f"{API}/events", tags=["events"])

Many = Annotated[list[str], Query(default_factory=list)]


@router.websocket("")
async def follow(socket: WebSocket, use_cases: UseCases, options: Options, caller: Caller) -> None:
    """`?after=ID` resumes; `dataset`, `kind` and `job`, each any number of times, narrow it."""
    query = socket.query_params
    try:
        require(caller, Scope.READ)
        subscription = _subscription(
            use_cases,
            options,
            after=query.get("after"),
            datasets=query.getlist("dataset"),
            kinds=query.getlist("kind"),
            jobs=query.getlist("job") + query.getlist("ingestion"),
        )
    except FlightCoreError as refusal:
        await socket.send_denial_response(problem_response(socket.scope, refusal))
        return
    offered = socket.scope.get("subprotocols", [])
    known = [offer for offer in offered if not offer.startswith(TOKEN_SUBPROTOCOL)]
    await socket.accept(subprotocol=known[0] if known else None)
    await follow_socket(socket, subscription, timeout_s=options.event_timeout_s)


@router.get(
    "/stream",
    response_class=Response,
    responses={
        200: {"model": EventMessage, "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    },
)
async def stream(
    use_cases: UseCases,
    options: Options,
    caller: Caller,
    connection: HTTPConnection,
    dataset: Annotated[list[str] | None, Query(description="Only of these.")] = None,
    kind: Annotated[list[str] | None, Query(description="Such as `dataset.committed`.")] = None,
    job: Annotated[list[str] | None, Query(description="Only of these jobs.")] = None,
    ingestion: Annotated[list[str] | None, Query(description="The same as `job`.")] = None,
    after: Annotated[str | None, Query(description="Resume after this id; from now on if left out.")] = None,
    last_event_id: Annotated[str | None, Header(description="Wins over `after`; browsers send it.")] = None,
) -> Response:
    """The same events as over the WebSocket, as server-sent events."""
    require(caller, Scope.READ)
    subscription = _subscription(
        use_cases,
        options,
        after=last_event_id or after,
        datasets=dataset or [],
        kinds=kind or [],
        jobs=(job or []) + (ingestion or []),
    )
    return EventStreamResponse(
        subscription, timeout_s=options.event_timeout_s, stopping=connection.app.state.stopping
    )


def _subscription(
    use_cases: ControlUseCases,
    options: ControlOptions,
    *,
    after: str | None,
    datasets: list[str],
    kinds: list[str],
    jobs: list[str],
) -> Subscription:
    wanted = Filter(
        frozenset(dataset.lower() for dataset in datasets),
        frozenset(_kind(kind) for kind in kinds),
        frozenset(jobs),
    )
    return Subscription(
        use_cases.events,
        use_cases.feed,
        use_cases.clock,
        heartbeat_s=options.heartbeat_s,
        wanted=wanted,
        after=None if after is None else _event_id(after),
    )


def _kind(text: str) -> EventKind:
    try:
        return EventKind(text)
    except ValueError:
        known = ", ".join(EventKind)
        raise InvalidRequest(f"{text[:60]!r} is not a kind of event; there are {known}") from None


def _event_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest(f"after={text[:60]!r} is not the id of an event; use that of the last message")
    return int(text)
