"""Binary stochastic units: how often they draw, what gradient they pass on, and how noisy it is."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from sonicrnn.binary import drawn


def test_units_are_0_or_1_as_often_as_their_probability_says() -> None:
    probability = np.linspace(0, 1, 11, dtype=np.float32)
    uniform = np.random.default_rng(0).random((20_000, 11)).astype(np.float32)
    said = drawn(tf.constant(np.tile(probability, (20_000, 1))), tf.constant(uniform)).numpy()
    assert set(np.unique(said)) == {0.0, 1.0}
    np.testing.assert_allclose(said.mean(0), probability, atol=0.015)
    assert np.all(said[:, 0] == 0)
    assert np.all(said[:, -1] == 1)


def test_the_gradient_is_that_of_the_probability_whatever_was_drawn() -> None:
    logits, weights = tf.constant([-3.0, -0.5, 0.0, 1.0, 4.0]), tf.constant([1.0, -2.0, 3.0, 0.5, 2.0])
    for uniform in (0.0, 0.3, 0.6, 0.999):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(logits)
            probability = tf.sigmoid(logits)
            cost = tf.reduce_sum(weights * drawn(probability, tf.fill([5], uniform)))
            sure = tf.reduce_sum(weights * probability)
        np.testing.assert_allclose(tape.gradient(cost, logits), tape.gradient(sure, logits), rtol=1e-6)


def test_of_a_curved_cost_the_gradient_has_noise_that_goes_with_p_times_one_minus_p() -> None:
    """The seeds' question: for a cost of curvature c the variance of dC/dp is c² p (1 − p)."""
    curvature, target = 3.0, 0.4
    probability = tf.constant(np.repeat([[0.02], [0.1], [0.3], [0.5], [0.8]], 20_000, 1), tf.float32)
    uniform = tf.constant(np.random.default_rng(1).random((5, 20_000)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(probability)
        cost = tf.reduce_sum(0.5 * curvature * tf.square(drawn(probability, uniform) - target))
    gradients = tape.gradient(cost, probability).numpy()
    p = probability.numpy()[:, 0]
    np.testing.assert_allclose(gradients.var(1), curvature**2 * p * (1 - p), rtol=0.06)
    np.testing.assert_allclose(gradients.mean(1), curvature * (p - target), atol=0.03)
