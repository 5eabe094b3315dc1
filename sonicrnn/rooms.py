"""Arrays that are lent to TensorFlow and used again: the system gives fresh memory no faster than it can be filled."""

from __future__ import annotations

import math
import weakref

import numpy as np
import numpy.typing as npt

ALIGNED_BYTES = 64  # where an array has to begin for TensorFlow to take it over without a copy
FIGURE_BYTES = np.dtype(np.float32).itemsize


class Rooms:
    """As many arrays of one shape as are in use at once.

    Args:
        shape: of one example.
    """

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape
        self._free: list[memoryview] = []

    def take(self, examples: int) -> npt.NDArray[np.float32]:
        """[examples, *shape] float32 with anything in it: nobody else's until it, and all views of it, are gone."""
        count = examples * math.prod(self.shape)
        try:  # without asking first: several threads take rooms at once
            room = self._free.pop()
        except IndexError:
            room = _made(count)
        if room.nbytes < count * FIGURE_BYTES:
            room = _made(count)
        # NumPy lets views hold the first array over memory that is not an array's: that one is watched.
        lent = np.frombuffer(room, np.float32, count)
        weakref.finalize(lent, self._free.append, room).atexit = False
        return lent.reshape(examples, *self.shape)


def _made(count: int) -> memoryview:
    memory = np.empty(count + ALIGNED_BYTES // FIGURE_BYTES, np.float32)
    first = -memory.ctypes.data % ALIGNED_BYTES // FIGURE_BYTES
    return memory[first : first + count].data
