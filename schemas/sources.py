"""The sources an ingestion can name: one model a kind, told apart by `kind`."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Url = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[Hh][Tt][Tt][Pp][Ss]?://")]
Checksum = Annotated[
    str,
    Field(
        pattern=r"^(md5|sha1|sha256|sha512):[0-9a-fA-F]+$",
        examples=["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
    ),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class _Source(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SecretRef(BaseModel):
    """A secret of the server, by name. Its value is read when a request is sent, and never stored."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    secret: Text = Field(examples=["github-token"])
    prefix: str = Field("", description="Text to put before the secret.", examples=["Bearer "])


Value = str | SecretRef
Place = Literal["query", "body"]


class FileSource(_Source):
    """Files that the server can read, under the folders of `SKEIN_INGEST_ROOTS`. Several files need the same
    format and the same columns."""

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
    only_new: bool = Field(
        False,
        description="Only files that are new or have changed since the last ingestion.",
    )


class HttpSource(_Source):
    """Files at URLs. Several files need the same format and the same columns."""

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
        description="An http or https URL, or a list of them."
    )
    headers: dict[Text, Value] = Field(
        default_factory=dict,
        description="Headers of the request; redirects to other origins do not get them. A value can be a"
        " secret of the server; plain text is stored with the job.",
    )
    checksum: Checksum | list[Checksum] | None = Field(
        None, description="The expected checksum; with several URLs one for each."
    )


class UploadSource(_Source):
    """Files that were sent to `/api/v1/uploads`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "upload", "id": "6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69"},
                {"kind": "upload", "id": "6f1f0f4f9a7d4c0f8b7a1e2d3c4b5a69", "keep": True},
            ]
        }
    )

    kind: Literal["upload"] = "upload"
    id: Text | Annotated[list[Text], Field(min_length=1, max_length=1000)] = Field(
        description="The id of a complete upload, or of several with the same format and columns."
    )
    keep: bool = Field(False, description="Keep the upload after it has been ingested.")


class PagePagination(_Source):
    """Pages by number, until one is empty or missing."""

    style: Literal["page"]
    param: Text = Field("page", description="The parameter for the page number.")
    start: int = Field(1, ge=0, description="The number of the first page.")
    size: int | None = Field(None, ge=1, description="How many records to request per page.")
    size_param: Text | None = Field(None, description="The parameter for the page size.")
    place: Place = Field("query", alias="in")


class OffsetPagination(_Source):
    """Pages by offset, until one is empty or missing."""

    style: Literal["offset"]
    param: Text = Field("offset", description="The parameter for the number of records to skip.")
    start: int = Field(0, ge=0)
    size: int | None = Field(None, ge=1, description="How many records to request per page.")
    size_param: Text | None = Field(None, description="The parameter for the page size.")
    place: Place = Field("query", alias="in")


class CursorPagination(_Source):
    """Pages by a cursor in the previous response, until there is none."""

    style: Literal["cursor"]
    path: Text = Field(description="The path of the next cursor in a response.", examples=["meta.next"])
    param: Text = Field("cursor", description="The parameter for the cursor.")
    more: Text | None = Field(
        None, description="The path of the flag in a response that says whether there is more."
    )
    size: int | None = Field(None, ge=1, description="How many records to request per page.")
    size_param: Text | None = Field(None, description="The parameter for the page size.")
    place: Place = Field("query", alias="in")


class LinkPagination(_Source):
    """Pages by the `Link` header with `rel="next"`, until there is none."""

    style: Literal["link"]
    size: int | None = Field(None, ge=1, description="How many records to request per page.")
    size_param: Text | None = Field(None, description="The parameter for the page size.")


class NextUrlPagination(_Source):
    """Pages by a URL in the response, until there is none."""

    style: Literal["next_url"]
    path: Text = Field(
        description="The path of the URL of the next page in a response.", examples=["links.next"]
    )
    size: int | None = Field(None, ge=1, description="How many records to request per page.")
    size_param: Text | None = Field(None, description="The parameter for the page size.")


class Incremental(_Source):
    """Fetch only records that are new since the last ingestion, by the largest value of a field."""

    field: Text = Field(
        description="The path of the field in a record: a number or a time.", examples=["updated_at"]
    )
    param: Text = Field(description="The parameter for the largest value seen.", examples=["since"])
    start: str | int | float | None = Field(None, description="The value to send the first time.")
    place: Place = Field("query", alias="in")


class ApiSource(_Source):
    """All records of a paged JSON API."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "api",
                    "url": "https://api.example.org/v2/orders",
                    "params": {"status": "paid"},
                    "headers": {"Authorization": {"secret": "shop-token", "prefix": "Bearer "}},
                    "record_path": "data",
                    "pagination": {
                        "style": "cursor",
                        "path": "meta.next",
                        "size": 500,
                        "size_param": "limit",
                    },
                    "incremental": {"field": "updated_at", "param": "updated_since"},
                    "requests_per_s": 5,
                },
                {
                    "kind": "api",
                    "url": "https://api.example.org/repos/skein/issues",
                    "pagination": {"style": "link", "size": 100, "size_param": "per_page"},
                },
                {
                    "kind": "api",
                    "url": "https://api.example.org/search",
                    "method": "POST",
                    "body": {"query": "flights"},
                    "record_path": "hits",
                    "pagination": {"style": "offset", "param": "from", "in": "body"},
                },
            ]
        }
    )

    kind: Literal["api"] = "api"
    url: Url = Field(description="An http or https URL.")
    method: Literal["GET", "POST"] = "GET"
    params: dict[Text, str | int | float | bool | SecretRef] = Field(
        default_factory=dict,
        description="Query parameters of every request. A value can be a secret of the server.",
    )
    headers: dict[Text, Value] = Field(
        default_factory=dict,
        description="Headers of every request to the URL's own origin. A value can be a secret.",
    )
    body: dict[str, Any] | None = Field(None, description="The JSON body of POST requests.")
    record_path: Text | None = Field(
        None,
        description="The path of the records in a response: keys joined by dots.",
        examples=["data.items"],
    )
    pagination: (
        Annotated[
            PagePagination | OffsetPagination | CursorPagination | LinkPagination | NextUrlPagination,
            Field(discriminator="style"),
        ]
        | None
    ) = Field(None, description="How to get the next page; a single request if left out.")
    incremental: Incremental | None = None
    requests_per_s: float | None = Field(None, ge=0.001, le=10_000, description="The maximum request rate.")
    max_pages: int = Field(10_000, ge=1, description="Fail if there are more pages.")
    max_records: int | None = Field(None, ge=1, description="Fail if there are more records.")


