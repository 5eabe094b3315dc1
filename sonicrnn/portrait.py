"""What a song is like in a few numbers, and how far a piece of sound is from it. numpy and scipy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonicrnn import originality
from sonicrnn.distances import at_level, log_mel_floor
from sonicrnn.levels import Samples, level, level_trend
from sonicrnn.rhythm import LONGEST_WHOLE_SECONDS, onset_rate, pulsation_rate, usual_onset_rate
from sonicrnn.spectrum import spectral_flatness

WINDOW_SECONDS = 60.0
WINDOWS = 12  # of the song, spread over it
USUAL_SHARE = 0.2  # of the windows, from which a pulsation is one of the song's
# What a piece may differ by and still be as the song is: real audio of the song does, too.
LEVEL_DB, TREND_DB, FLATNESS_FACTOR, ONSET_FACTOR, PULSATION_FACTOR = 2.5, 3.0, 1.25, 1.05, 1.08
ORDINARY_SHARE = 0.9  # of other audio of the song, that copies less: a minute of it does not tell the usual 0.95
MOST = 3.0  # that one figure counts, in units of what it may differ by
WEIGHS_MOST = 2.0  # as much as two others: a pulsation that is lost, which chance does most easily
MOST_GAIN_DB = 40.0  # a copy is one at any level
CUTS = (0.0, 1 / 60, 1 / 30)  # a pulsation that is lost when so much is cut off the end is none to rely on
LESS_USUAL = 1.2  # of a part or a multiple of the song's own pulsation: it passes where none of many takes has that
_LEAST_FLATNESS = 1e-9


@dataclass(frozen=True)
class Portrait:
    """A song, as takes of a piece are measured by it.

    Attributes:
        level: dB re full scale.
        trend: how steep minutes of the song are, dB a minute, at their 90th percentile.
        flatness: spectral flatness, the median over minutes of the song.
        onsets: note starts per second.
        pulsations: per minute, that a good part of the minutes of the song have: a bar's and a beat's, or those of
            two sections; the song's own comes first. None for a song without any.
        floor_db: of log-mel values, as of `distances.log_mel_floor`.
        copied: the likeness from which on two seconds are copied, see `originality`.
        repeated: the largest share of a minute of the song that repeats itself, 0..1.
    """

    level: float
    trend: float
    flatness: float
    onsets: float
    pulsations: Sequence[float]
    floor_db: float
    copied: float
    repeated: float

    def unlike(self, samples: Samples, rate: int, best: float = math.inf) -> float:
        """How unlike the song some audio is, 0 for nothing to complain of.

        Args:
            samples: mono [n], full scale ±1.0; a minute tells all but what the song's own samples tell, see `beside`.
            best: from which on any figure will do; what takes longer to tell is left out then.
        """
        found = 0.0
        for complaint in (self._of_level, self._of_pulsation, self._of_onsets, self._of_flatness):
            found += complaint(samples, rate)
            if found >= best:
                break
        return found

    def _of_level(self, samples: Samples, rate: int) -> float:
        found = beyond(level(samples, rate) - self.level, LEVEL_DB)
        if len(samples) >= WINDOW_SECONDS / 2 * rate:
            found += beyond(level_trend(samples, rate), max(TREND_DB, self.trend))
        return found

    def _of_pulsation(self, samples: Samples, rate: int) -> float:
        if not self.pulsations:
            return 0.0
        shorter = [samples[: len(samples) - round(share * len(samples))] for share in CUTS]
        return max(self._off_pulsation(pulsation_rate(part, rate)) for part in shorter)

    def _of_onsets(self, samples: Samples, rate: int) -> float:
        if not self.onsets:
            return 0.0
        starts = onset_rate(samples, rate) or 1.0 / len(samples)
        return beyond(math.log(starts / self.onsets), math.log(ONSET_FACTOR), WEIGHS_MOST * MOST)

    def _of_flatness(self, samples: Samples, rate: int) -> float:
        flatness = max(_LEAST_FLATNESS, spectral_flatness(samples, rate))
        return beyond(math.log(flatness / self.flatness), math.log(FLATNESS_FACTOR))

    def _off_pulsation(self, found: float) -> float:
        """A complaint about a pulsation per minute, 0 for none."""
        if not found:
            return WEIGHS_MOST * MOST
        own = self.pulsations[0]
        return min(
            WEIGHS_MOST * beyond(math.log(found / usual), math.log(PULSATION_FACTOR))
            + LESS_USUAL * (_is_multiple(usual, own) or _is_multiple(own, usual))
            for usual in self.pulsations
        )


def portrait(samples: Samples, other: Samples, rate: int) -> Portrait:
    """Of a song, or of its training part: mono [n], full scale ±1.0, mapped from the disk or not.

    `other` is real audio of the song that is no part of it: what it seems to copy is no copy.
    """
    windows = _windows(samples, rate)
    dbfs, floor_db = level(np.concatenate(windows), rate), log_mel_floor(windows, rate)
    leveled = [at_level(window, rate, dbfs, MOST_GAIN_DB) for window in (*windows, other[: len(windows[0])])]
    copied = _copy_threshold(samples, leveled.pop(), rate, floor_db)
    return Portrait(
        level=dbfs,
        trend=float(np.quantile([abs(level_trend(window, rate)) for window in windows], 0.9)),
        flatness=max(_LEAST_FLATNESS, float(np.median([spectral_flatness(window, rate) for window in windows]))),
        onsets=usual_onset_rate(samples, rate),
        pulsations=usual_pulsations(samples, rate),
        floor_db=floor_db,
        copied=copied,
        repeated=max(originality.repeated(window, rate, floor_db, copied) for window in leveled),
    )


def usual_pulsations(samples: Samples, rate: int) -> list[float]:
    """Per minute, those that a good part of the minutes of a song have.

    The most frequent comes first, or the one that the song has as a whole, where that is one of them.
    """
    usual = _usual([pulsation_rate(window, rate) for window in _windows(samples, rate)])
    if len(usual) > 1 and len(samples) <= LONGEST_WHOLE_SECONDS * rate:
        whole = pulsation_rate(samples, rate)
        usual.sort(key=lambda one: not whole or not is_same(one, whole))
    return usual


def _windows(samples: Samples, rate: int) -> list[Samples]:
    """Minutes spread over a song; all of a shorter one."""
    length = min(len(samples), round(WINDOW_SECONDS * rate))
    starts = np.unique(np.linspace(0, len(samples) - length, WINDOWS).astype(int))
    return [samples[start : start + length] for start in starts]


def _copy_threshold(samples: Samples, other: Samples, rate: int, floor_db: float) -> float:
    if len(other) < 2 * originality.STRETCH_SECONDS * rate:
        return originality.LEAST_COPY
    real = originality.pictured(other, rate, floor_db)
    return originality.copy_threshold(originality.nearest([real], samples, rate, floor_db)[0], ORDINARY_SHARE)


def _usual(rates: Sequence[float]) -> list[float]:
    """Of pulsation rates those that a good part of all have, the most frequent first, one for each kind."""
    left, usual = np.array([rate for rate in rates if rate]), []
    while len(left):
        alike = np.abs(np.log(left[:, None] / left)) <= math.log(PULSATION_FACTOR)
        most = alike[alike.sum(1).argmax()]
        if most.sum() < USUAL_SHARE * len(rates):
            break
        usual.append(float(np.median(left[most])))
        left = left[~most]
    return usual


def _is_multiple(one: float, other: float) -> bool:
    """Of pulsations: whether one has several of the other's in it."""
    return one > PULSATION_FACTOR * other and is_same(one, round(one / other) * other)


def is_same(one: float, other: float) -> bool:
    """Of pulsations, or of the times that they take."""
    return abs(math.log(one / other)) <= math.log(PULSATION_FACTOR)


def beyond(value: float, allowed: float, most: float = MOST) -> float:
    """How far a figure is beyond what is allowed, in units of that."""
    return min(most, max(0.0, abs(value) / allowed - 1.0))
