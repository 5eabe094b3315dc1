"""The gan head: what it draws, what it is trained on, and that it learns a distribution and not its mean."""

from __future__ import annotations

import math

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.config import HeadSettings
from sonicrnn.denoiser import QUARTER, Denoiser, distance, energy_score
from sonicrnn.heads import make_head

WIDTH, DIMENSION = 7, 5


def made(revise: int = 2, seed: int = 1, width: int = 16, mixtures: int = 3) -> Denoiser:
    head = Denoiser(DIMENSION, width, revise=revise, mixtures=mixtures, seed=seed)
    head.build((None, None, WIDTH))
    return head


def normal(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def chance(head: Denoiser, rows: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """What a denoising loss asks for."""
    noise = tf.random.stateless_normal([2, rows, head.denoising_size], seed)
    return noise, tf.random.stateless_uniform([rows, 1], seed + 1)


def drawn(head: Denoiser, parameters: tf.Tensor, temperature: float = 1.0, seed: int = 0) -> npt.NDArray[np.float32]:
    rows = int(parameters.shape[0])
    noise = head.prepared(normal(rows, head.noise_size, seed=seed))
    return np.asarray(head.draw(parameters, tf.fill([rows], temperature), noise))


def test_the_settings_name_it_and_it_is_what_it_says() -> None:
    head = make_head(HeadSettings(kind="gan", width=16, layers=3, revise=2, mixtures=4), DIMENSION, seed=4)
    assert isinstance(head, Denoiser)
    head.build((None, None, WIDTH))
    parameters = head(normal(2, 4, WIDTH))
    assert parameters.shape == (2, 4, 16 + 4 + 8 * DIMENSION)
    assert head.noise_size == 4 + 6 * DIMENSION
    assert head.known(parameters).shape == (2, 4, 16 + DIMENSION)
    assert head.loss(parameters, tf.zeros([2, 4, DIMENSION])).shape == (2, 4)
    assert head.mean(parameters).shape == (2, 4, DIMENSION)
    assert drawn(head, parameters[:, 0]).shape == (2, DIMENSION)
    again = Denoiser.from_config(head.get_config())
    assert again.get_config() == head.get_config()


def test_weights_are_the_seeds_alone() -> None:
    keras.utils.set_random_seed(1)
    one = made(seed=3)
    keras.utils.set_random_seed(2)
    for same, other in zip(one.get_weights(), made(seed=3).get_weights(), strict=True):
        np.testing.assert_array_equal(same, other)
    assert not np.array_equal(one.enter.get_weights()[0], made(seed=4).enter.get_weights()[0])


# Draws ------------------------------------------------------------------------------------------------------------


def test_a_frame_without_noise_stays_as_it_is() -> None:
    head, frames = made(), normal(6, DIMENSION)
    context, chance = normal(6, 16, seed=1), normal(6, DIMENSION, seed=2)
    clean = head.denoised(context, tf.zeros_like(frames), frames, tf.zeros([6, 1]), chance)
    np.testing.assert_allclose(clean, frames, atol=1e-6)


@pytest.mark.parametrize("revise", [0, 1, 3])
def test_before_any_training_draws_are_gaussian_around_the_mean(revise: int) -> None:
    head, scale = made(revise, mixtures=1), np.linspace(0.3, 1.0, DIMENSION)
    head.begin_with(scale)
    head.first.dense.kernel.assign(tf.zeros_like(head.first.dense.kernel))
    parameters = tf.repeat(head(normal(1, WIDTH)), 20_000, 0)
    made_of = (drawn(head, parameters) - np.asarray(head.mean(parameters))) / scale
    np.testing.assert_allclose(np.cov(made_of.T), np.eye(DIMENSION), atol=0.05)
    np.testing.assert_allclose(made_of.mean(0), np.zeros(DIMENSION), atol=0.04)


def test_before_any_training_a_draw_that_is_not_revised_is_the_mixtures() -> None:
    head, rows = made(revise=0), 50
    parameters, noise = head(normal(rows, WIDTH)), head.prepared(normal(rows, head.noise_size, seed=3))
    of_mixture = tf.concat([noise[:, :3], noise[:, 3 + DIMENSION :]], -1)
    warm = tf.linspace(0.0, 2.0, rows)
    expected = head.first.draw(head.split(parameters)[1], warm, of_mixture)
    np.testing.assert_allclose(head.draw(parameters, warm, noise), expected, rtol=1e-4, atol=1e-5)


def test_a_draw_is_a_first_one_that_is_revised_as_often_as_it_says() -> None:
    """Written out: noise alone, then two thirds and one third of a quarter turn of new noise."""
    head = trained_a_little(made(revise=2))
    parameters, noise = head(normal(4, WIDTH)), head.prepared(normal(4, head.noise_size, seed=3))
    context, mixture = head.split(parameters)
    mean, deviation = head.first.chosen(mixture, noise[:, :3])
    clean, first = None, 3
    for turn in range(3):
        angle = QUARTER * (1 - turn / 3)
        frame, chance = tf.split(noise[:, first : first + 2 * DIMENSION], 2, -1)
        noisy = frame if clean is None else math.cos(angle) * clean + math.sin(angle) * frame
        clean = head.denoised(context, mean, noisy, tf.fill([4, 1], angle), chance)
        first += 2 * DIMENSION
    expected = mean + deviation * clean
    np.testing.assert_allclose(head.draw(parameters, tf.ones([4]), noise), expected, rtol=1e-4, atol=1e-5)


def trained_a_little(head: Denoiser) -> Denoiser:
    head.leave.set_weights([0.3 * normal(*weight.shape, seed=9).numpy() for weight in head.leave.get_weights()])
    return head


def test_temperature_is_a_factor_of_the_noise_and_zero_of_it_draws_what_is_denoised_of_none() -> None:
    head = trained_a_little(made())
    parameters, noise = head(normal(4, WIDTH)), head.prepared(normal(4, head.noise_size, seed=3))
    warm = head.draw(parameters, tf.fill([4], 1.7), noise)
    np.testing.assert_allclose(warm, head.draw(parameters, tf.ones([4]), 1.7 * noise), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(drawn(head, parameters, 0.0, seed=1), drawn(head, parameters, 0.0, seed=2))
    of_none = head.draw(parameters, tf.ones([4]), tf.zeros_like(noise))
    np.testing.assert_allclose(drawn(head, parameters, 0.0), of_none, atol=1e-6)
    assert np.abs(drawn(head, parameters, seed=1) - drawn(head, parameters, seed=2)).max() > 0.01


def test_each_draw_of_a_batch_has_its_own_parameters_temperature_and_noise() -> None:
    head = trained_a_little(made())
    parameters, noise = head(normal(4, WIDTH)), head.prepared(normal(4, head.noise_size, seed=3))
    temperature = tf.constant([0.0, 0.5, 1.0, 2.0])
    together = head.draw(parameters, temperature, noise).numpy()
    for row in range(4):
        alone = head.draw(parameters[row : row + 1], temperature[row : row + 1], noise[row : row + 1]).numpy()
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-4, atol=1e-5)


def test_moved_draws_are_the_same_ones_further_on() -> None:
    head, by, target = made(), normal(2, 5, DIMENSION, seed=1), normal(2, 5, DIMENSION, seed=2)
    head.begin_with(np.linspace(0.3, 1.0, DIMENSION))
    parameters = head(normal(2, 5, WIDTH))
    moved = head.moved(parameters, by)
    np.testing.assert_allclose(head.mean(moved), head.mean(parameters) + by, atol=1e-5)
    np.testing.assert_allclose(head.loss(moved, target + by), head.loss(parameters, target), rtol=1e-4, atol=1e-4)


# What it is trained on --------------------------------------------------------------------------------------------


def test_the_energy_score_is_what_it_is_by_hand() -> None:
    one, other, target = tf.constant([[3.0, 3.0]]), tf.constant([[1.0, 1.0]]), tf.constant([[0.0, 0.0]])
    np.testing.assert_allclose(energy_score(one, other, target), [0.5 * (3 + 1 - 2)], rtol=1e-5)
    np.testing.assert_allclose(distance(one, target), [3.0], rtol=1e-5)


@pytest.mark.parametrize("spread", [0.0, 0.5, 0.8, 1.25, 2.0])
def test_no_other_spread_scores_better_than_that_of_what_is_drawn(spread: float) -> None:
    one, other, target = (normal(60_000, 4, seed=seed) for seed in range(3))
    right = np.mean(energy_score(one, other, target))
    wrong = np.mean(energy_score(spread * one, spread * other, target))
    assert right < wrong - 0.005


def test_a_loss_is_the_same_whenever_it_is_asked_for() -> None:
    head, target = made(), normal(2, 4, DIMENSION)
    parameters = head(normal(2, 4, WIDTH))
    np.testing.assert_array_equal(head.loss(parameters, target), head.loss(parameters, target))


@pytest.mark.parametrize("revise", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_it_learns_two_possible_frames_and_draws_either_but_not_their_mean(revise: int) -> None:
    """What squared error cannot: of two frames that may follow with equal chance, the mean is none."""
    head = made(revise=revise, width=32, mixtures=1)  # one Gaussian cannot tell them either
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 800))
    optimizer.build(head.trainable_variables)
    inputs = tf.ones([256, WIDTH])

    @tf.function
    def step(number: tf.Tensor) -> None:
        side = 2.0 * tf.cast(tf.random.stateless_uniform([256, 1], tf.stack([5, number])) < 0.5, tf.float32) - 1.0
        target = side * tf.ones([DIMENSION]) + 0.1 * tf.random.stateless_normal([256, 5], tf.stack([6, number]))
        with tf.GradientTape() as tape:
            score, unlikely, _ = head.denoising_loss(head(inputs), target, *chance(head, 256, tf.stack([7, number])))
            loss = tf.reduce_mean(score + unlikely)
        optimizer.apply_gradients(
            zip(tape.gradient(loss, head.trainable_variables), head.trainable_variables, strict=True)
        )

    for number in range(800):
        step(tf.constant(number))
    made_of = drawn(head, head(tf.ones([2000, WIDTH])))
    right = np.minimum(np.abs(made_of - 1).mean(1), np.abs(made_of + 1).mean(1))
    assert np.mean(right < 0.35) > 0.5  # nearly all are one or the other
    assert 0.35 < np.mean(made_of.mean(1) > 0) < 0.65
    assert np.abs(head.mean(head(tf.ones([1, WIDTH])))).max() < 1.3


def test_the_spread_is_that_of_two_draws() -> None:
    head, target = made(revise=0, mixtures=1), 3.0 + normal(4000, DIMENSION)
    head.leave.set_weights([np.zeros([16, 10]), np.full(10, -20.0)])  # all draws are one
    given = chance(head, 4000, tf.constant([1, 2]))
    _, _, spread = head.denoising_loss(head(tf.zeros([4000, WIDTH])), target, *given)
    assert spread < 0.01


def test_the_likelihood_is_that_of_the_mixture() -> None:
    head, target = made(), normal(9, DIMENSION)
    parameters = head(normal(9, WIDTH))
    _, unlikely, _ = head.denoising_loss(parameters, target, *chance(head, 9, tf.constant([1, 2])))
    np.testing.assert_allclose(unlikely, head.first.loss(head.split(parameters)[1], target), rtol=1e-5)


def test_a_noisy_frame_is_told_from_a_gaussian_that_can_have_made_it() -> None:
    """Of two that are far apart, never from the other, however likely that one is."""
    head, rows = made(revise=1, mixtures=2), 500
    narrow = np.full([2, DIMENSION], -9.0)  # standard deviations of 0.08
    means = np.stack([np.full(DIMENSION, -2.0), np.full(DIMENSION, 2.0)])
    mixture = np.concatenate([[0.0, 5.0], means.ravel(), narrow.ravel()])
    parameters = tf.constant(np.tile(np.concatenate([np.zeros(16), mixture]), [rows, 1]), tf.float32)
    noise, _ = chance(head, rows, tf.constant([1, 2]))
    score, _, _ = head.denoising_loss(parameters, tf.fill([rows, DIMENSION], -2.0), noise, tf.fill([rows, 1], 0.9))
    assert np.max(score) < 2  # in units of that Gaussian's deviations; of the other's it would be 49


def test_a_discriminator_is_told_the_context_and_the_expected_frame() -> None:
    head = made()
    parameters = head(normal(9, WIDTH))
    context, mixture = head.split(parameters)
    np.testing.assert_array_equal(head.known(parameters), tf.concat([context, head.first.mean(mixture)], -1))
    np.testing.assert_array_equal(head.mean(parameters), head.first.mean(mixture))