class SqlSource(_Source):
    """The result of an SQL statement over the datasets of this server."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "sql", "sql": "SELECT origin, count(*) AS n FROM flights GROUP BY ALL"},
                {"kind": "sql", "sql": "SELECT * FROM flights WHERE delay > ?", "params": [60]},
            ]
        }
    )

    kind: Literal["sql"] = "sql"
    sql: str = Field(min_length=1, description="One statement that only reads.")
    params: list[Any] | dict[str, Any] = Field(
        default_factory=list, description="A list for `?` and `$1`, or an object for `$name`."
    )


class FlightSource(_Source):
    """Rows of another Arrow Flight server. Give either `path` or `command`."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "flight", "uri": "grpc://flights.example.org:8815", "path": "flights"},
                {
                    "kind": "flight",
                    "uri": "grpc+tls://flights.example.org:8815",
                    "command": "SELECT * FROM flights WHERE delay > 60",
                    "headers": {"authorization": {"secret": "flights-token", "prefix": "Bearer "}},
                },
            ]
        }
    )

    kind: Literal["flight"] = "flight"
    uri: Text = Field(pattern=r"^grpc(\+tcp|\+tls)?://", description="A grpc or grpc+tls URI with a port.")
    path: Text | Annotated[list[Text], Field(min_length=1, max_length=100)] | None = Field(
        None, description="The path of the flight, in one or more parts."
    )
    command: str | None = Field(
        None, min_length=1, description="A command of that server; Skein accepts SQL."
    )
    headers: dict[Text, Value] = Field(
        default_factory=dict,
        description="Headers of every call, sent to this host only. A value can be a secret of the server.",
    )


class AdbcSource(_Source):
    """The result of a database query, through an ADBC driver."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "adbc", "driver": "sqlite", "uri": "shop.db", "sql": "SELECT * FROM orders"},
                {
                    "kind": "adbc",
                    "driver": "postgresql",
                    "uri": "postgresql://db.example.org:5432/shop",
                    "sql": "SELECT * FROM orders WHERE placed > now() - interval '1 day'",
                    "options": {"username": "reader", "password": {"secret": "shop-password"}},
                },
                {
                    "kind": "adbc",
                    "driver": "flightsql",
                    "uri": "grpc+tls://flights.example.org:8815",
                    "sql": "SELECT * FROM flights",
                    "options": {
                        "adbc.flight.sql.authorization_header": {
                            "secret": "flights-token",
                            "prefix": "Bearer ",
                        }
                    },
                },
            ]
        }
    )

    kind: Literal["adbc"] = "adbc"
    driver: Text = Field(description="One of the drivers in `SKEIN_INGEST_ADBC_DRIVERS`.")
    uri: Text = Field(description="The URI of the database without user and password, or the path of a file.")
    sql: str = Field(min_length=1, description="The query to run in the database.")
    options: dict[Text, Value] = Field(
        default_factory=dict, description="Driver options. A value can be a secret of the server."
    )


Source = Annotated[
    FileSource | HttpSource | ApiSource | UploadSource | SqlSource | FlightSource | AdbcSource,
    Field(discriminator="kind"),
]

# Kind -> model, in the order in which they are listed.
SOURCES: dict[str, type[_Source]] = {
    get_args(model.model_fields["kind"].annotation)[0]: model
    for model in (FileSource, HttpSource, ApiSource, UploadSource, SqlSource, FlightSource, AdbcSource)
}
