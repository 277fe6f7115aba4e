"""The catalog as one file, and what a file changes about it.

Both ways go through the use cases of single changes, with their rights and their events. What a file says is
compared with what an export would say, part by part: importing it again changes nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from starlette.types import Scope

from control_api import answers, requests
from control_api.errors import problem_of
from control_api.options import ControlUseCases
from control_api.redaction import HIDDEN
from flight_core.domain.access import Actor
from flight_core.domain.contract import contract_document
from flight_core.domain.dataset import Dataset, DatasetName
from flight_core.domain.derivation import Derivation
from flight_core.domain.errors import FlightCoreError, InvalidOption, VersionNotFound
from flight_core.domain.ingestion import IngestionRequest
from flight_core.domain.schedule import Schedule
from flight_core.domain.versions import RetentionPolicy, TagName
from schemas import catalog as wire
from schemas import contracts, derivations, ingestions
from schemas.versions import RetentionRequest


@dataclass(frozen=True, slots=True)
class CatalogFiles:
    """Of what one caller sees and may do."""

    use_cases: ControlUseCases
    caller: Actor

    def exported(self) -> wire.CatalogFile:
        use_cases, caller = self.use_cases, self.caller
        found = {each.name.key: self._dataset(each) for each in use_cases.datasets.list(actor=caller)}
        for stored in use_cases.contracts.list(actor=caller):
            contract = contracts.Contract.model_validate(contract_document(stored.contract))
            _put(found, stored.dataset, contract=contract)
        for status in use_cases.derivations.inspect(actor=caller):
            _put(found, status.derivation.target, derivation=_derivation(status.derivation))
        return wire.CatalogFile(
            datasets=[found[key] for key in sorted(found)],
            schedules=[_schedule(each) for each in use_cases.schedules.list(actor=caller)],
        )

    def _dataset(self, dataset: Dataset) -> wire.CatalogDataset:
        of = self.use_cases.versions
        tags = of.list_tags(dataset.name, actor=self.caller)
        retention = of.get_retention(dataset.name, actor=self.caller)
        kept = RetentionRequest(keep_versions=retention.policy.keep_versions, keep_s=retention.policy.keep_s)
        return wire.CatalogDataset(
            name=dataset.name.value,
            id=dataset.id,
            notes=_notes(dataset),
            version_tags={
                tag.name.value: wire.VersionTag(version=tag.version, message=tag.message) for tag in tags
            },
            retention=kept if retention.own else None,
        )

    def imported(
        self, file: wire.CatalogFile, scope: Scope, *, dry_run: bool, overwrite: bool
    ) -> wire.ImportReport:
        """Each part is made or refused on its own; `scope` is of the request, for the problems."""
        same, parts = 0, []
        for change in list(self._changes(file)):  # a file that makes no sense changes nothing
            if change.before == change.after:
                same += 1
            else:
                parts.append(_imported(change, scope, dry_run=dry_run, overwrite=overwrite))
        return wire.ImportReport(dry_run=dry_run, same=same, parts=parts)

    def _changes(self, file: wire.CatalogFile) -> Iterator["_Change"]:
        now = self.exported()
        datasets = {each.name.lower(): each for each in now.datasets}
        for dataset in file.datasets:
            known = datasets.get(dataset.name.lower(), wire.CatalogDataset(name=dataset.name))
            yield from self._dataset_changes(DatasetName(dataset.name), known, dataset)
        schedules = {each.name.lower(): each for each in now.schedules}
        for schedule in file.schedules:
            yield self._schedule_change(schedules.get(schedule.name.lower()), schedule)

    def _dataset_changes(
        self, name: DatasetName, now: wire.CatalogDataset, file: wire.CatalogDataset
    ) -> Iterator["_Change"]:
        use_cases, actor = self.use_cases, self.caller
        exists = partial(use_cases.datasets.get, name, actor=actor)
        if file.notes is not None:
            emptied = dict.fromkeys(now.notes.columns if now.notes else ())
            notes = file.notes.model_dump() | {"columns": emptied | file.notes.columns}
            annotate = partial(use_cases.datasets.annotate, name, notes, actor=actor)
            yield _change("notes", name, now.notes, file.notes, annotate, exists)
        for tag, named in file.version_tags.items():
            known = {each.lower(): version for each, version in now.version_tags.items()}
            make = partial(self._tag, name, tag, named)
            same_dataset = partial(self._require_id, name, file.id)
            yield _change("version_tag", name, known.get(tag.lower()), named, make, same_dataset)
        if file.retention is not None:
            policy = RetentionPolicy(file.retention.keep_versions, file.retention.keep_s)
            keep = partial(use_cases.versions.set_retention, name, policy, actor=actor)
            yield _change("retention", name, now.retention, file.retention, keep, exists)
        if file.contract is not None:
            agree = partial(use_cases.contracts.set, name, requests.contract(file.contract), actor=actor)
            yield _change("contract", name, now.contract, file.contract, agree)
        if file.derivation is not None:
            request = requests.derivation(name, file.derivation)
            define = partial(use_cases.derivations.define, request, actor=actor)
            yield _change("derivation", name, now.derivation, file.derivation, define)

    def _tag(self, name: DatasetName, tag: str, named: wire.VersionTag) -> None:
        make = self.use_cases.versions.tag
        make(name, TagName(tag), named.version, actor=self.caller, message=named.message)

    def _require_id(self, name: DatasetName, wanted: str | None) -> None:
        """
        Raises:
            DatasetNotFound
            VersionNotFound: the versions are those of another dataset.
        """
        dataset = self.use_cases.datasets.get(name, actor=self.caller)
        if wanted not in (None, dataset.id):
            raise VersionNotFound(
                f"the versions in the file are of another dataset '{name}', with the id '{wanted}'; leave the"
                " id out of the file to tag those that have the same numbers here"
            )

    def _schedule_change(self, now: wire.CatalogSchedule | None, file: wire.CatalogSchedule) -> "_Change":
        def request() -> IngestionRequest:
            return self._request(file, known=now)

        def make() -> None:
            timing = requests.timing(file)
            assert timing is not None
            schedules = self.use_cases.schedules
            if now is None:
                schedules.add(file.name, request(), timing, actor=self.caller, paused=file.paused)
            else:
                schedules.change(
                    file.name, request=request(), timing=timing, paused=file.paused, actor=self.caller
                )

        return _change("schedule", file.name, now, file, make, request)

    def _request(self, file: wire.CatalogSchedule, *, known: wire.CatalogSchedule | None) -> IngestionRequest:
        """With the credentials that the schedule has here.

        Raises:
            InvalidOption: there are none, and the file has none; or it is no ingestion.
        """
        fields = file.ingestion.model_dump()
        if known is not None and known.ingestion.source == file.ingestion.source:
            source = self.use_cases.schedules.get(file.name, actor=self.caller).request.source
            fields["source"] = {"kind": source.kind, **source.fields}
        elif HIDDEN in str(fields["source"]):
            raise InvalidOption(
                f"the source of schedule '{file.name}' has credentials, which the file does not hold; put a"
                " secret's name in their place, or make the schedule by hand",
                option="source",
            )
        try:
            return requests.ingestion(ingestions.IngestionRequest.model_validate(fields))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise InvalidOption(f"schedule '{file.name}': {place}: {fault['msg']}", option=place) from None


@dataclass(frozen=True, slots=True)
class _Change:
    """What the server says (None: nothing), and what it is to say. `check` and `make` raise what is in the
    way."""

    part: wire.Part
    name: str
    before: dict[str, Any] | None
    after: dict[str, Any]
    make: Callable[[], object]
    check: Callable[[], object]


def _change(
    part: wire.Part,
    name: object,
    before: BaseModel | None,
    after: BaseModel,
    make: Callable[[], object],
    check: Callable[[], object] = lambda: None,
) -> _Change:
    said = None if before is None else before.model_dump(mode="json")
    return _Change(part, str(name), said, after.model_dump(mode="json"), make, check)


def _imported(change: _Change, scope: Scope, *, dry_run: bool, overwrite: bool) -> wire.ImportedPart:
    outcome: wire.Outcome = "added" if change.before is None else "changed"
    problem = None
    try:
        if change.before is not None and not overwrite:
            outcome = "conflict"
        else:
            change.check()
            if not dry_run:
                change.make()
    except FlightCoreError as error:
        outcome, problem = "refused", problem_of(scope, error)
    return wire.ImportedPart(
        part=change.part,
        name=change.name,
        outcome=outcome,
        before=change.before,
        after=change.after,
        problem=problem,
    )


def _put(found: dict[str, wire.CatalogDataset], name: DatasetName, **parts: object) -> None:
    known = found.get(name.key, wire.CatalogDataset(name=name.value))
    found[name.key] = known.model_copy(update=parts)


def _notes(dataset: Dataset) -> wire.Notes | None:
    """None: nobody has said anything."""
    there = set(dataset.current.schema.names)
    columns = {name: text for name, text in dataset.column_descriptions.items() if name in there}
    notes = wire.Notes(
        description=dataset.description,
        tags=list(dataset.tags),
        owners=list(dataset.owners),
        columns=dict(sorted(columns.items())),
    )
    return notes if notes != wire.Notes() else None


def _derivation(derivation: Derivation) -> derivations.DerivationRequest:
    params = derivation.params
    return derivations.DerivationRequest(
        sql=derivation.sql,
        step=derivation.step,
        inputs=[] if derivation.step is None else sorted((*derivation.input_keys, *derivation.fixed)),
        params=dict(params) if isinstance(params, Mapping) else list(params),
        refresh=derivation.policy.value,
        incremental="append" if derivation.incremental else None,
    )


def _schedule(schedule: Schedule) -> wire.CatalogSchedule:
    request = schedule.request
    return wire.CatalogSchedule(
        name=schedule.name,
        ingestion=wire.CatalogIngestion(
            dataset=request.dataset.value,
            source=answers.source(request.source),
            mode=cast("ingestions.WriteMode", request.mode.value),  # those of SQL are none of a schedule
            keys=list(request.keys),
            schema_policy=request.schema_policy.value,
            format=request.format,
            options=dict(request.options),
            force=request.force,
            message=request.message,
            priority=request.priority,
        ),
        paused=schedule.paused,
        **answers.timing(schedule.timing),
    )
