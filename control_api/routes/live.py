"""Queries that are followed."""

from fastapi import APIRouter, WebSocket

from control_api.dependencies import Caller, Options, Threads, UseCases
from control_api.errors import problem_response
from control_api.live import LiveSocket
from control_api.routes.events import accept
from flight_core.domain.errors import FlightCoreError
from schemas.http import API

router = APIRouter(prefix=f"{API}/live", tags=["events"])


@router.websocket("")
async def follow_queries(
    socket: WebSocket, use_cases: UseCases, options: Options, streaming: Threads, caller: Caller
) -> None:
    """Say {"subscribe": {"id": "a", "sql": "..."}}; see `schemas.live`."""
    try:
        use_cases.events.follow(actor=caller)
    except FlightCoreError as refusal:
        await socket.send_denial_response(problem_response(socket.scope, refusal))
        return
    await accept(socket)
    await LiveSocket(socket, use_cases, options, streaming, caller).run()
