"""What a store promises of writes that replace some of the rows: upsert, replace by partition, delete."""

import threading
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.adapters.storage.delta import DeltaTableStore
from flight_core.domain.dataset import SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.errors import (
    CommitConflict,
    InvalidKeys,
    InvalidOption,
    SchemaMismatch,
    Unsupported,
)
from tests.contracts.table_modes import delete, open_store, rows, sizes, write

APPEND, REPLACE = WriteMode.APPEND, WriteMode.REPLACE
UPSERT, PARTITIONS = WriteMode.UPSERT, WriteMode.REPLACE_PARTITIONS
ADD, WIDEN = SchemaPolicy.ADD, SchemaPolicy.WIDEN
GROUP_ROWS = 61_440


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as connection:
        yield connection


def table(**columns):
    return pa.table(columns)


def keyed(*numbers, value="a"):
    return pa.table({"k": pa.array(numbers, pa.int64()), "v": [f"{value}{number}" for number in numbers]})


def pairs(store, version, connection):
    return [(row["k"], row["v"]) for row in rows(store, version, connection)]


# Upsert


def test_an_upsert_replaces_the_rows_of_its_keys_and_adds_the_others(store, connection):
    write(store, keyed(1, 2, 3))
    made = write(store, keyed(2, 4, value="b"), UPSERT, keys=["K"])
    assert pairs(store, made, connection) == [(1, "a1"), (3, "a3"), (2, "b2"), (4, "b4")]
    assert (made.operation, made.row_count, made.added_rows, made.removed_rows) == ("upsert", 4, 2, 1)
    assert made.schema == keyed(1).schema


def test_an_upsert_into_nothing_makes_the_table(store, connection):
    made = write(store, keyed(1, 2), UPSERT, keys=["k"])
    assert made.operation == "create"
    assert pairs(store, made, connection) == [(1, "a1"), (2, "a2")]


def test_only_files_with_rows_that_go_are_written_again(store, connection):
    for start in (0, 10, 20):
        before = write(store, keyed(*range(start, start + 10)))
    old = sizes(store, before)
    made = write(store, keyed(11, 12, 99), UPSERT, keys=["k"])
    new = sizes(store, made)
    first, second, third = old
    assert {first, third} <= new.keys()
    assert second not in new
    assert list(new.values()) == [10, 8, 10, 3]
    assert [key for key, _ in pairs(store, made, connection)] == [
        *range(11),
        *range(13, 30),
        11,
        12,
        99,
    ]


def test_a_file_of_which_nothing_is_left_goes(store, connection):
    write(store, keyed(1, 2))
    write(store, keyed(3))
    made = write(store, keyed(2, 1, value="b"), UPSERT, keys=["k"])
    assert list(sizes(store, made).values()) == [1, 2]
    assert pairs(store, made, connection) == [(3, "a3"), (2, "b2"), (1, "b1")]


