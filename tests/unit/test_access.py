"""What actors may do and see."""

from flight_core.domain.access import Actor, Scope
from flight_core.domain.dataset import DatasetName

TEAM = Actor("team", frozenset({Scope.READ, Scope.ADMIN}), ("Sales_*", "orders"))


def test_datasets_are_seen_by_patterns_without_case():
    assert TEAM.sees(DatasetName("SALES_eu"))
    assert TEAM.sees(DatasetName("Orders"))
    assert not TEAM.sees(DatasetName("orders2"))


def test_rejected_rows_belong_to_their_dataset():
    assert TEAM.sees(DatasetName("orders_rejects"))
    assert not TEAM.sees(DatasetName("payroll_rejects"))


def test_who_may_write_may_ingest_and_not_the_other_way_round():
    assert Actor("writer", frozenset({Scope.WRITE})).may(Scope.INGEST)
    assert not Actor("loader", frozenset({Scope.INGEST})).may(Scope.WRITE)


def test_only_an_administrator_of_everything_oversees_the_statements_of_others():
    assert TEAM.looks_after("somebody")
    assert not TEAM.oversees("somebody")
    assert TEAM.oversees("team")
    assert Actor("root").oversees("somebody")
