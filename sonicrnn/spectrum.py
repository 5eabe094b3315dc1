"""What it is made of: power spectra, spectral flatness, log-mel frames.

Samples are mono, [n], full scale ±1.0. Frames are 1024 samples with a hop of 256 at 16 kHz, the same 64 ms and
16 ms at every rate, under a Hann window. Powers are scaled so that the sum over the bins of a frame is the mean
square of its samples (Parseval): bands add up to dBFS.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft

from sonicrnn.levels import Floats, Samples, decibels, silence_threshold

FRAME_SECONDS = 0.064
HOPS_A_FRAME = 4
LOWEST_HERTZ = 20.0  # under this it is offset and rumble, not sound
LOG_MEL_RANGE_DB = 80.0
QUANTISATION_POWER = 2.0**-30 / 12.0  # mean square of rounding to 16 bits: nothing under it is a song's
_FRAMES_AT_ONCE = 512


def frame_and_hop(rate: int) -> tuple[int, int]:
    """Samples of an analysis frame and of its hop: (1024, 256) at 16 kHz, the same seconds at other rates."""
    hop = max(1, round(FRAME_SECONDS * rate / HOPS_A_FRAME))
    return HOPS_A_FRAME * hop, hop


def power_frames(samples: Samples, rate: int) -> Iterator[Floats]:
    """Yield blocks of power spectra, [frames, bins] float64; bins from 0 to rate/2, each frame's sum its mean square.

    Samples shorter than a frame are filled up with zeros; the last samples that do not fill a hop are in no frame.
    """
    frame, hop = frame_and_hop(rate)
    window = np.hanning(frame + 1)[:-1]  # periodic
    count = 1 + max(0, len(samples) - frame) // hop
    for first in range(0, count, _FRAMES_AT_ONCE):
        last = min(count, first + _FRAMES_AT_ONCE)
        block = np.asarray(samples[first * hop : (last - 1) * hop + frame], np.float64)
        block = np.pad(block, (0, max(0, frame - len(block))))
        frames = np.lib.stride_tricks.sliding_window_view(block, frame)[::hop]  # [frames, frame]
        power = np.square(np.abs(scipy.fft.rfft(frames * window, axis=1)))
        power[:, 1:-1] *= 2.0  # the negative frequencies
        yield power / (frame * np.square(window).sum())


def bin_hertz(rate: int) -> Floats:
    """Centre frequency of each bin of `power_frames`, in Hz."""
    return np.fft.rfftfreq(frame_and_hop(rate)[0], 1.0 / rate)


def long_term_spectrum(samples: Samples, rate: int) -> Floats:
    """Mean power of each bin over the whole (Welch 1967): [bins], summing to the mean square."""
    total, frames = np.zeros(len(bin_hertz(rate))), 0
    for power in power_frames(samples, rate):
        total, frames = total + power.sum(axis=0), frames + len(power)
    return np.asarray(total / frames)


def spectral_flatness(samples: Samples, rate: int) -> float:
    """Geometric over arithmetic mean of a frame's power spectrum above 20 Hz, the median over the frames that sound.

    0 for a sine, 0.56 = exp(−γ) for white noise (Johnston 1988; a periodogram's bins scatter, so it never comes to 1).
    nan when every frame is silent.
    """
    audible = bin_hertz(rate) >= LOWEST_HERTZ
    flatness, power = [], []
    for block in power_frames(samples, rate):
        flatness.append(_flatness(block[:, audible]))
        power.append(block[:, audible].sum(axis=1))
    levels = decibels(np.concatenate(power))
    sounding = np.concatenate(flatness)[levels >= silence_threshold(levels)]
    return float(np.median(sounding)) if len(sounding) else float("nan")


def long_term_flatness(samples: Samples, rate: int) -> float:
    """Geometric over arithmetic mean of the long-term spectrum above 20 Hz: 1 for white noise, nan for silence."""
    power = long_term_spectrum(samples, rate)[bin_hertz(rate) >= LOWEST_HERTZ]
    return float(_flatness(power[None])[0]) if power.sum() > QUANTISATION_POWER else float("nan")


def _flatness(power: Floats) -> Floats:
    # The noise of 16 bits in each bin keeps empty bins of a band-limited song from deciding everything.
    power = power + QUANTISATION_POWER / power.shape[1]
    return np.asarray(np.exp(np.log(power).mean(axis=1)) / power.mean(axis=1))


def mel_filters(rate: int, bands: int) -> Floats:
    """Triangles on the mel scale (O'Shaughnessy 1987) from 20 Hz to rate/2, [bins, bands]; neighbours sum to 1."""
    hertz = bin_hertz(rate)
    edges = _hertz(np.linspace(_mel(LOWEST_HERTZ), _mel(rate / 2.0), bands + 2))  # [bands + 2]
    centre = edges[1:-1]
    # At least a bin wide on both sides, so that no band is empty however many are asked for.
    below, above = (np.maximum(side, hertz[1]) for side in (centre - edges[:-2], edges[2:] - centre))
    distance = hertz[:, None] - centre  # [bins, bands]
    weights = np.maximum(0.0, 1.0 - np.where(distance < 0, -distance / below, distance / above))
    return np.asarray(np.where(hertz[:, None] < LOWEST_HERTZ, 0.0, weights))


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _hertz(mel: Floats) -> Floats:
    return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)


def log_mel(samples: Samples, rate: int, bands: int = 64, floor_db: float | None = None) -> npt.NDArray[np.float32]:
    """Power in each mel band of each frame, in dBFS: [time, bands] float32, a row every 16 ms.

    Nothing reads under `floor_db`; without one the floor is 80 dB under the loudest value of these samples. To compare
    several signals give them one floor.
    """
    filters = mel_filters(rate, bands)
    power = np.concatenate([(block @ filters).astype(np.float32) for block in power_frames(samples, rate)])
    if floor_db is None:
        floor_db = float(decibels(float(power.max()))) - LOG_MEL_RANGE_DB
    np.maximum(power, np.float32(10.0 ** (floor_db / 10.0)), out=power)
    result: npt.NDArray[Any] = np.log10(power, out=power)
    result *= np.float32(10.0)
    return result
