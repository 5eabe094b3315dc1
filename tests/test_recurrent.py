"""The fast GRU and LSTM against `keras.layers`: the same results and gradients, however they are called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn import recurrent
from sonicrnn.recurrent import AT_ONCE, GRU, LSTM, gru_sequence, lstm_sequence

BATCH, TIME, FEATURE, WIDTH = 3, 11, 4, 5
PAIRS = {"gru": (GRU, keras.layers.GRU), "lstm": (LSTM, keras.layers.LSTM)}


@pytest.fixture(params=list(PAIRS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pair(kind: str, **options: Any) -> tuple[keras.layers.Layer, keras.layers.Layer]:
    """The fast layer and Keras' own with the same weights, wild enough for the gates to close."""
    fast_class, plain_class = PAIRS[kind]
    fast, plain = fast_class(WIDTH, **options), plain_class(WIDTH, **options)
    for layer in (fast, plain):
        layer.build((None, None, FEATURE))
    plain.set_weights([noise(*value.shape, seed=index) for index, value in enumerate(plain.get_weights())])
    fast.set_weights(plain.get_weights())
    return fast, plain


@pytest.fixture
def fast_path(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each use of the fast path, so that a test knows what it compares."""
    used: list[str] = []

    def noting(name: str, sequence: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            used.append(name)
            return sequence(*arguments)

        return called

    for name in ("gru_sequence", "lstm_sequence"):
        monkeypatch.setattr(recurrent, name, noting(name, getattr(recurrent, name)))
    return used


def initial(kind: str, seed: int = 50) -> list[tf.Tensor]:
    return [tf.constant(noise(BATCH, WIDTH, seed=seed + index)) for index in range(1 if kind == "gru" else 2)]


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "relu"}, {"reset_after": False}])
def test_a_step_by_itself_is_that_of_the_cell(kind: str, options: dict[str, Any]) -> None:
    if kind == "lstm" and "reset_after" in options:
        pytest.skip("a setting of the GRU alone")
    fast, plain = pair(kind, **options)
    inputs, states = tf.constant(noise(BATCH, FEATURE)), initial(kind)
    output, after = fast.step(inputs, states)
    expected, expected_after = plain.cell(inputs, states)
    np.testing.assert_allclose(output, expected, atol=1e-6)
    assert len(after) == len(states)
    for one, other in zip(after, expected_after, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def with_gradients(
    layer: keras.layers.Layer, inputs: tf.Tensor, states: list[tf.Tensor], training: bool = False
) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
    """All outputs of a layer, and the gradients of some function of all of them for weights, inputs and states."""
    with tf.GradientTape() as tape:
        tape.watch([inputs, *states])
        outputs = tf.nest.flatten(layer(inputs, initial_state=states, training=training))
        total = tf.add_n(
            [
                tf.reduce_sum(tf.constant(noise(*output.shape, seed=90 + index)) * tf.sin(output))
                for index, output in enumerate(outputs)
            ]
        )
    return outputs, tape.gradient(total, [*layer.trainable_variables, inputs, *states])


def assert_near(made: list[tf.Tensor], expected: list[tf.Tensor], relative: float) -> None:
    """Within `relative` of the largest figure of each."""
    assert len(made) == len(expected)
    for one, other in zip(made, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=relative * np.abs(other).max(), rtol=0)


@pytest.mark.parametrize("sequences", [True, False])
def test_outputs_states_and_all_gradients_are_those_of_keras(kind: str, sequences: bool, fast_path: list[str]) -> None:
    fast, plain = pair(kind, return_sequences=sequences, return_state=True)
    inputs, states = tf.constant(noise(BATCH, TIME, FEATURE)), initial(kind)
    made, made_gradients = with_gradients(fast, inputs, states)
    assert fast_path == [f"{kind}_sequence"]
    expected, expected_gradients = with_gradients(plain, inputs, states)
    assert_near(made, expected, 1e-5)
    assert_near(made_gradients, expected_gradients, 1e-4)
    assert len(made_gradients) == 3 + 1 + len(states)


def test_in_a_graph_of_unknown_sizes_they_are_too(kind: str) -> None:
    """As the trainer calls them: batch and time are not known when the graph is made."""
    fast, plain = pair(kind, return_sequences=True, return_state=True)
    signature = [tf.TensorSpec([None, None, FEATURE]), [tf.TensorSpec([None, WIDTH]) for _ in initial(kind)]]
    graphs = [
        tf.function(lambda inputs, states, layer=layer: with_gradients_of_a_sum(layer, inputs, states), signature)
        for layer in (fast, plain)
    ]
    for time in (1, 2, TIME):
        inputs = tf.constant(noise(BATCH, time, FEATURE, seed=time))
        made, expected = (tf.nest.flatten(graph(inputs, initial(kind))) for graph in graphs)
        assert_near(made, expected, 1e-4)


@pytest.mark.parametrize("time", [1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 3])
def test_blocks_of_steps_are_one_sequence(kind: str, time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole turns of the loops and those that are left, one block and several."""
    monkeypatch.setattr(recurrent, "BLOCK_BYTES", 1)
    fast, plain = pair(kind, return_sequences=True, return_state=True)
    inputs, states = tf.constant(noise(BATCH, time, FEATURE)), initial(kind)
    made, made_gradients = with_gradients(fast, inputs, states)
    expected, expected_gradients = with_gradients(plain, inputs, states)
    assert_near(made, expected, 1e-5)
    assert_near(made_gradients, expected_gradients, 1e-4)


def with_gradients_of_a_sum(layer: keras.layers.Layer, inputs: tf.Tensor, states: list[tf.Tensor]) -> Any:
    with tf.GradientTape() as tape:
        outputs = tf.nest.flatten(layer(inputs, initial_state=states))
        total = tf.add_n([tf.reduce_sum(tf.sin(2 * output)) for output in outputs])
    return outputs, tape.gradient(total, layer.trainable_variables)


def test_a_batch_of_one_whose_size_is_known_goes_through_a_graph(kind: str) -> None:
    fast, plain = pair(kind, return_sequences=True)
    inputs = tf.constant(noise(1, TIME, FEATURE))
    state = [tf.constant(noise(1, WIDTH, seed=index)) for index in range(1 if kind == "gru" else 2)]

    def worked(layer: keras.layers.Layer) -> tuple[tf.Tensor, list[tf.Tensor]]:
        @tf.function
        def slopes() -> tuple[tf.Tensor, list[tf.Tensor]]:
            with tf.GradientTape() as tape:
                outputs = layer(inputs, initial_state=state)
                total = tf.reduce_sum(tf.square(outputs))
            return outputs, tape.gradient(total, layer.trainable_variables)

        return slopes()

    assert_near(tf.nest.flatten(worked(fast)), tf.nest.flatten(worked(plain)), 1e-4)


def test_without_an_initial_state_they_start_at_rest(kind: str) -> None:
    fast, plain = pair(kind, return_sequences=True)
    inputs = noise(BATCH, TIME, FEATURE)
    rest = [tf.zeros([BATCH, WIDTH]) for _ in initial(kind)]
    np.testing.assert_allclose(fast(inputs), plain(inputs), atol=1e-5)
    np.testing.assert_allclose(fast(inputs), fast(inputs, initial_state=rest), atol=1e-7)


def test_two_halves_with_the_state_between_them_are_one_whole(kind: str) -> None:
    fast, _ = pair(kind, return_sequences=True, return_state=True)
    inputs = noise(BATCH, TIME, FEATURE)
    whole, *last = fast(inputs)
    first, *between = fast(inputs[:, :6])
    second, *end = fast(inputs[:, 6:], initial_state=between)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=1e-6)
    assert_near(end, last, 1e-6)


