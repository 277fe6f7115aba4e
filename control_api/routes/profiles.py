"""What the columns of a dataset are like."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.responses import Response

from control_api import mapping
from control_api.dependencies import Caller, Name, UseCases
from control_api.queued import LOCATION, Waited
from control_api.routes.datasets import VersionText
from flight_core.application.profile import VersionProfile
from flight_core.domain.dataset import DatasetName
from flight_core.domain.job import Maintenance
from schemas import http
from schemas.profiles import DatasetProfile

router = APIRouter(prefix=f"{mapping.API}/datasets/{{name}}", tags=["datasets"])

Columns = Annotated[
    list[str] | None, Query(description="A column to tell of; repeat it for several. All if left out.")
]


@router.get("/profile", responses={202: {"model": http.Job, **LOCATION[202]}})
async def profile_dataset(
    name: Name,
    response: Response,
    use_cases: UseCases,
    caller: Caller,
    waiting: Waited,
    version: VersionText = None,
    columns: Columns = None,
) -> DatasetProfile | http.Job:
    """What the values of each column are like: nulls, distinct values, range, distribution, top values.
    It is computed when a version is first asked for, and kept from then on. Where that takes long a
    job does it: the answer is 202 with the job, or, with `Prefer: wait=10`, the profile if it is ready."""
    at = mapping.parse_version(version)
    look = partial(use_cases.profile_dataset, name, at, actor=caller, columns=columns or ())
    found = await to_thread.run_sync(look)
    if isinstance(found, Maintenance):
        job = await waiting.job(found)
        if job.state == "succeeded":
            found = await to_thread.run_sync(look)
    if isinstance(found, Maintenance):
        response.status_code = 202
        return job
    return _profile(name, found)


def _profile(name: DatasetName, profile: VersionProfile) -> DatasetProfile:
    return DatasetProfile.model_validate(
        {
            "dataset": name.value,
            "version": profile.version.ref.version,
            "rows": profile.version.row_count,
            "columns": [asdict(column) for column in profile.columns],
        }
    )
