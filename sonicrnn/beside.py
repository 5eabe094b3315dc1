"""A piece beside the song's own samples: how many of its seconds are told from the song's, copied from it, or repeated.

What a portrait says in numbers, a piece may have that stays in one section of the song for a minute. That its seconds
are others than the song's, a classifier tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sonicrnn.classifier import of_bands, told_apart
from sonicrnn.distances import BANDS, at_level
from sonicrnn.levels import Samples
from sonicrnn.originality import Known, repeated_bands
from sonicrnn.portrait import MOST_GAIN_DB, WEIGHS_MOST, Portrait, beyond
from sonicrnn.spectrum import log_mel

# What a piece may have of it, and still be as the song is.
COPIED_SHARE = 0.05
REPEATED_SHARE = 0.05  # beyond what minutes of the song repeat of themselves
TOLD_SHARE = 0.12  # of the seconds, that are told right beside the half that chance tells


class Beside:
    """A song's passages, as takes of a piece are held against them.

    Args:
        looks: the song's.
        passages: its samples, mono [n] each, in their order.
        rate: Hz.
    """

    def __init__(self, looks: Portrait, passages: Sequence[Samples], rate: int):
        self._looks, self._rate = looks, rate
        bands = [self._heard(passage) for passage in passages]
        self._known = Known(bands, rate, looks.copied)
        self._seconds = np.concatenate([of_bands(one, rate) for one in bands])

    def unlike(self, samples: Samples, best: float = math.inf) -> float:
        """How unlike the song some audio is, mono [n]: by the portrait, and as `told_copied_repeated`.

        `best` is the figure from which on any other will do, as of `Portrait.unlike`.
        """
        found = self._looks.unlike(samples, self._rate, best)
        return found + self.told_copied_repeated(samples) if found < best else found

    def told_copied_repeated(self, samples: Samples) -> float:
        """What there is to complain of besides the portrait, copies of itself among it; 0 for nothing.

        Nothing is told of less than 16 seconds, or beside fewer.
        """
        bands = self._heard(samples)
        told = told_apart(of_bands(bands, self._rate), self._seconds).share
        beyond_chance = 0.0 if math.isnan(told) else max(0.0, told - 0.5)
        more_than_the_song = max(0.0, repeated_bands(bands, self._rate, self._looks.copied) - self._looks.repeated)
        return WEIGHS_MOST * (
            beyond(beyond_chance, TOLD_SHARE)
            + beyond(self._known.copied(bands), COPIED_SHARE)
            + beyond(more_than_the_song, REPEATED_SHARE)
        )

    def copied(self, samples: Samples) -> float:
        """Which share of some audio, mono [n], is copied from the passages, 0..1."""
        return self._known.copied(self._heard(samples))

    def _heard(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Log-mel rows [time, bands] at the song's level."""
        leveled = at_level(samples, self._rate, self._looks.level, MOST_GAIN_DB)
        return log_mel(leveled, self._rate, BANDS, self._looks.floor_db)
