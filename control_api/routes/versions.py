"""The versions of a dataset: history, differences, restoring, tags, retention."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from control_api import answers, requests
from control_api.dependencies import Caller, Name, Responses, UseCases, Wanted, json_body
from control_api.etags import matching
from control_api.formats import json_objects
from control_api.once import OnceOnly
from control_api.openapi import RESULT
from control_api.paging import Paged
from control_api.streaming import DOOR, QueryResponse, Run
from flight_core.application.datasets.diff import VersionDiff
from flight_core.domain.dataset import DatasetVersion
from flight_core.domain.errors import TagNotFound
from flight_core.domain.query import Statement
from flight_core.domain.versions import RetentionPolicy, TagName, version_named
from flight_core.domain.versions import Tag as DomainTag
from schemas.http import API, Column
from schemas.versions import (
    ColumnChanges,
    DatasetDiff,
    Difference,
    RestoreRequest,
    Retention,
    RetentionRequest,
    RetypedColumn,
    RowChanges,
    Tag,
    TagList,
    TagRequest,
    Version,
    VersionPage,
    VersionSummary,
)

router = APIRouter(prefix=f"{API}/datasets/{{name}}", tags=["versions"])

From = Annotated[
    str, Query(alias="from", description="The version to compare with: 3, v3, a moment, or a tag.")
]
To = Annotated[str | None, Query(description="Likewise; the current version if left out.")]
Key = Annotated[
    list[str] | None,
    Query(description="A column that tells rows apart; repeat it where it takes several."),
]


@router.get("/versions")
def list_versions(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
) -> VersionPage:
    """The history of a dataset, newest first: who made a version, why, and of what."""
    (before,) = paging.after(like=(0,)) or (None,)
    found = use_cases.versions.history(name, actor=caller, before=before, limit=paging.limit + 1)
    entries, following = paging.cut(found, place=lambda entry: (entry.version.ref.version,))
    return VersionPage(items=[answers.history_entry(entry) for entry in entries], next=following)


@router.get("/diff")
def compare_versions(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    from_: From,
    to: To = None,
    key: Key = None,
    limit: Annotated[int, Query(ge=0, le=10_000, description="How many differences to show.")] = 100,
) -> DatasetDiff:
    """What is different between two versions: columns, counts of rows, and a sample of the differences."""
    diff = use_cases.versions.diff(
        name,
        version_named(from_),
        requests.version(to),
        actor=caller,
        door=DOOR,
        key=_key(key),
        sample_rows=limit,
    )
    return _diff(name.value, diff)


@router.get("/diff/rows", responses=RESULT, response_class=Response)
def read_differences(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    streaming: Responses,
    format: Wanted,
    from_: From,
    to: To = None,
    key: Key = None,
) -> Response:
    """All differences between two versions, one a row, in no order: `change`, then `key`, `before` and
    `after`; without a key `rows` and `row`."""
    plan = use_cases.versions.diff.plan(
        name, version_named(from_), requests.version(to), actor=caller, door=DOOR, key=_key(key)
    )
    run = Run(use_cases, Statement(plan.rows), actor=caller, format=format)
    return QueryResponse(run, streaming)


def _key(given: list[str] | None) -> list[str] | None:
    """An empty one says that there is to be none."""
    return given if given is None else [column for column in given if column]


def _diff(name: str, diff: VersionDiff) -> DatasetDiff:
    columns = diff.columns
    return DatasetDiff(
        dataset=name,
        before=_summary(diff.before),
        after=_summary(diff.after),
        key=list(diff.key),
        columns=ColumnChanges(
            added=[Column(name=each.name, type=str(each.type)) for each in columns.added],
            removed=[Column(name=each.name, type=str(each.type)) for each in columns.removed],
            retyped=[
                RetypedColumn(name=each.name, before=each.before, after=each.after)
                for each in columns.retyped
            ],
        ),
        rows=RowChanges(
            added=diff.rows.added,
            removed=diff.rows.removed,
            changed=diff.rows.changed,
            unchanged=diff.rows.unchanged,
            by_column=None if diff.rows.by_column is None else dict(diff.rows.by_column),
        ),
        sample=[_difference(row) for row in json_objects(diff.sample)],
    )


def _difference(row: Mapping[str, Any]) -> Difference:
    """Of a comparison with a key, or without one."""
    if "row" not in row:
        return Difference.model_validate(row)
    place = "after" if row["change"] == "added" else "before"
    return Difference.model_validate({"change": row["change"], "rows": row["rows"], place: row["row"]})


def _summary(version: DatasetVersion) -> VersionSummary:
    return VersionSummary(
        version=version.ref.version, rows=version.row_count, committed_at=version.committed_at
    )


@router.post("/restore", dependencies=[Depends(json_body)])
async def restore_version(
    name: Name, wanted: RestoreRequest, request: Request, use_cases: UseCases, caller: Caller, once: OnceOnly
) -> Version:
    """Make an older version current again, as a new version; no file is copied. `If-Match` with the
    dataset's ETag makes sure that nothing is undone that was written meanwhile."""

    def restore() -> DatasetVersion:
        with matching(request, lambda: use_cases.datasets.get(name, actor=caller)) as seen:
            return use_cases.versions.restore(
                name,
                version_named(wanted.version),
                actor=caller,
                message=wanted.message,
                expected=None if seen is None else seen.version,
            )

    def again(number: str) -> DatasetVersion:
        return use_cases.datasets.describe(name, actor=caller, at=int(number)).version

    restored = await once.in_thread(restore, id_of=lambda made: str(made.ref.version), again=again)
    return answers.version(restored)


