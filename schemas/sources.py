"""The sources an ingestion can name: one model a kind, told apart by `kind`."""

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Url = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://")]
Checksum = Annotated[
    str, Field(pattern=r"^(md5|sha1|sha256|sha512):[0-9a-fA-F]+$", examples=["sha256:9f86..."])
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SecretRef(BaseModel):
    """A secret that the server has, by its name. It is read when it is sent, and stored nowhere."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    secret: Text = Field(examples=["github-token"])
    prefix: str = Field("", description="What comes before it.", examples=["Bearer "])


Value = str | SecretRef


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
    """Files behind URLs. Several have to be alike: same format, same columns."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "http", "url": "https://example.org/zipcodes.csv.gz"},
                {
                    "kind": "http",
                    "url": "https://api.example.org/export",
                    "headers": {"Authorization": {"secret": "export-token", "prefix": "Bearer "}},
                },
                {
                    "kind": "http",
                    "url": ["https://example.org/2025.parquet", "https://example.org/2026.parquet"],
                },
            ]
        }
    )

    kind: Literal["http"] = "http"
    url: Url | Annotated[list[Url], Field(min_length=1, max_length=1000)] = Field(
        description="http or https; or a list."
    )
    headers: dict[Text, Value] = Field(
        default_factory=dict,
        description="Sent with the request, and after a redirect only to the same origin."
        " A value may be a secret of the server; texts are kept with the job.",
    )
    checksum: Checksum | list[Checksum] | None = Field(
        None, description="What the bytes have to be; with several URLs one for each."
    )


Source = Annotated[FileSource | HttpSource, Field(discriminator="kind")]

# Kind -> model, in the order in which they are listed.
SOURCES: dict[str, type[_Source]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model for model in (FileSource, HttpSource)
}
