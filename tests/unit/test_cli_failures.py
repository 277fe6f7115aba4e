"""Messages as people get to see them. The texts in front are what pyarrow 26 makes of the server's."""

import errno

import pytest

from skein.cli import app
from skein.cli.remote.failures import CliError, one_line, printable
from skein.cli.remote.flight import failure_of

URI = "grpc://127.0.0.1:8815"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            "[invalid_sql] syntax error (line 1, column 1). Detail: Python exception: invalid_sql",
            "invalid_sql",
            "syntax error (line 1, column 1)",
        ),
        (
            "[query_failed] no 'x'. Detail: Python exception: query_failed. gRPC client debug context:"
            " INVALID_ARGUMENT:[query_failed] no 'x'. Detail: Python exception: query_failed."
            " Client context: OK",
            "query_failed",
            "no 'x'",
        ),
        (
            "Flight returned unavailable error, with message: [too_many_streams] 32 are open. Detail: Failed",
            "too_many_streams",
            "32 are open",
        ),
        (
            "Flight returned unavailable error, with message: failed to connect to all addresses; last"
            " error: UNKNOWN: ipv4:127.0.0.1:1: Connection refused. gRPC client debug context: UNAVAILABLE:x",
            "server_unreachable",
            f"no answer from {URI}: failed to connect to all addresses; last error: UNKNOWN:"
            " ipv4:127.0.0.1:1: Connection refused; is the server running?",
        ),
    ],
)
def test_the_servers_message_is_taken_out_of_its_wrapping(text, code, message):
    failure = failure_of(text, URI)

    assert (failure.code, str(failure)) == (code, f"[{code}] {message}")


def test_a_message_is_one_line_without_control_characters():
    assert one_line(CliError("x", "a\n  b\x1b[2Jc")) == r"error: [x] a b\x1b[2Jc"


@pytest.mark.parametrize("text", ["Zürich 東京 🦆", "", "a b"])
def test_printable_text_stays_as_it_is(text):
    assert printable(text) == text


def test_control_characters_are_written_out():
    assert printable("a\tb\nc\rd\x00e\x7f\x9b\u202ef\u2028") == r"a\tb\nc\rd\x00e\x7f\x9b\u202ef\u2028"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/lake"),
            "error: [unusable_file] '/data/lake' cannot be used: Permission denied; see whom it belongs to",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "error: [out_of_disk] the disk is full; make room",
        ),
        (OSError(errno.EBADF, "Bad file descriptor"), "error: [internal_error] OSError: [Errno 9]"),
    ],
)
def test_disks_and_files_that_cannot_be_used_are_no_bug(monkeypatch, capsys, error, told):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(app, "app", fail)
    assert app._status(["serve"]) == 1
    assert capsys.readouterr().err.startswith(told)
