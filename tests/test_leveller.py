"""The slow hand on the volume: it leaves alone what is near the song's level, and brings back what is not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.leveller import FREE_DB, MOST_DB, Level, Leveller, followed, usual_level

RATE = 8000
Samples = npt.NDArray[np.float32]


def noise(seconds: float, dbfs: float = -20.0, pieces: int = 1) -> Samples:
    random = np.random.default_rng(2)
    return (10 ** (dbfs / 20) * random.standard_normal([pieces, round(seconds * RATE)])).astype(np.float32)


def decibels(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


def levelled(samples: Samples, cuts: Sequence[int] = ()) -> Samples:
    """[pieces, samples], near −20 dBFS at first, in blocks that end at the cuts."""
    leveller = Leveller(-20, RATE)
    state, made = leveller.begin(tf.constant(len(samples))), []
    for first, last in itertools.pairwise([0, *cuts, samples.shape[1]]):
        block = samples[:, first:last]
        factors, state = leveller.factors(tf.constant(block), state)
        made.append(block * factors.numpy())
    return np.concatenate(made, 1)


def test_an_offset_that_wanders_is_no_part_of_the_usual_level() -> None:
    offset = 0.3 * np.sin(2 * np.pi * 0.2 * np.arange(30 * RATE) / RATE).astype(np.float32)
    assert usual_level(noise(30)[0] + offset, RATE) == pytest.approx(-20, abs=0.5)


def test_the_usual_level_of_even_noise_is_its_level() -> None:
    assert usual_level(noise(30)[0], RATE) == pytest.approx(-20, abs=0.3)


@pytest.mark.parametrize("off", [-1.0, 0.0, 1.0])
def test_what_is_near_the_level_stays_as_it_is(off: float) -> None:
    samples = noise(20, -20 + off)
    np.testing.assert_array_equal(levelled(samples), samples)


@pytest.mark.parametrize("off", [-10.0, 6.0])
def test_what_stays_off_is_brought_back(off: float) -> None:
    made = levelled(noise(60, -20 + off))
    assert decibels(made[:, 40 * RATE :]) == pytest.approx(-20 + np.sign(off) * FREE_DB, abs=0.4)


def test_silence_is_not_blown_up_without_end_and_what_follows_is_soon_itself() -> None:
    quiet, loud = noise(120, -80), noise(20, -20)
    made = levelled(np.concatenate([quiet, loud], 1), [quiet.shape[1]])
    assert decibels(made[:, quiet.shape[1] - RATE : quiet.shape[1]]) == pytest.approx(-80 + MOST_DB, abs=0.5)
    assert decibels(made[:, -10 * RATE :]) == pytest.approx(-20, abs=FREE_DB + 0.2)


def test_blocks_change_nothing_and_pieces_do_not_hear_each_other() -> None:
    samples = np.concatenate([noise(12, -30), noise(12, -12)])
    whole = levelled(samples)
    np.testing.assert_allclose(levelled(samples, [3, 1000, 1799, 50_001]), whole, rtol=1e-5)
    np.testing.assert_allclose(levelled(samples, [*range(800, 8000, 800)]), whole, rtol=1e-5)
    np.testing.assert_allclose(levelled(samples[1:]), whole[1:], rtol=1e-5)


def test_pieces_at_different_places_are_levelled_side_by_side() -> None:
    """As streams that began at different times are, in one batch."""
    leveller, samples = Leveller(-20, RATE), np.concatenate([noise(3, -30), noise(3, -8)])
    alone = [leveller.factors(tf.constant(samples[:1, :1234]), leveller.begin(1)), (None, leveller.begin(1))]
    joined = Level(*(tf.concat(values, 0) for values in zip(*(state for _, state in alone), strict=True)))
    block = np.stack([samples[0, 1234:9234], samples[1, :8000]])
    factors, _ = leveller.factors(tf.constant(block), joined)
    together, expected = block * factors.numpy(), levelled(samples)
    np.testing.assert_allclose(together[0], expected[0, 1234:9234], rtol=1e-5)
    np.testing.assert_allclose(together[1], expected[1, :8000], rtol=1e-5)


def test_the_gain_glides() -> None:
    ones = np.full([1, 4 * RATE], 0.5, np.float32)
    made = levelled(ones)
    assert np.abs(np.diff(made)).max() < 1e-3
    assert made[0, -1] < 0.2


def test_a_rise_is_followed_sooner_than_a_fall() -> None:
    risen, fallen = (
        followed(tf.fill([20], power), tf.constant(before))[-1].numpy() for power, before in ((1.0, 0.1), (0.1, 1.0))
    )
    assert 10 * np.log10(risen) > -2
    assert 10 * np.log10(fallen) > -2
