"""Heads: their losses against textbook densities, their draws against the distribution that they were given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from scipy import stats
from scipy.special import logsumexp, softmax

from sonicrnn.config import HeadSettings
from sonicrnn.heads import (
    QUANTISED_RANGE,
    MeanSquaredError,
    Quantised,
    SpectralError,
    make_head,
    spectral_distance,
)
from sonicrnn.mixture import GaussianMixture
from sonicrnn.spreads import LOG_SCALE_RANGE

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
    return np.asarray(head.draw(rows, tf.fill([count], temperature), head.prepared(noise)), np.float64)


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
    assert isinstance(make_head(HeadSettings(kind="spectral"), 5), SpectralError)
    levels = make_head(HeadSettings(kind="softmax", levels=16), 5)
    assert isinstance(levels, Quantised)
    assert (levels.levels, levels.dimension) == (16, 5)


@pytest.mark.parametrize("kind", ["mse", "spectral", "gaussian", "mixture", "softmax"])
def test_a_head_takes_noise_and_gives_shapes_as_it_says(kind: str) -> None:
    head = make_head(HeadSettings(kind=kind, mixtures=3, levels=8), 5)  # type: ignore[arg-type]
    head.build((None, None, 7))
    parameters = head(tf.random.stateless_normal([2, 4, 7], [1, 2]))
    assert parameters.shape == (2, 4, {"mse": 5, "spectral": 5, "gaussian": 11, "mixture": 33, "softmax": 40}[kind])
    assert head.noise_size == {"mse": 0, "spectral": 0, "gaussian": 6, "mixture": 8, "softmax": 5}[kind]
    assert head.loss(parameters, tf.zeros([2, 4, 5])).shape == (2, 4)
    assert head.mean(parameters).shape == (2, 4, 5)
    drawn = head.draw(parameters[:, 0], tf.ones([2]), head.prepared(tf.zeros([2, head.noise_size])))
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
    noise = head.prepared(tf.random.stateless_normal([4, head.noise_size], [1, 2]))
    temperature = tf.constant([0.0, 0.5, 1.0, 2.0])
    together = head.draw(parameters, temperature, noise).numpy()
    for row in range(4):
        alone = head.draw(parameters[row : row + 1], temperature[row : row + 1], noise[row : row + 1]).numpy()
        np.testing.assert_allclose(together[row], alone[0], rtol=1e-6)


def test_the_wildest_noise_gives_a_finite_draw() -> None:
    head = GaussianMixture(2, 3)
    parameters = parameters_of(head, 2, seed=6)
    for size in (-40.0, 40.0):
        noise = head.prepared(tf.fill([2, head.noise_size], size))
        assert np.all(np.isfinite(head.draw(parameters, tf.ones([2]), noise)))


# Spectra of waveform frames ---------------------------------------------------------------------------------------


def waves(samples: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Two sounds of unit variance, [2, samples]."""
    time, random = np.arange(samples) / 16_000, np.random.default_rng(seed)
    tones = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (220, 440)]) * np.sqrt(1.8)
    return np.asarray(tones + 0.3 * random.standard_normal(tones.shape), np.float32)