@router.get("/tags")
def list_tags(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
) -> TagList:
    """The tags of a dataset's versions, ordered by name."""
    found = use_cases.versions.list_tags(name, actor=caller)
    page, following = paging.page(found, place=lambda tag: (tag.name.key,))
    return TagList(items=[_tag(tag) for tag in page], next=following)


@router.get("/tags/{tag}")
def get_tag(name: Name, tag: str, use_cases: UseCases, caller: Caller) -> Tag:
    """The version that a tag names."""
    wanted = TagName(tag)
    for found in use_cases.versions.list_tags(name, actor=caller):
        if found.name.key == wanted.key:
            return _tag(found)
    raise TagNotFound(f"dataset '{name}' has no tag '{tag[:64]}'; list them with GET .../tags")


@router.put("/tags/{tag}", dependencies=[Depends(json_body)])
def tag_version(name: Name, tag: str, wanted: TagRequest, use_cases: UseCases, caller: Caller) -> Tag:
    """Give a version a name, or move the name to it. A version with a tag is kept."""
    at = requests.version(wanted.version)
    return _tag(use_cases.versions.tag(name, TagName(tag), at, actor=caller, message=wanted.message))


@router.delete("/tags/{tag}", status_code=204)
def remove_tag(name: Name, tag: str, use_cases: UseCases, caller: Caller) -> None:
    """Forget a tag. The version stays as long as retention keeps it."""
    use_cases.versions.remove_tag(name, TagName(tag), actor=caller)


def _tag(tag: DomainTag) -> Tag:
    return Tag(
        name=tag.name.value,
        version=tag.version,
        tagged_at=tag.tagged_at,
        actor=tag.actor,
        message=tag.message,
    )


@router.get("/retention")
def get_retention(name: Name, use_cases: UseCases, caller: Caller) -> Retention:
    """Which versions of a dataset stay."""
    found = use_cases.versions.get_retention(name, actor=caller)
    policy = found.policy
    return Retention(keep_versions=policy.keep_versions, keep_s=policy.keep_s, own=found.own)


@router.put("/retention", dependencies=[Depends(json_body)])
def set_retention(name: Name, wanted: RetentionRequest, use_cases: UseCases, caller: Caller) -> Retention:
    """Give a dataset a policy of its own. Versions that have expired do not come back."""
    policy = RetentionPolicy(wanted.keep_versions, wanted.keep_s)
    use_cases.versions.set_retention(name, policy, actor=caller)
    return get_retention(name, use_cases, caller)


@router.delete("/retention", status_code=204)
def withdraw_retention(name: Name, use_cases: UseCases, caller: Caller) -> None:
    """Keep the versions that are set for all datasets."""
    use_cases.versions.set_retention(name, None, actor=caller)
