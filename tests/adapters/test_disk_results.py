"""Results kept on the disk: complete, within bounds, and gone without a trace."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pyarrow as pa
import pytest

from flight_core.adapters.results.disk import DiskResultCache, ResultCacheOptions

LARGE = pa.table({"i": pa.array(range(400_000), pa.int64()), "t": ["some text"] * 400_000})
SMALL = pa.table({"i": pa.array([1, None, 3], pa.int64())})
WORDS = pa.table({"word": pa.array(["a", "b", "a", None]).dictionary_encode()})


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def cache_in(folder, clock=None, **options) -> DiskResultCache:
    return DiskResultCache(folder, ResultCacheOptions(**options), clock or Clock())


def record(cache: DiskResultCache, key: str, table: pa.Table, *, run_s: float = 1.0) -> None:
    recording = cache.record(key, table.schema)
    assert recording is not None
    for batch in table.to_batches(max_chunksize=50_000):
        recording.write(batch)
    recording.finish(run_s=run_s)
    recording.discard()  # as its query does when it is closed


@pytest.mark.parametrize("table", [LARGE, SMALL, WORDS, SMALL.slice(0, 0)])
def test_a_result_comes_out_as_it_went_in(tmp_path, table):
    cache = cache_in(tmp_path)
    record(cache, "k", table)
    assert cache.find("k").read_all().equals(table)
    assert cache.rows("k") == table.num_rows
    assert cache.find("other") is None


def test_the_folder_stays_empty_so_that_a_killed_process_leaves_nothing(tmp_path):
    cache = cache_in(tmp_path)
    recording = cache.record("k", LARGE.schema)
    recording.write(LARGE.to_batches()[0])
    assert cache.usage().size_bytes > 0, "it is in a file already"
    assert list(tmp_path.iterdir()) == []
    recording.finish(run_s=1.0)
    assert cache.find("k") is not None
    assert list(tmp_path.iterdir()) == []


def test_kept_results_hold_no_files_open(tmp_path):
    cache, process = cache_in(tmp_path), psutil.Process()
    record(cache, "first", SMALL)
    before = process.num_fds()
    for number in range(20):
        record(cache, f"k{number}", SMALL)
    assert process.num_fds() == before
    assert all(cache.find(f"k{number}").read_all().equals(SMALL) for number in range(20))


def test_a_result_that_is_not_finished_is_not_there_and_takes_nothing(tmp_path):
    cache = cache_in(tmp_path)
    recording = cache.record("k", LARGE.schema)
    recording.write(LARGE.to_batches()[0])
    recording.discard()
    recording.write(LARGE.to_batches()[0])
    assert cache.find("k") is None
    assert (cache.usage().entries, cache.usage().size_bytes) == (0, 0)


def test_what_the_engine_did_in_no_time_is_not_kept(tmp_path):
    cache = cache_in(tmp_path, min_run_s=0.5)
    record(cache, "quick", SMALL, run_s=0.4)
    record(cache, "slow", SMALL, run_s=0.6)
    assert cache.find("quick") is None
    assert cache.find("slow") is not None


def test_a_result_beyond_the_limit_is_given_up_once_and_not_tried_again(tmp_path):
    cache = cache_in(tmp_path, max_entry_bytes=2 << 20)
    record(cache, "k", LARGE)
    assert cache.find("k") is None
    assert cache.usage().size_bytes == 0
    assert cache.record("k", LARGE.schema) is None


def test_the_least_recently_used_results_make_room(tmp_path):
    one = LARGE.nbytes
    cache = cache_in(tmp_path, max_bytes=3 * one)
    record(cache, "a", LARGE)
    record(cache, "b", LARGE)
    cache.find("a")
    record(cache, "c", LARGE)
    assert [key for key in "abc" if cache.find(key)] == ["a", "c"]
    assert cache.usage().size_bytes <= 3 * one


def test_a_result_that_is_being_read_stays_whole_when_the_cache_forgets_it(tmp_path):
    cache = cache_in(tmp_path, max_bytes=LARGE.nbytes * 2)
    record(cache, "a", LARGE)
    reader = cache.find("a")
    first = reader.read_next_batch()
    record(cache, "b", LARGE)
    assert cache.find("a") is None
    rest = list(reader)
    assert pa.Table.from_batches([first, *rest]).equals(LARGE)


def test_a_result_is_forgotten_when_its_time_is_over(tmp_path):
    clock = Clock()
    cache = cache_in(tmp_path, clock, ttl_s=60)
    record(cache, "k", SMALL)
    clock.now = 59.9
    assert cache.find("k") is not None
    clock.now = 60
    assert cache.rows("k") is None
    assert cache.usage().size_bytes == 0


def test_the_same_result_recorded_twice_is_kept_once(tmp_path):
    cache = cache_in(tmp_path)
    record(cache, "k", LARGE)
    before = cache.usage()
    record(cache, "k", LARGE)
    assert cache.usage() == before


@contextmanager
def no_file_larger_than(size_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_without_room_costs_the_entry_and_nothing_else(tmp_path):
    cache = cache_in(tmp_path)
    record(cache, "before", SMALL)
    with no_file_larger_than(1 << 20):
        record(cache, "k", LARGE)
        assert cache.find("k") is None
    assert cache.usage().entries == 1
    assert cache.find("before").read_all().equals(SMALL)
    record(cache, "k", LARGE)
    assert cache.find("k").read_all().equals(LARGE)


def test_a_folder_that_has_gone_costs_the_entry_and_nothing_else(tmp_path):
    folder = tmp_path / "results"
    cache = cache_in(folder)
    folder.rmdir()
    record(cache, "k", SMALL)
    assert cache.find("k") is None
    assert cache.usage().size_bytes == 0
