"""Record batches cut to the sizes that clients accept."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flight_server.streams import FIRST_BYTES, cut, with_a_large_one

LIMIT = 1 << 20


def message_bytes(batch: pa.RecordBatch) -> int:
    """What travels: Arrow's own encoding, without compression."""
    return pa.ipc.get_record_batch_size(batch)


def sizes(batches):
    return [message_bytes(batch) for batch in cut(batches, LIMIT)]


def numbers(rows: int) -> pa.RecordBatch:
    return pa.record_batch({"a": pa.array(range(rows)), "b": pa.array(range(rows))})


def test_the_first_batch_is_small_and_the_others_fill_the_limit():
    first, *rest, last = sizes([numbers(400_000)])
    assert first <= FIRST_BYTES * 1.1
    assert all(LIMIT * 0.9 <= size <= LIMIT * 1.1 for size in rest)
    assert last <= LIMIT * 1.1


def test_a_long_stream_has_one_large_message():
    table = pa.Table.from_batches([numbers(2_000_000)])
    pieces = list(with_a_large_one(cut(table.to_batches(), LIMIT)))
    assert pa.Table.from_batches(pieces).equals(table)
    _, *rest, _ = map(message_bytes, pieces)
    (place,) = (i for i, size in enumerate(rest) if size > LIMIT * 1.1)
    assert LIMIT * 6 <= rest[place] <= LIMIT * 8
    assert all(size >= LIMIT * 0.9 for size in rest[:place] + rest[place + 1 :])


@pytest.mark.parametrize("count", [0, 1, 8, 9, 14])
def test_a_short_stream_has_none(count):
    batches = [numbers(1)] * count
    assert list(with_a_large_one(iter(batches))) == batches


def test_large_rows_stay_apart():
    batches = [pa.record_batch({"s": ["x" * 5_000_000]})] * 20
    assert list(with_a_large_one(iter(batches))) == batches


def test_wide_rows_are_cut_by_bytes():
    wide = pa.record_batch({f"c{i}": pa.array(["x" * 500] * 2000) for i in range(50)})  # 25 KB a row
    assert max(sizes([wide])) <= LIMIT * 1.6


def test_a_few_long_rows_do_not_make_a_long_message():
    texts = ["short"] * 10_000 + ["x" * 100_000] * 50 + ["short"] * 10_000
    assert max(sizes([pa.record_batch({"s": texts})])) <= LIMIT * 1.6


def test_a_row_larger_than_the_limit_travels_alone():
    pieces = list(cut([pa.record_batch({"s": ["a", "x" * 3 * LIMIT, "b"]})], LIMIT))
    assert [piece.num_rows for piece in pieces] == [1, 1, 1]


def test_a_large_dictionary_does_not_split_the_rows():
    words = pa.array([f"{i:01000}" for i in range(5000)]).dictionary_encode()  # 5 MB of words
    (piece,) = cut([pa.record_batch({"word": words})], LIMIT)
    assert piece.num_rows == 5000


def test_empty_batches_are_left_out():
    assert list(cut([numbers(0), numbers(0)], LIMIT)) == []


def test_rows_without_columns_are_kept():
    batch = pa.RecordBatch.from_struct_array(pa.array([{}] * 7, pa.struct([])))
    assert sum(piece.num_rows for piece in cut([batch], LIMIT)) == 7


@given(st.lists(st.lists(st.text(max_size=300), max_size=40), max_size=6), st.integers(1, 4000))
def test_no_row_is_lost_or_moved(columns, limit):
    batches = [pa.record_batch({"s": pa.array(texts, pa.string())}) for texts in columns]
    pieces = list(cut(batches, limit))
    assert [text for piece in pieces for text in piece.column(0).to_pylist()] == [
        t for c in columns for t in c
    ]
    assert all(piece.num_rows == 1 or message_bytes(piece) <= 2 * limit + 600 for piece in pieces)


@pytest.mark.parametrize(
    "type",
    [
        pa.string_view(),
        pa.list_(pa.string()),
        pa.map_(pa.string(), pa.int32()),
        pa.struct([("a", pa.large_binary())]),
        pa.list_view(pa.int64()),
        pa.null(),
        pa.bool_(),
        pa.month_day_nano_interval(),
        pa.list_(pa.float32(), 3),
    ],
    ids=str,
)
def test_every_kind_of_column_can_be_cut_and_joined(type):
    batch = pa.record_batch({"x": pa.nulls(100_000, type), "n": pa.array(range(100_000))})
    pieces = with_a_large_one(cut([batch], 10_000))
    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([batch]))


def test_unions_can_be_joined():
    places = pa.array([0, 0, 1, 1, 2, 2], pa.int32())
    texts = pa.array(["a", "b", "c"])
    kinds = pa.array([0, 1] * 3, pa.int8())
    batch = pa.record_batch({"u": pa.UnionArray.from_dense(kinds, places, [pa.array([1, 2, 3]), texts])})
    joined = list(with_a_large_one(iter([batch] * 15)))[8]
    assert joined.to_pylist() == batch.to_pylist() * 7
