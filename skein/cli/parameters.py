"""Parameters that several commands have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

Name = Annotated[str, typer.Argument(help="The dataset.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the HTTP API has it.")]
Server = Annotated[
    str | None,
    typer.Option(help="URL of the HTTP server; SKEIN_SERVER if left out, else a local server."),
]
Data = Annotated[
    Path | None,
    typer.Option(help="Data directory of the local server; SKEIN_DATA if left out, else skein-data."),
]
Message = Annotated[str, typer.Option("--message", "-m", help="Why; it stays in the dataset's history.")]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Work on the data directory itself: no server and no token is needed."),
]


class ScopeName(StrEnum):
    READ = "read"
    INGEST = "ingest"
    WRITE = "write"
    ADMIN = "admin"
