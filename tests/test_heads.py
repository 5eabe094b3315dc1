"""Heads: their losses against textbook densities, their draws against the distribution that they were given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp, softmax

from sonicrnn.config import HeadSettings
from sonicrnn.heads import LOG_SCALE_RANGE, GaussianMixture, MeanSquaredError, make_head

Floats = npt.NDArray[np.float64]


def parameters_of(head: GaussianMixture, *shape: int, seed: int = 0) -> tf.Tensor:
    """Some parameters [..., parameter], as an untrained network might give them, only wilder."""
    size = head.mixtures * (1 + 2 * head.dimension)
    return tf.constant(1.5 * np.random.default_rng(seed).standard_normal((*shape, size)), tf.float32)


def parts_of(head: GaussianMixture, parameters: tf.Tensor) -> tuple[Floats, Floats, Floats]:
    """Weights [..., mixtures], means and standard deviations [..., mixtures, dimension], in float64."""
    logits, means, log_scales = (np.asarray(part, np.float64) for part in head.split(parameters))
    return softmax(logits, -1), means, np.exp(log_scales)


def draws(head: GaussianMixture, parameters: tf.Tensor, temperature: float, count: int, seed: int = 0) -> Floats:
    """Many draws from one set of parameters [parameter]: [count, dimension]."""
    noise = np.random.default_rng(seed).standard_normal((count, head.noise_size)).astype(np.float32)
    rows = tf.repeat(parameters[None], count, 0)
    return np.asarray(head.draw(rows, tf.fill([count], temperature), tf.constant(noise)), np.float64)


def spread_for(scale: float) -> float:
    """The parameter that gives a figure this standard deviation."""
    low, high = LOG_SCALE_RANGE
    share = (np.log(scale) - low) / (high - low)
    return float(np.log(share / (1 - share)) - 1)


def test_the_settings_name_the_head() -> None:
    assert isinstance(make_head(HeadSettings(kind="mse"), 5), MeanSquaredError)
    one, many = make_head(HeadSettings(kind="gaussian"), 5), make_head(HeadSettings(kind="mixture", mixtures=3), 5)
    assert isinstance(one, GaussianMixture)
    assert isinstance(many, GaussianMixture)
    assert (one.mixtures, many.mixtures, many.dimension) == (1, 3, 5)


@pytest.mark.parametrize("kind", ["mse", "gaussian", "mixture"])
def test_a_head_takes_noise_and_gives_shapes_as_it_says(kind: str) -> None:
    head = make_head(HeadSettings(kind=kind, mixtures=3), 5)  # type: ignore[arg-type]
    head.build((None, None, 7))
    parameters = head(tf.random.stateless_normal([2, 4, 7], [1, 2]))
    assert parameters.shape == (2, 4, {"mse": 5, "gaussian": 11, "mixture": 33}[kind])
    assert head.noise_size == {"mse": 0, "gaussian": 6, "mixture": 8}[kind]
    assert head.loss(parameters, tf.zeros([2, 4, 5])).shape == (2, 4)
    assert head.mean(parameters).shape == (2, 4, 5)
    drawn = head.draw(parameters[:, 0], tf.ones([2]), tf.zeros([2, head.noise_size]))
    assert drawn.shape == (2, 5)
    again = type(head).from_config(head.get_config())
    assert (again.dimension, again.noise_size) == (head.dimension, head.noise_size)


# Losses -----------------------------------------------------------------------------------------------------------


def test_the_squared_error_is_the_gaussian_likelihood_of_unit_variance_less_its_constant() -> None:
    head = MeanSquaredError(6)
    predicted, target = np.random.default_rng(1).standard_normal((2, 3, 4, 6))
    loss = head.loss(tf.constant(predicted), tf.constant(target)).numpy()
    expected = -stats.norm.logpdf(target, predicted, 1).mean(-1) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(("mixtures", "dimension"), [(1, 1), (1, 6), (4, 1), (4, 6), (8, 60)])
def test_the_mixtures_loss_is_the_negative_log_density_per_figure(mixtures: int, dimension: int) -> None:
    head = GaussianMixture(dimension, mixtures)
    parameters = parameters_of(head, 3, 5)
    target = np.random.default_rng(2).standard_normal((3, 5, dimension))
    weights, means, scales = parts_of(head, parameters)
    each = stats.norm.logpdf(target[..., None, :], means, scales).sum(-1)  # [3, 5, mixtures]
    expected = -logsumexp(np.log(weights) + each, axis=-1) / dimension
    loss = head.loss(parameters, tf.constant(target, tf.float32)).numpy()
    np.testing.assert_allclose(loss, expected, rtol=2e-4, atol=2e-4)


def test_the_mixtures_density_integrates_to_one() -> None:
    head = GaussianMixture(1, 5)
    parameters = parameters_of(head, 1, seed=4)
    grid = np.linspace(-40, 40, 80_001)
    loss = head.loss(tf.repeat(parameters, len(grid), 0), tf.constant(grid[:, None], tf.float32)).numpy()
    assert np.exp(-loss).sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("size", [1e4, 1e8])
def test_far_off_targets_and_parameters_have_a_finite_loss_and_gradient(size: float) -> None:
    head = GaussianMixture(3, 2)
    parameters = tf.Variable(size * parameters_of(head, 2, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(head.loss(parameters, tf.fill([2, 2, 3], 100.0)))
    assert np.isfinite(loss)
    assert np.all(np.isfinite(tape.gradient(loss, parameters)))


def test_no_gaussian_is_narrower_or_wider_than_the_bounds() -> None:
    """Else a frame known by heart would be worth any number of nats."""
    head = GaussianMixture(2, 1)
    for spread, bound in zip((-1e4, 1e4), LOG_SCALE_RANGE, strict=True):
        _, _, log_scales = head.split(tf.constant([[0.0, 0.0, 0.0, spread, spread]]))
        np.testing.assert_allclose(log_scales, bound, rtol=1e-6)


@pytest.mark.parametrize("head", [MeanSquaredError(3), GaussianMixture(3, 1), GaussianMixture(3, 4)])
def test_a_moved_prediction_is_the_same_one_further_on(head: MeanSquaredError | GaussianMixture) -> None:
    parameters = parameters_of(head, 2, 5) if isinstance(head, GaussianMixture) else tf.random.normal([2, 5, 3])
    by, target = (tf.random.stateless_normal([2, 5, 3], [seed, 1]) for seed in (1, 2))
    moved = head.moved(parameters, by)
    np.testing.assert_allclose(head.loss(moved, target + by), head.loss(parameters, target), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(head.mean(moved), head.mean(parameters) + by, atol=1e-5)


# Draws ------------------------------------------------------------------------------------------------------------


def test_the_squared_errors_draw_is_its_prediction_at_any_temperature() -> None:
    head = MeanSquaredError(3)
    predicted = tf.constant([[1.0, 2.0, 3.0]])
    for temperature in (0.0, 1.0, 3.0):
        np.testing.assert_array_equal(head.draw(predicted, tf.constant([temperature]), tf.zeros([1, 0])), predicted)
    np.testing.assert_array_equal(head.mean(predicted), predicted)


def test_draws_at_temperature_one_have_the_mixtures_moments_and_distribution() -> None:
    head = GaussianMixture(2, 4)
    parameters = parameters_of(head, seed=7)
    weights, means, scales = parts_of(head, parameters)
    made = draws(head, parameters, 1.0, 40_000)
    mean = weights @ means
    variance = weights @ (scales**2 + means**2) - mean**2
    np.testing.assert_allclose(made.mean(0), mean, atol=5 * np.sqrt(variance.max() / 40_000))
    np.testing.assert_allclose(made.var(0), variance, rtol=0.06)
    np.testing.assert_allclose(head.mean(parameters), mean, atol=1e-5)
    for figure in range(2):

        def cumulative(x: Floats, figure: int = figure) -> Floats:
            return np.sum(weights * stats.norm.cdf(x[:, None], means[:, figure], scales[:, figure]), -1)

        assert stats.kstest(made[:, figure], cumulative).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_divides_the_logits_and_multiplies_the_deviations(temperature: float) -> None:
    """Three Gaussians so far apart that it is plain which one a draw came from."""
    head = GaussianMixture(1, 3)
    logits, means = np.array([0.0, 1.0, -1.0]), np.array([-100.0, 0.0, 100.0])
    parameters = tf.constant(np.concatenate([logits, means, np.full(3, spread_for(0.5))]), tf.float32)
    made = draws(head, parameters, temperature, 30_000)[:, 0]
    chosen = np.rint(made / 100).astype(int) + 1
    wanted = softmax(logits / temperature)
    np.testing.assert_allclose(np.bincount(chosen, minlength=3) / 30_000, wanted, atol=0.012)
    assert (made - means[chosen]).std() == pytest.approx(0.5 * temperature, rel=0.02)


def test_temperature_zero_draws_the_likeliest_gaussians_mean() -> None:
    head = GaussianMixture(3, 4)
    parameters = parameters_of(head, seed=3)
    weights, means, _ = parts_of(head, parameters)
    made = draws(head, parameters, 0.0, 50)
    np.testing.assert_allclose(made, np.broadcast_to(means[np.argmax(weights)], (50, 3)), rtol=1e-6)


def test_the_figures_of_a_frame_come_from_the_same_gaussian() -> None:
    """The mixture is over whole frames: figures of different Gaussians are never mixed in one frame."""
    head = GaussianMixture(4, 2)
    means = np.array([[10.0] * 4, [-10.0] * 4])
    parameters = tf.constant(np.concatenate([[0, 0], means.ravel(), np.full(8, spread_for(0.1))]), tf.float32)
    signs = np.sign(draws(head, parameters, 1.0, 500))
    assert np.all(signs == signs[:, :1])
    assert {-1.0, 1.0} == set(signs[:, 0])


def test_which_gaussian_and_where_in_it_are_independent() -> None:
    head = GaussianMixture(1, 2)
    parameters = tf.constant([0.0, 0.0, 50.0, -50.0, spread_for(1.0), spread_for(1.0)], tf.float32)
    made = draws(head, parameters, 1.0, 20_000)[:, 0]
    first = made > 0
    for rest in (made[first] - 50, made[~first] + 50):
        assert stats.kstest(rest, "norm").pvalue > 1e-3


def test_each_draw_of_a_batch_has_its_own_parameters_temperature_and_noise() -> None:
    head = GaussianMixture(2, 3)
    parameters = parameters_of(head, 4, seed=5)
    noise = tf.random.stateless_normal([4, head.noise_size], [1, 2])
    temperature = tf.constant([0.0, 0.5, 1.0, 2.0])
    together = head.draw(parameters, temperature, noise).numpy()
    for row in range(4):
        alone = head.draw(parameters[row : row + 1], temperature[row : row + 1], noise[row : row + 1]).numpy()
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-6)


def test_the_wildest_noise_gives_a_finite_draw() -> None:
    head = GaussianMixture(2, 3)
    parameters = parameters_of(head, 2, seed=6)
    for size in (-40.0, 40.0):
        assert np.all(np.isfinite(head.draw(parameters, tf.ones([2]), tf.fill([2, head.noise_size], size))))
