"""The log of events, as it grows."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

from fastapi import APIRouter, Header, Query, WebSocket
from pydantic import ValidationError
from starlette.requests import HTTPConnection
from starlette.responses import Response

from control_api.dependencies import Caller, Options, UseCases
from control_api.errors import first_fault, problem_response
from control_api.events import EventStreamResponse, Filter, SocketFollower, Subscription
from control_api.options import ControlOptions, ControlUseCases
from control_api.security import TOKEN_SUBPROTOCOL
from flight_core.domain.access import Actor
from flight_core.domain.errors import FlightCoreError, InvalidRequest
from flight_core.domain.events import EventKind
from schemas.events import EventMessage, EventSelection, SubscribeToEvents
from schemas.http import API

router = APIRouter(prefix=f"{API}/events", tags=["events"])

_EXAMPLE = (
    'id: 42\ndata: {"specversion": "1.0", "id": "42", "type": "skein.dataset.committed", "data": {}}\n\n'
)
_PARAMETERS = ("after", "dataset", "kind", "job", "ingestion")


@router.websocket("")
async def follow(socket: WebSocket, use_cases: UseCases, options: Options, caller: Caller) -> None:
    """`?after=ID` resumes; `dataset`, `kind` and `job`, each any number of times, narrow it. So does a
    message {"subscribe": {...}} later on."""
    query = socket.query_params
    try:
        if unknown := [name for name in query if name not in _PARAMETERS]:
            known = ", ".join(_PARAMETERS)
            raise InvalidRequest(f"{unknown[0][:60]!r} is not a parameter of this path; there are {known}")
        use_cases.events.follow(actor=caller)
        subscription = _subscription(
            use_cases,
            options,
            caller,
            after=query.get("after"),
            datasets=query.getlist("dataset"),
            kinds=query.getlist("kind"),
            jobs=query.getlist("job") + query.getlist("ingestion"),
        )
    except FlightCoreError as refusal:
        await socket.send_denial_response(problem_response(socket.scope, refusal))
        return
    await accept(socket)

    def resubscribe(said: object) -> Subscription:
        wanted = _selection(said)
        return _subscription(
            use_cases,
            options,
            caller,
            after=None if wanted.after is None else str(wanted.after),
            datasets=wanted.datasets,
            kinds=wanted.kinds,
            jobs=wanted.jobs,
        )

    follower = SocketFollower(
        socket, subscription, resubscribe, timeout_s=options.event_timeout_s, tracer=options.tracer
    )
    await follower.run()


async def accept(socket: WebSocket) -> None:
    """With the first subprotocol offered that is no token."""
    offered = socket.scope.get("subprotocols", [])
    known = [offer for offer in offered if not offer.startswith(TOKEN_SUBPROTOCOL)]
    await socket.accept(subprotocol=known[0] if known else None)


@router.get(
    "/stream",
    response_class=Response,
    responses={
        200: {
            "model": EventMessage,
            "content": {"text/event-stream": {"schema": {"type": "string"}, "example": _EXAMPLE}},
        }
    },
)
async def stream(
    use_cases: UseCases,
    options: Options,
    caller: Caller,
    connection: HTTPConnection,
    dataset: Annotated[
        list[str] | None, Query(description="Only events of these datasets, such as `sales_*`.")
    ] = None,
    kind: Annotated[
        list[str] | None, Query(description="Only these kinds, such as `dataset.committed` or `dataset.*`.")
    ] = None,
    job: Annotated[list[str] | None, Query(description="Only events of these jobs.")] = None,
    ingestion: Annotated[list[str] | None, Query(description="An alias of `job`.")] = None,
    after: Annotated[
        str | None, Query(description="Resume after this event id; only new events if left out.")
    ] = None,
    last_event_id: Annotated[
        str | None, Header(description="Takes precedence over `after`; sent by browsers that reconnect.")
    ] = None,
) -> Response:
    """The events that the WebSocket delivers, as server-sent events."""
    use_cases.events.follow(actor=caller)
    subscription = _subscription(
        use_cases,
        options,
        caller,
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
    caller: Actor,
    *,
    after: str | None,
    datasets: Sequence[str],
    kinds: Sequence[str],
    jobs: Sequence[str],
) -> Subscription:
    wanted = Filter(
        frozenset(dataset.lower() for dataset in datasets),
        frozenset(kind for pattern in kinds for kind in _kinds(pattern)),
        frozenset(jobs),
        caller,
    )
    return Subscription(
        use_cases.events.log,
        use_cases.events.feed,
        use_cases.clock,
        heartbeat_s=options.heartbeat_s,
        wanted=wanted,
        after=None if after is None else _event_id(after),
    )


def _selection(said: object) -> EventSelection:
    try:
        return SubscribeToEvents.model_validate(said).subscribe
    except ValidationError as error:
        raise InvalidRequest(
            f"{first_fault(error)}; say for example"
            ' {"subscribe": {"datasets": ["sales_*"], "kinds": ["dataset.committed"], "after": "42"}}'
        ) from None


def _kinds(pattern: str) -> Sequence[EventKind]:
    kinds = [kind for kind in EventKind if fnmatchcase(kind, pattern)]
    if not kinds:
        known = ", ".join(EventKind)
        raise InvalidRequest(f"{pattern[:60]!r} is not a kind of event; there are {known}")
    return kinds


def _event_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise InvalidRequest(f"after={text[:60]!r} is not the id of an event; use that of the last message")
    return int(text)
