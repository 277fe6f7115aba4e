"""What every store of versioned tables promises of columns that differ from those there are."""

from decimal import Decimal

import pyarrow as pa
import pytest

from flight_core.domain.dataset import SchemaPolicy, WriteMode, WriteRule
from flight_core.domain.errors import CommitConflict, LossyType, SchemaMismatch
from tests.contracts.table_stores import columns, keyed, pairs, read, rows, write

APPEND, CREATE, REPLACE = WriteMode.APPEND, WriteMode.CREATE, WriteMode.REPLACE
UPSERT, PARTITIONS = WriteMode.UPSERT, WriteMode.REPLACE_PARTITIONS
ADD, WIDEN = SchemaPolicy.ADD, SchemaPolicy.WIDEN


def test_columns_are_matched_by_name_whatever_their_order_and_case(store):
    write(store, pa.table({"a": [1], "b": ["x"]}))
    version = write(store, pa.table({"B": ["y"], "A": [2]}))
    assert read(store, version.ref) == [(1, "x"), (2, "y")]
    assert version.schema.names == ["a", "b"]


def test_missing_columns_are_null_in_the_new_rows(store):
    write(store, pa.table({"a": [1], "b": ["x"]}))
    assert read(store, write(store, pa.table({"a": [2]})).ref) == [(1, "x"), (2, None)]


def test_narrower_numbers_go_into_wider_columns(store):
    columns = {"i": pa.int64(), "f": pa.float64(), "d": pa.decimal128(20, 0), "s": pa.string()}
    write(store, pa.table({name: pa.array([None], type) for name, type in columns.items()}))
    narrow = {"i": pa.array([2**31 - 1], pa.int32()), "f": pa.array([2**31 - 1], pa.int32())}
    narrow |= {"d": pa.array([2**63 - 1], pa.int64()), "s": pa.nulls(1)}
    version = write(store, pa.table(narrow))
    assert read(store, version.ref)[1] == (2**31 - 1, 2.0**31 - 1, 2**63 - 1, None)


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (pa.int64(), pa.int32()),
        (pa.int64(), pa.float64()),
        (pa.float64(), pa.float32()),
        (pa.float64(), pa.int64()),
        (pa.string(), pa.int64()),
        (pa.int64(), pa.string()),
        (pa.int64(), pa.decimal128(20, 2)),
        (pa.decimal128(10, 4), pa.decimal128(10, 2)),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.date32(), pa.timestamp("us")),
        (pa.list_(pa.int64()), pa.list_(pa.int32())),
        (pa.struct([("x", pa.int64())]), pa.struct([("y", pa.int64())])),
    ],
    ids=str,
)
def test_a_type_that_does_not_go_in_is_refused_with_the_column_named(store, have, want):
    kept = write(store, pa.table({"c": pa.array([None], want)}))
    with pytest.raises(SchemaMismatch, match="column 'c'") as failure:
        write(store, pa.table({"c": pa.array([None], have)}))
    assert failure.value.details["have"] == str(have)
    assert store.latest("d1") == kept


@pytest.mark.parametrize(
    ("names", "match"),
    [(["a", "A"], "'a', 'A'"), (["a", "b", "a"], "'a', 'a'"), (["a", ""], "column 2"), ([], "no columns")],
)
@pytest.mark.parametrize("mode", [APPEND, CREATE, REPLACE])
def test_columns_that_sql_could_not_name_are_refused(store, names, match, mode):
    if mode is APPEND:
        write(store, pa.table({"a": [1]}))
    schema = pa.schema([(name, pa.int64()) for name in names])
    with pytest.raises(SchemaMismatch, match=match):
        store.stage("d1", schema, WriteRule(mode))


def test_a_write_that_has_seen_no_columns_is_refused(store):
    staged = store.stage("d1", None, WriteRule(CREATE))
    with pytest.raises(SchemaMismatch, match="no columns"):
        staged.commit()
    staged.close()
    assert store.latest("d1") is None


def test_a_lossy_value_in_the_middle_leaves_the_table_as_it_was(store):
    kept = write(store, pa.table({"t": pa.array([0], pa.timestamp("us"))}))
    staged = store.stage("d1", None, WriteRule(APPEND))
    staged.write(pa.record_batch({"t": pa.array([1000], pa.timestamp("ns"))}))
    with pytest.raises(LossyType, match="column 't'"):
        staged.write(pa.record_batch({"t": pa.array([1001], pa.timestamp("ns"))}))
    staged.close()
    assert store.latest("d1") == kept


def test_odd_column_names_are_names_like_others(store):
    names = ["first name", "total (USD)", "a.b", 'quo"te', "ž,;{}()\n\t=", "x" * 300]
    version = write(store, pa.table({name: [number] for number, name in enumerate(names)}))
    assert version.schema.names == names
    assert read(store, version.ref) == [tuple(range(len(names)))]
    assert [column.minimum for column in store.statistics(version.ref)] == list(range(len(names)))


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


def values_of(type, *values):
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
    before = write(store, columns(n=values_of(old, 1, 2, None)))
    with pytest.raises(SchemaMismatch, match="'n'"):
        write(store, columns(n=values_of(new, 3)), policy=ADD)
    made = write(store, columns(n=values_of(new, 3, 1)), policy=WIDEN)
    assert made.schema.field("n").type == wide
    assert [row["n"] for row in rows(store, made, connection)] == [1, 2, None, 3, 1]
    assert before.schema.field("n").type == old
    (statistics,) = store.statistics(made.ref)
    assert (statistics.null_count, statistics.minimum, statistics.maximum) == (1, 1, 3)
    assert type(statistics.minimum) is type(values_of(wide, 1)[0].as_py())
    if wide == new:
        last = write(store, columns(n=values_of(new, 1)), UPSERT, keys=["n"])
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
    write(store, columns(n=pa.nulls(1, old)))
    with pytest.raises(SchemaMismatch, match="'n'"):
        write(store, columns(n=pa.nulls(1, new)), policy=WIDEN)


def test_columns_that_the_new_rows_lack_are_null_in_them(store, connection):
    write(store, keyed(1))
    made = write(store, columns(k=pa.array([2], pa.int64())), policy=WIDEN)
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


def test_files_are_alike_unless_columns_have_changed_since(store):
    def alike(version):
        return store.files(version.ref).alike

    one = columns(k=[1])
    assert alike(write(store, one))
    first = write(store, one)
    assert alike(first)
    added = write(store, columns(k=[2], v=["x"]), policy=ADD)
    assert not alike(added)
    assert not alike(write(store, columns(k=[3], v=["y"])))
    assert alike(store.compact(added.ref, lambda rows: None))
    assert alike(store.restore(first.ref))
    assert alike(write(store, columns(v=["x"]), REPLACE))


def test_columns_that_come_while_files_are_compacted_are_a_conflict(store, connection):
    for number in range(3):
        last = write(store, columns(k=[number]))
    added = []

    def add_a_column(_rows):
        if not added:
            added.append(write(store, columns(k=[9], v=["x"]), policy=ADD))

    with pytest.raises(CommitConflict, match="changed the columns"):
        store.compact(last.ref, add_a_column)
    assert pairs(store, store.latest("d1"), connection) == [(0, None), (1, None), (2, None), (9, "x")]
