"""What the columns of a dataset are like."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from control_api.dependencies import Caller, Name, UseCases, Version
from control_api.queued import LOCATION, Waited
from flight_core.application.profiles.profile import VersionProfile
from flight_core.domain.dataset import DatasetName
from schemas.http import API
from schemas.jobs import Job
from schemas.profiles import DatasetProfile

router = APIRouter(prefix=f"{API}/datasets/{{name}}", tags=["datasets"])

Columns = Annotated[
    list[str] | None, Query(description="The columns to profile; all if left out. Repeatable.")
]


@router.get("/profile", responses={202: {"model": Job, **LOCATION[202]}})
async def profile_dataset(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    waiting: Waited,
    version: Version,
    columns: Columns = None,
) -> DatasetProfile | Job:
    """Profile the columns of a version: nulls, distinct values, range, distribution and most frequent values.
    The profile of a version is computed on the first request and kept. If that takes long, the response is
    202 with the job that computes it; with `Prefer: wait=10` it is the profile if that is ready in time."""
    look = partial(use_cases.datasets.profile, name, version, actor=caller, columns=columns or ())
    found = await waiting.computed(look)
    return _profile(name, found) if isinstance(found, VersionProfile) else found


def _profile(name: DatasetName, profile: VersionProfile) -> DatasetProfile:
    return DatasetProfile.model_validate(
        {
            "dataset": name.value,
            "version": profile.version.ref.version,
            "rows": profile.version.row_count,
            "columns": [asdict(column) for column in profile.columns],
        }
    )