def test_survivors_keep_the_layout_of_row_groups(store, connection):
    numbers = pa.array(range(3 * GROUP_ROWS), pa.int64())
    first = write(store, pa.table({"k": numbers}))
    made = write(
        store, table(k=pa.array([5, GROUP_ROWS + 7, 3 * GROUP_ROWS], pa.int64())), UPSERT, keys=["k"]
    )
    assert made.removed_rows == 2
    kept, _ = store.files(made.ref).uris
    footer = pq.read_metadata(kept)
    groups = [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    assert groups == [GROUP_ROWS, GROUP_ROWS, GROUP_ROWS - 2]
    assert {footer.row_group(0).column(0).compression} == {"ZSTD"}
    keys = [row["k"] for row in rows(store, made, connection)]
    assert sorted(keys) == list(range(3 * GROUP_ROWS + 1))
    assert keys[-3:] == [5, GROUP_ROWS + 7, 3 * GROUP_ROWS]
    assert first.row_count + 1 == made.row_count


def test_whoever_is_told_of_rewritten_rows_can_stop_that(store, connection):
    before = [write(store, keyed(*range(start, start + 10))) for start in (0, 10, 20)][-1]
    staged = store.stage("d1", keyed(5).schema, WriteRule(UPSERT, ("k",)))
    staged.write(keyed(5, 15, 25).to_batches()[0])

    def enough(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        staged.commit(on_rows=enough)
    staged.close()
    assert store.latest("d1") == before
    assert pairs(store, before, connection) == [(key, f"a{key}") for key in range(30)]


def test_several_columns_can_be_the_key(store, connection):
    old = table(a=[1, 1, 2], b=["x", "y", "x"], v=[1, 2, 3])
    write(store, old)
    made = write(store, table(v=[9], b=["y"], a=[1]), UPSERT, keys=["a", "b"])
    assert rows(store, made, connection) == [
        {"a": 1, "b": "x", "v": 1},
        {"a": 2, "b": "x", "v": 3},
        {"a": 1, "b": "y", "v": 9},
    ]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, False]),
        pa.array([1.5, float("nan")]),
        pa.array([0.0, -1.0], pa.float32()),
        pa.array(["a", "\u00e4'\""]),
        pa.array([b"\x00", b"\xff"]),
        pa.array([18000, -1], pa.date32()),
        pa.array([1, -(10**15)], pa.timestamp("us")),
        pa.array([1, 10**15], pa.timestamp("us", "UTC")),
        pa.array([2**64 - 1, 0], pa.uint64()),
        pa.array([10**37, -1], pa.decimal128(38, 0)),
        pa.array([1, 2], pa.time64("us")),
    ],
    ids=lambda values: str(values.type),
)
def test_keys_of_every_plain_type_find_their_rows(store, values):
    both = pa.table({"k": values, "v": ["old", "old"]})
    write(store, both)
    made = write(store, pa.table({"k": values.slice(1, 1), "v": ["new"]}), UPSERT, keys=["k"])
    assert (made.row_count, made.removed_rows) == (2, 1)


def test_two_new_rows_of_one_key_are_refused_and_change_nothing(store, tmp_path):
    before = write(store, keyed(1))
    with pytest.raises(InvalidKeys, match="2 of the new rows have the key k=7"):
        write(store, keyed(7, 8, 7), UPSERT, keys=["k"])
    assert store.latest("d1") == before
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == 1


def test_a_key_that_is_null_is_refused(store):
    data = pa.table({"k": pa.array([1, None, None], pa.int64()), "v": ["a", "b", "c"]})
    with pytest.raises(InvalidKeys, match="'k' is a key and NULL in 2 of the new rows"):
        write(store, data, UPSERT, keys=["k"])


def test_rows_without_a_key_in_the_table_stay(store, connection):
    data = pa.table({"k": pa.array([1, None, None], pa.int64()), "v": ["a", "b", "c"]})
    write(store, data)
    made = write(store, keyed(1, value="new"), UPSERT, keys=["k"])
    assert pairs(store, made, connection) == [(None, "b"), (None, "c"), (1, "new1")]


def test_keys_have_to_be_columns_of_both_sides(store):
    write(store, keyed(1))
    for keys in (["nope"], ["v2"]):
        with pytest.raises(SchemaMismatch, match="which is a key"):
            write(store, table(k=[1], v2=["x"]), UPSERT, keys=keys, policy=ADD)


def test_a_nested_column_cannot_be_a_key(store):
    with pytest.raises(InvalidKeys, match="'l' is nested"):
        write(store, table(l=[[1], [2]]), UPSERT, keys=["l"])


@pytest.mark.parametrize(
    ("mode", "keys"), [(UPSERT, []), (PARTITIONS, []), (APPEND, ["k"]), (UPSERT, ["k", "K"])]
)
def test_mode_and_keys_have_to_go_together(store, mode, keys):
    with pytest.raises(InvalidOption, match="keys"):
        store.stage("d1", None, WriteRule(mode, tuple(keys)))


def test_a_store_that_cannot_look_for_keys_says_so(tmp_path):
    with pytest.raises(Unsupported, match="upsert"):
        DeltaTableStore(tmp_path).stage("d1", None, WriteRule(UPSERT, ("k",)))


def test_an_upsert_of_no_rows_changes_none(store, connection):
    write(store, keyed(1, 2))
    made = write(store, keyed(), UPSERT, keys=["k"])
    assert pairs(store, made, connection) == [(1, "a1"), (2, "a2")]
    assert (made.added_rows, made.removed_rows) == (0, 0)


