"""What routes ask for: the use cases, the caller, the format wanted, and preferences.

Dependencies are coroutines, though none waits: FastAPI would call functions in a thread each.
"""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection

from control_api.errors import HttpProblem
from control_api.etags import matching
from control_api.formats import FORMATS, Format, negotiate
from control_api.options import ControlOptions, ControlUseCases
from control_api.streaming import Results, Streaming
from flight_core.domain.access import Actor
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.versions import VersionName, version_named

_MAX_WAIT_S = 60.0
_WAIT = re.compile(r'(?:^|[,;])\s*wait\s*=\s*"?(\d+)"?\s*(?:$|[,;])', re.IGNORECASE)


async def _use_cases(connection: HTTPConnection) -> ControlUseCases:
    use_cases: ControlUseCases = connection.app.state.use_cases
    return use_cases


async def _options(connection: HTTPConnection) -> ControlOptions:
    options: ControlOptions = connection.app.state.options
    return options


async def _streaming(connection: HTTPConnection) -> Streaming:
    streaming: Streaming = connection.app.state.streaming
    return streaming


async def _caller(connection: HTTPConnection) -> Actor:
    """Put there by `security.Guard`."""
    actor: Actor = connection.state.actor
    return actor


async def _dataset_name(
    name: Annotated[str, Path(description="The name of the dataset.")],
) -> DatasetName:
    return DatasetName(name)


async def _version(
    version: Annotated[
        str | None,
        Query(description="A number, `v3`, a moment in ISO 8601, or a tag; the current version if left out."),
    ] = None,
) -> VersionName | None:
    """Raises VersionNotFound: see `version_named`."""
    return None if version is None else version_named(version)


async def _format(request: Request) -> Format:
    """Raises HttpProblem 406."""
    accept = request.headers.get("accept", "")
    format = negotiate(accept)
    if format is None:
        known = ", ".join(known.media_type.partition(";")[0] for known in FORMATS)
        raise HttpProblem(406, "not_acceptable", f"{accept[:100]!r} names no format there is; accept {known}")
    return format


async def json_body(request: Request) -> None:
    """Raises HttpProblem 415: FastAPI would take the body for text and complain about that."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HttpProblem(
            415,
            "unsupported_media_type",
            f"the body's type is '{media_type[:80]}'; send JSON, with 'Content-Type: application/json'",
        )


async def known_parameters(connection: HTTPConnection) -> None:
    """Raises RequestValidationError: the URL has a parameter that the route would pass over."""
    route = connection.scope.get("route")
    if not isinstance(route, APIRoute):
        return
    known = _parameters_of(route.dependant)
    unknown = [name for name in connection.query_params if name not in known]
    if unknown:
        there = f"there are {', '.join(sorted(known))}" if known else "there are none here"
        faults = [
            {"type": "extra_forbidden", "loc": ("query", name), "msg": f"no such parameter; {there}"}
            for name in unknown
        ]
        raise RequestValidationError(faults)


def _parameters_of(dependant: Dependant) -> set[str]:
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(_parameters_of, dependant.dependencies))


async def _wait_s(request: Request) -> float:
    """Of `Prefer: wait=<seconds>`; 0 without. The answer names what was applied."""
    match = _WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(match.group(1)), _MAX_WAIT_S) if match else 0.0


UseCases = Annotated[ControlUseCases, Depends(_use_cases)]
Options = Annotated[ControlOptions, Depends(_options)]
Threads = Annotated[Streaming, Depends(_streaming)]
Caller = Annotated[Actor, Depends(_caller)]
Name = Annotated[DatasetName, Depends(_dataset_name)]
Version = Annotated[VersionName | None, Depends(_version)]
WaitSeconds = Annotated[float, Depends(_wait_s)]


async def _results(
    use_cases: UseCases,
    caller: Caller,
    streaming: Threads,
    format: Annotated[Format, Depends(_format)],
) -> Results:
    return Results(use_cases, caller, streaming, format)


Answer = Annotated[Results, Depends(_results)]


async def _matching(
    name: Name, request: Request, use_cases: UseCases, caller: Caller
) -> Callable[[], AbstractContextManager[Dataset | None]]:
    """See `etags.matching`."""
    return partial(matching, request, partial(use_cases.datasets.get, name, actor=caller))


Matching = Annotated[Callable[[], AbstractContextManager[Dataset | None]], Depends(_matching)]
