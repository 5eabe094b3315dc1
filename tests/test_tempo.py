"""The pace of a piece against that of its song."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.tempo import Pace, pace, speed

RATE = 8000
Floats = npt.NDArray[np.float64]


def beats(length: float, seed: int, faster: float = 1.0, bar: int = 12) -> Floats:
    """Notes on a grid of a quarter second with accents, some left out, at random pitches; `faster` plays all faster."""
    random, samples = np.random.default_rng(seed), np.zeros(round(length * RATE))
    beat, note = 0.25 / faster, np.arange(round(0.2 / faster * RATE)) / RATE
    for index in range(int(length / beat) - 1):
        if index % 3 and random.uniform() < 0.3:
            continue
        loud = 1.0 if index % bar == 0 else 0.35 if index % 3 == 0 else 0.2
        first = round(index * beat * RATE)
        tone = loud * np.sin(2 * np.pi * 300 * 2 ** (random.integers(12) / 12) * note) * np.exp(-12 * faster * note)
        samples[first : first + len(note)] += tone[: len(samples) - first]
    return samples + 1e-3 * random.standard_normal(len(samples))


@pytest.fixture(scope="module")
def song() -> list[Pace]:
    return [pace(beats(40, seed), RATE) for seed in (1, 2)] + [pace(beats(40, 3, bar=15), RATE)]


@pytest.mark.parametrize("faster", [0.5, 0.8, 1.0, 1.25, 1.5, 2.0, 4.0])
def test_speed_of_the_same_kind_of_music_played_at_another_pace(song: list[Pace], faster: float) -> None:
    found = speed(pace(beats(40, 7, faster), RATE), song)
    assert found.ratio == pytest.approx(faster, rel=0.04)
    assert found.fit > 0.6


def test_a_passage_of_another_bar_is_not_another_speed(song: list[Pace]) -> None:
    assert speed(pace(beats(40, 8, bar=15), RATE), song).ratio == pytest.approx(1.0, rel=0.03)


def test_noise_and_silence_fit_nothing(song: list[Pace]) -> None:
    noise = np.random.default_rng(0).standard_normal(40 * RATE)
    assert speed(pace(noise, RATE), song).fit < 0.5
    assert speed(pace(np.zeros(40 * RATE), RATE), song).fit < 0.5


def test_level_does_not_matter(song: list[Pace]) -> None:
    samples = beats(40, 7, 1.5)
    loud, soft = (speed(pace(gain * samples, RATE), song) for gain in (1.0, 0.01))
    assert loud.ratio == pytest.approx(soft.ratio, rel=1e-6)


def test_a_window_a_little_shorter_can_be_compared(song: list[Pace]) -> None:
    shorter = pace(beats(40, 7, 1.5)[: 38 * RATE], RATE)
    assert speed(shorter, song).ratio == pytest.approx(1.5, rel=0.04)


def test_too_short_for_a_pace() -> None:
    with pytest.raises(ValueError, match="too short for a pace"):
        pace(beats(5, 1), RATE)
