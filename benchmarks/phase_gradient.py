"""Phases of spectra from their magnitudes alone, without iterations.

    angles = phases(magnitude, frame_length, hop)        # [time, bins], radians

Phase gradient heap integration: Průša, Balazs and Søndergaard, "A Noniterative Method for Reconstruction of Phase from
STFT Magnitude", 2017. Under a Gaussian window the slopes of the logarithm of the magnitudes are those of the phase,
turned by a quarter: where the magnitude falls with the frequency, the sound is lower than the bin's centre; where it
rises in time, the sound is yet to come. A Hann window is near to a Gaussian one. The slopes are added up from the
loudest bin to its neighbours, always from the loudest that is known on, so that what is faint, where slopes say little,
comes last. The slopes are read off neighbouring frames, so these must overlap by three quarters or more.
"""

from __future__ import annotations

from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HANN = 0.25645  # a Hann window of length M is nearest to exp(-pi t² / (HANN M²))
TOLERANCE = 1e-6  # of the loudest magnitude: bins under it have random phases


def phases(magnitude: npt.ArrayLike, frame_length: int, hop: int, seed: int = 0) -> Floats:
    """Angles [time, bins] in radians of magnitudes [time, bins] under a Hann window, as of `frames.spectra`."""
    loud = np.asarray(magnitude, np.float64)
    return integrate(loud, *differences(loud, frame_length, hop), seed)


def differences(magnitude: Floats, frame_length: int, hop: int) -> tuple[Floats, Floats]:
    """How far the phase turns from each frame to the next, and from each bin to the next.

    An angle of 0 is that of a wave whose crest is at the frame's first sample, so a sound in the middle of the window
    turns by -pi from bin to bin.

    Args:
        magnitude: [time, bins], two frames or more.
        frame_length, hop: samples.

    Returns:
        [time - 1, bins] and [time, bins - 1], radians.
    """
    logarithm = np.log(np.maximum(magnitude, max(TOLERANCE * float(magnitude.max()), 1e-300)))
    scale = hop * frame_length / (HANN * frame_length**2)
    centres = 2 * np.pi * hop / frame_length * np.arange(magnitude.shape[1])
    in_time = centres + scale * np.gradient(logarithm, axis=1)
    in_frequency = -np.pi - np.gradient(logarithm, axis=0) / scale
    return (in_time[1:] + in_time[:-1]) / 2, (in_frequency[:, 1:] + in_frequency[:, :-1]) / 2


def integrate(magnitude: Floats, in_time: Floats, in_frequency: Floats, seed: int = 0) -> Floats:
    """Angles [time, bins] whose differences are nearest to those of `differences`, the louder bins first.

    Each sound that stands by itself begins at a random angle.
    """
    # A border of silent bins all around, and everything in one row: no neighbour has to be looked for.
    time, bins = magnitude.shape
    loud = np.pad(magnitude, 1).ravel()
    order = np.argsort(-loud, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    audible = loud > TOLERANCE * loud.max()
    onward = np.pad(in_time, ((1, 2), (1, 1))).ravel().tolist()
    upward = np.pad(in_frequency, ((1, 1), (1, 2))).ravel().tolist()
    angles = np.random.default_rng(seed).uniform(-np.pi, np.pi, len(loud)).tolist()
    first = order[: np.count_nonzero(audible)].tolist()
    _add_up(first, rank.tolist(), bytearray(audible), onward, upward, angles, bins + 2)
    return np.asarray(angles).reshape(time + 2, bins + 2)[1:-1, 1:-1]


def _add_up(
    order: list[int],
    rank: list[int],
    unknown: bytearray,
    onward: list[float],
    upward: list[float],
    angles: list[float],
    width: int,
) -> None:
    """Make `angles` what the differences say. Places are counted row by row, `width` a row; `rank` by loudness."""
    for start in order:
        if not unknown[start]:
            continue
        unknown[start] = 0
        edge = [rank[start]]  # known bins whose neighbours are to be told, the loudest first
        while edge:
            at = order[heappop(edge)]
            angle, before, below = angles[at], at - width, at - 1
            for other, told in (
                (at + width, angle + onward[at]),
                (before, angle - onward[before]),
                (at + 1, angle + upward[at]),
                (below, angle - upward[below]),
            ):
                if unknown[other]:
                    unknown[other] = 0
                    angles[other] = told
                    heappush(edge, rank[other])
