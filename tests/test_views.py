"""The two views: what sounds, in any order, and how it moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.kernel_distance import compare, reference
from sonicrnn.views import LAGS, MOVING_COMPONENTS, SOUND_COMPONENTS, WINDOW, log_mel_rows, movement_view, sound_view

RATE = 8_000
Floats = npt.NDArray[np.float64]


def held_notes(seconds: float, seed: int) -> Floats:
    """Rows in which one of eight spectra sounds for 0.4 s each, [rows, 64]."""
    random = np.random.default_rng(seed)
    spectra = np.random.default_rng(0).standard_normal([8, 64]) * 10
    rows = round(seconds * WINDOW)
    return np.repeat(spectra[random.integers(0, 8, -(-rows // 8))], 8, 0)[:rows] + random.standard_normal([rows, 64])


def test_points_are_seconds() -> None:
    song = [held_notes(30, 1), held_notes(30, 2)]
    sound, movement = sound_view(song), movement_view(song)
    piece = held_notes(10, 3)
    assert sound(piece).shape == (10, SOUND_COMPONENTS)
    assert movement(piece).shape == (9, MOVING_COMPONENTS * len(LAGS))
    assert sound(piece[: WINDOW - 1]).shape[0] == movement(piece[: 2 * WINDOW - 1]).shape[0] == 0


def test_rows_in_another_order_sound_the_same_and_move_otherwise() -> None:
    song, piece = [held_notes(60, 1)], held_notes(40, 3)
    # Within each second alone, so that every second keeps its mean and its spread.
    random = np.random.default_rng(4)
    cut = piece.reshape(-1, WINDOW, 64)
    shuffled = np.concatenate([second[random.permutation(WINDOW)] for second in cut])
    found = {}
    for name, view in (("sound", sound_view(song)), ("movement", movement_view(song))):
        to = reference(view(song[0]))
        found[name] = [compare(view(rows), to).distance() for rows in (piece, shuffled)]
    assert found["sound"][1] == pytest.approx(found["sound"][0], abs=1e-6)
    assert found["movement"][0] < 0.1
    assert found["movement"][1] > 2 * found["movement"][0]


def test_more_features_than_points_will_do() -> None:
    song = [np.random.default_rng(1).standard_normal([100, 704])]
    view = sound_view(song)
    points = view(song[0])
    assert points.shape == (5, 5)
    # On all of the axes that there are, distances are kept.
    windows = song[0].reshape(5, WINDOW, 704)
    plain = np.concatenate([windows.mean(1), windows.std(1)], 1)
    assert np.linalg.norm(points[0] - points[1]) == pytest.approx(np.linalg.norm(plain[0] - plain[1]))


def test_a_log_mel_row_every_48_ms() -> None:
    rows = log_mel_rows(0.1 * np.random.default_rng(1).standard_normal(3 * RATE), RATE, -80.0)
    assert rows.shape == (61, 64)
    np.testing.assert_allclose(log_mel_rows(np.zeros(RATE), RATE, -80.0), -80.0, atol=1e-4)
