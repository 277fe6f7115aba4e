"""Parameters that several commands have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

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
Into = Annotated[str, typer.Option("--as", help="The dataset to write.")]
Mode = Annotated[
    Literal["create", "append", "replace", "upsert", "replace_partitions"],
    typer.Option(
        help="create fails if the dataset exists, the others make it. upsert and replace_partitions"
        " replace the rows that have the same --key as a new one."
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="COLUMN", help="Of the mode; repeat it for each column."),
]
Policy = Annotated[
    Literal["refuse", "add", "widen"],
    typer.Option(help="What other columns may do to those of the dataset; widen includes add."),
]
Format = Annotated[
    str | None,
    typer.Option(help="csv, tsv, ndjson, json, parquet, arrow, avro or excel; found out if left out."),
]
FormatOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        metavar="NAME=VALUE",
        help="An option of the format, such as delimiter=';'; repeat it.",
    ),
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", metavar="COLUMN=TYPE", help="What a column is to be; repeat it for each."),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Work on the data directory itself: no server and no token is needed."),
]


class ScopeName(StrEnum):
    READ = "read"
    INGEST = "ingest"
    WRITE = "write"
    ADMIN = "admin"


# What a token or a user is granted.
Scopes = Annotated[list[ScopeName], typer.Option("--scope", help="What they may do; repeat it.")]
Datasets = Annotated[
    list[str] | None,
    typer.Option(
        "--dataset", metavar="PATTERN", help="Which datasets they may touch, such as 'sales_*'; repeat it."
    ),
]
Limits = Annotated[
    list[str] | None,
    typer.Option(
        "--limit",
        metavar="NAME=VALUE",
        help="How much they may use: queries, rows, result_bytes, memory_bytes, requests_per_s; repeat it.",
    ),
]
