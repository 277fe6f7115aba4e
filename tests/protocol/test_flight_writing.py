"""DoPut: whole uploads become versions, everything else leaves no trace."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from tests.protocol.flight_stack import command, flight_stack, path, read
from tests.stack import until

ROWS = pa.table({"id": pa.array(range(1000), pa.int64()), "name": [f"n{i}" for i in range(1000)]})


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    with flight_stack(tmp_path_factory.mktemp("writing")) as stack:
        yield stack


@pytest.fixture
def client(stack):
    with stack.connect() as client:
        yield client


def put(client, descriptor, table, *, mode=None):
    options = fl.FlightCallOptions(headers=[(b"x-skein-mode", mode.encode())] if mode else [])
    writer, reader = client.do_put(descriptor, table.schema, options)
    with writer:
        writer.write_table(table, max_chunksize=300)
        writer.done_writing()
        answer = reader.read()
    return json.loads(answer.to_pybytes())


def names(client):
    return [info.descriptor.path[0].decode() for info in client.list_flights()]


def test_the_first_write_creates_the_dataset_and_the_next_appends(client):
    assert put(client, path("grown"), ROWS) == {
        "dataset": "grown",
        "version": 0,
        "rows": 1000,
        "total_rows": 1000,
    }
    assert put(client, path("grown"), ROWS.slice(0, 10)) == {
        "dataset": "grown",
        "version": 1,
        "rows": 10,
        "total_rows": 1010,
    }
    assert read(client, path("grown")).equals(pa.concat_tables([ROWS, ROWS.slice(0, 10)]))


def test_replace_puts_the_new_rows_in_place_of_the_old(client):
    put(client, path("replaced"), ROWS)
    answer = put(client, path("replaced"), ROWS.slice(5, 2), mode="replace")
    assert (answer["rows"], answer["total_rows"]) == (2, 2)
    assert read(client, path("replaced")).equals(ROWS.slice(5, 2))
    assert read(client, path("replaced", "v0")).equals(ROWS)


def test_create_refuses_a_name_that_is_taken(client):
    put(client, path("taken"), ROWS, mode="create")
    with pytest.raises(pa.ArrowInvalid, match=r"\[dataset_exists\] dataset 'taken'"):
        put(client, path("taken"), ROWS, mode="create")
    assert read(client, path("taken")).num_rows == 1000


def test_a_json_command_tells_dataset_and_mode(client):
    put(client, command('{"dataset": "by_command"}'), ROWS)
    put(client, command('{"dataset": "by_command", "mode": "replace"}'), ROWS.slice(0, 1))
    assert read(client, path("by_command")).num_rows == 1


def test_an_upload_without_rows_creates_an_empty_dataset(client):
    assert put(client, path("hollow"), ROWS.schema.empty_table())["total_rows"] == 0
    assert read(client, path("hollow")).schema == ROWS.schema


def test_dictionaries_are_stored_as_their_words(client):
    words = pa.table({"w": pa.array(["a", "b", "a"]).dictionary_encode()})
    put(client, path("words"), words)
    assert read(client, path("words")).column("w").to_pylist() == ["a", "b", "a"]


def test_a_lossy_type_is_refused_with_its_column_unless_asked_for(client):
    times = pa.table({"at": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))})
    with pytest.raises(pa.ArrowInvalid, match=r"\[lossy_type\].*at"):
        put(client, path("instants"), times)
    assert "instants" not in names(client)
    put(client, command('{"dataset": "instants", "allow_lossy": true}'), times)
    assert read(client, path("instants")).num_rows == 1


def test_columns_that_do_not_fit_are_refused_and_nothing_changes(client):
    put(client, path("shaped"), ROWS)
    with pytest.raises(pa.ArrowInvalid, match=r"\[schema_mismatch\]"):
        put(client, path("shaped"), pa.table({"id": ["text"], "name": ["x"]}))
    assert read(client, path("shaped")).equals(ROWS)


@pytest.mark.parametrize(
    ("descriptor", "mode", "code"),
    [
        (path("../up"), None, "invalid_dataset_name"),
        (path("a", "b"), None, "invalid_command"),
        (path("fine"), "merge", "invalid_command"),
        (command("SELECT 1"), None, "invalid_command"),
        (command('{"dataset": "fine", "mode": 3}'), None, "invalid_command"),
    ],
)
def test_a_wrong_target_is_refused(client, descriptor, mode, code):
    with pytest.raises(pa.ArrowInvalid, match=rf"\[{code}\]"):
        put(client, descriptor, ROWS, mode=mode)
    assert "fine" not in names(client)


def test_duplicate_columns_are_refused(client):
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "X"])
    with pytest.raises(pa.ArrowInvalid, match=r"\[(schema_mismatch|unsupported_type)\]"):
        put(client, path("twice"), table)
    assert "twice" not in names(client)


def test_lying_offsets_are_found_before_anybody_uses_them(client):
    offsets = pa.py_buffer(pa.array([0, 2**30, 5], pa.int32()).buffers()[1])
    liar = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"hello")])
    table = pa.Table.from_arrays([liar], names=["s"])
    with pytest.raises(
        pa.ArrowInvalid, match=r"\[unreadable_data\] the Arrow stream is damaged after 0 rows"
    ):
        put(client, path("liar"), table)
    assert "liar" not in names(client)


UPLOADER = """
import os, signal, sys, pyarrow as pa, pyarrow.flight as fl
client = fl.connect(sys.argv[1])
table = pa.table({"id": pa.array(range(1000), pa.int64())})
writer, reader = client.do_put(fl.FlightDescriptor.for_path("abandoned"), table.schema)
for _ in range(20):
    writer.write_table(table)
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("round", range(5))
def test_an_upload_whose_client_dies_leaves_nothing(stack, client, round):
    arguments = [sys.executable, "-P", "-c", UPLOADER, stack.server.uri]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as uploader:
        assert uploader.stdout.readline() == b"ready\n"
        os.kill(uploader.pid, signal.SIGKILL)
    until(lambda: stack.server.running_calls == 0)
    assert "abandoned" not in names(client)


IMPATIENT = """
import sys, pyarrow as pa, pyarrow.flight as fl
table = pa.table({"id": [1, 2, 3]})
writer, reader = fl.connect(sys.argv[1]).do_put(fl.FlightDescriptor.for_path("unheard"), table.schema)
writer.write_table(table)
writer.done_writing()
reader.read()
"""


def test_who_leaves_during_the_commit_has_written_and_upsets_nobody(tmp_path, caplog):
    with flight_stack(tmp_path) as stack, stack.connect() as client:
        table = pa.table({"id": [1, 2, 3]})
        stack.write("unheard", table)
        with closing(sqlite3.connect(tmp_path / "data" / "catalog.sqlite")) as catalog:
            catalog.execute("BEGIN IMMEDIATE")  # the commit gets as far as the dataset's own log
            arguments = [sys.executable, "-P", "-c", IMPATIENT, stack.server.uri]
            with subprocess.Popen(arguments) as impatient:
                until(lambda: len(list(tmp_path.glob("data/lake/*/_delta_log/*.json"))) == 2)
                os.kill(impatient.pid, signal.SIGKILL)
        until(lambda: stack.server.running_calls == 0)
        assert read(client, path("unheard")).num_rows == 6
    assert [record for record in caplog.records if record.exc_info] == []
