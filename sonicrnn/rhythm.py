"""How it moves in time: the loudness envelope, its pulsation, onsets, modulation, clicks at frame borders.

Samples are mono, [n], full scale ±1.0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import scipy.signal

from sonicrnn.levels import FLOOR_DBFS, Floats, Samples, decibels, window_powers
from sonicrnn.spectrum import frame_and_hop, log_mel
from sonicrnn.windows import spread

ENVELOPE_HERTZ = 100.0
LOUDNESS_EXPONENT = 0.3  # loudness grows with power to the 0.3 (Stevens 1957)
SLOWEST_PULSATION, FASTEST_PULSATION = 3.0, 60.0  # per minute
_PULSATION_HERTZ = 20.0
_FIRST_PEAK_SHARE = 0.8
ONSET_RISE_DB = 1.0
_ONSET_LAG_SECONDS = 0.048
_ONSET_GAP_SECONDS = 0.06
LONGEST_WHOLE_SECONDS = 1200.0  # of a song that is heard as a whole, not by minutes of it
_MINUTES = 16
MODULATION_HERTZ = (0.05, 20.0)
_MODULATION_SEGMENT_SECONDS = 60.0
MODULATION_FLOOR_DB = -80.0
_NO_ROUGHNESS_DB = -60.0  # frames that are flat inside and jump at their borders read 60 dB and more


def envelope(samples: Samples, rate: int) -> Floats:
    """The loudness envelope, [time] at 100 Hz: power over 40 ms to the 0.3. 1 is a full-scale square wave."""
    block = rate / ENVELOPE_HERTZ
    step = max(1, round(block))
    power = window_powers(samples, 4 * step, step)
    if step != block:  # a rate that 100 Hz does not divide: read the envelope at the exact times
        times = np.arange(int(len(power) * step / block)) * block / step
        power = np.interp(times, np.arange(len(power)), power)
    return np.asarray(np.power(power, LOUDNESS_EXPONENT))


@dataclass(frozen=True)
class Pulsation:
    """`per_minute`: 3..60, 0 when there is none; `strength`: the autocorrelation there, 0 (none) to 1 (exact)."""

    per_minute: float
    strength: float


def pulsation_rate(samples: Samples, rate: int) -> float:
    """Pulsations per minute (3..60), 0 when there are none: `pulsation(...).per_minute`."""
    return pulsation(samples, rate).per_minute


def pulsation(samples: Samples, rate: int) -> Pulsation:
    """The slow rise and fall of the loudness, from the autocorrelation of its envelope.

    The envelope is smoothed to what is slower than 1 Hz and freed of its trend (anything slower than 3 a minute).
    Of the autocorrelation's peaks at lags of 1..20 s - or half the samples, if that is less - the first that comes to
    0.8 of the highest counts, read off with a parabola through its three points. Three periods or more make it
    reliable.
    """
    slow = scipy.ndimage.gaussian_filter1d(envelope(samples, rate), 0.2 * ENVELOPE_HERTZ, mode="reflect")
    slow = slow[:: round(ENVELOPE_HERTZ / _PULSATION_HERTZ)]  # [time] at 20 Hz
    slow = _without_trend(slow, _PULSATION_HERTZ)
    shortest = round(60.0 / FASTEST_PULSATION * _PULSATION_HERTZ)
    longest = min(round(60.0 / SLOWEST_PULSATION * _PULSATION_HERTZ), len(slow) // 2)
    if longest <= shortest or not np.any(slow):
        return Pulsation(0.0, 0.0)
    correlation = _autocorrelation(slow, longest + 2)
    lags = np.arange(shortest, longest + 1)
    here, before, after = correlation[lags], correlation[lags - 1], correlation[lags + 1]
    peaks = lags[(here >= before) & (here > after) & (here > 0.0)]
    if not len(peaks):
        return Pulsation(0.0, 0.0)
    first = peaks[np.argmax(correlation[peaks] >= _FIRST_PEAK_SHARE * correlation[peaks].max())]
    lag, height = parabola(correlation, int(first))
    return Pulsation(float(60.0 * _PULSATION_HERTZ / lag), float(min(1.0, height)))


def _without_trend(values: Floats, hertz: float) -> Floats:
    # A straight line first: a smoothing alone bends at the ends and would leave a part of a steady rise.
    flat: Floats = np.asarray(scipy.signal.detrend(values))
    width = 60.0 / SLOWEST_PULSATION * hertz
    if len(flat) > 2 * width:
        flat = flat - scipy.ndimage.gaussian_filter1d(flat, width / 2, mode="reflect")
    return np.asarray(flat - flat.mean())


def _autocorrelation(values: Floats, lags: int) -> Floats:
    """Correlation of the values with themselves later, each lag over the energy of the two parts compared: [lags]."""
    padded = scipy.signal.fftconvolve(values, values[::-1])[len(values) - 1 :][:lags]
    energy = np.concatenate([[0.0], np.cumsum(np.square(values))])
    lag = np.arange(lags)
    both = energy[len(values) - lag] * (energy[-1] - energy[lag])
    return np.asarray(padded / np.sqrt(np.maximum(both, 1e-300)))


def parabola(values: Floats, index: int) -> tuple[float, float]:
    """Place and height of the top of the parabola through the points at index − 1, index, index + 1."""
    left, middle, right = values[index - 1 : index + 2]
    bend = left - 2.0 * middle + right
    offset = 0.0 if bend >= 0.0 else 0.5 * (left - right) / bend
    return index + offset, middle - 0.25 * (left - right) * offset


def onset_strength(samples: Samples, rate: int) -> Floats:
    """Spectral flux, [time] a row every 16 ms: the mean rise in dB of 40 mel bands against 48 ms before.

    As SuperFlux (Böck & Widmer 2013): the earlier frame's maximum over neighbouring bands is what must be exceeded,
    so that vibrato is no onset.
    """
    bands = log_mel(samples, rate, 40).astype(np.float64)
    lag = max(1, round(_ONSET_LAG_SECONDS * rate / frame_and_hop(rate)[1]))
    earlier = scipy.ndimage.maximum_filter1d(bands, 3, axis=1)[:-lag]
    return np.concatenate([np.zeros(min(lag, len(bands))), np.maximum(0.0, bands[lag:] - earlier).mean(axis=1)])


def onset_rate(samples: Samples, rate: int) -> float:
    """Note starts per second: peaks of `onset_strength` that stand 1 dB over the median of the second around them."""
    strength = onset_strength(samples, rate)
    hop_seconds = frame_and_hop(rate)[1] / rate
    around = scipy.ndimage.median_filter(strength, max(3, round(1.0 / hop_seconds)), mode="nearest")
    peaks, _ = scipy.signal.find_peaks(
        strength - around, height=ONSET_RISE_DB, distance=max(1, round(_ONSET_GAP_SECONDS / hop_seconds))
    )
    return len(peaks) * rate / max(1, len(samples))


def usual_onset_rate(samples: Samples, rate: int) -> float:
    """Note starts per second of a song of any length: `onset_rate` of all, or the mean over minutes of a longer one."""
    if len(samples) <= LONGEST_WHOLE_SECONDS * rate:
        return onset_rate(samples, rate)
    return float(np.mean([onset_rate(one, rate) for one in spread(samples, 60 * rate, _MINUTES)]))


def modulation_spectrum(samples: Samples, rate: int) -> tuple[Floats, Floats]:
    """How strongly the loudness moves at each pace: (hertz [27], dB [27]) in third-octave bands from 0.05 to 20 Hz.

    The mean power of the envelope's movement in a band, per Hz, against the square of its mean; not under −80 dB.
    Means over Hann windows of 60 s (or all there is) that overlap by half. Bands slower than the samples are long say
    nothing of their own.
    """
    loudness = envelope(samples, rate)
    lowest, highest = MODULATION_HERTZ
    count = 1 + round(3 * np.log2(highest / lowest))
    hertz = lowest * (highest / lowest) ** (np.arange(count) / (count - 1))
    mean = loudness.mean() if len(loudness) else 0.0
    if len(loudness) < 4 or mean <= 10.0 ** (FLOOR_DBFS / 10.0 * LOUDNESS_EXPONENT):
        return hertz, np.full(count, MODULATION_FLOOR_DB)
    segment = min(len(loudness), round(_MODULATION_SEGMENT_SECONDS * ENVELOPE_HERTZ))
    grid = max(segment, 8192) * 2  # zeros fill up the segment: narrow bands find a bin
    bins, power = scipy.signal.welch(
        loudness / mean, ENVELOPE_HERTZ, "hann", segment, segment // 2, grid, detrend="constant"
    )
    edges = np.searchsorted(bins, hertz[:, None] * 2.0 ** (np.array([-1, 1]) / 6.0))  # [bands, 2]
    means = np.array([power[first : max(first + 1, last)].mean() for first, last in edges])
    return hertz, np.maximum(10.0 * np.log10(np.maximum(means, 1e-30)), MODULATION_FLOOR_DB)


def border_clicks(samples: Samples, rate: int, period_samples: int) -> float:
    """How far the samples' roughness at multiples of `period_samples` stands over the rest, in dB.

    0: nothing happens at the borders of frames; 3 and more is a buzz or a ticking. Roughness is the square of the
    second difference, in which a jump stands out and music hardly shows. Stretches of a second (or eight periods)
    are brought to one roughness first, so that loud passages do not decide. The first border is at sample
    `period_samples`. 0 when there are fewer than eight periods, or all is silent. Raises ValueError for a period
    under 8 samples.
    """
    if period_samples < 8:
        raise ValueError(f"a period of {period_samples} samples is too short to have a border and an inside")
    periods = max(8, round(rate / period_samples))
    stretch = periods * period_samples
    border, rest = [], []
    for start in range(0, len(samples) - 8 * period_samples, stretch):
        block = np.asarray(samples[start : start + stretch], np.float64)
        block = block[: len(block) // period_samples * period_samples]
        if len(block) < 8 * period_samples:
            break
        rough = _roughness(block, period_samples)
        if rough.mean() > 1e-14:  # (1e-7 of full scale)²: silence has no clicks
            border.append(rough[:, :2].mean() / rough.mean())
            rest.append(rough[:, 2:].mean() / rough.mean())
    return float(decibels(np.mean(border)) - decibels(np.mean(rest), _NO_ROUGHNESS_DB)) if border else 0.0


def _roughness(block: Floats, period: int) -> Floats:
    """Squared second differences, [periods, period]; the two that a jump at a border makes come first."""
    bend = np.zeros(len(block))
    bend[1:] = np.square(np.diff(block, 2, append=block[-1]))
    return np.roll(bend, 1).reshape(-1, period)[1:]
