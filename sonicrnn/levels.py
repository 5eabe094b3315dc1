"""How loud: level over time and its trend, silence, clipping, offset.

Samples are mono, [n], full scale ±1.0. Levels are RMS in dBFS about the mean of each second, so that a full-scale sine
reads −3.01, a full-scale square wave 0, and a constant, or one that wanders - which nobody hears - is silence.
Everything reads its samples in blocks: a song that is mapped from the disk never stands in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[Any]

FLOOR_DBFS = -120.0  # what digital silence reads: under anything that 16 or 24 bits of music hold
SILENT_DBFS = -60.0
SILENT_UNDER_MEDIAN_DB = 40.0
CLIPPED = 0.999  # of full scale; int16 holds 32767/32768 = 0.99997
CLIPPED_RUN = 3  # samples in a row: one or two at full scale are a peak that fits
TREND_WINDOWS = 1200  # the trend looks at pairs, so their number stays bounded
_BLOCK = 1 << 20


def blocks(samples: Samples, size: int = _BLOCK) -> Iterator[Floats]:
    """Yield the samples as float64, `size` at a time."""
    for start in range(0, len(samples), size):
        yield np.asarray(samples[start : start + size], np.float64)


def decibels(power: npt.ArrayLike, floor: float = FLOOR_DBFS) -> Floats:
    """10·log10 of a power, not under `floor` dB."""
    return np.asarray(10.0 * np.log10(np.maximum(np.asarray(power, np.float64), 10.0 ** (floor / 10.0))))


def dc_offset(samples: Samples) -> float:
    """The mean of the samples, as a signed share of full scale. 0 for no samples."""
    return sum(float(block.sum()) for block in blocks(samples)) / max(1, len(samples))


def level(samples: Samples, rate: int) -> float:
    """RMS level about the mean of each second, in dBFS; −3.01 for a full-scale sine, −120 for silence."""
    powers = window_powers(samples, rate, rate)
    counts = np.clip(len(samples) - rate * np.arange(len(powers)), 1, rate)  # the last second may be short
    return float(decibels(np.average(powers, weights=counts)))


def window_powers(samples: Samples, window: int, hop: int) -> Floats:
    """Mean square about the mean of each window of `window` samples, one every `hop` samples: [windows].

    Windows start at 0, hop, 2·hop … until one reaches the end, so that every sample is in a window (if
    `hop` <= `window`); the last window holds what is left, more than `window - hop` samples.
    """
    if window < 1 or hop < 1:
        raise ValueError(f"window and hop must be at least 1 sample, not {window} and {hop}")
    count = 1 + max(0, -(-(len(samples) - window) // hop))
    at_once = max(1, (_BLOCK - window) // hop + 1)
    parts = []
    for first in range(0, count, at_once):
        last = min(count, first + at_once)
        begin = first * hop
        block = np.asarray(samples[begin : (last - 1) * hop + window], np.float64)
        starts = np.arange(last - first) * hop
        stops = np.minimum(starts + window, len(block))
        length = np.maximum(1, stops - starts)
        mean = _window_sums(block, starts, stops) / length
        parts.append(np.maximum(0.0, _window_sums(np.square(block), starts, stops) / length - np.square(mean)))
    return np.concatenate(parts)


def _window_sums(values: Floats, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> Floats:
    # reduceat sums from each index to the next one if that is larger: every second result is a window's.
    # Unlike a running sum it keeps its precision where a quiet window follows a loud one.
    edges = np.stack([starts, stops], axis=1).reshape(-1)  # [windows, 2] -> [2 · windows]
    return np.asarray(np.add.reduceat(np.append(values, 0.0), edges)[::2], np.float64)


def level_curve(samples: Samples, rate: int, window_seconds: float = 1.0, hop_seconds: float = 0.5) -> Floats:
    """RMS level of each window in dBFS, [windows] float64; the k-th starts at k·`hop_seconds` (see `window_powers`)."""
    window, hop = max(1, round(window_seconds * rate)), max(1, round(hop_seconds * rate))
    return decibels(window_powers(samples, window, hop))


def level_trend(samples: Samples, rate: int) -> float:
    """How fast the level rises (+) or falls (−), in dB per minute.

    The median slope over pairs of 1 s windows (wider ones above ten minutes), as Theil (1950) and Sen (1968), so that
    a single rest or a single beat does not count as a trend; of pairs that are at least half the length apart, so that
    silence which sets in anywhere does. No window is left out: silence counts as −120 dBFS. 0 for a single window.
    """
    window = max(1.0, 2.0 * len(samples) / rate / TREND_WINDOWS)
    levels = level_curve(samples, rate, window, window / 2)
    first, second = np.triu_indices(len(levels), max(1, len(levels) // 2))
    if not len(first):
        return 0.0
    return float(np.median((levels[second] - levels[first]) / (second - first)) * 60.0 / (window / 2))


@dataclass(frozen=True)
class Silence:
    """`share`: of the 1 s windows, 0..1; `longest_seconds`: the longest silent stretch; under `threshold_dbfs`."""

    share: float
    longest_seconds: float
    threshold_dbfs: float


def silence_threshold(levels: Floats) -> float:
    """The level in dBFS under which a window is silent: −60, or 40 dB under the median level if that is higher."""
    return max(SILENT_DBFS, float(np.median(levels)) - SILENT_UNDER_MEDIAN_DB)


def silence(samples: Samples, rate: int, threshold_dbfs: float | None = None) -> Silence:
    """How much of the samples is silent.

    A window is silent under `threshold_dbfs`; without one, under `silence_threshold` of the samples themselves. To
    judge a piece by its song, give the song's. The share is of 1 s windows, the longest stretch is found in steps of
    0.1 s.
    """
    levels = level_curve(samples, rate)
    threshold = silence_threshold(levels) if threshold_dbfs is None else threshold_dbfs
    silent = level_curve(samples, rate, 0.1, 0.1) < threshold
    return Silence(float(np.mean(levels < threshold)), min(_longest_run(silent) * 0.1, len(samples) / rate), threshold)


def _run_lengths(flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return edges[1::2] - edges[::2]


def _longest_run(flags: npt.NDArray[np.bool_]) -> int:
    return int(max(_run_lengths(flags), default=0))


def clipping(samples: Samples) -> float:
    """Share (0..1) of the samples that stand in runs of at least 3 at or over 0.999 of full scale on one side."""
    halo, clipped = CLIPPED_RUN - 1, 0
    for start in range(0, len(samples), _BLOCK):
        before = min(start, halo)
        block = np.asarray(samples[start - before : start + _BLOCK + halo])
        for side in (block >= CLIPPED, block <= -CLIPPED):
            run = np.logical_and.reduce([side[k : len(side) - halo + k] for k in range(CLIPPED_RUN)])
            inside = np.convolve(run, np.ones(CLIPPED_RUN)) > 0  # each start of a run spread over the run
            clipped += int(inside[before : before + _BLOCK].sum())
    return clipped / max(1, len(samples))
