"""For processes that do dangerous work for the server."""

import resource
from contextlib import suppress
from pathlib import Path


def be_expendable() -> None:
    """Have this process killed first if the machine runs out of memory, and without a core dump."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("1000")