def test_a_job_upserts_once(store):
    write(store, keyed(1))
    first = write(store, keyed(1, 2), UPSERT, keys=["k"], job_id="j")
    assert write(store, keyed(1, 2), UPSERT, keys=["k"], job_id="j") == first
    assert store.latest("d1") == first


# Replace by partition


def test_partitions_in_the_new_rows_are_replaced_and_others_stay(store, connection):
    write(store, table(day=["mon", "mon", "tue", None], n=[1, 2, 3, 4]))
    new = table(day=["mon", "wed", None, None], n=[5, 6, 7, 8])
    made = write(store, new, PARTITIONS, keys=["day"])
    assert [(row["day"], row["n"]) for row in rows(store, made, connection)] == [
        ("tue", 3),
        ("mon", 5),
        ("wed", 6),
        (None, 7),
        (None, 8),
    ]
    assert (made.operation, made.added_rows, made.removed_rows) == ("replace_partitions", 4, 3)


# Delete


def test_rows_can_be_left_out_of_the_next_version(store, connection):
    before = write(store, keyed(*range(10)))
    before = write(store, keyed(*range(10, 20)))
    made = delete(store, before, lambda row: row["k"] % 5 == 0)
    assert [key for key, _ in pairs(store, made, connection)] == [n for n in range(20) if n % 5]
    assert (made.operation, made.row_count, made.added_rows, made.removed_rows) == ("delete", 16, 0, 4)
    assert [key for key, _ in pairs(store, before, connection)] == list(range(20))


def test_a_table_can_lose_all_its_rows_and_get_new_ones(store, connection):
    before = write(store, keyed(1, 2))
    made = delete(store, before, lambda row: True)
    assert (rows(store, made, connection), made.row_count) == ([], 0)
    assert made.schema == before.schema
    assert store.files(made.ref).uris == ()
    assert [column.name for column in store.statistics(made.ref)] == ["k", "v"]
    after = write(store, keyed(3))
    assert pairs(store, after, connection) == [(3, "a3")]
    assert DeltaTable(store.files(after.ref).uris[0].rsplit("/", 2)[0]).version() == 2


# Others at the same time


def test_an_upsert_also_replaces_rows_that_were_appended_meanwhile(store, connection):
    write(store, keyed(1))
    made = write(
        store,
        keyed(1, 2, value="b"),
        UPSERT,
        keys=["k"],
        before_commit=lambda: write(store, keyed(2, 3)),
    )
    assert pairs(store, made, connection) == [(3, "a3"), (1, "b1"), (2, "b2")]


def race(store, first, second):
    """Let `first` write its files, then `second` commit all, then `first` go on; what both made.

    The store's own lock keeps the two apart within one process: `second` uses another store.
    """
    from flight_core.adapters.storage.commit import Committing

    run = Committing.run
    came_between = []

    def late(self):
        Committing.run = run
        came_between.append(second())
        return run(self)

    Committing.run = late
    try:
        return first(), came_between[0]
    finally:
        Committing.run = run


def test_an_upsert_looks_through_what_was_committed_after_it_wrote_its_files(store, tmp_path, connection):
    write(store, keyed(1, 2, 3))
    other = open_store(tmp_path)
    made, between = race(
        store,
        lambda: write(store, keyed(1, 5, value="b"), UPSERT, keys=["k"]),
        lambda: write(other, keyed(1, 2, 5, value="c"), UPSERT, keys=["k"]),
    )
    assert made.ref.version == between.ref.version + 1
    assert pairs(store, made, connection) == [(3, "a3"), (2, "c2"), (1, "b1"), (5, "b5")]
    live = {uri.rsplit("/", 1)[0] for uri in store.files(made.ref).uris}
    kept = [path for path in (tmp_path / "lake").rglob("kept-*") if str(path.parent) in live]
    assert {str(path) for path in kept} <= set(store.files(made.ref).uris)


def test_a_delete_leaves_alone_what_was_appended_meanwhile(store, tmp_path, connection):
    before = write(store, keyed(1, 2))
    other = open_store(tmp_path)
    made, _ = race(
        store, lambda: delete(store, before, lambda row: row["k"] == 1), lambda: write(other, keyed(1))
    )
    assert pairs(store, made, connection) == [(2, "a2"), (1, "a1")]


