"""What actors may do and see."""

import itertools

import pytest

from flight_core.application.access.owners import ActAsOwner
from flight_core.domain.access import ALL_RIGHTS, EVERYTHING, NO_RIGHTS, Actor, Rights, Scope
from flight_core.domain.dataset import DatasetName
from flight_core.domain.errors import PermissionDenied

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
    assert not TEAM.oversees("somebody", NO_RIGHTS)
    assert TEAM.oversees("team", TEAM.rights)
    assert not TEAM.oversees("team", ALL_RIGHTS)
    assert Actor("root").oversees("somebody", ALL_RIGHTS)


PATTERNS = [
    EVERYTHING,
    (),
    ("sales_eu",),
    ("Sales_*",),
    ("sales_?u", "orders"),
    ("*_eu",),
    ("[st]*", "sales_us"),
]


@pytest.mark.parametrize(("one", "other"), list(itertools.product(PATTERNS, repeat=2)))
def test_rights_in_common_are_rights_of_both(one, other):
    of = [Rights(frozenset({Scope.WRITE}), one), Rights(frozenset({Scope.READ, Scope.INGEST}), other)]
    shared = of[0].shared(of[1])
    assert shared.scopes == {Scope.INGEST}
    assert all(each.include(shared) for each in of)
    for name in ("sales_eu", "SALES_US", "orders", "orders_rejects", "team_eu", "x"):
        if actor(shared).sees(DatasetName(name)):
            assert all(actor(each).sees(DatasetName(name)) for each in of), name


@pytest.mark.parametrize("patterns", PATTERNS)
def test_all_rights_take_nothing_away(patterns):
    rights = Rights(frozenset({Scope.INGEST, Scope.READ}), patterns)
    assert rights.shared(ALL_RIGHTS) == ALL_RIGHTS.shared(rights) == rights.shared(rights) == rights


def test_what_a_pattern_plainly_includes_is_in_common_with_it():
    sales = Rights(ALL_RIGHTS.scopes, ("sales*",))
    some = Rights(ALL_RIGHTS.scopes, ("Sales_eu", "payroll", "sales_[ab]*"))
    assert sales.shared(some).datasets == some.shared(sales).datasets == ("Sales_eu", "sales_[ab]*")


def actor(rights):
    return Actor("ann", rights.scopes, rights.datasets)


class Holding:
    """`Credentials` of one name."""

    def __init__(self, *rights):
        self._rights = rights

    def holders(self, name):
        return [Actor(name, each.scopes, each.datasets) for each in self._rights]


def test_work_is_done_with_the_rights_it_was_asked_for_with_as_far_as_they_last():
    narrow = Rights(frozenset({Scope.READ, Scope.INGEST}), ("sales*",))

    def rights(asked, *now, scope=Scope.INGEST):
        acting = ActAsOwner(Holding(*now)).allowed("ann", asked, scope, DatasetName("sales_eu"))
        return [each.rights for each in acting]

    assert rights(narrow, ALL_RIGHTS) == [narrow]  # its own token may be gone
    assert rights(ALL_RIGHTS, narrow) == [narrow]
    assert rights(narrow, ALL_RIGHTS, narrow) == [narrow, narrow]
    for asked, now in [(narrow, ALL_RIGHTS), (ALL_RIGHTS, narrow)]:
        with pytest.raises(PermissionDenied):
            rights(asked, now, scope=Scope.WRITE)
    with pytest.raises(PermissionDenied):
        rights(narrow)
