"""The template of parsing processes: `python -P -m flight_core.adapters.parsers.template`.

It has imported all modules, so that a fork can work at once, and has a single thread, so that forking is
safe. Standard input is a socket over which it receives the sockets of jobs. For each job there are two forks:
a keeper and a worker. The keeper kills the worker when the server closes the job's socket, so that no worker
outlives its server or its job, even if it hangs.
"""

import gc
import json
import os
import select
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from flight_core.adapters.parsers.processes import LOG
from flight_core.adapters.parsers.worker import answer
from flight_core.infrastructure.helper_process import be_expendable


def main() -> None:
    gc.collect()
    gc.freeze()  # keeps the pages of existing objects shared with the forks
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # keepers are not waited for
    with socket.socket(fileno=0) as requests:
        while True:
            _, descriptors, _, _ = socket.recv_fds(requests, 1, 1)
            if not descriptors:
                return
            with socket.socket(fileno=descriptors[0]) as job:
                if os.fork() == 0:
                    try:
                        requests.close()
                        _keep(job)
                    finally:
                        os._exit(0)


def _keep(job: socket.socket) -> None:
    """Run the job in a worker process, and report at the end how that has exited."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with job.makefile("rb") as lines:
        line = lines.readline()
    if not line:
        return
    ended, end = os.pipe()  # closed when the worker ends for any reason
    worker = os.fork()
    if worker == 0:
        try:
            os.close(ended)
            _work(json.loads(line), job)
        finally:
            os._exit(0)
    os.close(end)
    with suppress(OSError):  # the server may have gone
        job.sendall(b'{"pid": %d}\n' % worker)
    select.select([ended, job.fileno()], [], [])
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    with suppress(OSError):
        job.sendall(b'{"ended": %d}\n' % os.waitstatus_to_exitcode(status))


def _work(request: dict[str, Any], job: socket.socket) -> None:
    os.nice(5)  # queries come first
    be_expendable()
    folder = Path(request["folder"])
    os.chdir(folder)
    os.environ["TMPDIR"] = os.environ["POLARS_TEMP_DIR"] = str(folder)
    log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    with job.makefile("w", encoding="utf-8") as out:
        answer(request, out)


if __name__ == "__main__":
    main()