def naive_distance(samples: Floats, wanted: Floats) -> float:
    total = []
    for length in (256, 512, 1024, 2048):
        window = np.hanning(length + 1)[:-1]
        window /= np.sqrt(np.sum(window**2))
        starts = range(0, len(samples) - length + 1, length // 4)
        made, real = (
            np.sqrt(
                np.abs(np.stack([np.fft.rfft(window * one[start : start + length]) for start in starts])) ** 2 + 1e-6
            )
            for one in (samples, wanted)
        )
        total.append(np.linalg.norm(real - made) / np.linalg.norm(real) + np.abs(np.log(made / real)).mean())
    return float(np.mean(total))


def test_the_distance_of_spectra_is_that_of_the_definition() -> None:
    samples, wanted = waves(4000), waves(4000, seed=1)[::-1].copy()
    found = spectral_distance(tf.constant(samples), tf.constant(wanted)).numpy()
    expected = [naive_distance(*pair) for pair in zip(samples.astype(float), wanted.astype(float), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_spectra_hear_a_missing_sound_but_hardly_a_shift_that_squared_error_takes_for_another_sound() -> None:
    wanted, moved, quiet = waves(4000), np.roll(waves(4000), 18, axis=1), 0.1 * waves(4000)
    head = SpectralError(1000)
    shape = (2, 4, 1000)
    shifted, faint = (
        head.loss(tf.constant(one.reshape(shape)), tf.constant(wanted.reshape(shape))) for one in (moved, quiet)
    )
    squared = [MeanSquaredError(1000).loss(*map(tf.constant, (one, wanted))) for one in (moved, quiet)]
    assert np.all(squared[0] > squared[1])
    assert np.all(shifted - squared[0][:, None] < 0.5 * (faint - squared[1][:, None]))
    np.testing.assert_allclose(head.loss(tf.constant(wanted), tf.constant(wanted)), 0, atol=1e-6)


@pytest.mark.parametrize("time", [1, 2, 30])
def test_spectra_of_short_sequences_and_of_silence_have_a_finite_gradient(time: int) -> None:
    head, parameters = SpectralError(40), tf.Variable(tf.zeros([2, time, 40]))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(head.loss(parameters, tf.zeros([2, time, 40]) + tf.constant(waves(40))[:, None]))
    assert np.isfinite(loss)
    assert np.all(np.isfinite(tape.gradient(loss, parameters)))


# Levels -----------------------------------------------------------------------------------------------------------


def test_the_levels_are_finest_in_the_middle_and_cover_the_range() -> None:
    head = Quantised(1, 256)
    widths = np.diff(head.edges)
    assert (head.edges[0], head.edges[-1]) == (pytest.approx(-QUANTISED_RANGE), pytest.approx(QUANTISED_RANGE))
    assert np.all(np.diff(widths[128:]) > 0)
    np.testing.assert_allclose(widths, widths[::-1], rtol=1e-3)
    assert np.all((head.edges[:-1] < head.centres) & (head.centres < head.edges[1:]))
    np.testing.assert_array_equal(head.level_of(tf.constant(head.centres)), np.arange(256))
    np.testing.assert_array_equal(head.level_of(tf.constant([-99.0, 99.0])), [0, 255])


def test_the_levels_loss_is_a_density_that_integrates_to_one_over_its_range() -> None:
    head = Quantised(1, 32)
    parameters = tf.constant(np.random.default_rng(0).standard_normal((1, 32)), tf.float32)
    grid = np.linspace(-QUANTISED_RANGE, QUANTISED_RANGE, 100_001)[:-1]
    loss = head.loss(tf.repeat(parameters, len(grid), 0), tf.constant(grid[:, None], tf.float32)).numpy()
    assert np.exp(-loss).mean() * 2 * QUANTISED_RANGE == pytest.approx(1, abs=1e-3)


def test_the_levels_loss_of_a_gaussian_is_near_its_entropy() -> None:
    """So that the nats of this head and of the others compare."""
    head = Quantised(1, 256)
    masses = np.diff(stats.norm.cdf(head.edges))
    target = np.random.default_rng(3).standard_normal((20_000, 1))
    parameters = tf.constant(np.tile(np.log(masses), (len(target), 1)), tf.float32)
    loss = head.loss(parameters, tf.constant(target, tf.float32)).numpy().mean()
    assert loss == pytest.approx(stats.norm.entropy(), abs=0.03)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_levels_are_drawn_as_often_as_they_are_likely(temperature: float) -> None:
    head = Quantised(2, 8)
    logits = np.random.default_rng(1).standard_normal((2, 8))
    noise = np.random.default_rng(2).standard_normal((20_000, 2)).astype(np.float32)
    rows = tf.repeat(tf.constant(logits.reshape(1, 16), tf.float32), len(noise), 0)
    drawn = head.draw(rows, tf.fill([len(noise)], temperature), head.prepared(noise)).numpy()
    for figure in range(2):
        counted = [np.mean(drawn[:, figure] == centre) for centre in head.centres]
        np.testing.assert_allclose(counted, softmax(logits[figure] / temperature), atol=0.015)
    mean = head.mean(rows[:1]).numpy()[0]
    np.testing.assert_allclose(mean, softmax(logits, -1) @ head.centres, rtol=1e-5)


def test_at_temperature_zero_the_likeliest_level_is_drawn() -> None:
    head = Quantised(3, 16)
    logits = np.random.default_rng(5).standard_normal((4, 3, 16)).astype(np.float32)
    noise = np.random.default_rng(6).standard_normal((4, 3)).astype(np.float32)
    drawn = head.draw(tf.constant(logits.reshape(4, -1)), tf.zeros([4]), head.prepared(noise)).numpy()
    np.testing.assert_array_equal(drawn, head.centres[logits.argmax(-1)])
