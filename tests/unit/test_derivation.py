"""The graph of derived datasets: order, bursts, failures, cycles."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_core.domain.access import LOCAL
from flight_core.domain.dataset import DatasetName, VersionRef
from flight_core.domain.derivation import Derivation, RefreshPolicy, due, is_stale, refuse_cycle
from flight_core.domain.errors import DerivationCycle

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def derived(target, *inputs, policy=RefreshPolicy.AUTO):
    return Derivation(
        DatasetName(target), "SELECT 1", (), policy, frozenset(map(DatasetName, inputs)), "local", NOW
    )


class World:
    """Runs what is due, one step at a time, and remembers what each run has read."""

    def __init__(self, *derivations, sources):
        self.derivations = {each.key: each for each in derivations}
        self.current = {name: VersionRef(name, 0) for name in sources}
        self.active: set[str] = set()
        self.runs: list[str] = []

    def change(self, name):
        ref = self.current.get(name, VersionRef(name, -1))
        self.current[name] = VersionRef(name, ref.version + 1)

    def due(self):
        return due(self.derivations.values(), self.current, frozenset(self.active))

    def begin(self, each):
        seen = {key: self.current[key] for key in each.input_keys}
        self.derivations[each.key] = replace(each, attempted=seen)
        self.active.add(each.key)
        self.runs.append(each.key)

    def end(self, key, *, failed=False):
        self.active.remove(key)
        if not failed:
            self.change(key)

    def settle(self):
        for _ in range(1000):
            for each in self.due():
                self.begin(each)
            if not self.active:
                return
            self.end(min(self.active))
        raise AssertionError("it never comes to rest")


def test_a_diamond_is_made_in_order_and_each_part_once():
    world = World(derived("b", "a"), derived("c", "a"), derived("d", "b", "c"), sources=["a"])
    world.settle()
    assert world.runs == ["b", "c", "d"]
    for _ in range(5):
        world.change("a")
    world.settle()
    assert world.runs[3:] == ["b", "c", "d"]


def test_what_failed_waits_for_other_inputs_and_holds_nobody_up():
    world = World(derived("b", "a"), derived("c", "a"), derived("d", "b", "c"), sources=["a"])
    world.settle()
    world.change("a")
    for each in world.due():
        world.begin(each)
    world.end("b", failed=True)
    assert world.due() == []
    world.end("c")
    assert [each.key for each in world.due()] == ["d"]
    world.settle()
    assert world.due() == []
    world.change("a")
    assert [each.key for each in world.due()] == ["b", "c"]


def test_what_is_made_by_hand_waits_for_a_hand():
    world = World(derived("b", "a", policy=RefreshPolicy.MANUAL), derived("c", "b"), sources=["a", "b"])
    world.settle()
    world.change("a")
    assert world.due() == []
    assert is_stale(world.derivations["b"], world.current)


def test_what_is_paused_is_not_made_and_holds_nobody_up():
    paused = replace(derived("b", "a"), pause_reason="its owner has left")
    world = World(paused, derived("c", "a", "b"), sources=["a", "b"])
    assert [each.key for each in world.due()] == ["c"]


def test_nothing_is_due_while_an_input_is_missing():
    world = World(derived("b", "a"), sources=[])
    assert world.due() == []
    world.change("a")
    assert [each.key for each in world.due()] == ["b"]


def test_a_name_that_another_dataset_took_is_a_change():
    world = World(derived("b", "a"), sources=["a"])
    world.settle()
    world.current["a"] = VersionRef("another", 0)
    assert [each.key for each in world.due()] == ["b"]


@pytest.mark.parametrize(
    ("others", "new", "cycle"),
    [
        ([], derived("a", "a"), ["a", "a"]),
        ([derived("b", "A")], derived("A", "b"), ["A", "b", "A"]),
        ([derived("b", "a"), derived("c", "b", "x")], derived("a", "c"), ["a", "c", "b", "a"]),
    ],
)
def test_a_cycle_is_refused_by_name(others, new, cycle):
    with pytest.raises(DerivationCycle) as caught:
        refuse_cycle(new, others, actor=LOCAL)
    assert caught.value.details["cycle"] == cycle


def test_a_new_definition_may_break_an_old_way_round():
    refuse_cycle(derived("b", "x"), [derived("b", "a"), derived("a", "b")], actor=LOCAL)


@st.composite
def graphs(draw):
    """Each node is made from nodes before it: no cycles."""
    count = draw(st.integers(2, 7))
    names = [f"n{index}" for index in range(count)]
    made = []
    for index in range(1, count):
        inputs = draw(st.sets(st.sampled_from(names[:index]), max_size=3))
        if inputs:
            made.append(derived(names[index], *inputs))
    return names, made


@given(graphs(), st.lists(st.integers(0, 6), max_size=12), st.randoms())
def test_at_rest_everything_is_made_from_what_there_is(graph, changes, random):
    names, made = graph
    targets = {each.key for each in made}
    sources = [name for name in names if name not in targets]
    world = World(*made, sources=sources)
    for change in changes:
        world.change(sources[change % len(sources)])
        for each in world.due():
            world.begin(each)
            upstream = {key for key in each.input_keys if key in targets}
            assert not upstream & world.active
        if world.active and random.random() < 0.5:
            world.end(random.choice(sorted(world.active)))
    world.settle()
    for each in world.derivations.values():
        assert each.attempted == {key: world.current[key] for key in each.input_keys}


@given(graphs())
def test_one_change_makes_each_part_at_most_once(graph):
    names, made = graph
    targets = {each.key for each in made}
    world = World(*made, sources=[name for name in names if name not in targets])
    world.settle()
    world.runs.clear()
    world.change("n0")
    world.settle()
    assert len(world.runs) == len(set(world.runs))
    for each in made:
        refuse_cycle(each, made, actor=LOCAL)
