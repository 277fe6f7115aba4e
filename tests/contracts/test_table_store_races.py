"""What every store of versioned tables promises to those who write at the same time."""

import threading

import pyarrow as pa
import pytest

from flight_core.domain.dataset import WriteMode, WriteRule
from flight_core.domain.errors import CommitConflict, DatasetExists
from tests.contracts.table_stores import files_of, keyed, numbers, pairs, table, write

APPEND, CREATE, REPLACE = WriteMode.APPEND, WriteMode.CREATE, WriteMode.REPLACE
UPSERT = WriteMode.UPSERT


def test_a_job_commits_once(store, reopen):
    first = write(store, table(1), job_id="job-1")
    write(store, table(2), job_id="job-2")
    again = write(reopen(), table(1), job_id="job-1")
    assert again == first
    assert numbers(store, store.latest("d1")) == [1, 2]
    assert store.committed_by("d1", "job-1") == first
    assert store.committed_by("d1", "job-3") is None


def test_two_runs_of_one_job_at_once_commit_once(store, reopen, tmp_path):
    write(store, table(0))
    runs = [other.stage("d1", None, WriteRule(APPEND)) for other in (store, reopen())]
    for run in runs:
        run.write(table(1).to_batches()[0])
    versions = []
    threads = [
        threading.Thread(target=lambda run=run: versions.append(run.commit(job_id="job"))) for run in runs
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for run in runs:
        run.close()
    assert versions[0] == versions[1]
    assert numbers(store, store.latest("d1")) == [0, 1]
    assert len(files_of(tmp_path)) == 2, "the files of the run that lost are still there"


def test_appenders_at_once_all_get_their_rows_in(store, reopen):
    failures: list[BaseException] = []

    def append(worker, own_store):
        try:
            for number in range(5):
                write(own_store, table(10 * worker + number))
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=append, args=(worker, store if worker % 2 else reopen()))
        for worker in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    expected = [10 * worker + number for worker in range(4) for number in range(5)]
    assert sorted(numbers(store, store.latest("d1"))) == expected
    assert [version.row_count for version in store.history("d1")] == list(range(20, 0, -1))


def test_a_replacement_and_an_append_that_meet_both_happen_one_after_the_other(store, reopen):
    write(store, table(0))
    append, replace = (
        store.stage("d1", None, WriteRule(APPEND)),
        reopen().stage("d1", None, WriteRule(REPLACE)),
    )
    append.write(table(1).to_batches()[0])
    replace.write(table(2).to_batches()[0])
    replace.commit()
    append.commit()
    append.close()
    replace.close()
    assert numbers(store, store.latest("d1")) == [2, 1]


def test_an_append_whose_columns_were_replaced_meanwhile_is_a_conflict(store):
    write(store, table(0))
    append = store.stage("d1", None, WriteRule(APPEND))
    append.write(table(1).to_batches()[0])
    kept = write(store, pa.table({"other": ["x"]}), REPLACE)
    with pytest.raises(CommitConflict):
        append.commit()
    append.close()
    assert store.latest("d1") == kept


def test_of_two_creators_one_wins(store, reopen):
    first, second = store.stage("d1", None, WriteRule(CREATE)), reopen().stage("d1", None, WriteRule(CREATE))
    first.write(table(1).to_batches()[0])
    second.write(table(2).to_batches()[0])
    second.commit()
    with pytest.raises(DatasetExists):
        first.commit()
    first.close()
    second.close()
    assert numbers(store, store.latest("d1")) == [2]


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


def test_many_upserts_at_once_leave_each_key_once(reopen, connection):
    write(reopen(), keyed(*range(20)))
    failures = []

    def work(number):
        try:
            write(
                reopen(),
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
    store = reopen()
    assert failures == []
    assert sorted(key for key, _ in pairs(store, store.latest("d1"), connection)) == list(range(25))
    assert store.latest("d1").ref.version == 6
