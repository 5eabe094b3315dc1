"""Distances between log-mel frames: zero where nothing differs, rising with what does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn import distances
from sonicrnn.distances import NAMES, Likeness, Stretch, at_level, likeness, log_mel_floor, stretch
from sonicrnn.levels import level

RATE = 16_000
DBFS, FLOOR = -20.0, -75.0
Floats = npt.NDArray[np.float64]


def music(length: float, seed: int) -> Floats:
    """Plucked notes of random pitch at random times over a chord, at −20 dBFS."""
    random, time = np.random.default_rng(seed), np.arange(round(length * RATE)) / RATE
    samples = 0.05 * np.sin(2 * np.pi * 110 * time) + 0.02 * np.sin(2 * np.pi * 165 * time)
    samples += 0.002 * random.standard_normal(len(time))
    note = np.arange(round(0.6 * RATE)) / RATE
    for start in random.uniform(0, length - 0.7, round(4 * length)):
        hertz = 220 * 2 ** (random.integers(0, 24) / 12)
        tone = (
            sum(np.sin(2 * np.pi * k * hertz * note) / k for k in (1, 2, 3, 4)) * np.exp(-6 * note) * (1 - note / 0.6)
        )
        first = round(start * RATE)
        samples[first : first + len(note)] += 0.1 * tone
    return at_level(samples, RATE, DBFS, 100)


def noise(length: float, seed: int = 0) -> Floats:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(length * RATE))


def seen(samples: Floats) -> Stretch:
    return stretch(samples, RATE, DBFS, FLOOR)


def measured(samples: Floats, song: Likeness) -> dict[str, float]:
    return distances.distances(seen(samples), song)


@pytest.fixture(scope="module")
def song() -> Likeness:
    return likeness([seen(music(12, seed)) for seed in (1, 2, 3, 4)])


@pytest.fixture(scope="module")
def real(song: Likeness) -> dict[str, float]:
    return measured(music(12, 9), song)


def test_the_song_itself_is_nearest() -> None:
    one = music(12, 1)
    same = measured(one, likeness([seen(one)]))
    assert same["spectrum"] == same["movement"] == 0.0
    assert same["frames"] == pytest.approx(0.0, abs=0.02)
    assert same["patches"] == pytest.approx(0.0, abs=0.1)


def test_mixing_in_noise_moves_every_distance_up(song: Likeness, real: dict[str, float]) -> None:
    clean, steps = music(12, 9), [real]
    for under in (20, 10, 5, 0, -10):
        steps.append(measured(at_level(clean + 10 ** (-under / 20) * noise(12), RATE, DBFS, 100), song))
    steps.append(measured(noise(12), song))
    for name in NAMES:
        values = [step[name] for step in steps]
        assert values == sorted(values), f"{name}: {values}"
        assert values[0] < 0.5 * values[-1]


def test_each_distance_sees_what_it_is_for(song: Likeness, real: dict[str, float]) -> None:
    clean = music(12, 9)
    frozen = np.tile(clean[2 * RATE : 2 * RATE + 640], 300)
    shuffled = np.random.default_rng(0).permutation(clean.reshape(-1, 800)).reshape(-1)
    dull = np.convolve(clean, np.ones(12) / 12, "same")
    assert measured(dull, song)["spectrum"] > 2 * real["spectrum"]
    assert measured(frozen, song)["frames"] > 2 * real["frames"]
    assert measured(frozen, song)["movement"] > 3 * real["movement"]
    assert measured(shuffled, song)["movement"] > 2 * real["movement"]
    assert measured(shuffled, song)["patches"] > 2 * real["patches"]


def test_level_is_left_to_the_levels_up_to_12_db(song: Likeness, real: dict[str, float]) -> None:
    clean = music(12, 9)
    for name, value in measured(0.3 * clean, song).items():
        assert value == pytest.approx(real[name], rel=1e-3)
    assert measured(0.01 * clean, song)["spectrum"] > real["spectrum"] + 3


def test_a_stretch_can_be_measured_against_the_rest(song: Likeness) -> None:
    against_all = distances.distances(song.stretches[0], song)
    against_rest = distances.distances(song.stretches[0], song, without=0)
    for name in ("spectrum", "frames", "movement"):
        assert against_rest[name] > against_all[name]
    rest = likeness(song.stretches[1:])
    assert against_rest["spectrum"] == distances.distances(song.stretches[0], rest)["spectrum"]


def test_frechet_distance_of_known_gaussians() -> None:
    random = np.random.default_rng(0)
    mixing = random.standard_normal((8, 8))
    covariance = mixing @ mixing.T
    assert distances.frechet(np.full(8, 2.0), covariance, covariance) == pytest.approx(2.0, abs=1e-6)
    # Commuting covariances: the distance of their standard deviations.
    assert distances.frechet(np.zeros(8), 9 * np.eye(8), np.eye(8)) == pytest.approx(2.0, abs=0.01)


def test_energy_distance_of_known_samples() -> None:
    random = np.random.default_rng(0)
    here, also_here, there = random.standard_normal((3, 400, 5))
    assert distances._energy(here, also_here) < 0.15
    # Far apart, 2·E|x − y| outweighs all: about the root of twice the distance.
    assert distances._energy(here, there + 100) == pytest.approx(np.sqrt(2 * 100 * np.sqrt(5)), rel=0.02)


def test_silence_is_far_but_finite(song: Likeness, real: dict[str, float]) -> None:
    silent = measured(np.zeros(5 * RATE), song)
    assert all(np.isfinite(value) and value > 2 * real[name] for name, value in silent.items())


def test_bringing_to_a_level() -> None:
    samples = music(2, 1)
    assert level(at_level(samples, RATE, -30, 100), RATE) == pytest.approx(-30, abs=0.01)
    assert level(at_level(samples, RATE, -40, 12), RATE) == pytest.approx(-32, abs=0.01)
    assert not at_level(np.zeros(10), RATE, -20, 100).any()
    assert log_mel_floor([samples, 0.1 * samples], RATE) < -60


def test_too_short_a_stretch() -> None:
    with pytest.raises(ValueError, match="too short"):
        seen(music(2, 1)[:6000])
