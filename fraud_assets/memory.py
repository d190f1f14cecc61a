"""What the process does with memory that it has freed: an ingest run needs the same again for its next plan, a second later.

Memory that goes back to the system comes in again page by page, each cleared and mapped anew: a fifth of the processor time of an ingest
run, and more where the machine is virtual. polars has an allocator of its own (jemalloc), numpy and Python that of the C library.
"""

import ctypes
import os
from typing import Final

_JEMALLOC: Final = "_RJEM_MALLOC_CONF"
_KEEP: Final = "dirty_decay_ms:10000"
"""polars' own choice is 500 ms, which is shorter than a plan."""
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -2, -3, -8
"""Names of the C library's mallopt(3)."""


def let_polars_keep() -> None:
    """Let polars keep what it freed for some seconds. To be called before polars is imported; what is set already stands."""
    os.environ.setdefault(_JEMALLOC, _KEEP)


def keep_freed() -> None:
    """Keep what arrays freed, in one pool for all threads, for as long as the process lives. For runs that work in a steady rhythm."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library than glibc
        return
    mallopt(_MMAP_THRESHOLD, 1 << 30)
    mallopt(_TRIM_THRESHOLD, 1 << 30)
    mallopt(_TOP_PAD, 64 << 20)
    mallopt(_ARENA_MAX, 1)