def test_the_gradient_is_the_slope_in_double_precision(kind: str) -> None:
    """Against finite differences, without Keras: every entry of every argument."""
    gates = 3 if kind == "gru" else 4
    sequence = gru_sequence if kind == "gru" else lstm_sequence
    shapes = [(4, 2, 3), *[(2, WIDTH)] * (1 if kind == "gru" else 2), (3, gates * WIDTH), (WIDTH, gates * WIDTH)]
    shapes.append((2, gates * WIDTH) if kind == "gru" else (gates * WIDTH,))
    random = np.random.default_rng(1)
    arguments = [tf.constant(random.standard_normal(shape), tf.float64) for shape in shapes]

    def value(*given: tf.Tensor) -> tf.Tensor:
        outputs = tf.nest.flatten(sequence(*given))
        return tf.add_n([tf.reduce_sum(tf.sin((index + 1) * output)) for index, output in enumerate(outputs)])

    made, slopes = tf.test.compute_gradient(value, arguments, delta=1e-5)
    assert_near(made, slopes, 1e-8)


# Slow layers ------------------------------------------------------------------------------------------------------


def slow_layers(slow: float = 6.0) -> tuple[GRU, keras.layers.GRU]:
    """A slow layer, and Keras' own with the same weights."""
    layer, plain = pair("gru", return_sequences=True, return_state=True)
    made = GRU(WIDTH, slow=slow, return_sequences=True, return_state=True)
    made.build((None, None, FEATURE))
    made.set_weights(layer.get_weights())
    return made, plain