def test_a_delete_of_rows_that_were_rewritten_meanwhile_is_a_conflict(store, tmp_path, connection):
    before = write(store, keyed(1, 2))
    other = open_store(tmp_path)
    with pytest.raises(CommitConflict) as failure:
        race(
            store,
            lambda: delete(store, before, lambda row: row["k"] == 1),
            lambda: write(other, keyed(2, value="b"), UPSERT, keys=["k"]),
        )
    assert failure.value.retryable
    assert pairs(store, other.latest("d1"), connection) == [(1, "a1"), (2, "b2")]


def test_many_upserts_at_once_leave_each_key_once(tmp_path, connection):
    write(open_store(tmp_path), keyed(*range(20)))
    failures = []

    def work(number):
        try:
            write(
                open_store(tmp_path),
                keyed(*range(number, 20 + number), value=f"{number}-"),
                UPSERT,
                keys=["k"],
            )
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    store = open_store(tmp_path)
    assert failures == []
    assert sorted(key for key, _ in pairs(store, store.latest("d1"), connection)) == list(range(25))
    assert store.latest("d1").ref.version == 6


# Columns


def test_new_columns_are_refused_unless_asked_for(store):
    write(store, keyed(1))
    with pytest.raises(SchemaMismatch, match="'extra'"):
        write(store, keyed(2).append_column("extra", pa.array([1.5])))


@pytest.mark.parametrize("mode", [APPEND, UPSERT])
def test_new_columns_are_null_in_the_rows_there_were(store, connection, mode):
    old = write(store, keyed(1))
    keys = ["k"] if mode is UPSERT else []
    new = keyed(2).append_column("Extra", pa.array([1.5]))
    made = write(store, new, mode, keys=keys, policy=ADD)
    assert rows(store, made, connection) == [
        {"k": 1, "v": "a1", "Extra": None},
        {"k": 2, "v": "a2", "Extra": 1.5},
    ]
    assert made.schema.names == ["k", "v", "Extra"]
    assert store.latest("d1").schema == made.schema
    assert old.schema.names == ["k", "v"]
    assert store.files(old.ref).schema == old.schema
    statistics = {column.name: column for column in store.statistics(made.ref)}
    assert (statistics["Extra"].null_count, statistics["Extra"].minimum) == (1, 1.5)
    assert (statistics["k"].minimum, statistics["k"].maximum) == (1, 2)


def numbers(type, *values):
    exact = Decimal if pa.types.is_decimal(type) else lambda value: value
    return pa.array([None if value is None else exact(value) for value in values], type)


@pytest.mark.parametrize(
    ("old", "new", "wide"),
    [
        (pa.int8(), pa.int16(), pa.int16()),
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.float32(), pa.float64(), pa.float64()),
        (pa.int32(), pa.float64(), pa.float64()),
        (pa.int32(), pa.float32(), pa.float64()),
        (pa.int16(), pa.decimal128(6, 2), pa.decimal128(7, 2)),
        (pa.decimal128(6, 2), pa.decimal128(9, 4), pa.decimal128(9, 4)),
        (pa.decimal128(9, 1), pa.decimal128(9, 4), pa.decimal128(12, 4)),
        (pa.int64(), pa.uint64(), pa.decimal128(20, 0)),
    ],
    ids=str,
)
def test_types_become_wider_where_nothing_is_lost(store, connection, old, new, wide):
    before = write(store, table(n=numbers(old, 1, 2, None)))
    with pytest.raises(SchemaMismatch, match="'n'"):
        write(store, table(n=numbers(new, 3)), policy=ADD)
    made = write(store, table(n=numbers(new, 3, 1)), policy=WIDEN)
    assert made.schema.field("n").type == wide
    assert [row["n"] for row in rows(store, made, connection)] == [1, 2, None, 3, 1]
    assert before.schema.field("n").type == old
    (statistics,) = store.statistics(made.ref)
    assert (statistics.null_count, statistics.minimum, statistics.maximum) == (1, 1, 3)
    assert type(statistics.minimum) is type(numbers(wide, 1)[0].as_py())
    if wide == new:
        last = write(store, table(n=numbers(new, 1)), UPSERT, keys=["n"])
        assert [row["n"] for row in rows(store, last, connection)] == [2, None, 3, 1]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int64(), pa.float64()),
        (pa.string(), pa.int64()),
        (pa.date32(), pa.timestamp("us")),
        (pa.bool_(), pa.int8()),
    ],
    ids=str,
)
def test_types_that_would_lose_something_are_refused_all_the_same(store, old, new):
    write(store, table(n=pa.nulls(1, old)))
    with pytest.raises(SchemaMismatch, match="'n'"):
        write(store, table(n=pa.nulls(1, new)), policy=WIDEN)


