"""Memory that streams free is used again instead of going back to the system after every batch.

glibc hands allocations of 128 KiB and more to `mmap` and returns them on `free`; a stream of 2 MiB
record batches then pays for zeroed pages all the time. With these thresholds a 60M-row stream took
15 to 20% less time (`benchmarks/stream.py`). See mallopt(3).

Arrow is to use it, too: its own allocator is no faster then, and keeps twice as much for each stream that
lies unread.
"""

import contextlib
import ctypes

import pyarrow as pa

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_BYTES = 32 << 20  # the largest value glibc takes for M_MMAP_THRESHOLD on 64-bit systems


def keep_freed_memory() -> bool:
    """Tune the allocator of this process; False where it is not glibc's."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(_M_MMAP_THRESHOLD, _BYTES) and mallopt(_M_TRIM_THRESHOLD, _BYTES):
            pa.set_memory_pool(pa.system_memory_pool())
            return True
    return False
