"""What the rows of a dataset have to be like: contracts, checks, and the rows that were rejected."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from control_api.dependencies import Caller, Name, UseCases, json_body
from control_api.queued import LOCATION, Queued, Waited
from flight_core.application.contracts.contracts import ContractStanding
from flight_core.domain.contract import contract_document, contract_of
from schemas.contracts import Contract, FreshnessReport, StoredContract, as_document
from schemas.http import API
from schemas.ingestions import Ingestion
from schemas.jobs import Job

router = APIRouter(prefix=f"{API}/datasets/{{name}}", tags=["contracts"])


@router.get("/contract")
def get_contract(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    version: Annotated[int | None, Query(ge=0, lt=2**63, description="The one in force if left out.")] = None,
) -> StoredContract:
    """The contract, how fresh the data is by it, and where the rejected rows are."""
    return _standing(use_cases.contracts.describe(name, actor=caller, version=version))


@router.put("/contract", dependencies=[Depends(json_body)])
def set_contract(name: Name, contract: Contract, use_cases: UseCases, caller: Caller) -> StoredContract:
    """From the next ingestion on, rows are held against it. The dataset need not exist yet.

    Each change is a new version; the same contract again changes nothing."""
    use_cases.contracts.set(name, contract_of(as_document(contract)), actor=caller)
    return _standing(use_cases.contracts.describe(name, actor=caller))


@router.delete("/contract", status_code=204)
def withdraw_contract(name: Name, use_cases: UseCases, caller: Caller) -> None:
    """Rows are not checked any more. Those that were rejected stay where they are."""
    use_cases.contracts.withdraw(name, actor=caller)


@router.post("/contract/infer", responses={202: {"model": Job, **LOCATION[202]}})
async def infer_contract(name: Name, use_cases: UseCases, caller: Caller, waiting: Waited) -> Contract | Job:
    """A contract that the current rows keep, as a draft: types, nulls, a key, bounds, and what texts look
    like. Nothing is stored. Where there are many rows to look at, the answer is 202 with the job that does
    it; its `result` has the contract."""
    proposed = await waiting.found(partial(use_cases.contracts.infer, name, actor=caller))
    if isinstance(proposed, Job):
        return proposed
    return Contract.model_validate(contract_document(proposed))


@router.post("/contract/check", status_code=202, responses=LOCATION)
async def check_contract(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    queued: Queued,
    contract: Annotated[
        Contract | None, Body(description="A contract on trial; the one in force if left out.")
    ] = None,
) -> Job:
    """Queue a job that holds the rows that are there against the contract, and counts which rules they
    break. Its `result` has what was found; nothing is changed."""
    trial = None if contract is None else contract_of(as_document(contract))
    return await queued.job(partial(use_cases.contracts.check, name, trial, actor=caller))


@router.post("/rejects/replay", status_code=202, responses=LOCATION)
async def replay_rejects(name: Name, use_cases: UseCases, caller: Caller, queued: Queued) -> Ingestion:
    """Queue a job that holds the rejected rows against the contract as it is now. Good ones are appended
    and leave the quarantine; the others stay, with what they break now."""
    return await queued.ingestion(partial(use_cases.contracts.replay, name, actor=caller))


def _standing(standing: ContractStanding) -> StoredContract:
    stored, rejects = standing.stored, standing.rejects
    freshness = stored.contract.freshness
    age_s = standing.age_s
    return StoredContract(
        dataset=stored.dataset.value,
        version=stored.version,
        created_at=stored.created_at,
        actor=stored.actor,
        contract=Contract.model_validate(contract_document(stored.contract)),
        freshness=None
        if freshness is None
        else FreshnessReport(
            newest=standing.newest,
            age_s=age_s,
            fresh=None if age_s is None else age_s <= freshness.max_age_s,
        ),
        rejects=None if rejects is None else rejects.name.value,
        rejected_rows=0 if rejects is None else rejects.current.row_count,
    )
