"""Events as they travel: CloudEvents 1.0 in JSON, over WebSockets and server-sent events."""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

TYPE_PREFIX = "skein."


class ControlKind(StrEnum):
    """Messages about the stream itself."""

    HELLO = "hello"  # the first one: which events the log holds, and where this stream starts
    RESET = "reset"  # events before this point are gone: load the current state again
    HEARTBEAT = "heartbeat"  # nothing has happened for a while


class EventMessage(BaseModel):
    """`id` is where to resume: ask for `after=<id of the last message>`, whatever its type was.

    The ids of events are their numbers in the log, which only grow; a control message bears the
    number of the event before it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "specversion": "1.0",
                    "id": "42",
                    "source": "/api/v1/events",
                    "type": "skein.dataset.committed",
                    "subject": "flights",
                    "time": "2026-01-31T12:00:00Z",
                    "datacontenttype": "application/json",
                    "data": {"dataset": "flights", "version": 3, "rows": 200000, "operation": "append"},
                }
            ]
        }
    )

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = "/api/v1/events"
    type: str
    subject: str | None = None
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    data: dict[str, Any]
