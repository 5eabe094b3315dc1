"""How the C library keeps memory between the steps of a training."""

from __future__ import annotations

import contextlib
import ctypes

# Names and numbers of glibc's `mallopt`.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8
LARGEST_KEPT = 32 << 20  # bytes; glibc takes no more


def keep_freed_memory() -> None:
    """Keep what is freed for the next step, which wants blocks of the very same sizes.

    Otherwise glibc gives large blocks back to the system, and every page of the next ones is asked for and filled with
    zeros anew, thousands of times a step. One arena for all threads, because those of threads are given back always.
    Other C libraries stay as they are.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        settings = {ARENA_MAX: 1, MMAP_THRESHOLD: LARGEST_KEPT, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: LARGEST_KEPT}
        for name, value in settings.items():
            mallopt(name, value)
