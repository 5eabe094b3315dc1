"""A slow hand on the volume: keeps a free run, however long, near the song's level.

A free run may stay for minutes in a quiet passage that the song leaves after seconds. The level is followed as a
listener follows it, rising within a second or two and falling within eight; as long as it stays near the song's nothing
is changed, and beyond that only what is too much or too little is made up for.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HOP_SECONDS = 0.1
RISE_SECONDS, FALL_SECONDS = 1.5, 8.0
FREE_DB = 3.0  # either way from the song's level
MOST_DB = 15.0
_LEAST_POWER = 1e-9


def followed(powers: npt.ArrayLike, before: Floats | float) -> Floats:
    """Mean squares, one every `HOP_SECONDS`, [hops, ...] -> the power that is followed after each of them.

    `before` is the power that was followed so far.
    """
    rise, fall = (1 - np.exp(-HOP_SECONDS / seconds) for seconds in (RISE_SECONDS, FALL_SECONDS))
    found, now = [], np.asarray(before, np.float64)
    for power in np.asarray(powers, np.float64):
        now = now + np.where(power > now, rise, fall) * (power - now)
        found.append(now)
    return np.asarray(found)


def usual_level(samples: npt.NDArray[np.float32], rate: int) -> float:
    """The level that is followed in a song, dB re full scale: its median. `samples` are [n], of at least a second."""
    hop = round(HOP_SECONDS * rate)
    count = len(samples) // hop
    powers = np.square(samples[: count * hop].astype(np.float64)).reshape(count, hop).mean(1)
    return float(10 * np.log10(np.median(followed(powers, powers.mean())) + _LEAST_POWER))


class Leveller:
    """Samples in, as many levelled samples out, block by block: where the blocks begin changes nothing.

    A hop's gain follows from the hops before it and glides to the next one's.

    Args:
        level: dB re full scale, as of `usual_level`.
        rate: Hz.
        pieces: how many are levelled side by side, each by itself.
    """

    def __init__(self, level: float, rate: int, pieces: int):
        self.level, self.hop = level, round(HOP_SECONDS * rate)
        self.power = np.full(pieces, 10 ** (level / 10))
        self.gains = np.ones([2, pieces])  # at the begin and at the end of the hop that is under way
        self.sum, self.place = np.zeros(pieces), 0

    def add(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """[pieces, some samples] -> as many."""
        made, start = np.empty_like(samples), 0
        while start < samples.shape[1]:
            count = min(self.hop - self.place, samples.shape[1] - start)
            block = samples[:, start : start + count]
            share = (self.place + np.arange(count)) / self.hop
            made[:, start : start + count] = block * (
                self.gains[0][:, None] * (1 - share) + self.gains[1][:, None] * share
            )
            self.sum += np.square(block, dtype=np.float64).sum(1)
            self.place += count
            start += count
            if self.place == self.hop:
                self._next_hop()
        return made

    def _next_hop(self) -> None:
        self.power = followed([self.sum / self.hop], self.power)[0]
        off = 10 * np.log10(self.power + _LEAST_POWER) - self.level
        beyond = np.clip(off - np.clip(off, -FREE_DB, FREE_DB), -MOST_DB, MOST_DB)
        self.gains = np.stack([self.gains[1], 10 ** (-beyond / 20)])
        self.sum, self.place = np.zeros_like(self.sum), 0
