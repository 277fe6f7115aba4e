"""Record batches cut to the sizes that clients accept."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flight_server.streams import FIRST_BYTES, cut

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


def test_a_long_stream_has_one_large_message_and_what_is_left_of_its_second_half():
    _, *rest, _ = sizes([numbers(1_000_000)])
    (place,) = (i for i, size in enumerate(rest) if size > LIMIT * 1.1)
    assert LIMIT * 1.8 <= rest[place] <= LIMIT * 1.9
    assert rest[place] + rest[place + 1] <= LIMIT * 2.1
    assert all(size >= LIMIT * 0.9 for size in rest[:place] + rest[place + 2 :])


def test_rows_that_cannot_be_joined_are_not():
    types, offsets = pa.array([0] * 20_000, pa.int8()), pa.array(range(20_000), pa.int32())
    dense = pa.UnionArray.from_dense(types, offsets, [pa.array(range(20_000))])
    batches = [pa.record_batch({"u": dense})] * 20
    assert sum(piece.num_rows for piece in cut(batches, LIMIT)) == 400_000


def test_wide_rows_are_cut_by_bytes():
    wide = pa.record_batch({f"c{i}": pa.array(["x" * 500] * 2000) for i in range(50)})  # 25 KB a row
    assert max(sizes([wide])) <= LIMIT * 1.9


def test_a_few_long_rows_do_not_make_a_long_message():
    texts = ["short"] * 10_000 + ["x" * 100_000] * 50 + ["short"] * 10_000
    assert max(sizes([pa.record_batch({"s": texts})])) <= LIMIT * 1.9


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


@settings(deadline=None)
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
def test_every_kind_of_column_can_be_cut(type):
    batch = pa.record_batch({"x": pa.nulls(100_000, type), "n": pa.array(range(100_000))})
    assert pa.Table.from_batches(cut([batch], 10_000)).equals(pa.Table.from_batches([batch]))
