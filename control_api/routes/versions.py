"""The versions of a dataset: history, differences, restoring, tags, retention."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.responses import Response

from control_api import answers, requests
from control_api.dependencies import Answer, Caller, Matching, Name, UseCases, json_body
from control_api.formats import json_objects
from control_api.once import OnceOnly
from control_api.openapi import RESULT
from control_api.paging import Paged
from control_api.streaming import DOOR
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
    TagPage,
    TagRequest,
    Version,
    VersionPage,
    VersionSummary,
)

router = APIRouter(prefix=f"{API}/datasets/{{name}}", tags=["versions"])

From = Annotated[
    str,
    Query(alias="from", description="The version to compare with: 3, v3, a moment in ISO 8601, or a tag."),
]
To = Annotated[str | None, Query(description="The version to compare; the current one if left out.")]
Key = Annotated[
    list[str] | None,
    Query(description="A column that identifies rows. Repeat it for a key of several columns."),
]


@router.get("/versions")
def list_versions(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    paging: Paged,
) -> VersionPage:
    """The history of a dataset, newest first: who committed each version, why, and from what source."""
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
    limit: Annotated[
        int, Query(ge=0, le=10_000, description="The maximum number of differences in the sample.")
    ] = 100,
) -> DatasetDiff:
    """Compare two versions: changed columns, counts of changed rows, and a sample of the differences."""
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
    answer: Answer,
    from_: From,
    to: To = None,
    key: Key = None,
) -> Response:
    """Stream all differences between two versions, one per row, in no particular order: `change`, then `key`,
    `before` and `after`; without a key `rows` and `row`."""
    plan = use_cases.versions.diff.plan(
        name, version_named(from_), requests.version(to), actor=caller, door=DOOR, key=_key(key)
    )
    return answer.of(Statement(plan.rows))


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
    name: Name,
    wanted: RestoreRequest,
    use_cases: UseCases,
    caller: Caller,
    matching: Matching,
    once: OnceOnly,
) -> Version:
    """Restore an older version by committing it as a new version; no file is copied. `If-Match` with the
    ETag of the dataset guards against undoing newer commits."""

    def restore() -> DatasetVersion:
        with matching() as seen:
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
) -> TagPage:
    """The tags of a dataset's versions, ordered by name."""
    found = use_cases.versions.list_tags(name, actor=caller)
    page, following = paging.page(found, place=lambda tag: (tag.name.key,))
    return TagPage(items=[_tag(tag) for tag in page], next=following)


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
    """Tag a version, or move an existing tag to it. Tagged versions never expire."""
    at = requests.version(wanted.version)
    return _tag(use_cases.versions.tag(name, TagName(tag), at, actor=caller, message=wanted.message))


@router.delete("/tags/{tag}", status_code=204)
def remove_tag(name: Name, tag: str, use_cases: UseCases, caller: Caller) -> None:
    """Remove a tag. Its version is kept as long as the retention policy says."""
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
    """The retention policy of a dataset: which versions are kept."""
    found = use_cases.versions.get_retention(name, actor=caller)
    policy = found.policy
    return Retention(keep_versions=policy.keep_versions, keep_s=policy.keep_s, own=found.own)


@router.put("/retention", dependencies=[Depends(json_body)])
def set_retention(name: Name, wanted: RetentionRequest, use_cases: UseCases, caller: Caller) -> Retention:
    """Set a retention policy for a dataset. Versions that have expired already stay expired."""
    policy = RetentionPolicy(wanted.keep_versions, wanted.keep_s)
    use_cases.versions.set_retention(name, policy, actor=caller)
    return get_retention(name, use_cases, caller)


@router.delete("/retention", status_code=204)
def withdraw_retention(name: Name, use_cases: UseCases, caller: Caller) -> None:
    """Remove the policy of a dataset: the policy for all datasets applies."""
    use_cases.versions.set_retention(name, None, actor=caller)
