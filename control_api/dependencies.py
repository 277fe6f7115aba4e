"""What routes ask for: the use cases, the caller, the format wanted, conditions and preferences."""

import re
from typing import Annotated

from fastapi import Depends, Request
from starlette.requests import HTTPConnection

from control_api.errors import HttpProblem
from control_api.formats import FORMATS, Format, negotiate
from control_api.options import ControlOptions, ControlUseCases
from control_api.streaming import Streaming
from flight_core.domain.access import Actor
from flight_core.domain.dataset import Dataset, DatasetName

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*(\d{1,6})\s*(?:$|[,;])", re.IGNORECASE)


def _use_cases(connection: HTTPConnection) -> ControlUseCases:
    use_cases: ControlUseCases = connection.app.state.use_cases
    return use_cases


def _options(connection: HTTPConnection) -> ControlOptions:
    options: ControlOptions = connection.app.state.options
    return options


def _streaming(connection: HTTPConnection) -> Streaming:
    streaming: Streaming = connection.app.state.streaming
    return streaming


def _caller(connection: HTTPConnection) -> Actor:
    """Put there by `security.Guard`."""
    actor: Actor = connection.state.actor
    return actor


def _dataset_name(name: str) -> DatasetName:
    return DatasetName(name)


def _format(request: Request) -> Format:
    """Raises HttpProblem 406."""
    accept = request.headers.get("accept", "")
    format = negotiate(accept)
    if format is None:
        known = ", ".join(known.media_type.partition(";")[0] for known in FORMATS)
        raise HttpProblem(406, "not_acceptable", f"{accept[:100]!r} names no format there is; accept {known}")
    return format


def json_body(request: Request) -> None:
    """Raises HttpProblem 415: FastAPI would take the body for text and complain about that."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise HttpProblem(
            415,
            "unsupported_media_type",
            f"the body's type is '{media_type[:80]}'; send JSON, with 'Content-Type: application/json'",
        )


def _wait_s(request: Request, options: Annotated[ControlOptions, Depends(_options)]) -> float:
    """Of `Prefer: wait=<seconds>`; 0 without. The answer names what was applied."""
    match = _WAIT.search(request.headers.get("prefer", ""))
    return min(float(match.group(1)), options.max_wait_s) if match else 0.0


UseCases = Annotated[ControlUseCases, Depends(_use_cases)]
Options = Annotated[ControlOptions, Depends(_options)]
Responses = Annotated[Streaming, Depends(_streaming)]
Caller = Annotated[Actor, Depends(_caller)]
Name = Annotated[DatasetName, Depends(_dataset_name)]
Wanted = Annotated[Format, Depends(_format)]
WaitSeconds = Annotated[float, Depends(_wait_s)]


def etag_of(*parts: object) -> str:
    """A strong validator: the same parts stand for the same bytes."""
    return '"' + "-".join(map(str, parts)) + '"'


def etag_of_dataset(dataset: Dataset) -> str:
    """Changes with every version, and with what people say about the dataset."""
    return etag_of(dataset.id, dataset.version, dataset.notes_revision)


def require_condition(request: Request) -> None:
    """Raises HttpProblem 428: a change that replaces what others may have said has to name the state
    that it is a change of."""
    if "if-match" not in request.headers:
        raise HttpProblem(
            428,
            "precondition_required",
            "send the ETag that GET of this path told as 'If-Match', so that nobody's change is lost;"
            " 'If-Match: *' changes it in any case",
        )


def weak(etag: str) -> str:
    """For representations that say the same, if not in the same bytes."""
    return "W/" + etag


def is_fresh(request: Request, etag: str) -> bool:
    """Whether the client holds this representation already (`If-None-Match`)."""
    condition = request.headers.get("if-none-match")
    return condition is not None and names_etag(condition.replace("W/", ""), etag.removeprefix("W/"))


def require_match(request: Request, etag: str) -> None:
    """Raises HttpProblem 412: `If-Match` names another state of the resource."""
    condition = request.headers.get("if-match")
    if condition is not None and not names_etag(condition, etag):
        raise HttpProblem(
            412, "precondition_failed", f"the resource is at {etag} now, not at {condition[:100]}"
        )


def names_etag(condition: str, etag: str) -> bool:
    """Whether a list of ETags, or `*`, has this one in it; weak ones are never the same."""
    tags = {tag.strip() for tag in condition.split(",")}
    return "*" in tags or etag in tags
