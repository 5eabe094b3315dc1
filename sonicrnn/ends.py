"""Where a song really starts and ends: the silent lead-in, and the fade at the end."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from sonicrnn.levels import FLOOR_DBFS, Floats, Samples, blocks, decibels, level, window_powers

SILENT_UNDER_LEVEL_DB = 60.0
_TAIL_UNDER_LEVEL_DB = 90.0  # lower, because a fade's own last samples are faint, too
SHORTEST_FADE_SECONDS, LONGEST_FADE_SECONDS = 0.2, 25.0
_REACH_SECONDS = 45.0  # what is looked at before the end: the fade and the music before it
_LEVEL_HERTZ = 20.0
_LEVEL_RANGE_DB = 60.0
# How music's level may move of itself: how long it stays what it is, what it jumps by from one 50 ms to the next, and
# how much of it is a pulsation.
_WANDERS_SECONDS = (0.5, 1.0, 2.0, 4.0)
_FLICKERS_DB = (0.3, 0.7, 1.5, 3.0)
_PULSES, _PULSE_LASTS_SECONDS, _LONGEST_PERIOD_SECONDS, _LEAST_REPEAT = (0.0, 0.5, 0.9), 60.0, 12.0, 0.2
_LEAST_SPREAD_DB = 1.0
_BENDS = (0.0, 1.0)
_EVIDENCE = 10.0  # twice the log likelihood ratio; music that is cut off anywhere hardly ever comes to it
_ALIKE = 2.0  # in the same measure
_WORST_FIT = 2.0  # mean square of the normalised innovations in the fade, against 1 or those before it


def silence_ends(samples: Samples, rate: int) -> tuple[int, int]:
    """Samples of silence at the start and of the fade at the end, (lead_in, fade_out); 0 where there is none.

    The lead-in ends at the first sample that is within 60 dB of the level of the whole. The fade is one to
    silence, along a straight line or a raised cosine, of 0.2 to 25 s, together with the silence after it; its length
    is right to about a third. A last chord that dies away, or an end in full sound, is no fade. (n, 0) when all is
    silent.
    """
    whole = level(samples, rate)
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
    return lead_in, _fade(last, rate, 10.0 ** ((whole - _TAIL_UNDER_LEVEL_DB) / 20.0))


def _fade(last: Floats, rate: int, threshold: float) -> int:
    loud = np.flatnonzero(np.abs(last) > threshold)
    silent = len(last) - 1 - int(loud[-1]) if len(loud) else len(last)
    fade = _fade_seconds(last[: len(last) - silent], rate)
    tail = silent if silent >= SHORTEST_FADE_SECONDS * rate else 0
    return round(fade * rate) + silent if fade else tail


def _fade_seconds(last: Floats, rate: int) -> float:
    """Length in seconds of the fade that explains the end best, 0 when none does.

    The level in dB is seen as a Gaussian process (Matérn 3/2: Rasmussen & Williams 2006) about a constant, which
    learns from the music before how its level moves. The fade whose removal makes the end most likely wins, if that is
    much likelier than with none, and if what is left moves as the music before.
    """
    step = max(1, round(rate / _LEVEL_HERTZ))
    levels = decibels(window_powers(last[len(last) % step :], step, step))  # [time], oldest first
    levels = np.maximum(levels, np.median(levels) - _LEVEL_RANGE_DB)
    left = (len(levels) - 1 - np.arange(len(levels))) / _LEVEL_HERTZ  # seconds from the end of each window to the end
    levels, left = levels[:-1], left[:-1]  # where a fade ends all is so faint that rounding decides
    lengths = np.geomspace(SHORTEST_FADE_SECONDS, 1.1 * LONGEST_FADE_SECONDS, 150)
    lengths = lengths[lengths < 0.6 * left[0]] if len(left) else lengths[:0]
    if len(lengths) < 2:
        return 0.0
    fades = np.concatenate([_fades_decibels(left, lengths, bend) for bend in _BENDS], axis=1)  # [time, bends · lengths]
    movement = _movement(left[: len(left) // 2], levels[: len(left) // 2])
    innovations, _ = _innovations(left, np.column_stack([levels, levels[:, None] - fades]), movement)
    unlikely = np.square(innovations).sum(axis=0)
    # Of lengths that are about as likely the longest: a fade starts so gently that its first part hardly shows.
    alike = 1 + np.flatnonzero(unlikely[1:] <= unlikely[1:].min() + _ALIKE)
    best = int(max(alike, key=lambda column: lengths[(column - 1) % len(lengths)]))
    number = (best - 1) % len(lengths)
    length = float(lengths[number])
    inside = left < length
    fit, before = (float(np.square(innovations[part, best]).mean()) for part in (inside, ~inside))
    explained = unlikely[0] - unlikely[best] >= _EVIDENCE and fit <= _WORST_FIT * max(1.0, before)
    return length if explained and length <= LONGEST_FADE_SECONDS and number < len(lengths) - 1 else 0.0


def _fades_decibels(left: Floats, lengths: Floats, bend: float) -> Floats:
    """What fades of these lengths do to windows that end `left` seconds before the end, in dB: [time, lengths].

    The gain falls to 0 as a straight line (`bend` 0) or as a raised cosine (1).
    """
    inside = (np.arange(8) + 0.5) / 8 / _LEVEL_HERTZ  # moments of a window, seconds from its end
    moments = np.minimum(1.0, (left[:, None] + inside)[:, None, :] / lengths[:, None])  # [time, lengths, moments]
    gain = (1.0 - bend) * moments + bend * np.square(np.sin(np.pi / 2.0 * moments))
    return decibels(np.square(gain).mean(axis=2), -_LEVEL_RANGE_DB)


@dataclass(frozen=True)
class _Movement:
    """How a level moves of itself, as the covariance of a Gaussian process in dB²."""

    spread: float  # dB
    wander: float  # seconds that it takes to get away by about the spread
    flicker: float  # dB, from one level to the next
    pulse: float  # share of the spread that comes again, 0..1
    period: float  # seconds after which

    def covariance(self, times: Floats) -> Floats:
        """[time, time], of evenly spaced times: what stands there depends on the lag alone."""
        lag = np.abs(times - times[0])
        again = np.exp(-2.0 * np.square(np.sin(np.pi * lag / self.period))) * _matern(lag, _PULSE_LASTS_SECONDS)
        wandering = (1.0 - self.pulse) * _matern(lag, self.wander)
        covariance = self.spread**2 * (self.pulse * again + wandering)
        covariance[0] += self.flicker**2
        return np.asarray(scipy.linalg.toeplitz(covariance))


def _matern(lag: Floats, seconds: float) -> Floats:
    scaled = np.sqrt(3.0) * lag / seconds
    return np.asarray((1.0 + scaled) * np.exp(-scaled))


def _movement(times: Floats, levels: Floats) -> _Movement:
    """The movement that makes these levels most likely."""
    spread = max(_LEAST_SPREAD_DB, 1.4826 * float(np.median(np.abs(levels - np.median(levels)))))
    period = _period(levels)
    best, least = None, np.inf
    for wander, flicker, pulse in itertools.product(_WANDERS_SECONDS, _FLICKERS_DB, _PULSES if period else (0.0,)):
        movement = _Movement(spread, wander, flicker, pulse, period or 1.0)
        innovations, volume = _innovations(times, levels[:, None], movement)
        unlikely = float(np.square(innovations).sum()) + 2.0 * volume
        if unlikely < least:
            best, least = movement, unlikely
    assert best is not None
    return best


def _period(levels: Floats) -> float | None:
    """Seconds after which the levels come again, from their autocorrelation; None when they do not."""
    smooth = np.convolve(levels - levels.mean(), np.hanning(0.5 * _LEVEL_HERTZ), mode="same")
    smooth = smooth - smooth.mean()
    count = len(smooth)
    correlation = np.correlate(smooth, smooth, "full")[count - 1 :] / (count - np.arange(count))
    shortest, longest = int(_LEVEL_HERTZ), min(int(_LONGEST_PERIOD_SECONDS * _LEVEL_HERTZ), count // 2)
    peaks = [lag for lag in range(shortest, longest) if correlation[lag - 1] <= correlation[lag] > correlation[lag + 1]]
    highest = max((correlation[lag] for lag in peaks), default=0.0)
    if highest <= _LEAST_REPEAT * correlation[0]:
        return None
    return next(lag for lag in peaks if correlation[lag] >= 0.8 * highest) / _LEVEL_HERTZ


def _innovations(times: Floats, levels: Floats, movement: _Movement) -> tuple[Floats, float]:
    """What is new in each level after those before it, in deviations, each series about its mean: [time, series].

    And the log of the volume that the levels were expected in.
    """
    root = scipy.linalg.cholesky(movement.covariance(times), lower=True)
    columns = np.column_stack([np.ones(len(times)), levels])
    whitened = scipy.linalg.solve_triangular(root, columns, lower=True)
    constant, series = whitened[:, :1], whitened[:, 1:]
    innovations = series - constant * (constant.T @ series) / np.square(constant).sum()
    return np.asarray(innovations), float(np.log(np.diag(root)).sum())
