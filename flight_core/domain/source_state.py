"""The state of a source between ingestions: what was seen and ingested so far."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from flight_core.domain.dataset import DatasetName
from flight_core.domain.ingestion import IngestionRequest, SourceSpec


@dataclass(frozen=True, slots=True)
class SourceState:
    """JSON values that only the kind of source interprets.

    `seen` identifies the content that was ingested (ETags, checksums), to notice changes. `cursor` is where
    the next ingestion continues: everything before it has been ingested.
    """

    seen: Mapping[str, object] = field(default_factory=dict)
    cursor: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remembered:
    """The state of the source after `job`. `reading` is a digest of how its bytes were parsed.

    `dataset_id` and `version` are what the job committed; None while that is not known.
    """

    job: str
    state: SourceState
    reading: str
    dataset_id: str | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class SourceMemory:
    """The stored state of one source of a dataset.

    `pending` is written before the commit and `settled` after it, so that the state does not fall behind the
    rows if the process dies in between. `revision` grows with every change; 0: never stored.
    """

    dataset: DatasetName
    fingerprint: str
    revision: int = 0
    settled: Remembered | None = None
    pending: Remembered | None = None


def fingerprint_of(spec: SourceSpec) -> str:
    """A digest that is equal for equal specs."""
    return _digest([spec.kind, spec.fields])


def reading_of(request: IngestionRequest) -> str:
    """A digest that is equal for requests that turn the same bytes into the same rows."""
    return _digest([request.mode, request.format, request.options])


def _digest(value: object) -> str:
    text = json.dumps(value, sort_keys=True, default=dict)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
