"""What every store of contracts promises."""

from datetime import UTC, datetime

import pytest

from flight_core.adapters.catalog.contracts import SqlContractRepository
from flight_core.adapters.catalog.events import SqlEventRepository
from flight_core.domain.contract import (
    ColumnContract,
    Contract,
    ExtraColumns,
    Freshness,
    MissingColumns,
    RejectLimits,
    RowRule,
    Severity,
    UniqueKey,
)
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import ContractNotFound

NAME = DatasetName("Orders")
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
CONTRACT = Contract(
    columns=(
        ColumnContract("id", "int64", nullable=False, ge=1, description="of the order"),
        ColumnContract("kind", "string", enum=("a", "b"), severities=(("enum", Severity.WARN),)),
        ColumnContract("day", "date32", format="%d.%m.%Y", default="2026-01-01", severity=Severity.FAIL),
    ),
    rules=(RowRule("sane", "id > 0 OR kind IS NULL", Severity.WARN, "why"),),
    unique=(UniqueKey(("id", "kind")),),
    freshness=Freshness(3600.0, "day", Severity.FAIL),
    extra_columns=ExtraColumns.REFUSE,
    missing_columns=MissingColumns.DEFAULT,
    limits=RejectLimits(0, 0.25),
    description="what orders are",
)


@pytest.fixture
def contracts(database):
    return SqlContractRepository(database)


def test_a_contract_comes_back_as_it_was_put(contracts):
    stored = contracts.put(NAME, CONTRACT, actor="ann", at=NOW)
    assert (stored.version, stored.actor, stored.created_at, stored.dataset) == (1, "ann", NOW, NAME)
    assert contracts.find(DatasetName("orders")) == stored
    assert stored.contract == CONTRACT


def test_each_change_is_a_new_version_and_the_same_again_is_none(contracts):
    contracts.put(NAME, CONTRACT, actor="ann", at=NOW)
    assert contracts.put(NAME, CONTRACT, actor="bob", at=NOW).version == 1
    assert contracts.put(NAME, Contract(), actor="bob", at=NOW).version == 2
    assert contracts.find(NAME).contract == Contract()
    assert contracts.find(NAME, 1).contract == CONTRACT
    assert contracts.find(NAME, 3) is None


def test_a_contract_that_was_withdrawn_is_gone_and_its_number_is_not_used_again(contracts):
    assert contracts.find(NAME) is None
    with pytest.raises(ContractNotFound):
        contracts.withdraw(NAME, actor="ann", at=NOW)
    contracts.put(NAME, CONTRACT, actor="ann", at=NOW)
    contracts.withdraw(NAME, actor="ann", at=NOW)
    assert contracts.find(NAME) is None
    assert contracts.find(NAME, 1).contract == CONTRACT
    with pytest.raises(ContractNotFound):
        contracts.withdraw(NAME, actor="ann", at=NOW)
    assert contracts.put(NAME, CONTRACT, actor="ann", at=NOW).version == 3


def test_changes_are_events(contracts, database):
    contracts.put(NAME, CONTRACT, actor="ann", at=NOW)
    contracts.put(NAME, CONTRACT, actor="ann", at=NOW)
    contracts.withdraw(NAME, actor="bob", at=NOW)
    events = [stored.event for stored in SqlEventRepository(database).after(0)]
    assert [(event.kind, event.subject, event.data["contract"]) for event in events] == [
        ("contract.set", "Orders", 1),
        ("contract.withdrawn", "Orders", 2),
    ]
