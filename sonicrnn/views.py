"""What is compared of a sound: how it sounds and how it moves, as points, a second or two each.

Both start from what is heard every 46 to 48 ms, [rows, features]: by the pretrained network (`ear`), or as 64 log-mel
bands. `sound` is the mean and the spread over a second: tone colour, notes, loudness. `movement` is how much the
song's 16 principal components change over five lags, from a twentieth of a second to most of one, within two seconds:
attacks, rhythm, how long notes hold. Pieces of the song in the wrong order have its sound and not its movement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sonicrnn.levels import Floats, Samples
from sonicrnn.spectrum import log_mel

BANDS, _HOPS_A_ROW = 64, 3  # 48 ms
WINDOW = 20  # rows, a little less than a second
SOUND_COMPONENTS, MOVING_COMPONENTS = 48, 16
LAGS = (1, 2, 4, 8, 16)  # rows
_LEAST_SHARE = 1e-4  # of the largest variance: a component that hardly varies is not blown up

View = Callable[[Floats], Floats]


def log_mel_rows(samples: Samples, rate: int, floor_db: float) -> Floats:
    """Log-mel bands in dB, [rows, 64], a row every 48 ms; `floor_db` as of `log_mel`."""
    bands = log_mel(samples, rate, BANDS, floor_db)
    whole = bands[: len(bands) // _HOPS_A_ROW * _HOPS_A_ROW]
    return np.asarray(whole.reshape(-1, _HOPS_A_ROW, BANDS).mean(1, dtype=np.float64))


def sound_view(stretches: Sequence[Floats]) -> View:
    """From rows [rows, features] to [seconds, 48 or fewer], on the principal components of the song's stretches."""
    project = _components(np.concatenate([_sound(rows) for rows in stretches]), SOUND_COMPONENTS, even=False)
    return lambda rows: project(_sound(rows))


def movement_view(stretches: Sequence[Floats]) -> View:
    """From rows [rows, features] to [seconds, 80 or fewer], on the principal components of the song's stretches."""
    project = _components(np.concatenate(stretches), MOVING_COMPONENTS, even=True)
    return lambda rows: _movement(project(rows))


def _sound(rows: Floats) -> Floats:
    windows = _windows(rows, WINDOW)  # [windows, features, rows]
    return np.asarray(np.concatenate([windows.mean(2), windows.std(2)], 1))


def _movement(rows: Floats) -> Floats:
    windows = _windows(rows, 2 * WINDOW)
    changes = [np.square(windows[:, :, lag:] - windows[:, :, :-lag]).mean(2) for lag in LAGS]
    return np.asarray(np.sqrt(np.concatenate(changes, 1)))


def _windows(rows: Floats, length: int) -> Floats:
    """Windows of some rows, one every second, [windows, features, length]; a view."""
    if len(rows) < length:
        return np.empty((0, rows.shape[1], length))
    return np.asarray(np.lib.stride_tricks.sliding_window_view(rows, length, axis=0)[::WINDOW])


def _components(points: Floats, count: int, even: bool) -> View:
    """Onto the principal components; `even` brings each to variance 1."""
    centre = points.mean(0)
    centred = points - centre
    # Of the smaller of the two products: there may be far fewer points than features.
    axes = _axes(centred)[:, :count]
    if even:
        variance = np.square(centred @ axes).mean(0)
        axes = axes / np.sqrt(np.maximum(variance, max(_LEAST_SHARE * variance[0], 1e-12)))
    return lambda rows: np.asarray((rows - centre) @ axes)


def _axes(centred: Floats) -> Floats:
    """Directions of falling variance, [features, at most as many as points or features]."""
    count, features = centred.shape
    if features <= count:
        return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, ::-1])
    return np.asarray(np.linalg.svd(centred, full_matrices=False)[2].T)
