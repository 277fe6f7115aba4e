"""What a store promises of writes that replace some of the rows: upsert, replace by partition, delete."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flight_core.domain.dataset import SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.errors import InvalidKeys, InvalidOption, SchemaMismatch
from tests.contracts.table_stores import columns, delete, files_of, keyed, pairs, rows, sizes, write

APPEND, REPLACE = WriteMode.APPEND, WriteMode.REPLACE
UPSERT, PARTITIONS = WriteMode.UPSERT, WriteMode.REPLACE_PARTITIONS
ADD = SchemaPolicy.ADD
GROUP_ROWS = 61_440


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
        store, columns(k=pa.array([5, GROUP_ROWS + 7, 3 * GROUP_ROWS], pa.int64())), UPSERT, keys=["k"]
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
    old = columns(a=[1, 1, 2], b=["x", "y", "x"], v=[1, 2, 3])
    write(store, old)
    made = write(store, columns(v=[9], b=["y"], a=[1]), UPSERT, keys=["a", "b"])
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
    assert len(files_of(tmp_path)) == 1


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
            write(store, columns(k=[1], v2=["x"]), UPSERT, keys=keys, policy=ADD)


def test_a_nested_column_cannot_be_a_key(store):
    with pytest.raises(InvalidKeys, match="'l' is nested"):
        write(store, columns(l=[[1], [2]]), UPSERT, keys=["l"])


@pytest.mark.parametrize(
    ("mode", "keys"), [(UPSERT, []), (PARTITIONS, []), (APPEND, ["k"]), (UPSERT, ["k", "K"])]
)
def test_mode_and_keys_have_to_go_together(store, mode, keys):
    with pytest.raises(InvalidOption, match="keys"):
        store.stage("d1", None, WriteRule(mode, tuple(keys)))


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
    write(store, columns(day=["mon", "mon", "tue", None], n=[1, 2, 3, 4]))
    new = columns(day=["mon", "wed", None, None], n=[5, 6, 7, 8])
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


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(steps=st.lists(STEPS, min_size=1, max_size=7))
def test_any_sequence_of_writes_arrives_at_what_a_list_of_rows_would(
    open_store, tmp_path_factory, connection, steps
):
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
