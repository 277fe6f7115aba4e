"""Descriptors into statements, and what is wrong with those that are none."""

import pyarrow.flight as fl
import pytest

from flight_core.domain.errors import InvalidCommand, InvalidDatasetName
from flight_core.domain.query import Statement
from flight_server.commands import read_command, write_command
from schemas.flight import WriteCommand

path = fl.FlightDescriptor.for_path
command = fl.FlightDescriptor.for_command


@pytest.mark.parametrize(
    ("descriptor", "statement"),
    [
        (path("sales"), Statement('SELECT * FROM datasets."sales"')),
        (path("sales", "v3"), Statement('SELECT * FROM datasets."sales@v3"')),
        (path("sales", "3"), Statement('SELECT * FROM datasets."sales@v3"')),
        (
            path("sales", "2026-01-31T12:00:00Z"),
            Statement('SELECT * FROM datasets."sales@2026-01-31T12:00:00+00:00"'),
        ),
        (command("SELECT 1"), Statement("SELECT 1")),
        (command(" \n{bad"), None),
        (command('{"sql": "SELECT 1"}'), Statement("SELECT 1")),
        (command('{"sql": "SELECT ?", "params": [1, null]}'), Statement("SELECT ?", (1, None))),
        (
            command('{"sql": "SELECT $a", "params": {"a": "x"}, "limit": 0}'),
            Statement("SELECT $a", {"a": "x"}, 0),
        ),
        (command('{"dataset": "sales", "limit": 5}'), Statement('SELECT * FROM datasets."sales"', (), 5)),
        (
            command('{"dataset": "sales", "version": 3, "columns": ["a", "b\\"c"]}'),
            Statement('SELECT "a", "b""c" FROM datasets."sales@v3"'),
        ),
    ],
)
def test_a_descriptor_means_a_statement(descriptor, statement):
    if statement is None:
        with pytest.raises(InvalidCommand, match="JSON"):
            read_command(descriptor)
    else:
        assert read_command(descriptor).statement == statement


@pytest.mark.parametrize(
    ("descriptor", "text"),
    [
        (path(), "the path has 0 parts"),
        (path("a", "b", "c"), "the path has 3 parts"),
        (path("a", "1x"), "a version is a number"),
        (command(b"SELECT \xff"), "byte 8 is not UTF-8"),
        (command("{}"), "'dataset': Field required"),
        (command('{"sql": 1}'), "'sql': Input should be a valid string, got 1"),
        (command('{"sql": "SELECT 1", "parms": []}'), r"'parms'.*fields: sql, params, limit"),
        (command('{"sql": "SELECT 1", "params": 3}'), "'params': send a list"),
        (command('{"sql": "SELECT 1", "limit": -1}'), "'limit'.*got -1"),
        (command('{"sql": "SELECT 1", "dataset": "a"}'), "'dataset'"),
        (command('{"dataset": "a", "version": true}'), "a version is a number"),
        (command('{"dataset": "a", "version": -1}'), "a version is a number"),
        (command('{"dataset": "a", "columns": []}'), "'columns'"),
        (command('{"sql": "SELECT 1"'), "the JSON cannot be parsed"),
        (command('{"sql": "a", "params": ' + "[" * 100_000), "the JSON cannot be parsed"),
    ],
)
def test_a_wrong_descriptor_is_refused_with_the_value_at_fault(descriptor, text):
    with pytest.raises(InvalidCommand, match=text):
        read_command(descriptor)


@pytest.mark.parametrize("name", ["../etc/passwd", "a/b", "", "a b", "a;drop", 'a"b', "1a", "a" * 129, "ä"])
def test_a_name_that_is_no_name_never_reaches_sql(name):
    with pytest.raises(InvalidDatasetName):
        read_command(path(name))


@pytest.mark.parametrize(
    ("descriptor", "options", "expected"),
    [
        (path("a"), {}, WriteCommand(dataset="a")),
        (path("a"), {"mode": "replace"}, WriteCommand(dataset="a", mode="replace")),
        (
            path("a"),
            {"mode": "upsert", "keys": "b, c", "allow_lossy": "True", "other": "1"},
            WriteCommand(dataset="a", mode="upsert", keys=["b", "c"], allow_lossy=True),
        ),
        (
            command('{"dataset": "a", "mode": "create", "allow_lossy": true}'),
            {"mode": "append"},
            WriteCommand(dataset="a", mode="create", allow_lossy=True),
        ),
    ],
)
def test_a_write_is_named_by_path_or_command(descriptor, options, expected):
    assert write_command(descriptor, options) == expected


@pytest.mark.parametrize(
    ("descriptor", "options", "text"),
    [
        (path("a", "b"), {}, "DoPut takes a path"),
        (path("a"), {"mode": "merge"}, "'mode'.*'create', 'append'.*'upsert'"),
        (path("a"), {"allow_lossy": "perhaps"}, "'allow_lossy'"),
        (command('{"dataset": "a", "allow_lossy": "yes"}'), {}, "'allow_lossy'"),
        (command("SELECT 1"), {}, "the JSON cannot be parsed"),
    ],
)
def test_a_wrong_write_is_refused(descriptor, options, text):
    with pytest.raises(InvalidCommand, match=text):
        write_command(descriptor, options)
