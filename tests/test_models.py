"""The model: one step at a time or all at once, before and after it was saved, with state carried or at rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.chance import Chance
from sonicrnn.config import ModelSettings
from sonicrnn.frames import halves
from sonicrnn.models import SongModel
from sonicrnn.stack import ForgetBias, UpdateBias

DIMENSION = 6
MODELS: dict[str, dict[str, Any]] = {
    "gru": {"widths": [5, 7], "head": {"kind": "mixture", "mixtures": 2}},
    "lstm": {"cell": "lstm", "widths": [5, 7], "head": {"kind": "gaussian"}},
    "mse": {"widths": [5], "head": {"kind": "mse"}},
    "gan": {"widths": [5], "echo": True, "head": {"kind": "gan", "width": 8}},
    "flow": {"widths": [5], "echo": True, "head": {"kind": "flow", "width": 8, "layers": 3}},
    "slow": {"widths": [5, 7], "slow": [16, 1], "skip": True},
    "front": {"front": [8, 3], "widths": [5, 7]},
    "skip": {"widths": [5, 7, 4], "skip": True},
    "noisy": {
        "front": [8], "front_units": "binary", "widths": [5, 7], "weight_noise": 0.1, "activation_noise": 0.1,
        "dropout": 0.2, "head": {"kind": "softmax", "levels": 8},
    },
    "all": {
        "cell": "lstm", "front": [8], "widths": [5, 7, 4], "skip": True, "dropout": 0.4, "input_noise": 0.5,
        "echo": True, "self_heard": 2,
    },
}  # fmt: skip


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest) -> SongModel:
    return made(**MODELS[request.param])


def made(seed: int = 1, learning_rate: float = 0.0, **settings: Any) -> SongModel:
    """A small compiled model; at a learning rate of 0 its weights stay as they are."""
    model = SongModel(DIMENSION, ModelSettings(**settings), seed)
    model.build((None, None, DIMENSION))
    if model.settings.echo:  # which says nothing at first
        model.echo.set_weights([0.1 * noise(DIMENSION, DIMENSION)])
    optimizer = keras.optimizers.SGD(learning_rate)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    return model


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# One step at a time -----------------------------------------------------------------------------------------------


def test_reading_at_once_is_reading_step_by_step(model: SongModel) -> None:
    inputs = noise(3, 9, DIMENSION)
    parameters, last = model.follow(tf.constant(inputs), None)
    states = model.rest(3)
    for step in range(9):
        one, states = model.advance(tf.constant(inputs[:, step]), states)
        np.testing.assert_allclose(one, parameters[:, step], atol=1e-5)
    for left, right in zip(tf.nest.flatten(states), tf.nest.flatten(last), strict=True):
        np.testing.assert_allclose(left, right, atol=1e-5)
    np.testing.assert_allclose(model(inputs), parameters, atol=1e-6)


def test_two_halves_with_the_state_between_them_are_one_whole(model: SongModel) -> None:
    inputs = tf.constant(noise(2, 10, DIMENSION))
    whole, _ = model.follow(inputs, None)
    first, between = model.follow(inputs[:, :4], None)
    second, _ = model.follow(inputs[:, 4:], between)
    np.testing.assert_allclose(tf.concat([first, second], 1), whole, atol=1e-5)


def test_no_prediction_knows_its_target_or_its_neighbours(model: SongModel) -> None:
    inputs = noise(2, 8, DIMENSION)
    changed = inputs.copy()
    changed[1, 5:] += 1
    before, after = model(inputs).numpy(), model(changed).numpy()
    np.testing.assert_allclose(after[0], before[0], atol=1e-6)
    np.testing.assert_allclose(after[1, :5], before[1, :5], atol=1e-6)
    assert np.all(np.abs(after[1, 5:] - before[1, 5:]).max(-1) > 1e-4)


# Built as the settings say ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        # The stack of the seeds: three products of each GRU layer, with two biases, and a dense head.
        (
            {"widths": [199, 256], "head": {"kind": "mse"}},
            3 * (199 * (DIMENSION + 199 + 2) + 256 * (199 + 256 + 2)) + DIMENSION * 257,
        ),
        (
            {"cell": "lstm", "widths": [10], "front": [4], "head": {"kind": "mixture", "mixtures": 3}},
            4 * (DIMENSION + 1) + 4 * 10 * (4 + 10 + 1) + 11 * 3 * (1 + 2 * DIMENSION),
        ),
        # Skip connections: every layer reads the input too, the head reads every layer.
        (
            {"widths": [5, 7], "skip": True, "head": {"kind": "mse"}},
            3 * (5 * (DIMENSION + 5 + 2) + 7 * (5 + DIMENSION + 7 + 2)) + DIMENSION * (5 + 7 + 1),
        ),
    ],
)
def test_it_has_the_weights_of_its_widths(settings: dict[str, Any], count: int) -> None:
    assert made(**settings).count_params() == count


def test_with_skip_connections_the_head_hears_the_first_layer_and_the_last_hears_the_input() -> None:
    model = made(widths=[5, 7], skip=True, head={"kind": "mse"})
    kernel, bias = model.head.dense.get_weights()
    kernel[5:] = 0  # the head no longer hears the second layer
    model.head.dense.set_weights([kernel, bias])
    inputs = noise(1, 4, DIMENSION)
    assert np.std(model(inputs)) > 1e-3
    second = model.stack[1].get_weights()
    second[0][:5] = 0  # the second layer no longer hears the first
    model.stack[1].set_weights(second)
    model.head.dense.set_weights([kernel[::-1].copy(), bias])
    assert np.std(model(inputs)) > 1e-3


@pytest.mark.parametrize("value", [1.0, -2.0])
def test_the_lstm_begins_with_its_forget_gate_open(value: float) -> None:
    model = made(cell="lstm", widths=[5, 7], forget_bias=value)
    for layer, width in zip(model.stack, (5, 7), strict=True):
        np.testing.assert_array_equal(layer.cell.bias, [0] * width + [value] * width + [0] * 2 * width)
    assert (
        ForgetBias.from_config(ForgetBias(value).get_config())((8,)).numpy().tolist() == [0, 0, value, value] + [0] * 4
    )


@pytest.mark.parametrize("value", [1.0, -2.0])
def test_the_gru_begins_with_its_update_gate_as_open_as_is_asked(value: float) -> None:
    model = made(widths=[5, 7], update_bias=value)
    for layer, width in zip(model.stack, (5, 7), strict=True):
        first, second = layer.cell.bias.numpy()
        assert first.tolist() == [value] * width + [0] * 2 * width
        assert second.tolist() == [0] * 3 * width
    assert not np.any(made(widths=[5]).stack[0].cell.bias)
    assert UpdateBias.from_config(UpdateBias(value).get_config())((2, 3)).numpy().tolist() == [[value, 0, 0], [0] * 3]


def test_a_gru_whose_update_gate_begins_open_keeps_more_of_its_state() -> None:
    def kept(value: float) -> float:
        model = made(widths=[40], update_bias=value, head={"kind": "mse"})
        _, after = model.advance(tf.zeros([1, DIMENSION]), [[tf.ones([1, 40])]])
        return float(tf.reduce_mean(after[0][0]))

    assert kept(-3.0) < kept(0.0) < kept(3.0)


def test_weights_are_those_of_the_seed() -> None:
    settings = MODELS["all"]
    one, same, other = made(1, **settings), made(1, **settings), made(2, **settings)
    for left, right in zip(one.get_weights(), same.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    kernels = [weight for weight in one.trainable_variables if "kernel" in weight.path and "echo" not in weight.path]
    assert len(kernels) > 6
    for left, right in zip(one.trainable_variables, other.trainable_variables, strict=True):
        if "kernel" in left.path and "echo" not in left.path:
            assert not np.allclose(left, right)
    assert len({np.asarray(kernel).tobytes() for kernel in kernels}) == len(kernels)


def test_the_echo_is_silent_at_first_and_then_goes_straight_to_the_prediction() -> None:
    silent, plain = SongModel(DIMENSION, ModelSettings(echo=True)), SongModel(DIMENSION, ModelSettings())
    frames = noise(2, 4, DIMENSION)
    np.testing.assert_array_equal(silent(frames), plain(frames))
    silent.echo.set_weights([np.eye(DIMENSION, dtype=np.float32)])
    moved = silent.head.mean(silent(frames)) - plain.head.mean(plain(frames))
    np.testing.assert_allclose(moved, frames, atol=1e-5)
    loud, _ = silent.follow(frames, None, noise=1.0)
    # (noise as strong as the frames: half of what is heard is to be believed)
    np.testing.assert_allclose(silent.head.mean(loud) - plain.head.mean(plain(frames)), frames / 2, atol=1e-5)


# Saved and loaded -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trained", [False, True])
def test_it_is_saved_and_loaded_safely_as_it_was(model: SongModel, trained: bool, tmp_path: Path) -> None:
    if trained:
        model.optimizer.learning_rate = 0.1
        model.carry_state(2)
        frames = noise(2, 5, DIMENSION)
        model.fit(tf.data.Dataset.from_tensors((frames, np.ones(2, np.float32))), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    assert isinstance(loaded, SongModel)
    assert (loaded.settings, loaded.dimension, loaded.seed) == (model.settings, DIMENSION, model.seed)
    inputs = noise(2, 6, DIMENSION)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    for made_by in (model, loaded):
        assert made_by.count_params() == model.count_params()
    left, _ = loaded.advance(tf.constant(inputs[:, 0]), loaded.rest(2))
    right, _ = model.advance(tf.constant(inputs[:, 0]), model.rest(2))
    np.testing.assert_array_equal(left, right)
    assert (tmp_path / "model.keras").stat().st_size < 10_000_000


# Training ---------------------------------------------------------------------------------------------------------


def test_the_loss_of_examples_is_the_heads_mean_without_noise_or_dropout() -> None:
    model = made(**MODELS["all"])
    frames = tf.constant(noise(4, 7, DIMENSION))
    expected = np.mean(model.head.loss(model(frames[:, :-1]), frames[:, 1:]))
    for _ in range(2):
        assert float(model.example_loss(frames)) == pytest.approx(expected, rel=1e-5)


def chance(rows: int, seed: int = 1, step: int = 0, first: int = 0) -> Chance:
    return Chance(seed, tf.constant(step), tf.range(first, first + rows, dtype=tf.int64))


def test_input_noise_is_that_of_the_seed_the_step_and_the_place_in_the_batch() -> None:
    model, inputs = made(input_noise=0.5), tf.zeros([64, 200, DIMENSION])
    first = model.disturbed(inputs, chance(64))[0].numpy()
    np.testing.assert_array_equal(model.disturbed(inputs, chance(64))[0], first)
    np.testing.assert_array_equal(model.disturbed(inputs[:8], chance(8, first=16))[0], first[16:24])
    for other in (chance(64, seed=2), chance(64, step=1), chance(64, first=64)):
        assert not np.allclose(model.disturbed(inputs, other)[0], first, atol=0.1)


def test_each_sequence_draws_its_own_strength_of_noise_up_to_the_strongest() -> None:
    disturbed, strength = made(input_noise=0.5).disturbed(tf.ones([400, 50, DIMENSION]), chance(400))
    assert strength.shape == (400, 1, 1)
    np.testing.assert_allclose(disturbed.numpy().std((1, 2)), strength[:, 0, 0], rtol=0.15)
    assert 0 <= np.min(strength) <= np.max(strength) <= 0.5
    np.testing.assert_allclose(np.quantile(strength, [0.1, 0.5, 0.9]), [0.05, 0.25, 0.45], atol=0.05)
    np.testing.assert_allclose(disturbed.numpy().mean((1, 2)), 1, atol=0.1)


def test_a_model_that_knows_noise_is_told_its_strength_and_none_is_none() -> None:
    model, frames = made(input_noise=0.5), noise(2, 4, DIMENSION)
    quiet, _ = model.follow(frames, None)
    loud, _ = model.follow(frames, None, noise=tf.constant([[[0.0]], [[0.5]]]))
    np.testing.assert_array_equal(loud[0], quiet[0])
    assert np.abs(loud[1] - quiet[1]).max() > 1e-3
    stepwise, _ = model.advance(frames[:, 0], model.rest(2), noise=tf.constant([[0.0], [0.5]]))
    np.testing.assert_allclose(stepwise, loud[:, 0], atol=1e-5)
    deaf, _ = made(input_noise=0.0).follow(frames, None, noise=0.5)
    np.testing.assert_array_equal(deaf, made(input_noise=0.0)(frames))


@pytest.mark.slow
@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("name", ["lstm", "all"])
def test_shares_of_a_batch_are_the_batch(name: str, streams: bool) -> None:
    """However many cores work on it: the same noise, loss, gradients, weights and state."""
    ends = []
    for shares in (1, 2, 4):
        model = made(learning_rate=0.1, **MODELS[name])
        model.shares = shares
        if streams:
            model.carry_state(4)
        frames, ones = noise(4, 7, DIMENSION), [np.ones(4, np.float32)] * streams
        losses = [train_loss(model, frames, *ones) for _ in range(3)]
        ends.append([*losses, *model.get_weights(), *model.carried])
    for other in ends[1:]:
        for one, two in zip(ends[0], other, strict=True):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_the_average_of_the_weights_follows_its_recurrence_and_leaves_them_alone() -> None:
    model, plain = (made(widths=[5], learning_rate=0.1) for _ in range(2))
    model.keep_average(0.9)
    frames = noise(2, 6, DIMENSION)
    expected = [value.astype(np.float64) for value in model.get_weights()]
    for step in range(1, 30):
        train_loss(model, frames)
        train_loss(plain, frames)
        decay = min(0.9, (1 + step) / (10 + step))
        weights = [np.asarray(value) for value in model.trainable_variables]
        expected = [decay * mean + (1 - decay) * value for mean, value in zip(expected, weights, strict=True)]
    for average, mean in zip(model.averages, expected, strict=True):
        np.testing.assert_allclose(average, mean, atol=1e-6)
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def train_loss(model: SongModel, *batch: npt.NDArray[np.float32]) -> float:
    return float(model.train_step(tuple(tf.constant(part) for part in batch))["loss"])


@pytest.mark.parametrize("name", ["gru", "lstm", "skip"])
def test_carried_state_makes_short_sequences_one_long_one(name: str) -> None:
    frames = noise(3, 4 * 5 + 1, DIMENSION)
    model = made(**MODELS[name])
    whole = float(model.example_loss(frames))
    model.carry_state(3)
    ones = np.ones(3, np.float32)
    carried = [train_loss(model, frames[:, start : start + 6], ones * (start > 0)) for start in range(0, 20, 5)]
    assert np.mean(carried) == pytest.approx(whole, rel=1e-5)
    silent = [float(model.example_loss(frames[:, start : start + 6])) for start in range(0, 20, 5)]
    assert carried[0] == pytest.approx(silent[0], rel=1e-5)
    assert abs(carried[2] - silent[2]) > 1e-4


def test_only_the_streams_that_start_afresh_forget() -> None:
    model = made(**MODELS["lstm"])
    model.carry_state(2)
    train_loss(model, noise(2, 6, DIMENSION), np.zeros(2, np.float32))
    left = [variable.numpy() for variable in model.carried]
    assert all(np.all(np.abs(value).max(-1) > 1e-3) for value in left)
    before = model._carried_in(tf.constant([1.0, 0.0]), tf.constant([0, 1]))
    for value, kept in zip(tf.nest.flatten(before), left, strict=True):
        np.testing.assert_array_equal(value[0], kept[0])
        np.testing.assert_array_equal(value[1], 0)


@pytest.mark.parametrize("name", ["skip", "lstm"])
def test_a_truncated_gradient_is_the_whole_ones_where_they_overlap(name: str) -> None:
    model, length = made(**MODELS[name]), 4
    frames = tf.constant(noise(2, 3 * length + 1, DIMENSION))
    inputs, targets = halves(frames)
    weights = model.trainable_variables

    def whole(part: slice, *, cut: bool) -> list[tf.Tensor]:
        """The gradient of the loss of some frames through all before them, or none before the first of them."""
        with tf.GradientTape() as tape:
            states = model.follow(inputs[:, : part.start], None)[1] if part.start else None
            if cut and states is not None:
                states = tf.nest.map_structure(tf.stop_gradient, states)
            parameters, _ = model.follow(inputs[:, part.start :], states)
            loss = tf.reduce_mean(model.head.loss(parameters[:, :length], targets[:, part]))
        return list(tape.gradient(loss, weights))

    def far(one: list[tf.Tensor], other: list[tf.Tensor]) -> float:
        return max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))

    model.carry_state(2)
    for step in range(3):
        part = slice(step * length, (step + 1) * length)
        states = model._carried_in(tf.fill([2], float(step > 0)), tf.range(2, dtype=tf.int64))
        silent = tf.zeros([2, 1, 1])
        sequences = frames[:, part.start : part.stop + 1]
        _, truncated, _ = model._work_through(inputs[:, part], sequences, silent, states, chance(2))
        model.train_step((sequences, tf.fill([2], float(step > 0))))
        assert far(truncated, whole(part, cut=True)) < 1e-6
        # And where there is something before them, that is what was cut off.
        assert (far(truncated, whole(part, cut=False)) > 1e-5) == (step > 0)


def test_without_streams_every_batch_starts_silent() -> None:
    model = made(**MODELS["gru"])
    frames = noise(2, 6, DIMENSION)
    losses = [train_loss(model, frames) for _ in range(2)]
    assert losses[0] == losses[1] == pytest.approx(float(model.example_loss(frames)), rel=1e-5)


def test_a_step_reports_the_gradients_norm_before_it_is_clipped() -> None:
    model = made(**MODELS["gru"])
    model.compile(keras.optimizers.SGD(0.0, global_clipnorm=1e-3))
    frames = tf.constant(noise(2, 6, DIMENSION))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model.head.loss(model(frames[:, :-1]), frames[:, 1:]))
    expected = np.sqrt(sum(np.sum(np.square(part)) for part in tape.gradient(loss, model.trainable_variables)))
    reported = float(model.train_step((frames,))["gradient_norm"])
    assert reported == pytest.approx(expected, rel=1e-4)
    assert reported > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", list(MODELS))
def test_it_learns_a_sequence_by_heart(name: str) -> None:
    """Which of three frames comes next depends on the frame before: nothing else has to be learnt."""
    kinds = noise(3, DIMENSION, seed=5)
    frames = kinds[np.arange(25) % 3][None].repeat(4, 0)
    model = made(**{**MODELS[name], "dropout": 0, "input_noise": 0.02})
    model.compile(keras.optimizers.Adam(0.02, global_clipnorm=1.0))
    before = float(model.example_loss(frames))
    data = tf.data.Dataset.from_tensors((frames,)).repeat()
    model.fit(data, steps_per_epoch=60, epochs=1, verbose=0)
    assert float(model.example_loss(frames)) < before - 0.2


def test_what_is_heard_of_itself_is_the_song_or_a_draw_in_its_place() -> None:
    model = made(self_heard=1, widths=[5], head={"kind": "mse"})
    song = noise(64, 20, DIMENSION)
    heard = model.self_heard(tf.constant(song), chance(64)).numpy()
    drawn = np.concatenate([song[:, :1], model(song).numpy()[:, :-1]], 1)
    own = np.all(np.abs(heard - drawn) < 1e-5, -1)
    of_song = np.all(heard == song, -1)
    assert np.all(own | of_song)
    assert np.all(of_song[:, 0])
    shares = own[:, 1:].mean(1)
    assert shares.min() < 0.2 < 0.8 < shares.max()  # each sequence has its own
    assert 0.4 < shares.mean() < 0.6


def test_a_model_begins_with_what_is_told_linearly() -> None:
    model = SongModel(DIMENSION, ModelSettings(echo=True, head={"kind": "mixture", "mixtures": 3}))
    model.build((None, None, DIMENSION))
    transition = 0.9 * np.eye(DIMENSION, dtype=np.float32)
    model.begin_with(transition)
    frames = noise(4, 30, DIMENSION)
    parameters = model(frames)
    assert np.mean(np.square(model.head.mean(parameters) - 0.9 * frames)) < 0.1
    _, _, scales = model.head.split(parameters)
    assert np.median(np.exp(scales)) == pytest.approx(np.sqrt(1 - 0.81), rel=0.2)


# What the seeds wished for ----------------------------------------------------------------------------------------


def slope(model: SongModel, frames: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """By how much a step at a learning rate of 1 changes each weight; it is put back, the next has other chance."""
    before = model.get_weights()
    model.optimizer.learning_rate = 1.0
    model.train_step((frames,))
    after = model.get_weights()
    model.set_weights(before)
    return [one - other for one, other in zip(after, before, strict=True)]


def test_weight_noise_is_in_the_gradient_of_a_training_step_alone() -> None:
    plain, noisy = made(widths=[5, 7]), made(widths=[5, 7], weight_noise=0.5)
    inputs = noise(2, 6, DIMENSION)
    np.testing.assert_array_equal(noisy(inputs), plain(inputs))
    changes = [slope(model, inputs) for model in (plain, noisy)]
    assert max(np.abs(a - b).max() for a, b in zip(*changes, strict=True)) > 1e-3
    # A step whose gradient is taken elsewhere still starts from the weights as they are.
    moved = made(widths=[5, 7])
    with noisy._noisy_weights(chance(2)):
        heard = [tf.convert_to_tensor(layer.cell.recurrent_kernel) for layer in noisy.stack]
    for layer, weights in zip(moved.stack, heard, strict=True):
        layer.cell.recurrent_kernel.assign(weights)
    differences = [
        (own.cell.recurrent_kernel.numpy() - layer.cell.recurrent_kernel.numpy()).std()
        for own, layer in zip(moved.stack, plain.stack, strict=True)
    ]
    np.testing.assert_allclose(differences, 0.5, rtol=0.25)
    expected, found = slope(moved, inputs), changes[1]
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_each_step_has_its_own_weight_noise_and_dropout_goes_on_drawing() -> None:
    model, inputs = made(**MODELS["noisy"]), noise(2, 6, DIMENSION)
    first, second = slope(model, inputs), slope(model, inputs)
    assert max(np.abs(a - b).max() for a, b in zip(first, second, strict=True)) > 1e-3
    dropping = made(widths=[5, 7], weight_noise=1e-9, dropout=0.5)
    losses = {float(dropping.train_step((inputs,))["loss"]) for _ in range(4)}  # at a learning rate of 0
    assert len(losses) == 4


def test_activation_noise_is_on_what_the_layers_put_out_in_training_alone() -> None:
    plain, noisy = made(widths=[5, 7]), made(widths=[5, 7], activation_noise=0.3)
    inputs = tf.constant(noise(2, 6, DIMENSION))
    np.testing.assert_array_equal(noisy(inputs), plain(inputs))
    first, second, again = (noisy.follow(inputs, None, chance=chance(2, step=step))[0] for step in (0, 1, 0))
    assert np.std(first - second) > 1e-2
    np.testing.assert_array_equal(again, first)


def test_binary_units_say_0_or_1_in_training_and_their_probability_otherwise() -> None:
    settings = {"front": [50], "widths": [5]}
    binary, logistic = (made(**settings, front_units=units) for units in ("binary", "logistic"))
    inputs = tf.constant(noise(60, 6, DIMENSION))
    np.testing.assert_array_equal(binary(inputs), logistic(inputs))
    said, sure = binary._enter(inputs, 0.0, chance(60)).numpy(), binary._enter(inputs, 0.0).numpy()
    assert set(np.unique(said)) == {0.0, 1.0}
    np.testing.assert_allclose(said.mean((0, 1)), sure.mean((0, 1)), atol=0.1)
    assert np.all((sure > 0) & (sure < 1))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_scheduled_sampling_hears_the_song_or_what_a_free_run_would_have_drawn(share: float) -> None:
    model = made(widths=[5, 7], scheduled=max(share, 1e-9), scheduled_steps=10, head={"kind": "mse"})
    song = tf.constant(noise(40, 12, DIMENSION))
    heard = model.scheduled(song, model.rest(40), chance(40, step=10)).numpy()
    states, counted = model.rest(40), []
    np.testing.assert_array_equal(heard[:, 0], song[:, 0])
    for step in range(11):
        drawn, states = model.advance(tf.constant(heard[:, step]), states)
        own = np.abs(heard[:, step + 1] - drawn).max(-1) < 1e-5
        assert np.all(own | np.all(heard[:, step + 1] == song[:, step + 1], -1))
        counted.append(own.mean())
    assert np.mean(counted) == pytest.approx(share, abs=0.08)


def test_scheduled_sampling_begins_with_the_song_alone() -> None:
    model, song = made(widths=[5], scheduled=1.0, scheduled_steps=10), tf.constant(noise(30, 8, DIMENSION))
    own = []
    for step in (0, 5, 10):
        heard = model.scheduled(song, model.rest(30), chance(30, step=step))
        own.append(float(np.mean(np.any(heard[:, 1:] != song[:, 1:], -1))))
    assert own[0] == 0
    assert own[1] == pytest.approx(0.5, abs=0.1)
    assert own[2] == 1


def test_frames_that_are_seen_as_images_are_predicted_as_waveforms() -> None:
    settings = ModelSettings(widths=[5], image=True, head={"kind": "mse"})
    model = SongModel(64, settings)
    model.build((None, None, 64))
    inputs = noise(2, 4, 64)
    states, whole = model.rest(2), model(inputs)
    assert whole.shape == (2, 4, 64)
    for step in range(4):
        one, states = model.advance(tf.constant(inputs[:, step]), states)
        np.testing.assert_allclose(one, whole[:, step], atol=1e-5)
    # A frame that is turned round has all its phases turned by half: another image.
    assert np.abs(model(-inputs) - whole).max() > 1e-3
