"""How many files and connections this process may have open.

Many systems begin with 1024, for programs that use `select`, and let who needs more ask for it. A server
with a few hundred clients that read datasets of many files does.
"""

import resource

_ENOUGH = 10_240  # where there is no bound: more than that macOS refuses


def allow_many_open_files() -> None:
    """As many as this process may allow itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        wanted = hard if hard != resource.RLIM_INFINITY else max(soft, _ENOUGH)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
