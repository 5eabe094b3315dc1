"""Form: how the moments of a long piece stand to one another, over minutes.

A moment is two seconds, told by its mean log-mel spectrum. Of a piece that is stuck all moments are alike; of one that
drifts they are less alike the farther they lie apart; and a piece with sections turns, now and then, to something else.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.signal

from sonicrnn.distances import at_level
from sonicrnn.levels import Floats, Samples
from sonicrnn.views import BANDS, log_mel_rows

MOMENT_SECONDS = 2.0
SHORTEST_SECONDS = 120.0
APART_SECONDS = 10.0  # moments nearer than that are alike whatever the form
TURN_SECONDS = 16.0  # before and after a turn, that differ
TURN_SHARE = 0.3  # of the song's variety, that they differ by more than each does in itself
_MOST_GAIN_DB = 12.0


@dataclass(frozen=True)
class Form:
    """Of a piece or a song.

    Attributes:
        variety: how far two moments lie from one another, RMS over bands, dB.
        drift: how far moments lie apart that are more than half of it apart, against those that are less: 1 for none.
        turns: a minute, to something else.
    """

    variety: float
    drift: float
    turns: float


def moments(samples: Samples, rate: int, song_dbfs: float, floor_db: float) -> Floats:
    """The log-mel spectrum of each moment, dB, [moments, 64], at the song's level; `floor_db` as of `log_mel`."""
    rows = log_mel_rows(at_level(samples, rate, song_dbfs, _MOST_GAIN_DB), rate, floor_db)
    whole = max(1, round(len(samples) / rate / MOMENT_SECONDS))
    edges = np.linspace(0, len(rows), whole + 1).astype(int)
    return np.stack([rows[first:last].mean(0) for first, last in itertools.pairwise(edges)])


def unlikeness(of: Floats) -> Floats:
    """How far each of the `moments` is from each other: RMS over the bands, dB, [moments, moments]."""
    squares = np.square(of).sum(1)
    squared = squares[:, None] + squares[None] - 2.0 * of @ of.T
    return np.asarray(np.sqrt(np.maximum(squared, 0.0) / BANDS))


def form(of: Floats, song_variety: float | None = None) -> Form:
    """Of the `moments` of a piece of two minutes or more; turns are told by the song's variety, or by its own."""
    apart = unlikeness(of)
    lags = np.abs(np.arange(len(of))[:, None] - np.arange(len(of)))
    far = lags >= round(APART_SECONDS / MOMENT_SECONDS)
    farther = lags > len(of) // 2
    variety = float(np.sqrt(np.mean(np.square(apart[far]))))
    near = float(np.sqrt(np.mean(np.square(apart[far & ~farther]))))
    beyond = float(np.sqrt(np.mean(np.square(apart[farther]))))
    least = TURN_SHARE * (song_variety or variety)
    minutes = len(of) * MOMENT_SECONDS / 60.0
    return Form(variety, beyond / near if near else 1.0, len(turns(apart, least)) / minutes)


def turns(apart: Floats, least: float) -> list[int]:
    """The moments at which something else begins: `unlikeness` [moments, moments], and how much it has to differ by.

    What lies before and after is compared with what each is in itself, as by the checkerboard of Foote (2000).
    """
    size = round(TURN_SECONDS / MOMENT_SECONDS)
    novelty = np.zeros(len(apart))
    others = ~np.eye(size, dtype=bool)
    for at in range(size, len(apart) - size + 1):
        before, after = slice(at - size, at), slice(at, at + size)
        inside = (apart[before, before][others].mean() + apart[after, after][others].mean()) / 2
        novelty[at] = apart[before, after].mean() - inside
    peaks, _ = scipy.signal.find_peaks(novelty, height=max(least, 1e-9), distance=size)
    return [int(peak) for peak in peaks]
