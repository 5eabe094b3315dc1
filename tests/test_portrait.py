"""Portraits: what a take of a song is measured by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.portrait import MOST, Portrait, portrait

RATE = 8000
Samples = npt.NDArray[np.float32]


def sound(seconds: float, per_minute: float = 20.0, level: float = 0.1, tone: float = 0.9, seed: int = 1) -> Samples:
    """A tone in noise that swells and fades, and a note that starts every second."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    notes = 1.0 + 4.0 * np.exp(-20.0 * (time % 1.0))
    both = tone * np.sqrt(2) * np.sin(2 * np.pi * 440 * time) + (1 - tone) * noise
    swell = 1.0 + 0.7 * np.cos(2 * np.pi * per_minute / 60 * time)
    whole = both * swell * notes
    return (level * whole / np.sqrt(np.mean(np.square(whole)))).astype(np.float32)


@pytest.fixture(scope="module")
def song() -> Portrait:
    return portrait(sound(120), RATE)


def test_a_song_is_told_in_its_units(song: Portrait) -> None:
    assert song.level == pytest.approx(-20.0, abs=0.1)
    assert song.pulsation == pytest.approx(20.0, rel=0.02)
    assert song.onsets == pytest.approx(1.0, abs=0.1)
    assert 0.0 < song.flatness < 0.1
    assert song.trend < 3.0


def test_more_of_the_same_has_nothing_to_complain_of(song: Portrait) -> None:
    more = sound(60, seed=2)
    assert song.unlike(more, 20 * RATE, RATE) == 0.0
    assert song.unlike(more[: 20 * RATE], 20 * RATE, RATE) == 0.0


@pytest.mark.parametrize(
    "other",
    [
        {"per_minute": 31.0},
        {"level": 0.2},
        {"tone": 0.5},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_off_counts_and_more_of_it_counts_more(song: Portrait, other: dict[str, float]) -> None:
    wrong = sound(60, **other)
    assert song.unlike(wrong, 20 * RATE, RATE) > 0.0
    assert song.unlike(sound(60, **(other | {"level": 0.5})), 20 * RATE, RATE) > song.unlike(wrong, 20 * RATE, RATE)


def test_level_and_flatness_are_the_stretchs_own_and_the_trend_is_not(song: Portrait) -> None:
    faint_before = sound(60)
    faint_before[: 40 * RATE] *= 0.3
    faint_now = sound(60)
    faint_now[40 * RATE :] *= 0.3
    rising, falling = (song.unlike(one, 20 * RATE, RATE) for one in (faint_before, faint_now))
    assert 0.0 < rising < falling


def test_no_figure_counts_for_more_than_its_most(song: Portrait) -> None:
    assert song.unlike(np.zeros(60 * RATE, np.float32), 20 * RATE, RATE) <= 5 * MOST
    assert song.unlike(np.zeros(60 * RATE, np.float32), 20 * RATE, RATE) > 3 * MOST


def test_silence_has_a_portrait() -> None:
    silent = portrait(np.zeros(10 * RATE, np.float32), RATE)
    assert (silent.pulsation, silent.onsets) == (0.0, 0.0)
    assert np.isfinite(silent.unlike(sound(30), 10 * RATE, RATE))
