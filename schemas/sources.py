"""The sources an ingestion can name: one model a kind, told apart by `kind`."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FileSource(_Source):
    """Files that the server can read, under the folders of `SKEIN_INGEST_ROOTS`. They are read in
    place, and have to be alike: same format, same columns."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "file", "path": "flights-3m.parquet"},
                {"kind": "file", "path": "/srv/data/2026-*/part-*.csv.gz"},
                {"kind": "file", "path": ["january.csv", "february.csv"]},
            ]
        }
    )

    kind: Literal["file"] = "file"
    path: Text | Annotated[list[Text], Field(min_length=1, max_length=10_000)] = Field(
        description="A file, a folder, a pattern with `*`, `?`, `[...]` or `**`, or a list of these."
        " Relative paths are looked up in each root in turn."
    )


class HttpSource(_Source):
    """One file behind a URL."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "http", "url": "https://example.org/zipcodes.csv.gz"},
                {
                    "kind": "http",
                    "url": "https://api.example.org/export",
                    "headers": {"Authorization": "Bearer ..."},
                },
            ]
        }
    )

    kind: Literal["http"] = "http"
    url: Text = Field(pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://", description="http or https.")
    headers: dict[Text, str] = Field(
        default_factory=dict,
        description="Sent with the request, and after a redirect only to the same origin."
        " They are kept with the job: prefer tokens that expire.",
    )


Source = Annotated[FileSource | HttpSource, Field(discriminator="kind")]

# Kind -> model, in the order in which they are listed.
SOURCES: dict[str, type[_Source]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in (FileSource, HttpSource)
}
