"""Events as they travel: CloudEvents 1.0 in JSON, over WebSockets and server-sent events."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

TYPE_PREFIX = "skein."

# The code a WebSocket is closed with when the client was too slow: nothing is lost, come again.
RESUMABLE = 4008


class ControlKind(StrEnum):
    """Messages about the stream itself."""

    HELLO = "hello"  # the first one: which events the log holds, and where this stream starts
    RESET = "reset"  # events before this point are gone: load the current state again
    HEARTBEAT = "heartbeat"  # nothing has happened for a while
    ERROR = "error"  # what the client said makes no sense; the stream goes on


class EventMessage(BaseModel):
    """To resume, ask for `after=<id of the last message>`, whatever its type was.

    The `id` of an event is its position in the log, which only grows; a control message has the id of the
    event before it.
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


Patterns = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=1000)]


class EventSelection(BaseModel):
    """An empty list selects everything. `datasets` and `kinds` can be patterns, such as `sales_*`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    datasets: Patterns = []
    kinds: Patterns = []
    jobs: Patterns = []
    after: Annotated[str | int, Field(union_mode="left_to_right")] | None = None


class SubscribeToEvents(BaseModel):
    """A message that a client can send at any time. Without `after` the stream continues where it is."""

    model_config = ConfigDict(extra="forbid", strict=True)

    subscribe: EventSelection
