"""Rows that an installed step makes from datasets, in a separate process."""

import base64
import difflib
import json
import logging
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from flight_core.adapters.sources.process_rows import ProcessRows
from flight_core.adapters.sources.row_worker import FAILED, TOO_MUCH_MEMORY
from flight_core.adapters.sources.running import RunningRows
from flight_core.adapters.sources.sql import pins_of
from flight_core.application.ports.sources import Rows
from flight_core.application.ports.steps import Step, StepParameter
from flight_core.application.ports.storage import TableStore
from flight_core.domain.access import Actor
from flight_core.domain.dataset import DatasetName, dataset_not_found
from flight_core.domain.errors import (
    FlightCoreError,
    InvalidOption,
    InvalidParameters,
    InvalidSource,
    LimitExceeded,
    QueryFailed,
    StepNotFound,
)
from flight_core.domain.ingestion import SourceSpec
from flight_core.domain.query import Pins, datasets_of

logger = logging.getLogger(__name__)

_WORKER = "flight_core.adapters.sources.step_worker"
_SHOWN = 300
# The Python types of JSON values that are given for an annotation.
_GIVEN: Mapping[str, Sequence[str]] = {
    "str": ("str",),
    "int": ("int",),
    "float": ("float", "int"),
    "bool": ("bool",),
    "None": ("None",),
    "list": ("list",),
    "dict": ("dict",),
}
_ARGUMENTS = re.compile(r"\[.*\]")


@dataclass(frozen=True, slots=True)
class StepOptions:
    """Steps are entry points, and functions in `modules`. `memory_bytes` limits the process of a step."""

    modules: tuple[str, ...] = ()
    memory_bytes: int = 3 << 30


@dataclass(slots=True)
class InstalledSteps:
    """Implements `Steps`. The list is loaded once."""

    options: StepOptions
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _found: Sequence[Step] | None = None

    def list(self) -> Sequence[Step]:
        with self._lock:
            if self._found is None:
                self._found = self._listed()
            return self._found

    def _listed(self) -> Sequence[Step]:
        request = {
            "step": None,
            "modules": self.options.modules,
            "memory_bytes": self.options.memory_bytes,
        }
        with closing(ProcessRows(_WORKER, request, explain=_not_loaded)) as rows:
            rows.start()
            texts = [str(text) for batch in rows for text in batch.column(0).to_pylist()]
        return [_step(**json.loads(text)) for text in texts]

    def check(self, name: str, params: Mapping[str, object]) -> Step:
        """
        Raises:
            StepNotFound, InvalidParameters
        """
        known = {step.name: step for step in self.list()}
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            some = f"there are: {', '.join(known)}" if known else "none is; an operator sets SKEIN_STEPS"
            hint = f"did you mean '{near[0]}'?" if near else some
            raise StepNotFound(f"step '{name[:60]}' is not installed; {hint}", name=name[:60])
        _check_parameters(known[name], params)
        return known[name]


def _check_parameters(step: Step, params: Mapping[str, object]) -> None:
    names = [parameter.name for parameter in step.parameters]
    unknown = sorted(params.keys() - set(names))
    missing = [each.name for each in step.parameters if each.required and each.name not in params]
    if unknown or missing:
        wrong = f"has no parameter '{unknown[0][:60]}'" if unknown else f"needs the parameter '{missing[0]}'"
        raise InvalidParameters(f"step '{step.name}' {wrong}; it has {', '.join(names) or 'none'}")
    for parameter in step.parameters:
        if parameter.name in params and not _fits(params[parameter.name], parameter):
            raise InvalidParameters(
                f"the parameter '{parameter.name}' of step '{step.name}' is {parameter.type}, not"
                f" {json.dumps(params[parameter.name])[:60]}",
                name=parameter.name,
            )