def test_a_slow_layer_moves_by_a_part_of_what_keras_would() -> None:
    slow, plain = slow_layers(6.0)
    inputs, state = tf.constant(noise(BATCH, TIME, FEATURE)), initial("gru")[0]
    made, *last = slow(inputs, initial_state=[state])
    for index in range(TIME):
        moved, _ = plain.cell(inputs[:, index], [state])
        stepped, _ = slow.step(inputs[:, index], [state])
        state = state + (moved - state) / 6.0
        np.testing.assert_allclose(made[:, index], state, atol=1e-5)
        np.testing.assert_allclose(stepped, state, atol=1e-5)
    np.testing.assert_allclose(last[0], state, atol=1e-5)


def test_a_slow_layers_gradient_is_the_slope_in_double_precision() -> None:
    random = np.random.default_rng(1)
    shapes = [(4, 2, 3), (2, WIDTH), (3, 3 * WIDTH), (WIDTH, 3 * WIDTH), (2, 3 * WIDTH)]
    arguments = [tf.constant(random.standard_normal(shape), tf.float64) for shape in shapes]

    def total(*given: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.sin(gru_sequence(*given, 5.0)))

    made, slopes = tf.test.compute_gradient(total, arguments, delta=1e-5)
    assert_near(made, slopes, 1e-8)


def test_a_slow_layer_says_so_in_its_configuration_and_has_no_masks() -> None:
    slow, _ = slow_layers(3.0)
    assert GRU.from_config(slow.get_config()).slow == 3.0
    with pytest.raises(ValueError, match="no mask"):
        slow(noise(BATCH, TIME, FEATURE), mask=tf.ones([BATCH, TIME], tf.bool))


def test_backwards_they_are_what_keras_is(kind: str, fast_path: list[str]) -> None:
    fast, plain = pair(kind, return_sequences=True, return_state=True, go_backwards=True)
    inputs = tf.constant(noise(BATCH, TIME, FEATURE))
    made, made_gradients = with_gradients(fast, inputs, initial(kind))
    expected, expected_gradients = with_gradients(plain, inputs, initial(kind))
    assert fast_path == [f"{kind}_sequence"]
    assert_near(made, expected, 1e-5)
    assert_near(made_gradients, expected_gradients, 1e-4)


def test_long_sequences_stay_near(kind: str) -> None:
    """Errors do not pile up over a thousand steps."""
    fast, plain = pair(kind, return_sequences=True, return_state=True)
    for layer in (fast, plain):
        layer.set_weights([0.4 * value for value in layer.get_weights()])
    inputs, states = tf.constant(noise(BATCH, 1000, FEATURE)), initial(kind)
    made, made_gradients = tf.function(with_gradients)(fast, inputs, states)
    expected, expected_gradients = tf.function(with_gradients)(plain, inputs, states)
    assert_near(made, expected, 1e-5)
    assert_near(made_gradients, expected_gradients, 1e-4)


# What the fast path does not cover goes to Keras -------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"unroll": True},
        {"activation": "relu"},
        {"recurrent_activation": "hard_sigmoid"},
        {"use_bias": False},
    ],
)
def test_options_that_it_does_not_cover_go_to_keras(kind: str, options: dict[str, Any], fast_path: list[str]) -> None:
    fast, plain = pair(kind, return_sequences=True, **options)
    inputs = noise(BATCH, TIME, FEATURE)
    np.testing.assert_allclose(fast(inputs), plain(inputs), atol=1e-5)
    assert fast_path == []


