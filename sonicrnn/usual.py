"""What is usual in a song: the middle and the spread of each figure over stretches of several lengths.

A free run may stay where the song never does, or hardly move. How far that is unusual depends on how long the piece is:
ten seconds of the song are seldom like the whole of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sonicrnn.files import stored_arrays, write_arrays

Floats = npt.NDArray[np.float32]

SHORTEST, LONGEST = 16, 2048  # frames of a stretch
EVERY = 4  # stretches begin so often in the length of one
LEAST = 0.1  # deviation of a middle, or of the logarithm of a spread, however alike the stretches are
LEAST_SPREAD = 0.05
MOST_FACTOR = 4.0  # of a spread


@dataclass(frozen=True, eq=False)
class Usual:
    """Of each figure over stretches of `lengths` frames: [length, dimension] each.

    Attributes:
        lengths: [length], rising.
        off: how far middles lie from the song's, root mean square.
        spread: mean logarithm of the standard deviation.
        uneven: standard deviation of that logarithm.
    """

    lengths: npt.NDArray[np.int64]
    off: Floats
    spread: Floats
    uneven: Floats

    def balanced(self, rows: Floats) -> Floats:
        """Frames [time, dimension] of middle 0 and spread 1 in the song, brought nearer to what is usual in it.

        What is usual stays nearly as it is; the more unusual a middle or a spread is, the less is left of that.
        """
        which = int(np.clip(np.searchsorted(self.lengths, len(rows), "right") - 1, 0, len(self.lengths) - 1))
        middle, spread = rows.mean(0), np.log(np.maximum(rows.std(0), LEAST_SPREAD))
        wanted = _usual(middle, self.off[which])
        beyond = spread - self.spread[which]
        factor = np.exp(_usual(beyond, self.uneven[which]) - beyond)
        factor = np.clip(factor, 1 / MOST_FACTOR, MOST_FACTOR)
        return np.asarray((rows - middle) * factor + wanted, np.float32)

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        write_arrays(file, {name: getattr(self, name) for name in ("lengths", "off", "spread", "uneven")})

    @classmethod
    def load(cls, file: Path) -> Usual:
        """Raises UserError for a file that is missing or spoiled."""
        with stored_arrays(file, "train the reviser again") as stored:
            return cls(stored["lengths"], stored["off"], stored["spread"], stored["uneven"])


def usual_of(rows: Floats) -> Usual:
    """That of a song, [time, dimension] of at least `SHORTEST` frames, or of all there are as one stretch."""
    longest = min(LONGEST, max(SHORTEST, len(rows) // 2))
    lengths = [length for length in (SHORTEST << power for power in range(12)) if length <= longest]
    found = [_of_stretches(rows, min(length, len(rows))) for length in lengths]
    off, spread, uneven = (np.asarray(np.stack(each), np.float32) for each in zip(*found, strict=True))
    return Usual(np.array(lengths), off, spread, uneven)


def _of_stretches(rows: Floats, length: int) -> tuple[Floats, Floats, Floats]:
    starts = range(0, len(rows) - length + 1, max(1, length // EVERY))
    middles = np.stack([rows[start : start + length].mean(0) for start in starts])
    spreads = np.log(np.maximum([rows[start : start + length].std(0) for start in starts], LEAST_SPREAD))
    off = np.sqrt(np.mean(np.square(middles), 0))
    return np.maximum(off, LEAST), spreads.mean(0), np.maximum(spreads.std(0), LEAST)


def _usual(value: Floats, deviation: Floats) -> Floats:
    """Near to `value` where that is well within the deviation, and near to 0 where it is far beyond."""
    return np.asarray(value / (1 + np.square(value / deviation)), np.float32)
