"""The runtime file and the locks of a data directory."""

import json
import os
import stat
import subprocess
import sys
import threading

import psutil
import pytest

from flight_core.domain.errors import Conflict, InvalidOption
from skein.directory import DataDirectory, Role
from skein.runtime import Endpoints, RuntimeFile


def test_the_runtime_file_is_there_between_add_and_remove(tmp_path):
    path = tmp_path / "skein.json"
    runtime = RuntimeFile(path)
    assert runtime.read() == {}
    runtime.add(Endpoints("grpc://127.0.0.1:1", "http://127.0.0.1:2"), "1.2.3")
    content = json.loads(path.read_text())
    assert content["flight"] == "grpc://127.0.0.1:1"
    assert content["http"] == "http://127.0.0.1:2"
    assert content["pid"] == os.getpid()
    assert content["version"] == "1.2.3"
    assert runtime.read() == content
    runtime.remove()
    assert not path.exists()


def test_what_a_dead_process_left_behind_is_ignored(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    runtime = RuntimeFile(tmp_path / "skein.json")
    runtime.add(Endpoints("grpc://127.0.0.1:1", None), "1")
    content = json.loads((tmp_path / "skein.json").read_text())
    content["pids"] = {"flight": process.pid}
    (tmp_path / "skein.json").write_text(json.dumps(content))
    assert runtime.read() == {}


def test_a_younger_process_with_the_number_of_a_dead_one_is_not_taken_for_it(tmp_path):
    runtime = RuntimeFile(tmp_path / "skein.json")
    runtime.add(Endpoints("grpc://127.0.0.1:1", None), "1")
    content = json.loads((tmp_path / "skein.json").read_text())
    (tmp_path / "skein.json").write_text(json.dumps({**content, "marks": {"flight": 1}}))
    assert runtime.read() == {}


def test_a_clock_that_is_set_hides_no_server(tmp_path, monkeypatch):
    runtime = RuntimeFile(tmp_path / "skein.json")
    runtime.add(Endpoints("grpc://127.0.0.1:1", None), "1")
    began_at = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: began_at + 3600)  # moves with the clock
    assert runtime.read()["flight"] == "grpc://127.0.0.1:1"


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"started_at": 1, "pids": {}}'])
def test_a_damaged_runtime_file_is_ignored(tmp_path, content):
    (tmp_path / "skein.json").write_text(content)
    assert RuntimeFile(tmp_path / "skein.json").read() == {}


def test_a_second_process_with_the_same_role_is_refused(tmp_path):
    directory = DataDirectory(tmp_path / "data")
    directory.prepare()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (directory.root, directory.lake)} == {0o700}
    with directory.claimed({Role.FLIGHT}):
        with pytest.raises(Conflict, match=f"in use by the process {os.getpid()}"):
            directory.claimed(frozenset(Role)).__enter__()
        with directory.claimed({Role.CONTROL}):
            pass
    with directory.claimed(frozenset(Role)):
        pass


def test_the_secret_key_is_made_once_and_for_its_owner_alone(tmp_path):
    directory = DataDirectory(tmp_path)
    keys = []
    threads = [threading.Thread(target=lambda: keys.append(directory.secret_key())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert len(keys[0]) >= 32
    assert [path.name for path in tmp_path.iterdir()] == ["secret.key"]
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600
    of_it = {keys[0], *map(directory.key_for, ("tickets", "catalog"))}
    assert {len(key) for key in of_it} == {32}
    assert len(of_it) == 3
    assert directory.key_for("tickets") == DataDirectory(tmp_path).key_for("tickets")


@pytest.mark.parametrize("size", [0, 31])
def test_a_key_that_others_could_guess_is_refused(tmp_path, size):
    (tmp_path / "secret.key").write_bytes(bytes(size))
    with pytest.raises(InvalidOption, match=f"it has {size} bytes of 32; restore it"):
        DataDirectory(tmp_path).secret_key()


def test_a_data_directory_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidOption, match="choose another with --data"):
        DataDirectory(tmp_path / "file" / "data").prepare()
