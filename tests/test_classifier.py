"""Telling a piece from its song: chance for the same kind of sound, certainty for another, nothing by heart."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.classifier import BANDS, LEAST_WINDOWS, second_by_second, told_apart

RATE = 16_000


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(6)


def test_two_draws_of_one_kind_cannot_be_told_apart(random: np.random.Generator) -> None:
    mixing = random.standard_normal([30, 30])
    song, piece = random.standard_normal([400, 30]) @ mixing, random.standard_normal([60, 30]) @ mixing
    told = told_apart(piece, song)
    assert told.low < 0.5 < told.high
    assert told.high - told.low < 0.2


def test_a_small_but_steady_difference_is_found_under_a_large_movement(random: np.random.Generator) -> None:
    mixing = random.standard_normal([30, 30])
    song, piece = random.standard_normal([400, 30]) @ mixing, random.standard_normal([60, 30]) @ mixing
    assert told_apart(piece + 1.5 * mixing[3], song).share > 0.7
    assert told_apart(piece + 6 * mixing[3], song).low > 0.9


def test_it_does_not_win_by_knowing_a_passage(random: np.random.Generator) -> None:
    """Each side is made of sections of its own; a section that was never heard says nothing."""
    sections = random.standard_normal([16, 40]) * 5
    song = np.repeat(sections[:8], 25, 0) + random.standard_normal([200, 40])
    piece = np.repeat(sections[8:], 10, 0) + random.standard_normal([80, 40])
    assert told_apart(piece, song).share < 0.75


def test_a_few_seconds_say_nothing(random: np.random.Generator) -> None:
    few = random.standard_normal([LEAST_WINDOWS - 1, 10])
    assert math.isnan(told_apart(few, random.standard_normal([100, 10])).share)


def test_noise_is_told_from_music_and_music_from_itself_is_not(longer_song: npt.NDArray[np.float32]) -> None:
    floor = -80.0
    half = len(longer_song) // 2
    song = second_by_second(longer_song[:half], RATE, floor)
    assert song.shape == (50, 3 * BANDS)  # a second is 62 rows of 16 ms
    noise = np.random.default_rng(1).standard_normal(half).astype(np.float32) * longer_song.std()
    assert told_apart(second_by_second(noise, RATE, floor), song).low > 0.95
    assert told_apart(second_by_second(longer_song[half:], RATE, floor), song).share < 0.75
