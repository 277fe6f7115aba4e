"""The parsing processes of all tests: starting their template takes longer than most of what they do."""

import atexit
from contextlib import suppress

import psutil

from flight_core.adapters.parsers.processes import ParsingProcesses

PROCESSES = ParsingProcesses()
atexit.register(PROCESSES.close)


def parsing_processes(parent: int) -> list[psutil.Process]:
    """Those that work: the children of keepers, which are those of a template."""
    found = [psutil.Process(parent)]
    for _ in ("template", "keeper", "worker"):
        found = [child for process in found for child in _children(process)]
    return found


def _children(process: psutil.Process) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return process.children()
    return []