def test_a_gru_that_resets_before_goes_to_keras(fast_path: list[str]) -> None:
    fast, plain = pair("gru", return_sequences=True, reset_after=False)
    inputs = noise(BATCH, TIME, FEATURE)
    np.testing.assert_allclose(fast(inputs), plain(inputs), atol=1e-5)
    assert fast_path == []


def test_a_mask_goes_to_keras(kind: str, fast_path: list[str]) -> None:
    fast, plain = pair(kind, return_sequences=True)
    inputs, mask = noise(BATCH, TIME, FEATURE), np.arange(TIME)[None, :] < np.array([[3], [TIME], [7]])
    masked = fast(inputs, mask=tf.constant(mask))
    np.testing.assert_allclose(masked, plain(inputs, mask=tf.constant(mask)), atol=1e-5)
    assert fast_path == []
    assert not np.allclose(masked, fast(inputs), atol=1e-3)


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}])
def test_dropout_goes_to_keras_in_training_only(kind: str, options: dict[str, float], fast_path: list[str]) -> None:
    fast, plain = pair(kind, return_sequences=True, seed=7, **options)
    inputs = noise(BATCH, TIME, FEATURE)
    np.testing.assert_allclose(fast(inputs, training=True), plain(inputs, training=True), atol=1e-5)
    assert fast_path == []
    np.testing.assert_allclose(fast(inputs, training=False), plain(inputs, training=False), atol=1e-5)
    assert fast_path == [f"{kind}_sequence"]


# Keras' own layer, in all but speed --------------------------------------------------------------------------------


def test_inside_a_bidirectional_layer_both_directions_agree_with_keras(kind: str) -> None:
    fast, plain = pair(kind, return_sequences=True)
    inputs = noise(BATCH, TIME, FEATURE)
    both = [keras.layers.Bidirectional(layer) for layer in (fast, plain)]
    for layer in both:
        layer.build(inputs.shape)
    both[0].set_weights(both[1].get_weights())
    np.testing.assert_allclose(both[0](inputs), both[1](inputs), atol=1e-5)


def test_its_configuration_and_weights_make_keras_own_layer(kind: str) -> None:
    fast_class, plain_class = PAIRS[kind]
    fast, _ = pair(kind, return_sequences=True, name="layer")
    plain = plain_class.from_config(fast.get_config())
    plain.build((None, None, FEATURE))
    plain.set_weights(fast.get_weights())
    inputs = noise(BATCH, TIME, FEATURE)
    np.testing.assert_allclose(fast(inputs), plain(inputs), atol=1e-5)
    assert fast_class.from_config(plain.get_config()).get_config() == fast.get_config()


def test_a_saved_model_loads_safely_and_its_weights_load_into_keras_own_layers(kind: str, tmp_path: Path) -> None:
    fast_class, plain_class = PAIRS[kind]

    def model(layer: type[keras.layers.Layer]) -> keras.Model:
        return keras.Sequential(
            [keras.Input((None, FEATURE)), layer(WIDTH, return_sequences=True), layer(2, return_sequences=True)]
        )

    made, inputs = model(fast_class), noise(BATCH, TIME, FEATURE)
    made.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert type(loaded.layers[0]) is fast_class
    np.testing.assert_array_equal(loaded(inputs), made(inputs))
    plain = model(plain_class)
    plain.load_weights(tmp_path / "model.keras")
    np.testing.assert_allclose(plain(inputs), made(inputs), atol=1e-5)


def test_fit_learns_through_the_written_gradient(kind: str) -> None:
    """The running mean of its inputs: plain for a recurrent layer, impossible without memory."""
    keras.utils.set_random_seed(1)
    inputs = noise(64, 12, 1)
    targets = np.cumsum(inputs, 1) / np.arange(1, 13)[None, :, None]
    model = keras.Sequential([keras.Input((None, 1)), PAIRS[kind][0](16, return_sequences=True), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02), "mse")
    history = model.fit(inputs, targets, batch_size=32, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.15 * np.var(targets)
