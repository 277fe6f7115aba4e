"""`skein contract`: what the rows of a dataset have to be like."""

from pathlib import Path
from typing import Literal

import typer

from flight_core.domain.errors import InvalidOption
from schemas.contracts import Contract, StoredContract
from schemas.ingestions import Ingestion
from schemas.jobs import CheckResult, ContractAnswer, Job, ProposalResult
from skein.cli.arguments import document_in
from skein.cli.jobs import summary
from skein.cli.remote.client import Api, path_of
from skein.cli.remote.following import followed
from skein.cli.terminal.tables import Column, show_table
from skein.cli.terminal.wording import as_json, count

Action = Literal["show", "set", "infer", "check", "withdraw", "replay"]


def contract(api: Api, action: Action, name: str, *, file: Path | None, json: bool) -> None:
    """
    Raises:
        CliError: as the server says.
        InvalidOption: the file is missing where it is needed, or no contract.
    """
    path = path_of("datasets", name, "contract")
    if file is not None and action not in ("set", "check"):
        raise InvalidOption(f"'skein contract {action}' takes no file; leave out '{file}'")
    match action:
        case "show":
            stored = api.get(StoredContract, path)
            typer.echo(as_json(stored) if json else _document(stored.contract))
            if not json:
                typer.echo(_standing(stored), err=True)
        case "set":
            stored = api.put(StoredContract, path, _contract(file))
            typer.echo(as_json(stored) if json else f"{stored.dataset}: contract version {stored.version}")
        case "infer":
            proposed = _proposed(api, f"{path}/infer")
            typer.echo(as_json(proposed) if json else _document(proposed))
        case "check":
            job = api.post(Job, f"{path}/check", None if file is None else _contract(file))
            _show(followed(api, job), json=json)
        case "withdraw":
            api.delete(path)
            typer.echo(f"{name}: rows are not checked any more")
        case "replay":
            replay = api.post(Ingestion, path_of("datasets", name, "rejects", "replay"))
            typer.echo(summary(followed(api, replay)))


def _proposed(api: Api, path: str) -> Contract:
    """Follows the job, where it takes one. Raises as `followed`."""
    answer = api.post(ContractAnswer, path).root
    if isinstance(answer, Contract):
        return answer
    proposal = followed(api, answer).result
    assert isinstance(proposal, ProposalResult)
    return proposal.contract


def _document(contract: Contract) -> str:
    """As people write it: without what goes without saying."""
    return contract.model_dump_json(indent=2, exclude_defaults=True)


def _standing(stored: StoredContract) -> str:
    fresh = "" if stored.freshness is None else f"; fresh: {_said(stored.freshness.fresh)}"
    rejects = "" if not stored.rejects else f"; {count(stored.rejected_rows, 'row')} in '{stored.rejects}'"
    return f"version {stored.version}, by {stored.actor}{fresh}{rejects}"


def _said(fresh: bool | None) -> str:
    return {True: "yes", False: "no", None: "unknown"}[fresh]


def _contract(file: Path | None) -> dict[str, object]:
    if file is None:
        raise InvalidOption("name the file with the contract; 'skein contract infer NAME' proposes one")
    return contract_in(file)


def contract_in(file: Path) -> dict[str, object]:
    """Raises InvalidOption: there is none."""
    return document_in(file, Contract, what="contract").model_dump(mode="json", exclude_unset=True)


def _show(job: Job, *, json: bool) -> None:
    report = job.result
    assert isinstance(report, CheckResult)
    if json:
        typer.echo(as_json(report))
    else:
        typer.echo(
            f"{job.dataset}: version {report.version}, {count(report.rows, 'row')},"
            f" {report.rejected_rows:,} would be rejected"
        )
        columns = ["rule", "column", "severity", "rows"]
        rows = [(rule.rule, rule.column, rule.severity, f"{rule.rows:,}") for rule in report.rules]
        if rows:
            show_table([Column(name, right=name == "rows") for name in columns], rows)
        if report.violation is not None:
            typer.echo(f"an ingestion would fail: {report.violation}")
    if report.rules:
        raise typer.Exit(1)
