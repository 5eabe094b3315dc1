"""The meter: exact bars of steady songs, none of others, and how well a piece keeps one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.meter import bar_seconds, beat

RATE = 8000
Floats = npt.NDArray[np.float64]


def beats(times: Floats, seconds: float, loud: Floats, seed: int = 1) -> Floats:
    """Notes that start at some times, some louder than others, in a little noise."""
    random = np.random.default_rng(seed)
    samples = 0.001 * random.standard_normal(round(seconds * RATE))
    note = np.exp(-8 * np.arange(RATE // 2) / RATE)
    for time, level in zip(times, loud, strict=True):
        first = round(time * RATE)
        tone = np.sin(2 * np.pi * random.choice([220, 330, 440, 550]) * np.arange(len(note)) / RATE)
        end = min(len(samples), first + len(note))
        samples[first:end] += (level * note * tone)[: end - first]
    return samples


def steady(seconds: float, bar: float, seed: int = 1) -> Floats:
    """Four beats a bar, the first of them loud; some are left out."""
    times = np.arange(0, seconds - 0.1, bar / 4)
    left_out = np.random.default_rng(seed).random(len(times)) < 0.15
    loud = np.where(np.arange(len(times)) % 4 == 0, 0.5, 0.15) * ~left_out
    return beats(times, seconds, loud, seed)


@pytest.mark.parametrize("bar", [2.4, 3.4286])
def test_the_bar_of_a_steady_song_is_exact(bar: float) -> None:
    found = bar_seconds(steady(150, bar), RATE)
    assert found is not None
    assert min(abs(found / bar / times - 1) for times in (0.25, 0.5, 1, 2)) < 1e-3


def test_a_song_whose_tempo_wanders_has_none() -> None:
    random = np.random.default_rng(4)
    times = np.cumsum(0.6 * np.exp(0.25 * random.standard_normal(230)))
    times = times[times < 149]
    loud = np.where(np.arange(len(times)) % 4 == 0, 0.5, 0.15)
    assert bar_seconds(beats(times, 150, loud), RATE) is None


@pytest.mark.parametrize("seconds", [20.0, 60.0])
def test_noise_silence_and_short_songs_have_none(seconds: float) -> None:
    count = round(seconds * RATE)
    assert bar_seconds(np.random.default_rng(1).standard_normal(count), RATE) is None
    assert bar_seconds(np.zeros(count), RATE) is None
    if seconds < 40:
        assert bar_seconds(steady(seconds, 2.4), RATE) is None


def test_a_piece_in_step_keeps_the_beat_and_one_that_stumbles_does_not() -> None:
    song = steady(60, 2.4)
    stumbling = np.concatenate([song[first : first + 11_000] for first in np.arange(0, 45) * 9_731])
    kept, lost, slow = (beat(one, RATE, 2.4) for one in (song, stumbling, steady(60, 2.7)))
    assert kept > 0.3
    assert lost < 0.4 * kept
    assert slow < 0.4 * kept
    assert math.isnan(beat(song[: 5 * RATE], RATE, 2.4))
