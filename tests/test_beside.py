"""A piece beside the song's own samples: what is told from the song, and what is copied from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sonicrnn.beside import Beside
from sonicrnn.levels import Floats
from sonicrnn.portrait import MOST, WEIGHS_MOST, portrait

RATE = 8000


def melody(seconds: int, seed: int, low: float = 200.0, high: float = 2000.0) -> Floats:
    """Four notes a second."""
    pitches = np.random.default_rng(seed).uniform(low, high, 4 * seconds)
    time = np.arange(seconds * RATE) / RATE
    return np.asarray(0.5 * np.sin(2 * np.pi * np.cumsum(pitches[(4 * time).astype(int)]) / RATE))


@pytest.fixture(scope="module")
def song() -> Floats:
    return melody(60, 9)


@pytest.fixture(scope="module")
def beside(song: Floats) -> Beside:
    looks = portrait(song[: 40 * RATE], song[40 * RATE :], RATE)
    return Beside(looks, [song[: 15 * RATE], song[20 * RATE : 40 * RATE]], RATE)


def test_what_is_copied_of_the_song_is_told_and_counts(song: Floats, beside: Beside) -> None:
    """Whatever its level, and from whichever of the passages that are at hand."""
    assert beside.copied(0.2 * song[22 * RATE : 32 * RATE]) > 0.9
    assert beside.copied(song[45 * RATE : 55 * RATE]) == 0.0
    half = np.concatenate([song[5 * RATE : 10 * RATE], song[50 * RATE : 55 * RATE]])
    assert 0.4 < beside.copied(half) < 0.7
    assert beside.told_copied_repeated(half) == pytest.approx(WEIGHS_MOST * MOST)
    assert beside.told_copied_repeated(song[45 * RATE : 55 * RATE]) == 0.0


def test_what_stays_where_the_song_is_now_and_then_is_told_and_counts(beside: Beside) -> None:
    like = beside.told_copied_repeated(melody(40, 11))
    high = beside.told_copied_repeated(melody(40, 11, 1100.0))
    higher = beside.told_copied_repeated(melody(40, 11, 1700.0))
    assert like < 0.5 < 1.0 < high < higher <= WEIGHS_MOST * MOST


def test_what_repeats_itself_counts_beyond_what_the_song_does(song: Floats, beside: Beside) -> None:
    once, loop = melody(40, 11), np.tile(melody(10, 11), 4)
    assert beside.told_copied_repeated(loop) > beside.told_copied_repeated(once) + WEIGHS_MOST * MOST - 1.0
    looks = portrait(song[: 40 * RATE], song[40 * RATE :], RATE)
    assert looks.repeated < 0.1
    assert portrait(loop, once, RATE).repeated > 0.9
    found = [
        Beside(replace(looks, repeated=share), [song[: 40 * RATE]], RATE).told_copied_repeated(loop)
        for share in (0.0, 0.99)
    ]
    assert found[0] - found[1] == pytest.approx(WEIGHS_MOST * MOST)


def test_what_is_too_short_is_neither_told_nor_copied(song: Floats) -> None:
    looks = portrait(song[: 40 * RATE], song[40 * RATE :], RATE)
    short = Beside(looks, [song[:RATE]], RATE)
    assert short.told_copied_repeated(song[: 20 * RATE]) == 0.0
    assert Beside(looks, [song[: 40 * RATE]], RATE).told_copied_repeated(song[45 * RATE : 46 * RATE]) == 0.0
