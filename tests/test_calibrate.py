"""The contrast that brings a free run's spectra to the song's peaks, and what a run keeps of its calibration."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from sonicrnn.calibrate import CONTRAST_RANGE, MOST_OFF, _search, _Yardstick, find_contrast
from sonicrnn.calibration import Calibration
from sonicrnn.distances import NAMES
from sonicrnn.errors import UserError
from sonicrnn.heads import MeanSquaredError
from sonicrnn.mixture import GaussianMixture
from sonicrnn.portrait import Portrait


def moments(spectra: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean log magnitude and log mean power of each bin."""
    flat = spectra.reshape(-1, spectra.shape[-1])
    return flat.mean(0), np.log(np.mean(np.exp(2 * flat), 0))


@pytest.fixture
def song() -> np.ndarray:
    """Log magnitudes [runs, time, bins] whose spread differs from bin to bin, slowly."""
    spread = np.linspace(0.4, 0.8, 60)
    return np.random.default_rng(3).normal(0, 1, [3, 4000, 60]) * spread - 2


@pytest.mark.parametrize("evenness", [0.7, 0.85, 1.0])
def test_contrast_gives_too_even_spectra_the_power_of_the_song(song: np.ndarray, evenness: float) -> None:
    mean, power = moments(song)
    even = (song - mean) * evenness + mean + 0.3  # another mean is none of its business
    contrast = find_contrast(even, mean, power)
    np.testing.assert_allclose(contrast.factor, 1 / evenness, rtol=0.04)
    spread = contrast.centre + contrast.factor * (even - contrast.centre)
    made_mean, made_power = moments(spread)
    np.testing.assert_allclose(made_mean, mean + 0.3, atol=1e-3)
    np.testing.assert_allclose(made_power - 2 * made_mean, power - 2 * mean, atol=0.1)


def test_contrast_stays_within_its_range(song: np.ndarray) -> None:
    mean, power = moments(song)
    frozen = np.broadcast_to(mean, song.shape)
    for spectra in (frozen, song * 3):
        factor = find_contrast(spectra, mean, power).factor
        assert np.all(factor >= CONTRAST_RANGE[0] - 1e-3)
        assert np.all(factor <= CONTRAST_RANGE[1] + 1e-3)
        assert np.isfinite(factor).all()


def test_a_run_keeps_its_calibration(tmp_path: Path) -> None:
    looks = Portrait(-18.0, 2.0, 0.01, 3.0, [25.0, 12.5], -80.0, 0.93, 0.1)
    kept = Calibration(0.9, 1.25, -18.0, [0.5, -1.0], [1.1, 1.2], [{"temperature": 0.9, "unlikeness": 1.0}], looks)
    kept.save(tmp_path / "calibration.json")
    loaded = Calibration.load(tmp_path / "calibration.json")
    assert loaded == kept
    contrast = loaded.spectral()
    assert contrast is not None
    np.testing.assert_array_equal(contrast.factor, np.float32([1.1, 1.2]))


def test_a_run_that_is_still_training_has_a_plain_one(tmp_path: Path) -> None:
    plain = Calibration.load(tmp_path / "calibration.json")
    assert (plain.temperature, plain.gain) == (1.0, 1.0)
    assert plain.spectral() is None


@pytest.mark.parametrize("head", [MeanSquaredError(5), GaussianMixture(5, 3)])
def test_a_moved_prediction_fits_a_target_that_is_moved_as_far(head: MeanSquaredError | GaussianMixture) -> None:
    random = np.random.default_rng(8)
    head.build((None, 4))
    parameters = head(tf.constant(random.normal(size=[2, 7, 4]), tf.float32))
    target, by = (tf.constant(random.normal(size=[2, 7, 5]), tf.float32) for _ in range(2))
    moved = head.loss(head.moved(parameters, by), target + by)
    np.testing.assert_allclose(moved, head.loss(parameters, target), atol=1e-5)
    assert np.abs(head.loss(parameters, target + by) - head.loss(parameters, target)).max() > 0.01


@pytest.mark.parametrize(
    "spoiled",
    [
        *("", '{"temperature": 1.0', "[]", '{"warmth": 2}', '{"portrait": {"level": 1}}'),
        *('{"temperature": "warm"}', '{"centre": 3}', '{"gain": null}', '{"tried": [{"score": []}]}'),
    ],
)
def test_a_spoiled_calibration_is_told(tmp_path: Path, spoiled: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_text(spoiled)
    with pytest.raises(UserError, match=r"calibration.json cannot be read \(.*train"):
        Calibration.load(file)


def test_no_single_figure_decides_how_unlike_the_song_a_run_is() -> None:
    """White noise beside a song of tones: how much flatter it is counts no more than so much."""
    rate = 8000
    time = np.arange(40 * rate) / rate
    tones = 0.1 * np.sin(2 * np.pi * 220 * 2 ** (np.floor(2 * time) % 12 / 12) * time)
    yardstick = _Yardstick(SimpleNamespace(sample_rate=rate, samples=tones, parts={"validation": (0, len(tones))}))
    found = yardstick.measure(0.1 * np.random.default_rng(1).standard_normal((1, 30 * rate)))
    assert np.log(found["flatness"]) / yardstick.own_flatness > MOST_OFF
    onsets = min(MOST_OFF, abs(np.log(found["onsets"])) / yardstick.own_onsets)
    distances = [found[name] / yardstick.own[name] for name in NAMES]
    assert found["unlikeness"] == pytest.approx(np.mean([*distances, MOST_OFF, onsets]))


def test_noise_persists_more_for_as_long_as_that_helps() -> None:
    """Here it is best at 1.15 and 0.7; beside the best temperature so far one colder and two hotter ones are tried."""
    asked = []

    def trials(temperatures: Any, persistence: float) -> list[Any]:
        asked.append((persistence, tuple(temperatures)))
        unlike = [abs(one - 0.85 - 0.43 * persistence) + abs(persistence - 0.7) for one in temperatures]
        return [
            SimpleNamespace(temperature=one, persistence=persistence, figures={"unlikeness": value})
            for one, value in zip(temperatures, unlike, strict=True)
        ]

    tried = _search(trials, (0.7, 0.85, 1.0, 1.15, 1.3, 1.5), (0.5, 0.7, 0.9, 0.95))
    best = min(tried, key=lambda trial: trial.figures["unlikeness"])
    assert (best.temperature, best.persistence) == (1.15, 0.7)
    beside = [(0.5, (0.7, 0.85, 1.0, 1.15)), (0.7, (0.85, 1.0, 1.15, 1.3)), (0.9, (1.0, 1.15, 1.3, 1.5))]
    assert asked[1:] == beside
