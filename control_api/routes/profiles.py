"""What the columns of a dataset are like."""

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query

from control_api import mapping
from control_api.dependencies import Caller, Name, UseCases
from control_api.routes.datasets import VersionText
from control_api.streaming import DOOR
from schemas.profiles import DatasetProfile

router = APIRouter(prefix=f"{mapping.API}/datasets/{{name}}", tags=["datasets"])

Columns = Annotated[
    list[str] | None, Query(description="A column to tell of; repeat it for several. All if left out.")
]


@router.get("/profile")
def profile_dataset(
    name: Name, use_cases: UseCases, caller: Caller, version: VersionText = None, columns: Columns = None
) -> DatasetProfile:
    """What the values of each column are like: nulls, distinct values, range, distribution, top values.
    It is computed when a version is first asked for, within the limits of a query, and kept from then on."""
    profile = use_cases.profile_dataset(
        name, mapping.parse_version(version), actor=caller, door=DOOR, columns=columns or ()
    )
    return DatasetProfile.model_validate(
        {
            "dataset": name.value,
            "version": profile.version.ref.version,
            "rows": profile.version.row_count,
            "columns": [asdict(column) for column in profile.columns],
        }
    )
