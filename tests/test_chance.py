"""Random numbers of a training: each sequence's own, and what they should be."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from sonicrnn.chance import Chance


def chance(rows: int, seed: int = 1, step: int = 0, first: int = 0) -> Chance:
    return Chance(seed, tf.constant(step), tf.range(first, first + rows, dtype=tf.int64))


def test_a_sequence_has_its_numbers_wherever_it_is_worked_through() -> None:
    whole = chance(8).normal(3, [5, 2]).numpy()
    assert whole.shape == (8, 5, 2)
    np.testing.assert_array_equal(np.concatenate([part.normal(3, [5, 2]) for part in chance(8).shared_out(4)]), whole)
    np.testing.assert_array_equal(chance(3, first=5).normal(3, [5, 2]), whole[5:])
    in_graph = tf.function(lambda: chance(8).normal(3, [5, 2]), autograph=False)()
    np.testing.assert_array_equal(in_graph, whole)


def test_everything_that_may_differ_gives_other_numbers() -> None:
    draws = [
        made.normal(purpose, [1000]).numpy()[0]
        for made in (chance(1), chance(1, seed=2), chance(1, step=1), chance(1, first=1), chance(1, seed=2**31 - 1))
        for purpose in (0, 1)
    ]
    correlations = np.corrcoef(draws) - np.eye(len(draws))
    assert np.abs(correlations).max() < 0.15  # five standard deviations


def test_the_numbers_have_their_distributions() -> None:
    normal, uniform = chance(64).normal(0, [4000]).numpy(), chance(64).uniform(1, [4000]).numpy()
    assert normal.mean() == pytest.approx(0, abs=0.01)
    assert normal.std() == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(np.quantile(uniform, [0.01, 0.25, 0.5, 0.99]), [0.01, 0.25, 0.5, 0.99], atol=0.01)


def test_what_is_dropped_is_a_share_and_the_mean_stays() -> None:
    values = tf.fill([16, 50, 40], 2.0)
    left = chance(16).dropped(0, values, 0.3).numpy()
    assert np.unique(left).tolist() == pytest.approx([0, 2 / 0.7])
    assert (left == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert not np.array_equal(left[0], left[1])
    np.testing.assert_array_equal(chance(16).dropped(0, values, 0.0), values)


def test_a_number_for_all_is_one_for_every_share_and_another_at_the_next_step() -> None:
    shares = Chance(3, tf.constant(5), tf.range(8, dtype=tf.int64)).shared_out(2)
    assert int(shares[0].alike(7, 10)) == int(shares[1].alike(7, 10))
    found = [int(Chance(3, tf.constant(step), shares[0].rows).alike(7, 3)) for step in range(100)]
    assert set(found) == {0, 1, 2, 3}
