"""Auditing of use cases.

The use cases know nothing of it: the servers get proxies, which note each call that has an actor.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

from flight_core.application.access.audit import AuditLog, code_of, decision_of
from flight_core.domain.access import Actor
from flight_core.domain.audit import AuditEntry
from flight_core.domain.dataset import DatasetName
from flight_core.domain.job import Job
from flight_core.domain.query import TableTarget

Bundle = TypeVar("Bundle")

# Statements are classified before they are executed, which is noted by itself.
_SILENT = frozenset({"classify_statement"})

_NAME = re.compile(r"[A-Za-z0-9_.@\-]{1,64}")


def action_of(use_case: type) -> str:
    """What the audit log calls a use case: `drop_dataset` for `DropDataset`. These names are published."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", use_case.__name__).lower()


def audited(bundle: Bundle, log: AuditLog) -> Bundle:
    """A copy of a bundle of use cases (which may contain bundles) with an auditing proxy for each."""
    stand_ins = {name: _stand_in(part, log) for name, part in _parts(bundle) if is_dataclass(part)}
    return replace(bundle, **stand_ins)  # type: ignore[type-var]


def _stand_in(part: Any, log: AuditLog) -> Any:
    if callable(part):
        return _Audited(part, log) if "actor" in inspect.signature(part).parameters else part
    return audited(part, log) if any(callable(inner) for _, inner in _parts(part)) else part


def _parts(bundle: Any) -> list[tuple[str, Any]]:
    return [(field.name, getattr(bundle, field.name)) for field in fields(bundle)]


class _Audited:
    """A proxy for a use case. Calls of its methods with an actor are noted, too."""

    def __init__(self, use_case: Any, log: AuditLog) -> None:
        self._use_case = use_case
        self._log = log
        self._action = action_of(type(use_case))

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._noted(self._use_case, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._use_case, name)
        return partial(self._noted, part) if inspect.ismethod(part) else part

    def _noted(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        actor = options.get("actor")
        if not (isinstance(actor, Actor) and actor.origin.door):  # not a call by a client
            return call(*arguments, **options)
        note = partial(self._note, actor, arguments, options)
        try:
            result = call(*arguments, **options)
        except Exception as failure:
            note(failure, None)
            raise
        if inspect.isawaitable(result):
            return _awaited(result, note)
        note(None, result)
        return result

    def _note(
        self,
        actor: Actor,
        arguments: Sequence[object],
        options: Mapping[str, object],
        failure: Exception | None,
        result: object,
    ) -> None:
        if failure is None and self._action in _SILENT:
            return
        self._log.note(
            AuditEntry(
                self._log.clock(),
                actor.name,
                actor.origin,
                self._action,
                decision_of(failure),
                subject=_subject(arguments, options, result),
                datasets=_datasets(arguments, result),
                code=code_of(failure),
            )
        )


async def _awaited(result: Awaitable[Any], note: Callable[[Exception | None, object], None]) -> Any:
    try:
        value = await result
    except Exception as failure:
        note(failure, None)
        raise
    note(None, value)
    return value


def _subject(arguments: Sequence[object], options: Mapping[str, object], result: object) -> str:
    """The id of the resulting statement or job, or the name in the first argument."""
    query_id = getattr(result, "query_id", None) or options.get("query_id")
    if query_id is not None:
        return str(query_id)
    if isinstance(result, Job):
        return result.id
    first = arguments[0] if arguments else None
    return first if isinstance(first, str) and _NAME.fullmatch(first) else ""


def _datasets(arguments: Sequence[object], result: object) -> tuple[str, ...]:
    """The dataset that the call names, or those that the query reads."""
    for argument in arguments[:2]:
        for name in (argument, getattr(argument, "dataset", None), getattr(argument, "target", None)):
            if isinstance(name, DatasetName | TableTarget):
                return (str(name) if isinstance(name, DatasetName) else name.table,)
    pins: Mapping[str, object] = getattr(result, "pins", {})
    return tuple(sorted(pins))
