"""Live queries as they travel: what clients say, and what they are told.

Over a WebSocket each message is a JSON text; results are binary frames, see `FRAME_HEADER`. `DoExchange`
takes `SubscribeMessage` as its command and puts `ResultMetadata` beside each batch.
"""

import struct
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.flight import Limit, Params

# Little-endian: the channel of the subscription, and the number of the batch in its result, from 0. A
# complete Arrow IPC stream of one batch follows, or of none if the result has no rows.
FRAME_HEADER = struct.Struct("<II")

SubscriptionId = Annotated[str, Field(min_length=1, max_length=100)]
Credits = Annotated[int, Field(ge=0, le=1_000_000)]


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LiveSubscription(_Said):
    """`mode` refresh: each result holds all rows; changes: where rows are only added, just these.

    `credits` is how many batches may be sent before more are granted; None: no bound. From one result to
    the next there are `interval_ms` at least; what happens meanwhile is one change.
    """

    id: SubscriptionId = "live"
    sql: Annotated[str, Field(min_length=1)]
    params: Params = Field(default_factory=list)
    limit: Limit | None = None
    mode: Literal["changes", "refresh"] = "changes"
    credits: Credits | None = None
    interval_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 100


class SubscribeMessage(_Said):
    subscribe: LiveSubscription


class Reference(_Said):
    id: SubscriptionId


class Grant(_Said):
    id: SubscriptionId
    batches: Annotated[int, Field(ge=1, le=1_000_000)]


class LiveRequest(_Said):
    """Exactly one of them."""

    subscribe: LiveSubscription | None = None
    unsubscribe: Reference | None = None
    pause: Reference | None = None
    resume: Reference | None = None
    grant: Grant | None = None


class Subscribed(BaseModel):
    type: Literal["subscribed"] = "subscribed"
    id: str
    channel: int


class ResultBegins(BaseModel):
    """`number` counts the results of a subscription from 1. The batches of mode `append` come on top of
    all those of the results before; `refresh` begins anew. `datasets` are the versions read, by name."""

    type: Literal["result"] = "result"
    id: str
    channel: int
    number: int
    mode: Literal["refresh", "append"]
    datasets: dict[str, int]
    query_id: str


class ResultEnds(BaseModel):
    type: Literal["end"] = "end"
    id: str
    number: int
    batches: int
    rows: int


class LiveState(BaseModel):
    type: Literal["paused", "resumed", "unsubscribed"]
    id: str


class LiveError(BaseModel):
    """With `ended` the subscription is over. Without an `id` the message could not be understood."""

    type: Literal["error"] = "error"
    id: str | None = None
    code: str
    detail: str
    retryable: bool
    ended: bool


class ResultMetadata(BaseModel):
    """Beside each batch of `DoExchange`. `last`: the result is whole now; its batch may have no rows."""

    number: int
    mode: Literal["refresh", "append"]
    datasets: dict[str, int]
    batch: int
    last: bool