def test_columns_that_the_new_rows_lack_are_null_in_them(store, connection):
    write(store, keyed(1))
    made = write(store, table(k=pa.array([2], pa.int64())), policy=WIDEN)
    assert pairs(store, made, connection) == [(1, "a1"), (2, None)]
    assert made.schema.names == ["k", "v"]


def test_rows_that_fit_columns_of_before_are_a_conflict_when_those_changed_meanwhile(store):
    write(store, keyed(1))
    wider = keyed(3).append_column("x", pa.array([1]))
    with pytest.raises(CommitConflict, match="columns"):
        write(
            store,
            keyed(2).append_column("y", pa.array([1])),
            policy=ADD,
            before_commit=lambda: write(store, wider, policy=ADD),
        )


def test_others_open_every_version_of_a_table_that_changed(store, tmp_path):
    write(store, keyed(1, 2))
    write(store, keyed(2, 3), UPSERT, keys=["k"])
    write(store, keyed(4).append_column("x", pa.array([1], pa.int32())), policy=ADD)
    write(store, keyed(5).append_column("x", pa.array([2**40])), policy=WIDEN)
    write(store, keyed(1).append_column("x", pa.array([7])), PARTITIONS, keys=["k"])
    last = delete(store, store.latest("d1"), lambda row: row["k"] == 5)
    table = DeltaTable(str(tmp_path / "lake" / "d1"))
    assert table.version() == last.ref.version == 5
    counts = []
    for version in range(6):
        table.load_as_version(version)
        counts.append(table.to_pyarrow_table().num_rows)
    assert counts == [2, 3, 4, 5, 5, 4]
    assert [entry["operation"] for entry in reversed(table.history())][:2] == ["CREATE TABLE", "MERGE"]


# All together


KEYS = st.integers(0, 12)
ROWS = st.lists(st.tuples(KEYS, st.sampled_from("pqr")), max_size=8)
UNIQUE = st.lists(st.tuples(KEYS, st.sampled_from("pqr")), max_size=8, unique_by=lambda row: row[0])
STEPS = st.one_of(
    st.tuples(st.just(APPEND), ROWS),
    st.tuples(st.just(REPLACE), ROWS),
    st.tuples(st.just(UPSERT), UNIQUE),
    st.tuples(st.just(PARTITIONS), ROWS),
    st.tuples(st.just("delete"), KEYS),
)


def applied(model, mode, given):
    """The rows, in order, after a step: what the store has to arrive at."""
    match mode:
        case WriteMode.APPEND:
            return model + given
        case WriteMode.REPLACE:
            return given
        case WriteMode.UPSERT:
            return [row for row in model if row[0] not in {key for key, _ in given}] + given
        case WriteMode.REPLACE_PARTITIONS:
            return [row for row in model if row[1] not in {part for _, part in given}] + given
        case _:
            return [row for row in model if row[0] % 5 != given % 5]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=1, max_size=7))
def test_any_sequence_of_writes_arrives_at_what_a_list_of_rows_would(tmp_path_factory, connection, steps):
    store = open_store(tmp_path_factory.mktemp("table"))
    model, versions = [], []
    for mode, rows_given in [(APPEND, [(0, "p"), (1, "q")]), *steps]:
        if mode == "delete":
            version = delete(
                store, store.latest("d1"), lambda row, given=rows_given: row["k"] % 5 == given % 5
            )
        else:
            data = pa.table(
                {
                    "k": pa.array([key for key, _ in rows_given], pa.int64()),
                    "v": pa.array([part for _, part in rows_given], pa.string()),
                }
            )
            keys = {UPSERT: ["k"], PARTITIONS: ["v"]}.get(mode, [])
            version = write(store, data, mode, keys=keys)
        before, model = len(model), applied(model, mode, rows_given)
        assert version.row_count == len(model)
        assert before + version.added_rows - version.removed_rows == len(model)
        versions.append((version, model))
    for version, expected in versions:
        assert pairs(store, version, connection) == expected