def _fits(value: object, parameter: StepParameter) -> bool:
    """Whether a JSON value is of the annotated type. What is inside of lists and objects, and all other
    types, are the step's own business."""
    if value is None and parameter.default is None and not parameter.required:
        return True
    names = [each.partition("[")[0].strip() for each in _ARGUMENTS.sub("", parameter.type).split("|")]
    given = "None" if value is None else type(value).__name__
    return any(given in _GIVEN.get(name, (given,)) for name in names)


def _step(parameters: Sequence[Mapping[str, Any]], **fields: Any) -> Step:
    return Step(parameters=[StepParameter(**each) for each in parameters], **fields)


def _not_loaded(_code: int, told: Mapping[str, str]) -> FlightCoreError:
    logger.warning("steps cannot be loaded", extra={"error": told.get("text", "their process crashed")})
    return InvalidOption("the installed steps cannot be loaded; the server's log tells why, see SKEIN_STEPS")


@dataclass(frozen=True, slots=True)
class StepSource:
    """See `RowSource`. Fields: `step`, its `params`, and `pins`: the versions of its inputs, as dataset id
    and number by name."""

    steps: InstalledSteps
    store: TableStore
    holding: Callable[[str], AbstractContextManager[None]]  # keeps a dataset's files from being deleted
    _running: RunningRows = field(default_factory=RunningRows)

    def check(self, spec: SourceSpec, *, actor: Actor) -> frozenset[DatasetName]:
        step, params, pins = _fields(spec)
        self.steps.check(step, params)
        reads = datasets_of(pins)
        for name in reads:
            if not actor.sees(name):
                raise dataset_not_found(name.value, ())
        return reads

    def open(self, spec: SourceSpec, *, actor: Actor, run_id: str) -> Rows:
        self.check(spec, actor=actor)
        step, params, given = _fields(spec)
        pins = pins_of(given)
        with ExitStack() as stack:
            for ref in pins.values():
                stack.enter_context(self.holding(ref.dataset_id))
            request = {
                "step": step,
                "modules": self.steps.options.modules,
                "params": params,
                "inputs": {name: self._input(pins, name) for name in pins},
                "memory_bytes": self.steps.options.memory_bytes,
            }
            failure = _Failure(step, self.steps.options.memory_bytes, _labels(request))
            held = stack.pop_all()
        rows = ProcessRows(_WORKER, request, explain=failure, pins=pins, closed=held.close)
        return self._running.start(run_id, rows)

    def _input(self, pins: Pins, name: str) -> dict[str, object]:
        files = self.store.files(pins[name])
        schema = base64.b64encode(files.schema.serialize()).decode("ascii")
        return {"files": list(files.uris), "schema": schema}

    def cancel(self, run_id: str) -> None:
        self._running.cancel(run_id)


def _fields(spec: SourceSpec) -> tuple[str, Mapping[str, object], Mapping[str, Any]]:
    match spec.fields:
        case {"step": str(step), "params": params, "pins": Mapping() as pins}:
            return step, params if isinstance(params, Mapping) else {}, pins
    raise InvalidSource(f"a source of kind '{spec.kind}' needs 'step', 'params' and 'pins'")


def _labels(request: Mapping[str, Any]) -> Mapping[str, str]:
    """The names for the files in error messages."""
    return {file: name for name, given in request["inputs"].items() for file in given["files"]}


@dataclass(frozen=True, slots=True)
class _Failure:
    """The error for a step that ended early."""

    step: str
    memory_bytes: int
    labels: Mapping[str, str]

    def __call__(self, code: int, told: Mapping[str, str]) -> FlightCoreError:
        if code == FAILED:
            text = told["text"]
            for path, label in self.labels.items():
                text = text.replace(path, label)
            return QueryFailed(f"the step '{self.step}' failed: {text.splitlines()[0][:_SHOWN]}")
        if code == TOO_MUCH_MEMORY:
            return LimitExceeded(
                f"the step '{self.step}' needs more than {self.memory_bytes >> 20} MiB of memory; give it"
                " fewer rows, or raise SKEIN_INGEST_MEMORY_BYTES",
                limit=self.memory_bytes,
            )
        return QueryFailed(f"the step '{self.step}' crashed; its author has to look at it")
