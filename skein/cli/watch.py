"""`skein watch`: what happens, as it happens."""

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from skein.cli.remote.client import Api
from skein.cli.remote.failures import CliError, printable

_AGAIN_S = 1.0
_OF_THE_STREAM = ("skein.hello", "skein.heartbeat")
_TOLD = ("version", "rows", "operation", "state", "phase", "error_code", "tag", "schedule", "job")


def watch(
    api: Api, wanted: Mapping[str, list[str]], *, after: str | None, count: int | None, as_json: bool
) -> None:
    """A line for each event; `count` of them, or for ever.

    Raises:
        CliError: the server refuses, or does not answer from the beginning.
    """
    for event in itertools.islice(_all_events(api, wanted, after), count):
        typer.echo(json.dumps(event) if as_json else _line(event))


def _all_events(api: Api, wanted: Mapping[str, list[str]], after: str | None) -> Iterator[dict[str, Any]]:
    """Where the connection breaks it is made again, and nothing is missed or repeated."""
    connected = False
    while True:
        try:
            for event in _events(api, {**wanted, **({"after": after} if after else {})}):
                connected, after = True, event["id"]
                if event["type"] not in _OF_THE_STREAM:
                    yield event
        except CliError as error:
            if error.code != "server_unreachable" or not connected:
                raise
            typer.echo("the connection broke; trying again", err=True)
        time.sleep(_AGAIN_S)


def _events(api: Api, parameters: Mapping[str, object]) -> Iterator[dict[str, Any]]:
    for line in api.lines("/api/v1/events/stream", parameters):
        if line.startswith("data:"):
            yield json.loads(line.removeprefix("data:"))


def _line(event: Mapping[str, Any]) -> str:
    data = event.get("data") or {}
    facts = [f"{name}={data[name]}" for name in _TOLD if data.get(name) not in (None, "")]
    moment = event.get("time", "")[:19].replace("T", " ")
    kind = event["type"].removeprefix("skein.")
    return printable(
        f"{moment}  {event['id']:>8}  {kind:<22} {event.get('subject') or '-':<24} {' '.join(facts)}"
    )
