"""Can it be told from the song? A classifier that is trained to tell seconds of a piece from seconds of the song.

Each second is described by the mean, the spread and the movement of its log-mel bands, and told apart by a linear
discriminant (Fisher 1936) with shrunk covariance (Ledoit and Wolf 2004). It is tried on blocks of time that it was not
trained on, so that it cannot win by knowing a passage. 50 % right is chance: nothing gives the piece away. Real audio
that the song's training part does not contain comes to more than that, since no two parts of a song are alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonicrnn.levels import Floats, Samples
from sonicrnn.spectrum import frame_and_hop, log_mel

SECONDS = 1.0
BANDS = 64
BLOCKS = 8
LEAST_WINDOWS = 2 * BLOCKS
_SURE = 1.96  # standard deviations of a 95 % interval


@dataclass(frozen=True)
class Told:
    """`share`: of the seconds told right, both sides counting the same, 0..1; `low`, `high`: its 95 % interval."""

    share: float
    low: float
    high: float


def second_by_second(samples: Samples, rate: int, floor_db: float) -> Floats:
    """What the classifier hears of each second, [seconds, 3 · bands]; `floor_db` as of `log_mel`."""
    return of_bands(log_mel(samples, rate, BANDS, floor_db), rate)


def of_bands(bands: npt.NDArray[np.float32], rate: int) -> Floats:
    """The same of log-mel rows [time, bands]: [seconds, 3 · bands]."""
    rows = max(2, round(SECONDS * rate / frame_and_hop(rate)[1]))
    count = len(bands) // rows
    cut = bands.astype(np.float64)[: count * rows].reshape(count, rows, BANDS)
    return np.concatenate([cut.mean(1), cut.std(1), np.abs(np.diff(cut, axis=1)).mean(1)], 1)


def told_apart(piece: Floats, song: Floats) -> Told:
    """How often seconds of a piece and of the song, both of `second_by_second`, are told apart.

    nan when one side has fewer than 16 seconds.
    """
    if min(len(piece), len(song)) < LEAST_WINDOWS:
        return Told(math.nan, math.nan, math.nan)
    sides = [np.asarray(side) for side in (song, piece)]
    blocks = [np.arange(len(side)) * BLOCKS // len(side) for side in sides]
    right = [np.zeros(len(side), bool) for side in sides]
    for block in range(BLOCKS):
        weights, threshold = _discriminant(
            *(side[of != block] for side, of in zip(sides, blocks, strict=True)),
        )
        for side, of, found, is_piece in zip(sides, blocks, right, (False, True), strict=True):
            found[of == block] = (side[of == block] @ weights > threshold) == is_piece
    shares = [float(found.mean()) for found in right]
    share = sum(shares) / 2
    variances = [max(p * (1 - p), 0.25 / len(found)) / len(found) for p, found in zip(shares, right, strict=True)]
    error = _SURE * math.sqrt(sum(variances)) / 2
    return Told(share, max(0.0, share - error), min(1.0, share + error))


def _discriminant(song: Floats, piece: Floats) -> tuple[Floats, float]:
    """Weights [features] and the threshold over which a second is the piece's."""
    centres = song.mean(0), piece.mean(0)
    inner = np.concatenate([song - centres[0], piece - centres[1]])
    scale = inner.std(0) + 1e-3  # dB: a band that never moves says nothing
    covariance = _shrunk(inner / scale)
    weights = np.linalg.solve(covariance, (centres[1] - centres[0]) / scale) / scale
    return weights, float(weights @ (centres[0] + centres[1]) / 2)


def _shrunk(centred: Floats) -> Floats:
    """The covariance of centred rows, drawn towards a multiple of the identity as Ledoit and Wolf found best."""
    count, size = centred.shape
    covariance = centred.T @ centred / count
    mean = np.trace(covariance) / size
    away = float(np.square(covariance).sum() - size * mean**2)
    # The mean over the rows of |x xᵀ − S|², without making each x xᵀ.
    unsure = float(np.square(np.square(centred).sum(1)).mean() - np.square(covariance).sum()) / count
    share = min(1.0, unsure / away) if away > 0 else 1.0
    return np.asarray((1 - share) * covariance + (share * mean + 1e-9) * np.eye(size))
