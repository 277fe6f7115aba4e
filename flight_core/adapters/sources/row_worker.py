"""The main loop of worker processes that produce rows.

They read one request, a line of JSON, from standard input, and write an Arrow stream to standard output. They
end when standard input is closed. The exit codes are below; for FAILED, the last line of standard error is
JSON.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

from flight_core.infrastructure.helper_process import be_expendable

FAILED, TOO_MUCH_MEMORY, INPUT_ENDED = 4, 5, 6

_LOOK_S = 0.2


def run(stream: Callable[[dict[str, Any], Any], None], failure: Callable[[BaseException], object]) -> None:
    """Answer the request by calling `stream`; if that raises, report the result of `failure`. Does not
    return."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.nice(5)  # queries come first
    be_expendable()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    threading.Thread(target=_watch_memory, args=(request["memory_bytes"],), daemon=True).start()
    code = 0
    try:
        stream(request, out)
    except BaseException as error:  # foreign code may raise anything
        sys.stderr.write("\n" + json.dumps(failure(error)) + "\n")
        sys.stderr.flush()
        code = FAILED
    os._exit(code)


def _end_with_input() -> None:
    with suppress(OSError):
        sys.stdin.buffer.read()
    os._exit(INPUT_ENDED)


def _watch_memory(limit_bytes: int) -> None:
    memory = psutil.Process().memory_info
    while memory().rss <= limit_bytes:
        time.sleep(_LOOK_S)
    os._exit(TOO_MUCH_MEMORY)
