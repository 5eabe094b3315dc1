"""The search of a song for what a piece copies of it, beside what real audio of the song repeats by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonicrnn import originality
from sonicrnn.distances import at_level
from sonicrnn.levels import Samples
from sonicrnn.originality import Nearest, Originality
from sonicrnn.windows import spread

CHECKED = 3  # windows of held-out audio
_MOST_GAIN_DB = 40.0  # a copy is one at any level


@dataclass(frozen=True, eq=False)
class Copies:
    """A song to look for copies in.

    `threshold`: the likeness from which on a stretch counts as copied; `usual`: what windows of its held-out part,
    `window` samples each, copy of its training part, for music repeats itself; `usual_share`: the largest share, 0..1,
    of such a window or of a half of one that is copied.
    """

    training: Samples
    held_out: Samples
    rate: int
    dbfs: float
    floor_db: float
    window: int
    threshold: float
    usual: tuple[Originality, ...]
    usual_share: float

    def look(self, pieces: Sequence[Samples], song_seconds: float = 0.0) -> list[Originality]:
        """What each piece, of at least 2 s, copies; the training part starts `song_seconds` into the song.

        A piece may also repeat what it was primed with, and that may come from any part.
        """
        pictured = [_pictured(samples, self.rate, self.dbfs, self.floor_db) for samples in pieces]
        first = originality.nearest(pictured, self.training, self.rate, self.floor_db)
        second = originality.nearest(pictured, self.held_out, self.rate, self.floor_db)
        after = len(self.training) / self.rate
        return [
            originality.judge(_later(_nearer(one, _later(other, after)), song_seconds), self.threshold)
            for one, other in zip(first, second, strict=True)
        ]

    def look_in_training(self, samples: Samples) -> Originality:
        """What a piece copies of the training part alone."""
        pictured = _pictured(samples, self.rate, self.dbfs, self.floor_db)
        found = originality.nearest([pictured], self.training, self.rate, self.floor_db)[0]
        return originality.judge(found, self.threshold)

    def repeated(self, samples: Samples) -> float:
        """The share of a piece, 0..1, that repeats itself or stands still."""
        windows = spread(samples, self.window, CHECKED)
        leveled = [at_level(one, self.rate, self.dbfs, _MOST_GAIN_DB) for one in windows]
        return float(np.mean([originality.repeated(one, self.rate, self.floor_db, self.threshold) for one in leveled]))


def copies(training: Samples, held_out: Samples, rate: int, window: int, dbfs: float, floor_db: float) -> Copies:
    """Look at what held-out windows copy. `dbfs` is the song's level, `floor_db` the floor of its log-mel values."""
    real = [_pictured(samples, rate, dbfs, floor_db) for samples in spread(held_out, window, CHECKED)]
    found = originality.nearest(real, training, rate, floor_db)
    threshold = originality.copy_threshold([one for several in found for one in several])
    usual = tuple(originality.judge(several, threshold) for several in found)
    parts = [part for one in found for part in (one, one[: len(one) // 2], one[len(one) // 2 :]) if part]
    most = max(_share(part, threshold) for part in parts)
    return Copies(training, held_out, rate, dbfs, floor_db, min(window, len(held_out)), threshold, usual, most)


def _share(stretches: Sequence[Nearest], threshold: float) -> float:
    """Of the time that these stretches cover."""
    seconds = stretches[-1].piece_seconds - stretches[0].piece_seconds + originality.STRETCH_SECONDS
    return min(1.0, originality.judge(stretches, threshold).copied_seconds / seconds)


def _pictured(samples: Samples, rate: int, dbfs: float, floor_db: float) -> originality.Pictured:
    return originality.pictured(at_level(samples, rate, dbfs, _MOST_GAIN_DB), rate, floor_db)


def _nearer(first: Sequence[Nearest], second: Sequence[Nearest]) -> list[Nearest]:
    return [max(pair, key=lambda found: found.likeness) for pair in zip(first, second, strict=True)]


def _later(found: Sequence[Nearest], seconds: float) -> list[Nearest]:
    return [Nearest(one.piece_seconds, one.song_seconds + seconds, one.likeness) for one in found]
