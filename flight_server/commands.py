"""What a descriptor asks for: a dataset by path, SQL as text, or a JSON command."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import pyarrow.flight as fl
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from flight_core.domain.dataset import DatasetName, SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.errors import InvalidCommand
from flight_core.domain.query import Statement, as_parameters, quoted
from flight_core.domain.versions import VersionName, version_named
from schemas.flight import DatasetCommand, SqlCommand, WriteCommand, version_number

Model = TypeVar("Model", bound=BaseModel)

_FORMS = "send a path [dataset] or [dataset, version], or a command: SQL as UTF-8 text, or a JSON object"


@dataclass(frozen=True, slots=True)
class ReadCommand:
    """A statement, and the dataset it reads in full where it was asked for by name.

    `whole` is false where columns or rows are left out.
    """

    statement: Statement
    dataset: DatasetName | None = None
    version: int | str | None = None
    whole: bool = False


def read_command(descriptor: fl.FlightDescriptor) -> ReadCommand:
    """
    Raises:
        InvalidCommand, InvalidDatasetName
    """
    if descriptor.path is not None:
        return _of_dataset(_path(descriptor.path))
    if descriptor.command is not None:
        return _of_command(descriptor.command)
    raise InvalidCommand(f"the descriptor is neither a path nor a command; {_FORMS}")


# Headers that say how rows are written, where nothing else can: the fields of `WriteCommand`.
WRITE_HEADERS = {
    "x-skein-mode": "mode",
    "x-skein-keys": "keys",
    "x-skein-schema-policy": "schema_policy",
    "x-skein-message": "message",
    "x-skein-allow-lossy": "allow_lossy",
}


def write_command(descriptor: fl.FlightDescriptor, options: Mapping[str, str]) -> WriteCommand:
    """Where DoPut shall write, and how. `options` go with a path; a command tells its own.

    Raises:
        InvalidCommand
    """
    if descriptor.command is not None:
        return parse(WriteCommand, descriptor.command)
    if descriptor.path is None or len(descriptor.path) != 1:
        raise InvalidCommand(
            'DoPut takes a path [dataset] or a command such as {"dataset": "sales", "mode": "append"}'
        )
    return write_command_of(_text(descriptor.path[0]), options)


def write_command_of(dataset: str, options: Mapping[str, str]) -> WriteCommand:
    """From texts: keys with commas between them, `true` or `false`. What is no field is let be.

    Raises:
        InvalidCommand
    """
    fields: dict[str, object] = {
        name: text for name, text in options.items() if name in WRITE_HEADERS.values()
    }
    if keys := options.get("keys"):
        fields["keys"] = [key.strip() for key in keys.split(",")]
    if (lossy := options.get("allow_lossy", "").lower()) in ("true", "false"):
        fields["allow_lossy"] = lossy == "true"
    return _validated(WriteCommand, fields | {"dataset": dataset})


def write_rule(command: WriteCommand) -> WriteRule:
    """Raises InvalidOption: mode and keys do not go together."""
    policy = SchemaPolicy(command.schema_policy)
    return WriteRule(WriteMode(command.mode), tuple(command.keys), policy, command.allow_lossy)


def parse(model: type[Model], data: bytes) -> Model:
    """A JSON body as `model`; an empty body is an empty object.

    Raises:
        InvalidCommand: not JSON, or not of the model's form; the message names each field at fault.
    """
    return _validated(model, _json(data or b"{}"))


def version_name(version: int | str | None) -> VersionName | None:
    return None if version is None else version_named(str(version))


def _of_command(command: bytes) -> ReadCommand:
    text = _text(command)
    if not text.lstrip().startswith("{"):
        return ReadCommand(Statement(text))
    fields = _json(command)
    if "sql" not in fields:
        return _of_dataset(_validated(DatasetCommand, fields))
    request = _validated(SqlCommand, fields)
    parameters = as_parameters(request.params)
    return ReadCommand(Statement(request.sql, parameters, request.limit, request.narrow_decimals))


def _of_dataset(command: DatasetCommand) -> ReadCommand:
    name = DatasetName(command.dataset)
    columns = ", ".join(map(quoted, command.columns)) if command.columns else "*"
    statement = Statement(
        f"SELECT {columns} FROM datasets.{_table(name, command.version)}",
        row_limit=command.limit,
        narrow_decimals=command.narrow_decimals,
    )
    whole = command.columns is None and command.limit is None
    return ReadCommand(statement, name, command.version, whole)


def _table(name: DatasetName, version: int | str | None) -> str:
    if version is None:
        return quoted(name.value)
    number = version_number(version)
    return quoted(f"{name}@{version}" if number is None else f"{name}@v{number}")


def _path(path: list[bytes]) -> DatasetCommand:
    if not 1 <= len(path) <= 2:
        raise InvalidCommand(f"the path has {len(path)} parts; {_FORMS}")
    return _validated(DatasetCommand, dict(zip(("dataset", "version"), map(_text, path), strict=False)))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidCommand(f"byte {error.start + 1} is not UTF-8; {_FORMS}") from None


def _json(data: bytes) -> dict[str, object]:
    try:
        fields = from_json(data)
    except ValueError as error:
        raise InvalidCommand(f"the JSON cannot be parsed: {error}") from None
    if not isinstance(fields, dict):
        raise InvalidCommand("the JSON is not an object; write {...}")
    return fields


def _validated(model: type[Model], fields: Mapping[str, object]) -> Model:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors()[:5])
        known = ", ".join(model.model_fields) or "none"
        raise InvalidCommand(f"{problems} (fields: {known})") from None


def _problem(detail: ErrorDetails) -> str:
    where = ".".join(str(part) for part in detail["loc"])
    given = "" if detail["type"] == "missing" else f", got {repr(detail['input'])[:60]}"
    return f"'{where[:60]}': {detail['msg'].removeprefix('Value error, ')}{given}"
