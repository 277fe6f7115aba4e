"""The lines of the log, as a process of its own writes them."""

import json
import subprocess
import sys

RETRY = """
import logging

import stamina

from skein.logging import configure_logging
from skein.settings import LogFormat, LogLevel

configure_logging(LogLevel.INFO, LogFormat.JSON)
for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0.01):
    with attempt:
        if attempt.num == 1:
            raise ValueError
logging.getLogger("skein.test").info("hello", extra={"job": "j1"})
"""


def test_every_line_is_json_on_standard_error_those_about_retries_too():
    done = subprocess.run(
        [sys.executable, "-P", "-c", RETRY], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == ""
    retry, hello = map(json.loads, done.stderr.splitlines())
    assert (retry["event"], retry["level"]) == ("stamina.retry_scheduled", "warning")
    assert (hello["event"], hello["job"], hello["logger"]) == ("hello", "j1", "skein.test")


FAILURES = """
import logging

from flight_core.domain.errors import DependencyFailed
from skein.logging import configure_logging
from skein.settings import LogFormat, LogLevel

configure_logging(LogLevel.INFO, LogFormat.JSON)
logger = logging.getLogger("skein.test")
down = DependencyFailed("it is down")
for failure in (down, ExceptionGroup("", [down]), KeyError("k")):
    try:
        raise failure from OSError("refused")
    except Exception:
        logger.exception("no luck")
"""


def test_only_what_nobody_foresaw_has_a_traceback():
    done = subprocess.run(
        [sys.executable, "-P", "-c", FAILURES], capture_output=True, text=True, timeout=60, check=True
    )
    alone, grouped, surprise = map(json.loads, done.stderr.splitlines())
    assert (alone["error"], alone["cause"]) == ("[dependency_failed] it is down", "refused")
    assert grouped["error"] == alone["error"]
    assert "exception" not in alone | grouped
    assert surprise["exception"].endswith("KeyError: 'k'")
