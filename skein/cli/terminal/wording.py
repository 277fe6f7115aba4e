"""Numbers, moments and models as the commands print them."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import BaseModel
from rich.filesize import decimal


def count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    """Of bytes: `1.8 MB`."""
    return decimal(number)


def short(time: str) -> str:
    """ISO 8601 without a fraction of the second that is zero."""
    return re.sub(r"\.0+(?=Z?$)", "", time)


def when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def span(seconds: float) -> str:
    """As people type it: `30d`, `36h`, `15m`, `90s`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds:g}s"


def as_json(content: BaseModel | Sequence[BaseModel]) -> str:
    """As the API sends it, with indentation."""
    if isinstance(content, BaseModel):
        return content.model_dump_json(indent=2)
    return json.dumps([item.model_dump(mode="json") for item in content], indent=2, ensure_ascii=False)
