"""The flow head: an exact density, draws that are the way back, and the Gaussian that it begins with."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from sonicrnn.config import HeadSettings
from sonicrnn.flow import Flow
from sonicrnn.heads import make_head


def wild(dimension: int, layers: int = 3, width: int = 6) -> Flow:
    """A flow whose couplings do something: after training they are not the zeros that they begin as."""
    head = Flow(dimension, width, layers)
    head.build((None, None, 4))
    for index, leave in enumerate(head.leave):
        leave.set_weights([value(*one.shape, seed=20 + index) for one in leave.get_weights()])
    return head


def value(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parameters_of(head: Flow, *shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(value(*shape, head.width + 2 * head.dimension, seed=seed))


def drawn(head: Flow, parameters: tf.Tensor, noise: np.ndarray, temperature: float = 1.0) -> tf.Tensor:
    return head.draw(parameters, tf.fill([len(noise)], temperature), head.prepared(tf.constant(noise)))


def test_the_settings_name_it() -> None:
    head = make_head(HeadSettings(kind="flow", width=7, layers=3), 5, seed=2)
    assert isinstance(head, Flow)
    assert (head.dimension, head.width, head.depth, head.seed) == (5, 7, 3, 2)
    again = Flow.from_config(head.get_config())
    assert again.get_config() == head.get_config()


@pytest.mark.parametrize("dimension", [2, 5, 6])
def test_the_likelihood_of_a_draw_is_that_of_its_noise_and_of_how_the_way_stretches_it(dimension: int) -> None:
    """By the Jacobian of `draw`, which is worked out figure by figure."""
    head, noise = wild(dimension), value(1, dimension, seed=5)
    parameters, at = parameters_of(head, 1), tf.Variable(noise)
    with tf.GradientTape() as tape:
        frame = head.draw(parameters, tf.ones([1]), at)
    jacobian = np.asarray(tape.jacobian(frame, at), np.float64).reshape(dimension, dimension)
    expected = stats.norm.logpdf(noise).sum() - np.linalg.slogdet(jacobian)[1]
    assert float(head.loss(parameters, frame)[0]) == pytest.approx(-expected / dimension, rel=1e-4, abs=1e-4)


def test_the_density_of_two_figures_integrates_to_one(monkeypatch: pytest.MonkeyPatch) -> None:
    head = wild(2)
    # Neither so narrow that a grid misses it nor wider than the grid.
    monkeypatch.setattr("sonicrnn.spreads.LOG_SCALE_RANGE", (-0.5, 0.0))
    grid = np.linspace(-60, 60, 1601, dtype=np.float32)
    frames = tf.constant(np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2))
    loss = head.loss(tf.repeat(parameters_of(head, 1), len(frames), 0), frames).numpy().astype(np.float64)
    assert np.exp(-2 * loss).sum() * (grid[1] - grid[0]) ** 2 == pytest.approx(1, abs=0.01)


def test_temperature_scales_the_noise_and_nothing_else() -> None:
    head = wild(5)
    parameters, noise = parameters_of(head, 4), value(4, 5, seed=1)
    np.testing.assert_allclose(
        drawn(head, parameters, noise, 0.5), drawn(head, parameters, 0.5 * noise), rtol=1e-5, atol=1e-5
    )
    cold = drawn(head, parameters, noise, 0.0)
    np.testing.assert_allclose(cold, head.mean(parameters), rtol=1e-5, atol=1e-5)
    assert head.mean(tf.reshape(parameters, [2, 2, -1])).shape == (2, 2, 5)


def test_it_begins_as_the_gaussian_that_it_is_told_to_begin_with() -> None:
    head = Flow(4, 8, 4)
    head.build((None, None, 3))
    scale = np.array([0.3, 0.5, 0.8, 1.0], np.float32)
    head.begin_with(scale)
    parameters = head(tf.zeros([20_000, 3]))
    made = drawn(head, parameters, value(20_000, 4)).numpy()
    np.testing.assert_allclose(made.std(0), scale, rtol=0.03)
    np.testing.assert_allclose(made.mean(0), 0, atol=0.03)


def test_a_moved_prediction_is_the_same_one_further_on() -> None:
    head = wild(5)
    parameters, by, target = parameters_of(head, 3), value(3, 5, seed=1), value(3, 5, seed=2)
    moved = head.moved(parameters, tf.constant(by))
    np.testing.assert_allclose(head.loss(moved, target + by), head.loss(parameters, target), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(head.mean(moved), head.mean(parameters) + by, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_it_learns_what_no_gaussian_tells_that_one_figure_follows_from_another() -> None:
    """Frames (x, x², …) with little noise: the Gaussian of the same spread needs far more nats a figure."""
    random = np.random.default_rng(3)
    x = random.standard_normal(4000)
    frames = np.stack([x, np.square(x) - 1 + 0.1 * random.standard_normal(4000)], 1).astype(np.float32)
    head = Flow(2, 32, 4)
    head.build((None, None, 1))
    told, heard = tf.constant(frames), tf.zeros([4000, 1])
    optimizer = tf.keras.optimizers.Adam(0.01)
    weights = head.trainable_variables

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(head.loss(head(heard), told))
        optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return loss

    for _ in range(300):
        loss = float(step())
    gaussian = -stats.norm.logpdf(frames, frames.mean(0), frames.std(0)).mean()
    assert loss < gaussian - 0.4
    made = drawn(head, head(heard), value(4000, 2, seed=4)).numpy()
    assert np.corrcoef(np.square(made[:, 0]), made[:, 1])[0, 1] > 0.9


def test_frames_of_one_figure_are_refused() -> None:
    with pytest.raises(ValueError, match="two figures or more"):
        Flow(1)
