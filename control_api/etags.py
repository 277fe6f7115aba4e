"""Validators, and the conditions that requests put on them (RFC 9110, sections 8.8.3 and 13)."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Request

from control_api.errors import HttpProblem
from flight_core.domain.dataset import Dataset
from flight_core.domain.errors import CommitConflict

_CODING = re.compile(r'-(gzip|zstd)"$')


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


def require_match(condition: str | None, etag: str) -> None:
    """Raises HttpProblem 412: `If-Match` names another state of the resource."""
    if condition is not None and not names_etag(condition, etag):
        raise HttpProblem(
            412, "precondition_failed", f"the resource is at {etag} now, not at {condition[:100]}"
        )


@contextmanager
def matching(request: Request, find: Callable[[], Dataset]) -> Iterator[Dataset | None]:
    """The state that a change within has to follow: the one found, if `If-Match` names it; None: any.

    Raises HttpProblem 412: the dataset is in another one, or came to be while the change was made.
    """
    condition = request.headers.get("if-match")
    if condition is None:
        yield None
        return
    dataset = find()
    require_match(condition, etag_of_dataset(dataset))
    try:
        yield None if condition == "*" else dataset
    except CommitConflict:
        if condition == "*":
            raise
        raise HttpProblem(412, "precondition_failed", "somebody else has just changed the dataset") from None


def names_etag(condition: str, etag: str) -> bool:
    """Whether a list of ETags, or `*`, has this one in it, for a compressed text or not; weak ones are
    never the same."""
    tags = {_CODING.sub('"', tag.strip()) for tag in condition.split(",")}
    return "*" in tags or etag in tags
