"""Where a song really starts and ends: the silent lead-in, and the fade at the end."""

from __future__ import annotations

import numpy as np
import scipy.linalg

from sonicrnn.levels import FLOOR_DBFS, Floats, Samples, blocks, decibels, level, window_powers

SILENT_UNDER_LEVEL_DB = 60.0
SHORTEST_FADE_SECONDS, LONGEST_FADE_SECONDS = 0.2, 25.0
_REACH_SECONDS = 45.0  # what is looked at before the end: the fade and the music before it
_LEVEL_HERTZ = 20.0
_LEVEL_RANGE_DB = 60.0
# How music's level moves of itself: within a second it wanders by its usual spread, from one 50 ms to the next by 2 dB.
_WANDER_SECONDS, _FLICKER_DB, _LEAST_SPREAD_DB = 1.0, 2.0, 2.0
_EVIDENCE = 15.0  # twice the log likelihood ratio; music that is cut off anywhere stays under 5
_WORST_FIT = 2.0  # mean square of the normalised innovations in the fade, against 1 or those before it


def silence_ends(samples: Samples, rate: int) -> tuple[int, int]:
    """Samples of silence at the start and of the fade at the end, (lead_in, fade_out); 0 where there is none.

    The lead-in ends at the first sample that is within 60 dB of the level of the whole. The fade is one to
    silence, linear in amplitude or nearly so, of 0.2 to 25 s, together with the silence after it; its length is
    right to about a quarter. A last chord that dies away, or an end in full sound, is no fade. (n, 0) when all is
    silent.
    """
    whole = level(samples)
    if whole <= FLOOR_DBFS + 1.0:
        return len(samples), 0
    threshold = 10.0 ** ((whole - SILENT_UNDER_LEVEL_DB) / 20.0)
    lead_in = 0
    for block in blocks(samples):
        loud = np.abs(block) > threshold
        if loud.any():
            lead_in += int(np.argmax(loud))
            break
        lead_in += len(block)
    last = np.asarray(samples[lead_in:][-round(_REACH_SECONDS * rate) :], np.float64)
    return lead_in, _fade(last, rate, threshold)


def _fade(last: Floats, rate: int, threshold: float) -> int:
    # The silence after a fade is cut off first; a fade's own last samples lie under the threshold, too, but so few do
    # that its length hardly changes.
    loud = np.flatnonzero(np.abs(last) > threshold)
    silent = len(last) - 1 - int(loud[-1]) if len(loud) else len(last)
    fade = _fade_seconds(last[: len(last) - silent], rate)
    tail = silent if silent >= SHORTEST_FADE_SECONDS * rate else 0
    return round(fade * rate) + silent if fade else tail


def _fade_seconds(last: Floats, rate: int) -> float:
    """Length in seconds of the linear fade that explains the end best, 0 when none does.

    The level in dB is seen as a Gaussian process (Matérn 3/2: Rasmussen & Williams 2006) about a constant. The
    fade whose removal makes it most likely wins, if that is much likelier than without, and if what it leaves
    moves as music does.
    """
    step = max(1, round(rate / _LEVEL_HERTZ))
    levels = decibels(window_powers(last[len(last) % step :], step, step))  # [time], oldest first
    levels = np.maximum(levels, np.median(levels) - _LEVEL_RANGE_DB)
    left = (len(levels) - 1 - np.arange(len(levels))) / _LEVEL_HERTZ  # seconds from the end of each window to the end
    lengths = np.geomspace(SHORTEST_FADE_SECONDS, 1.1 * LONGEST_FADE_SECONDS, 150)
    lengths = lengths[lengths < 0.6 * left[0]]
    if len(lengths) < 2:
        return 0.0
    removed = levels[:, None] - np.stack([_ramp_decibels(left, length) for length in lengths], axis=1)
    innovations = _innovations(left, np.column_stack([levels, removed]), _spread(levels[: len(levels) // 2]))
    unlikely = np.square(innovations).sum(axis=0)
    best = 1 + int(np.argmin(unlikely[1:]))
    length = float(lengths[best - 1])
    inside = left < length
    fit, before = (float(np.square(innovations[part, best]).mean()) for part in (inside, ~inside))
    explained = unlikely[0] - unlikely[best] >= _EVIDENCE and fit <= _WORST_FIT * max(1.0, before)
    return length if explained and length <= LONGEST_FADE_SECONDS and best < len(lengths) else 0.0


def _ramp_decibels(left: Floats, length: float) -> Floats:
    """Mean power in dB of a ramp to 0 over `length` seconds, in windows that end `left` seconds before its end."""
    low, high = left / length, np.minimum(1.0, (left + 1.0 / _LEVEL_HERTZ) / length)
    return np.where(low < 1.0, decibels((high**2 + high * low + low**2) / 3.0, -_LEVEL_RANGE_DB), 0.0)


def _spread(levels: Floats) -> float:
    return max(_LEAST_SPREAD_DB, 1.4826 * float(np.median(np.abs(levels - np.median(levels)))))


def _innovations(times: Floats, levels: Floats, spread: float) -> Floats:
    """What is new in each level after those before it, in deviations, each series about its mean: [time, series]."""
    lag = np.sqrt(3.0) * np.abs(times[:, None] - times) / _WANDER_SECONDS
    covariance = spread**2 * (1.0 + lag) * np.exp(-lag) + _FLICKER_DB**2 * np.eye(len(times))
    whitened = scipy.linalg.solve_triangular(
        scipy.linalg.cholesky(covariance, lower=True), np.column_stack([np.ones(len(times)), levels]), lower=True
    )
    constant, series = whitened[:, :1], whitened[:, 1:]
    return np.asarray(series - constant * (constant.T @ series) / np.square(constant).sum())
