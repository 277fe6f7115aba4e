"""What people type, as what the server takes."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from flight_core.domain.errors import InvalidOption, InvalidSource

UPLOAD = "upload:"

_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://")


def value_of(text: str) -> object:
    """JSON where it is JSON (`60`, `true`, `["a", "b"]`, `"60"`), else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except ValueError:
        return text


def options_of(pairs: Iterable[str], *, types: Sequence[str] = ()) -> dict[str, object]:
    """Options of a format; `types` are COLUMN=TYPE, and become one of them.

    Raises:
        InvalidOption: one is not NAME=VALUE.
    """
    options: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InvalidOption(f"--option is '{pair}'; write --option NAME=VALUE")
        options[name] = value_of(value)
    if types:
        options["types"] = _types_of(types)
    return options


def _types_of(pairs: Iterable[str]) -> dict[str, object]:
    types: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals):
            raise InvalidOption(f"--type is '{pair}'; write --type COLUMN=TYPE, for example zip=string")
        type, colon, format = value.partition(":")
        types[name] = {"type": type, "format": format} if colon else type
    return types


def source_of(sources: Sequence[str]) -> dict[str, object]:
    """A URL, uploads, or paths, which become absolute: the server may have been started elsewhere.

    Raises:
        InvalidSource: a URL that is not http or https, or several of them.
    """
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


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is Python's, not JSON's")
