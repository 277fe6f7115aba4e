"""Contracts of datasets: the rules that rows have to satisfy, checks, and the rejected rows."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Query

from control_api import requests
from control_api.dependencies import Caller, Name, UseCases, json_body
from control_api.queued import LOCATION, Queued, Waited
from flight_core.application.contracts.contracts import ContractStanding
from flight_core.domain.contract import contract_document
from schemas.contracts import Contract, FreshnessReport, StoredContract
from schemas.http import API
from schemas.ingestions import Ingestion
from schemas.jobs import Job

router = APIRouter(prefix=f"{API}/datasets/{{name}}", tags=["contracts"])


@router.get("/contract")
def get_contract(
    name: Name,
    use_cases: UseCases,
    caller: Caller,
    version: Annotated[
        int | None, Query(ge=0, lt=2**63, description="The contract in force if left out.")
    ] = None,
) -> StoredContract:
    """The contract of a dataset, whether its data is fresh, and where its rejected rows are."""
    return _standing(use_cases.contracts.describe(name, actor=caller, version=version))


@router.put("/contract", dependencies=[Depends(json_body)])
def set_contract(name: Name, contract: Contract, use_cases: UseCases, caller: Caller) -> StoredContract:
    """Set the contract that rows are checked against from the next ingestion on. The dataset need not exist
    yet. Each change creates a new version of the contract; setting the same contract again does not."""
    use_cases.contracts.set(name, requests.contract(contract), actor=caller)
    return _standing(use_cases.contracts.describe(name, actor=caller))


@router.delete("/contract", status_code=204)
def withdraw_contract(name: Name, use_cases: UseCases, caller: Caller) -> None:
    """Remove the contract: rows are no longer checked. Rows that were rejected before are kept."""
    use_cases.contracts.withdraw(name, actor=caller)


@router.post("/contract/infer", responses={202: {"model": Job, **LOCATION[202]}})
async def infer_contract(name: Name, use_cases: UseCases, caller: Caller, waiting: Waited) -> Contract | Job:
    """Propose a contract that the current rows satisfy: types, nulls, a key, ranges and text patterns.
    Nothing is stored. For large datasets the response is 202 with a job whose `result` will hold the
    contract."""
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
        Contract | None, Body(description="The contract to check; the one in force if left out.")
    ] = None,
) -> Job:
    """Queue a job that checks the existing rows against a contract and counts the violations of each rule.
    The findings are in its `result`; nothing is changed."""
    trial = None if contract is None else requests.contract(contract)
    return await queued.job(partial(use_cases.contracts.check, name, trial, actor=caller))


@router.post("/rejects/replay", status_code=202, responses=LOCATION)
async def replay_rejects(name: Name, use_cases: UseCases, caller: Caller, queued: Queued) -> Ingestion:
    """Queue a job that checks the rejected rows against the current contract. Rows that satisfy it are
    appended and leave the quarantine; the others stay there, with the rules that they violate now."""
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
