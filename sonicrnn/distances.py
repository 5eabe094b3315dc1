"""How like the song it sounds: four distances between log-mel frames, blind to what comes when.

Each compares how often things occur, not where, so that a piece need not follow the song to be like it:

`spectrum`   the mean log-mel spectrum: tone colour and balance. RMS over the bands, dB.
`frames`     the Fréchet distance (Dowson & Landau 1982) between all frames as Gaussians: also how much bands vary and
             which sound together. Root over the number of bands, dB.
`patches`    the energy distance (Székely & Rizzo 2013) between pictures of half a second, on the song's 48 principal
             components brought to variance 1: whole distributions, and what follows what. Root; no unit.
`movement`   the mean change of each band over 16, 64 and 256 ms: a frozen sound moves too little, a jittery one too
             much. RMS over bands and lags, dB.

Distances are taken between stretches of equal length and the song, because all but the first shrink with the length of
what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sonicrnn.levels import FLOOR_DBFS, Floats, Samples, level
from sonicrnn.spectrum import log_mel

NAMES = ("spectrum", "frames", "patches", "movement")
BANDS = 64
RANGE_DB = 60.0  # under the song's loudest value: what is fainter is masked
_MOST_GAIN_DB = 12.0
_PATCH_ROWS, _PATCH_HOP = 32, 12  # 0.5 s every 0.2 s, at 16 ms a row
_COMPONENTS = 48
_LAGS = (1, 4, 16)  # rows
_LEAST_VARIANCE = 1e-2  # dB²: keeps the Fréchet distance of a frozen sound finite and smooth


@dataclass(frozen=True, eq=False)
class Stretch:
    """What the distances look at, of one stretch of sound."""

    mean: Floats  # [bands] dB
    covariance: Floats  # [bands, bands] dB²
    movement: Floats  # [lags, bands] dB
    patches: Floats  # [patches, 16 rows · 32 bands] dB


def stretch(samples: Samples, rate: int, song_dbfs: float, floor_db: float) -> Stretch:
    """Look at one stretch of at least a second.

    It is brought to the song's level first, by at most 12 dB: the level has its own figures. `floor_db` is the floor
    of the log-mel values, `log_mel_floor` of the song.
    """
    frames = log_mel(at_level(samples, rate, song_dbfs, _MOST_GAIN_DB), rate, BANDS, floor_db).astype(np.float64)
    if len(frames) <= max(_PATCH_ROWS, *_LAGS):
        raise ValueError(f"{len(samples) / rate:.2f} s are too short to tell how they sound: 1 s is needed")
    movement = np.stack([np.abs(frames[lag:] - frames[:-lag]).mean(axis=0) for lag in _LAGS])
    return Stretch(frames.mean(axis=0), np.cov(frames.T), movement, _patches(frames))


def at_level(samples: Samples, rate: int, dbfs: float, most_db: float) -> Floats:
    """The samples brought to the level `dbfs`, by at most `most_db` dB up or down; silence stays silence."""
    now = level(samples, rate)
    gain = 0.0 if now <= FLOOR_DBFS else float(np.clip(dbfs - now, -most_db, most_db))
    return np.asarray(np.asarray(samples, np.float64) * 10.0 ** (gain / 20.0))


def log_mel_floor(windows: Sequence[Samples], rate: int) -> float:
    """The floor in dB for comparisons with a song of which these are windows: 60 dB under their loudest value."""
    return max(float(log_mel(window, rate, BANDS, FLOOR_DBFS).max()) for window in windows) - RANGE_DB


def _patches(frames: Floats) -> Floats:
    halved = frames[: len(frames) // 2 * 2].reshape(-1, 2, BANDS // 2, 2).mean(axis=(1, 3))  # [rows / 2, bands / 2]
    patches = np.lib.stride_tricks.sliding_window_view(halved, _PATCH_ROWS // 2, axis=0)[:: _PATCH_HOP // 2]
    return np.asarray(patches.reshape(len(patches), -1))  # [patches, bands / 2, rows / 2] -> [patches, features]


@dataclass(frozen=True, eq=False)
class Likeness:
    """A song, by its stretches, to measure the distance of others to."""

    stretches: tuple[Stretch, ...]
    centre: Floats  # [features]
    components: Floats  # [features, components]: projects a patch to variance 1
    projected: tuple[Floats, ...]  # per stretch: [patches, components]


def likeness(stretches: Sequence[Stretch]) -> Likeness:
    """Take at least one stretch of the song as what it sounds like."""
    patches = np.concatenate([one.patches for one in stretches])
    centre = patches.mean(axis=0)
    covariance = (patches - centre).T @ (patches - centre) / len(patches)
    variance, axes = np.linalg.eigh(covariance)  # rising
    components = axes[:, -_COMPONENTS:] / np.sqrt(np.maximum(variance[-_COMPONENTS:], _LEAST_VARIANCE))
    return Likeness(
        tuple(stretches), centre, components, tuple((one.patches - centre) @ components for one in stretches)
    )


def distances(one: Stretch, song: Likeness, without: int | None = None) -> dict[str, float]:
    """The distance of each of `NAMES` between a stretch and the song, 0 or more.

    `without` leaves out one of the song's own stretches, by number, so that a stretch of the song can be measured
    against the rest.
    """
    kept = [index for index in range(len(song.stretches)) if index != without]
    others = [song.stretches[index] for index in kept]
    mean, covariance = _pooled(others)
    movement = np.mean([other.movement for other in others], axis=0)
    projected = (one.patches - song.centre) @ song.components
    return {
        "spectrum": _rms(one.mean - mean),
        "frames": frechet(one.mean - mean, one.covariance, covariance),
        "patches": _energy(projected, np.concatenate([song.projected[index] for index in kept])),
        "movement": _rms(one.movement - movement),
    }


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _pooled(stretches: Sequence[Stretch]) -> tuple[Floats, Floats]:
    """Mean and covariance of the frames of all stretches (of equal length)."""
    means = np.stack([one.mean for one in stretches])  # [stretches, bands]
    mean = means.mean(axis=0)
    within = np.mean([one.covariance for one in stretches], axis=0)
    return mean, within + (means - mean).T @ (means - mean) / len(means)


def frechet(difference: Floats, first: Floats, second: Floats) -> float:
    """Fréchet distance of two Gaussians, by the difference of their means and the covariances; root over features."""
    ground = _LEAST_VARIANCE * np.eye(len(first))
    root = _square_root(first + ground)
    overlap = np.sqrt(np.maximum(0.0, np.linalg.eigvalsh(root @ (second + ground) @ root))).sum()
    squared = np.square(difference).sum() + np.trace(first) + np.trace(second) + 2.0 * (np.trace(ground) - overlap)
    return float(np.sqrt(max(0.0, squared) / len(first)))


def _square_root(matrix: Floats) -> Floats:
    values, axes = np.linalg.eigh(matrix)
    return np.asarray((axes * np.sqrt(np.maximum(0.0, values))) @ axes.T)


def _energy(first: Floats, second: Floats) -> float:
    """Root of 2·E|x − y| − E|x − x'| − E|y − y'|, the pairs of one side without those of a point with itself."""
    squared = 2.0 * _distance(first, second).mean() - _own_distance(first) - _own_distance(second)
    return float(np.sqrt(max(0.0, squared)))


def _own_distance(points: Floats) -> float:
    return float(_distance(points, points).sum() / max(1, len(points) * (len(points) - 1)))


def _distance(first: Floats, second: Floats) -> Floats:
    squared = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2.0 * first @ second.T
    return np.asarray(np.sqrt(np.maximum(0.0, squared)))
