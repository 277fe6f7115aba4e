"""What a source remembers from one ingestion to the next."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from flight_core.domain.dataset import DatasetName
from flight_core.domain.ingestion import IngestionRequest, SourceSpec


@dataclass(frozen=True, slots=True)
class SourceState:
    """JSON values that mean something to the kind of source alone.

    `seen` tells whether there is anything new: ETags, checksums. `cursor` tells where to go on:
    what lies before it has been ingested.
    """

    seen: Mapping[str, object] = field(default_factory=dict)
    cursor: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The state that the source had after `job`; `reading` is how its bytes were understood.

    `dataset_id` and `version` are what the job committed; None while that is not known.
    """

    job: str
    state: SourceState
    reading: str
    dataset_id: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class SourceMemory:
    """What is known of one source of one dataset.

    `pending` is written before the commit and `settled` after it, so that no crash between the two
    makes the state lag behind the rows. `revision` grows with every change; 0: never stored.
    """

    dataset: DatasetName
    fingerprint: str
    revision: int = 0
    settled: Remembered | None = None
    pending: Remembered | None = None


def fingerprint_of(spec: SourceSpec) -> str:
    """The same for two specs that name the same source in the same way."""
    return _digest([spec.kind, spec.fields])


def reading_of(request: IngestionRequest) -> str:
    """The same for two requests that would make the same rows of the same bytes."""
    return _digest([request.mode, request.format, request.options])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
