"""Too fast? The pace of a piece against the pace of its song, whatever they play.

The peak of an autocorrelation names a pulsation, but whether it names the bar or the beat is a toss-up, and a ratio
of two tosses says little. Here whole curves are compared, as functions of the logarithm of time: music that is
played faster has the same curves, moved along. How far they must be moved until they fit is the speed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.signal

from sonicrnn.levels import Floats, Samples, level_trend
from sonicrnn.rhythm import ENVELOPE_HERTZ, LOUDNESS_EXPONENT, envelope, parabola

STEPS_AN_OCTAVE = 24
OCTAVES_TRIED = 2.5  # 5.7 times slower to 5.7 times faster
SHORTEST_SECONDS = 8.0  # under this there is no pace to speak of
_LAGS = (0.15, 16.0)  # seconds
_HERTZ = (0.1, 20.0)
_TREND_SECONDS = 10.0
_BIN_OCTAVES = 1.0 / 12.0
_LEAST_OVERLAP = STEPS_AN_OCTAVE  # steps that two curves must have in common
CLEARLY_BETTER = 0.1


@dataclass(frozen=True, eq=False)
class Pace:
    """The loudness envelope's autocorrelation at lags, and its power in dB at frequencies, both in 1/24 octaves."""

    correlation: Floats  # [lags]
    modulation: Floats  # [frequencies]


@dataclass(frozen=True)
class Speed:
    """`ratio`: 2 is twice as fast as the song; `fit`: how alike the curves are at that speed, −1 to 1."""

    ratio: float
    fit: float


def pace(samples: Samples, rate: int) -> Pace:
    """The pace of the samples. Only paces of (about) equally many seconds can be compared.

    Raises ValueError for less than 8 seconds.
    """
    if len(samples) < SHORTEST_SECONDS * rate:
        raise ValueError(f"{len(samples) / rate:.1f} s are too short for a pace: {SHORTEST_SECONDS:.0f} s are needed")
    loudness = envelope(samples, rate)
    # A fade must not pass for a very slow movement.
    minutes = np.arange(len(loudness)) / ENVELOPE_HERTZ / 60.0
    loudness = loudness * 10.0 ** (-LOUDNESS_EXPONENT * level_trend(samples, rate) * minutes / 10.0)
    return Pace(_correlation(loudness), _modulation(loudness))


def _correlation(loudness: Floats) -> Floats:
    flat = loudness - scipy.ndimage.gaussian_filter1d(loudness, _TREND_SECONDS * ENVELOPE_HERTZ)
    time = len(flat)
    products = scipy.signal.fftconvolve(flat, flat[::-1])[time - 1 :] / (time - np.arange(time))
    longest = min(_LAGS[1], 0.4 * time / ENVELOPE_HERTZ)
    lags = _geometric(_LAGS[0], longest) * ENVELOPE_HERTZ
    return np.asarray(np.interp(lags, np.arange(time), products) / max(float(products[0]), 1e-30))


def _modulation(loudness: Floats) -> Floats:
    relative = scipy.signal.detrend(loudness / max(float(loudness.mean()), 1e-30))
    segment = min(len(relative), round(60.0 * ENVELOPE_HERTZ))
    bins, power = scipy.signal.welch(relative, ENVELOPE_HERTZ, "hann", segment, segment // 2, 1 << 16)
    total = np.concatenate([[0.0], np.cumsum(power)])[:-1]
    hertz = _geometric(*_HERTZ)
    below, above = (np.interp(hertz * 2.0 ** (side * _BIN_OCTAVES / 2), bins, total) for side in (-1.0, 1.0))
    return np.asarray(10.0 * np.log10((above - below) / hertz + 1e-12))


def _geometric(first: float, last: float) -> Floats:
    return np.asarray(first * 2.0 ** (np.arange(int(STEPS_AN_OCTAVE * np.log2(last / first)) + 1) / STEPS_AN_OCTAVE))


def speed(piece: Pace, song: Sequence[Pace]) -> Speed:
    """How much faster than the song the piece is, given the paces of windows of the song (at least one).

    A song that has passages of several paces has windows of several paces: the best-fitting window counts. The speed
    next to 1 is taken unless another one fits clearly better (by 0.1 in correlation), since music also fits itself at
    double speed, only less.
    """
    steps = round(STEPS_AN_OCTAVE * OCTAVES_TRIED)
    # All curves start at the same lag and frequency; the shortest sound has the fewest lags.
    lags = min(len(one.correlation) for one in (piece, *song))
    correlation = _correlations(piece.correlation[:lags], np.stack([one.correlation[:lags] for one in song]), steps)
    modulation = _correlations(piece.modulation, np.stack([one.modulation for one in song]), steps)
    # Faster is to higher frequencies, and to shorter lags.
    fits = ((modulation + correlation[::-1]) / 2.0).max(axis=1)  # [speeds], the slowest first
    peaks = np.flatnonzero((fits[1:-1] >= fits[:-2]) & (fits[1:-1] > fits[2:])) + 1
    if not len(peaks):
        return Speed(1.0, float(fits[steps]))
    good = peaks[fits[peaks] >= fits[peaks].max() - CLEARLY_BETTER]
    nearest = int(good[np.argmin(np.abs(good - steps))])
    place, height = parabola(fits, nearest)
    return Speed(float(2.0 ** ((place - steps) / STEPS_AN_OCTAVE)), float(height))


def _correlations(moved: Floats, still: Floats, steps: int) -> Floats:
    """Correlation of one curve, moved by −steps … steps points, with others [curves, points]: [moves, curves]."""
    result = np.full((2 * steps + 1, len(still)), -1.0)
    length = still.shape[1]
    for index, offset in enumerate(range(-steps, steps + 1)):
        common = length - abs(offset)
        if common >= _LEAST_OVERLAP:
            here, there = moved[max(0, offset) :][:common], still[:, max(0, -offset) :][:, :common]
            here, there = here - here.mean(), there - there.mean(axis=1, keepdims=True)
            energy = np.square(here).sum() * np.square(there).sum(axis=1)
            result[index] = np.where(energy > 1e-20, there @ here / np.sqrt(np.maximum(energy, 1e-20)), 0.0)
    return result
