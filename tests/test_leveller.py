"""The slow hand on the volume: it leaves alone what is near the song's level, and brings back what is not."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.leveller import FREE_DB, MOST_DB, Leveller, followed, usual_level

RATE = 8000
Samples = npt.NDArray[np.float32]


def noise(seconds: float, dbfs: float = -20.0, pieces: int = 1) -> Samples:
    random = np.random.default_rng(2)
    return (10 ** (dbfs / 20) * random.standard_normal([pieces, round(seconds * RATE)])).astype(np.float32)


def decibels(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def test_the_usual_level_of_even_noise_is_its_level() -> None:
    assert usual_level(noise(30)[0], RATE) == pytest.approx(-20, abs=0.3)


@pytest.mark.parametrize("off", [-1.0, 0.0, 1.0])
def test_what_is_near_the_level_stays_as_it_is(off: float) -> None:
    samples = noise(20, -20 + off)
    np.testing.assert_array_equal(Leveller(-20, RATE, 1).add(samples), samples)


@pytest.mark.parametrize("off", [-10.0, 6.0])
def test_what_stays_off_is_brought_back(off: float) -> None:
    made = Leveller(-20, RATE, 1).add(noise(60, -20 + off))
    assert decibels(made[:, 40 * RATE :]) == pytest.approx(-20 + np.sign(off) * FREE_DB, abs=0.4)


def test_silence_is_not_blown_up_without_end_and_what_follows_is_soon_itself() -> None:
    quiet, loud = noise(120, -80), noise(20, -20)
    leveller = Leveller(-20, RATE, 1)
    made = leveller.add(quiet)
    assert decibels(made[:, -RATE:]) == pytest.approx(-80 + MOST_DB, abs=0.5)
    back = leveller.add(loud)
    assert decibels(back[:, -10 * RATE :]) == pytest.approx(-20, abs=FREE_DB + 0.2)


def test_blocks_change_nothing_and_pieces_do_not_hear_each_other() -> None:
    samples = np.concatenate([noise(12, -30), noise(12, -12)])
    whole = Leveller(-20, RATE, 2).add(samples)
    leveller, cuts = Leveller(-20, RATE, 2), [0, 3, 1000, 1799, 50_001, samples.shape[1]]
    blocks = [leveller.add(samples[:, first:last]) for first, last in itertools.pairwise(cuts)]
    np.testing.assert_allclose(np.concatenate(blocks, 1), whole, rtol=1e-5)
    np.testing.assert_allclose(Leveller(-20, RATE, 1).add(samples[1:]), whole[1:], rtol=1e-5)


def test_the_gain_glides() -> None:
    ones = np.full([1, 4 * RATE], 0.5, np.float32)
    made = Leveller(-30, RATE, 1).add(ones)
    assert np.abs(np.diff(made)).max() < 1e-3
    assert made[0, -1] < 0.1


def test_a_rise_is_followed_sooner_than_a_fall() -> None:
    risen, fallen = followed([1.0] * 20, 0.1)[-1], followed([0.1] * 20, 1.0)[-1]
    assert 10 * np.log10(risen) > -2
    assert 10 * np.log10(fallen) > -2
