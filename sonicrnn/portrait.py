"""What a song is like in a few numbers, and how far a stretch of sound is from it. numpy and scipy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonicrnn.levels import Samples, level, level_trend
from sonicrnn.rhythm import onset_rate, pulsation_rate
from sonicrnn.spectrum import spectral_flatness

WINDOW_SECONDS = 60.0
WINDOWS = 12  # of the song, spread over it
MOST_SECONDS = 600.0  # of the song, in which its pulsation is looked for
# What a stretch may differ by and still be as the song is: real audio of the song does, too.
LEVEL_DB, TREND_DB, FLATNESS_FACTOR, ONSET_FACTOR, PULSATION_FACTOR = 2.0, 3.0, 1.25, 1.3, 1.08
MOST = 3.0  # that one figure counts, in units of what it may differ by
_LEAST_FLATNESS = 1e-9


@dataclass(frozen=True)
class Portrait:
    """A song, as takes of a piece are measured by it.

    Attributes:
        level: dB re full scale.
        trend: how steep minutes of the song are, dB a minute, at their 90th percentile.
        flatness: spectral flatness, the median over minutes of the song.
        onsets: note starts per second, the mean over minutes of the song.
        pulsation: per minute, of the song as a whole; 0 for none.
    """

    level: float
    trend: float
    flatness: float
    onsets: float
    pulsation: float

    def unlike(self, samples: Samples, last: int, rate: int) -> float:
        """How unlike the song a stretch of a piece is, 0 for nothing to complain of.

        Args:
            samples: mono [n], full scale ±1.0; what was heard lately, up to the end of the stretch.
            last: how many samples of that are the stretch itself.
        """
        stretch = samples[len(samples) - last :]
        flatness = max(_LEAST_FLATNESS, spectral_flatness(stretch, rate))
        complaints = [
            _beyond(level(stretch) - self.level, LEVEL_DB),
            _beyond(math.log(flatness / self.flatness), math.log(FLATNESS_FACTOR)),
        ]
        if self.onsets:
            starts = onset_rate(stretch, rate) or 1.0 / len(stretch)
            complaints.append(_beyond(math.log(starts / self.onsets), math.log(ONSET_FACTOR)))
        if len(samples) >= WINDOW_SECONDS / 2 * rate:
            complaints.append(_beyond(level_trend(samples, rate), max(TREND_DB, self.trend)))
        if self.pulsation:
            found = pulsation_rate(samples, rate)
            off = math.log(found / self.pulsation) if found else math.inf
            complaints.append(_beyond(off, math.log(PULSATION_FACTOR)))
        return sum(complaints)


def portrait(samples: Samples, rate: int) -> Portrait:
    """Of a song, or of its training part: mono [n], full scale ±1.0, mapped from the disk or not."""
    length = min(len(samples), round(WINDOW_SECONDS * rate))
    starts = np.unique(np.linspace(0, len(samples) - length, WINDOWS).astype(int))
    windows: Sequence[Samples] = [samples[start : start + length] for start in starts]
    whole = min(len(samples), round(MOST_SECONDS * rate))
    middle = (len(samples) - whole) // 2
    return Portrait(
        level=level(np.concatenate(windows)),
        trend=float(np.quantile([abs(level_trend(window, rate)) for window in windows], 0.9)),
        flatness=max(_LEAST_FLATNESS, float(np.median([spectral_flatness(window, rate) for window in windows]))),
        onsets=float(np.mean([onset_rate(window, rate) for window in windows])),
        pulsation=pulsation_rate(samples[middle : middle + whole], rate),
    )


def _beyond(value: float, allowed: float) -> float:
    """How far a figure is beyond what is allowed, in units of that."""
    return min(MOST, max(0.0, abs(value) / allowed - 1.0))
