"""What the columns of a dataset are like."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query

from control_api import requests
from control_api.dependencies import Caller, Name, UseCases
from control_api.queued import LOCATION, Waited
from control_api.routes.datasets import VersionText
from flight_core.application.profiles.profile import VersionProfile
from flight_core.domain.dataset import DatasetName
from schemas.http import API
from schemas.jobs import Job
from schemas.profiles import DatasetProfile

router = APIRouter(prefix=f"{API}/datasets/{{name}}", tags=["datasets"])

Columns = Annotated[
    list[str] | None, Query(description="A column to tell of; repeat it for several. All if left out.")
]


@router.get("/profile", responses={202: {"model": Job, **LOCATION[202]}})
async def profile_dataset(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    waiting: Waited,
    version: VersionText = None,
    columns: Columns = None,
) -> DatasetProfile | Job:
    """What the values of each column are like: nulls, distinct values, range, distribution, top values.
    It is computed when a version is first asked for, and kept from then on. Where that takes long a
    job does it: the answer is 202 with the job, or, with `Prefer: wait=10`, the profile if it is ready."""
    at = requests.version(version)
    look = partial(use_cases.datasets.profile, name, at, actor=caller, columns=columns or ())
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
