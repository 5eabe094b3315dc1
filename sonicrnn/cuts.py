"""The song's samples as a recall keeps them: rows of 16 bits, and the row that each frame begins with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sonicrnn.engine import Samples, Units


def begins(first: Units) -> npt.NDArray[np.bool_]:
    """Whether a unit begins a passage, [unit]: the one before it in the list is not the one before it in the song.

    `first`, [unit], is the row that each begins with.
    """
    return np.asarray(np.diff(first, prepend=-2) != 1)


def cuts(rows: npt.NDArray[np.int16], first: Units, scale: float) -> list[Samples]:
    """The samples of each passage, [n] at full scale 1, of `rows` [row, hop] that are to be multiplied by `scale`."""
    starts = first[np.flatnonzero(begins(first))]
    return [scale * passage.ravel().astype(np.float32) for passage in np.split(rows, starts[1:])]
