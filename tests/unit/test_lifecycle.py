"""What is done again and again beside the servers."""

import anyio
import anyio.from_thread
import pytest

from flight_core.domain.errors import DependencyFailed
from skein.lifecycle import _Chore


@pytest.mark.anyio
async def test_a_failure_that_repeats_is_told_once_until_it_works_again(caplog):
    stop = anyio.Event()
    outcomes = ["down", "down", "full", "", "full"]

    def work() -> None:
        if len(outcomes) == 1:
            anyio.from_thread.run_sync(stop.set)
        if message := outcomes.pop(0):
            raise DependencyFailed(message)

    with anyio.fail_after(60):
        await _Chore(work, every_s=0, failure="no luck").repeat(stop)
    assert [record.exc_info[1].message for record in caplog.records] == ["down", "full", "full"]
