"""The file formats and their options."""

import codecs
from collections.abc import Mapping
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from flight_core.adapters.parsers.column_types.given import GivenType, given_type
from flight_core.domain.errors import InvalidOption, UnknownFormat

Format = Literal["csv", "tsv", "ndjson", "json", "parquet", "arrow", "avro", "excel"]
Columns = Literal["same", "union"]
FORMATS: tuple[Format, ...] = get_args(Format)


def _known_encoding(name: str) -> str:
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ValueError("is not an encoding that Python knows; try 'utf-8', 'cp1252' or 'utf-16'") from None


_Character = Annotated[str, Field(min_length=1, max_length=1, pattern=r"^[\x01-\x7f]$")]
_Encoding = Annotated[str, AfterValidator(_known_encoding)]


class TypeOption(BaseModel):
    """`format` is how a date or a timestamp is written, in the letters of strftime."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    type: str
    format: str | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        given_type(self.type, self.format)
        return self


def _known_type(name: str | TypeOption) -> str | TypeOption:
    if isinstance(name, str):
        given_type(name)
    return name


class FormatOptions(BaseModel):
    """`allow_lossy` is for storage: values that cannot be stored exactly may lose precision. `types` are the
    types of columns, by name, that are not to be detected. `members` is a pattern for the members of zip
    archives to read."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    allow_lossy: bool = False
    members: str | None = None
    types: dict[str, Annotated[str | TypeOption, AfterValidator(_known_type)]] = {}

    @property
    def given_types(self) -> dict[str, GivenType]:
        return {
            name: given_type(given) if isinstance(given, str) else given_type(given.type, given.format)
            for name, given in self.types.items()
        }


class TableOptions(FormatOptions):
    """Options of formats with columns. `columns` says whether all files must have the same columns, in any
    order, or whether a column that a file lacks is null."""

    columns: Columns = "same"


class DelimitedOptions(TableOptions):
    """CSV and TSV. None means that the option is detected from the content."""

    delimiter: _Character | None = None
    quote: _Character | None = '"'
    header: bool | None = None
    skip_rows: int = Field(0, ge=0, le=100_000)
    decimal: Literal[".", ","] | None = None
    thousands: Literal[".", ",", " ", "'", "_", "\u00a0", "\u202f"] | None = None
    encoding: _Encoding | None = None
    null_values: list[str] = []
    ragged: Literal["error", "pad", "quarantine"] | None = None  # quarantine under a contract, else error


class NdjsonOptions(FormatOptions):
    encoding: _Encoding | None = None


class JsonOptions(NdjsonOptions):
    """`record_path` leads to the array of records, keys separated by dots."""

    record_path: str | None = None


class ColumnarOptions(TableOptions):
    """Parquet, Arrow IPC and Avro need no further options."""


class ExcelOptions(TableOptions):
    """`sheet` is a name, or a number from 1; `header_row` is the row with the names, from 1."""

    sheet: Annotated[str, Field(min_length=1)] | Annotated[int, Field(ge=1)] | None = None
    header: bool = True
    header_row: int = Field(1, ge=1, le=100_000)


_MODELS: Mapping[Format, type[FormatOptions]] = {
    "csv": DelimitedOptions,
    "tsv": DelimitedOptions,
    "ndjson": NdjsonOptions,
    "json": JsonOptions,
    "parquet": ColumnarOptions,
    "arrow": ColumnarOptions,
    "avro": ColumnarOptions,
    "excel": ExcelOptions,
}


def known_format(name: str) -> Format:
    """
    Raises:
        UnknownFormat
    """
    for format in FORMATS:
        if format == name:
            return format
    raise UnknownFormat(
        f"'{name[:40]}' is not a format; use one of {', '.join(FORMATS)}, or none to have it found out"
    )


def model_of(format: Format) -> type[FormatOptions]:
    return _MODELS[format]


def options_for(format: Format, options: Mapping[str, object]) -> FormatOptions:
    """
    Raises:
        InvalidOption: unknown, with the known ones; or a value that does not fit.
    """
    model = model_of(format)
    unknown = sorted(set(options) - set(model.model_fields))
    if unknown:
        raise InvalidOption(
            f"'{unknown[0][:40]}' is not an option of the format '{format}';"
            f" it has: {', '.join(sorted(model.model_fields))}",
            option=unknown[0][:40],
        )
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise _invalid(error) from None


def check_for_any(options: Mapping[str, object]) -> None:
    """Refuse options that no format accepts, for when the format is not known yet.

    Raises:
        InvalidOption
    """
    candidates = [format for format in FORMATS if set(options) <= set(_MODELS[format].model_fields)]
    if not candidates:
        known = sorted({name for model in _MODELS.values() for name in model.model_fields})
        raise InvalidOption(
            f"no format has all of the options {', '.join(sorted(options))[:200]};"
            f" there are: {', '.join(known)}"
        )
    options_for(candidates[0], options)


def _invalid(error: ValidationError) -> InvalidOption:
    errors = error.errors()
    first = next((each for each in errors if each["type"] == "value_error"), errors[0])
    depth = (
        2 if first["loc"][0] == "types" else None
    )  # what comes then is where a type may be given in two ways
    name = ".".join(str(part) for part in first["loc"][:depth])
    reason = first["msg"].removeprefix("Value error, ")
    return InvalidOption(f"the option '{name}' cannot be {first['input']!r:.80}: {reason}", option=name)
