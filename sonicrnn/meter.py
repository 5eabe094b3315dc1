"""The meter of a song: whether it keeps one beat from beginning to end, how long its bar is, how well a piece keeps it.

numpy and scipy alone; samples are mono, [n], full scale ±1.0.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage

from sonicrnn.levels import Floats, Samples
from sonicrnn.rhythm import onset_strength, pulsation
from sonicrnn.spectrum import frame_and_hop

SHORTEST_SECONDS, LONGEST_SECONDS = 40.0, 1200.0
LEAST_STEADINESS = 6.0  # standard deviations out of chance; the best of many periods comes to 4 by chance alone
BEATS = 4  # of a bar
_SEARCH, _PERIODS = 0.02, 2001  # either way from the pulsation, where its exact period is looked for
_PHRASE_SECONDS, _FARTHEST_SECONDS = 20.0, 120.0  # what comes again after a phrase is kept by a beat
_FADED_SECONDS, _MEMORY_SECONDS = 5.0, 30.0  # what a piece plays again by the song's order is faded by then
_SMOOTH_SECONDS, _LOCAL_SECONDS = 0.03, 1.0


def bar_seconds(samples: Samples, rate: int) -> float | None:
    """The bar that a song keeps throughout: the exact period of its pulsation.

    None for a song without one, of changing tempo, of less than 40 s or of more than 20 minutes.
    """
    if not SHORTEST_SECONDS * rate <= len(samples) <= LONGEST_SECONDS * rate:
        return None
    slow = pulsation(samples, rate).per_minute
    if not slow:
        return None
    alike, hop = _onsets_alike(samples, rate, _FARTHEST_SECONDS)
    periods = 60.0 / slow / hop * np.linspace(1 - _SEARCH, 1 + _SEARCH, _PERIODS)
    first = _PHRASE_SECONDS / hop
    found = [_comb(alike, period, first) for period in periods]
    best = int(np.argmax(found))
    far = alike[round(first) :]
    count = max(1.0, len(far) / periods[best])
    steadiness = (found[best] - far.mean()) / max(float(far.std()), 1e-12) * np.sqrt(count)
    return float(periods[best] * hop) if steadiness >= LEAST_STEADINESS else None


def beat(samples: Samples, rate: int, bar: float) -> float:
    """How regularly notes start on the beats of a bar of some seconds: 0 for not at all, to 1; nan under 12 s.

    It is the mean autocorrelation of the onset strength at the quarters of the bar, 5 to 30 s away.
    """
    if len(samples) < 2.4 * _FADED_SECONDS * rate:
        return float("nan")
    alike, hop = _onsets_alike(samples, rate, _MEMORY_SECONDS)
    return _comb(alike, bar / BEATS / hop, _FADED_SECONDS / hop)


def _onsets_alike(samples: Samples, rate: int, seconds: float) -> tuple[Floats, float]:
    """The autocorrelation of the onset strength up to a lag of some seconds, or half of all, and its hop in seconds."""
    hop = frame_and_hop(rate)[1] / rate
    strength = scipy.ndimage.gaussian_filter1d(onset_strength(samples, rate), _SMOOTH_SECONDS / hop)
    strength = strength - scipy.ndimage.gaussian_filter1d(strength, _LOCAL_SECONDS / hop)
    lags = round(min(seconds, len(samples) / rate / 2) / hop)
    power = np.square(np.abs(np.fft.rfft(strength - strength.mean(), 2 * len(strength))))
    found = np.fft.irfft(power)[:lags]
    return np.asarray(found / max(found[0], 1e-12) * len(strength) / (len(strength) - np.arange(lags))), hop


def _comb(alike: Floats, period: float, first: float) -> float:
    """The mean of an autocorrelation at the multiples of a period beyond the lag `first`; 0 where there is none."""
    lags = np.arange(np.ceil(first / period), (len(alike) - 1) / period) * period
    return float(np.interp(lags, np.arange(len(alike)), alike).mean()) if len(lags) else 0.0
