"""What people type, as what the server takes."""

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from flight_core.domain.errors import InvalidOption, InvalidSource
from schemas.tokens import Limits

UPLOAD = "upload:"
STANDARD_INPUT = "-"

Model = TypeVar("Model", bound=BaseModel)

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://")


def value_of(text: str) -> object:
    """JSON where it is JSON (`60`, `true`, `["a", "b"]`, `"60"`), else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except ValueError:
        return text


def named_values(pairs: Iterable[str], *, option: str) -> dict[str, object]:
    """
    Raises:
        InvalidOption: one is not NAME=VALUE.
    """
    return {name: value_of(value) for name, value in _pairs_in(pairs, f"{option} NAME=VALUE")}


def texts_by_name(pairs: Iterable[str], *, option: str) -> dict[str, str]:
    """
    Raises:
        InvalidOption: one is not NAME=TEXT.
    """
    return dict(_pairs_in(pairs, f"{option} NAME=TEXT"))


def _pairs_in(pairs: Iterable[str], form: str) -> Iterator[tuple[str, str]]:
    """What is before the first `=`, and what is behind it; `form` is how the option is written."""
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InvalidOption(f"{form.split()[0]} is '{pair}'; write {form}")
        yield name, value


def options_of(pairs: Iterable[str], *, types: Sequence[str] = ()) -> dict[str, object]:
    """Options of a format; `types` are COLUMN=TYPE, and become one of them.

    Raises:
        InvalidOption: one is not NAME=VALUE.
    """
    options = named_values(pairs, option="--option")
    if types:
        options["types"] = _types_of(types)
    return options


def _types_of(pairs: Iterable[str]) -> dict[str, object]:
    types: dict[str, object] = {}
    for name, value in _pairs_in(pairs, "--type COLUMN=TYPE, for example zip=string"):
        type, colon, format = value.partition(":")
        types[name] = {"type": type, "format": format} if colon else type
    return types


def grant_of(
    scopes: Iterable[str], datasets: Sequence[str] | None, limits: Iterable[str] | None
) -> dict[str, object]:
    """What a token or a user gets, by the fields of their requests. Raises as `limits_of`."""
    return {
        "scopes": list(map(str, scopes)),
        "datasets": datasets or ["*"],
        "limits": limits_of(limits or ()),
    }


def limits_of(pairs: Iterable[str]) -> dict[str, float]:
    """Of a token or a user.

    Raises:
        InvalidOption: one is not NAME=NUMBER, or no limit has that name.
    """
    limits = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name not in Limits.model_fields or not re.fullmatch(r"\d+(\.\d+)?", value):
            known = ", ".join(Limits.model_fields)
            raise InvalidOption(f"--limit is '{pair[:60]}'; write --limit NAME=NUMBER, with one of {known}")
        limits[name] = float(value)
    return limits


def seconds_of(text: str, *, option: str) -> float:
    """`90s`, `45m`, `12h`, `30d` or `2w`: a number without a unit could be meant in any.

    Raises:
        InvalidOption
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)\s*([smhdw])", text.strip().lower())
    if match is None:
        raise InvalidOption(f"'{text[:40]}' is no time; write 30d, 12h, 45m or 90s", option=option)
    return float(match[1]) * _UNITS_S[match[2]]


def source_of(sources: Sequence[str]) -> dict[str, object]:
    """A URL, uploads, a source in JSON, or paths, which become absolute: the server may have been
    started elsewhere.

    Raises:
        InvalidSource: a URL that is not http or https, or several of them.
    """
    if len(sources) == 1 and sources[0].lstrip().startswith("{"):
        return _json_source(sources[0])
    uploads = [source.removeprefix(UPLOAD) for source in sources if source.startswith(UPLOAD)]
    if len(uploads) == len(sources):
        return {"kind": "upload", "id": uploads[0] if len(uploads) == 1 else uploads}
    urls = [source for source in sources if _URL.match(source)]
    if not urls:
        paths = [str(Path(source).expanduser().absolute()) for source in sources]
        return {"kind": "file", "path": paths[0] if len(paths) == 1 else paths}
    if len(sources) > 1:
        raise InvalidSource(f"'{urls[0]}' is a URL; ingest it alone, and other files after it")
    scheme = urls[0].partition(":")[0].lower()
    if scheme not in ("http", "https"):
        raise InvalidSource(f"'{urls[0]}' starts with '{scheme}'; use a path, or a URL of http or https")
    return {"kind": "http", "url": urls[0]}


def _json_source(text: str) -> dict[str, object]:
    try:
        source = json.loads(text)
    except ValueError as error:
        raise InvalidSource(f"the source begins like JSON and is none: {error}") from None
    assert isinstance(source, dict)
    return source


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")


def document_in(file: Path, model: type[Model], *, what: str) -> Model:
    """The JSON of a file, or of standard input.

    Raises:
        InvalidOption: it cannot be read, or is no `what`.
    """
    try:
        text = sys.stdin.read() if str(file) == STANDARD_INPUT else file.read_text(encoding="utf-8")
        return model.model_validate_json(text)
    except (OSError, UnicodeError) as error:
        raise InvalidOption(f"'{file}' cannot be read: {getattr(error, 'strerror', error)}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise InvalidOption(f"'{file}' is no {what}: {place}: {first['msg']}") from None
