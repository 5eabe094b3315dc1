"""The denoising GAN: its training step, its free run, what it says of itself, and whole trainings."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import tensorflow as tf

from sonicrnn.chance import Chance
from sonicrnn.checkpoint import Progress, load_checkpoint, save_checkpoint
from sonicrnn.config import Settings, load_settings, parse_settings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.frames import halves
from sonicrnn.gan import AHEAD, AHEAD_STEPS, RUNS, DenoisingGan, Runs, collapse, in_words
from sonicrnn.preparation import make_model, prepare
from sonicrnn.run import Run, enter
from sonicrnn.song import Normaliser, open_song
from sonicrnn.training import reached, train
from tests.conftest import synthesise

RATE, BATCH, TIME = 16_000, 4, 14
FRAMES: dict[str, dict[str, Any]] = {
    "waveform": {"kind": "waveform", "frame_length": 160},
    "waveform overlapping": {"kind": "waveform", "frame_length": 160, "hop": 100},
    "mdct": {"kind": "mdct", "frame_length": 256},
    "stft": {"kind": "stft", "frame_length": 512, "components": 12},
    "parts": {"kind": "stft", "frame_length": 512, "hop": 256, "parts": 8},
}
GAN: dict[str, Any] = {
    "data": {"sequence_length": TIME, "batch_size": BATCH},
    "model": {"widths": [12, 8], "echo": True, "input_noise": 0.5, "head": {"kind": "gan", "width": 16}},
    "gan": {"width": 16, "window": 3, "run_steps": 4, "run_ahead": 6, "every": 2},
    "train": {"average": 0.9},
}
RIGHT = {"spread": 0.9, "run_spread": 0.8, "told_frame": 0.7, "told_drawn": 0.7, "told_run": 0.8}
ROW = {**RIGHT, "told_noise": 1.0, "told_noisy": 1.0}


def slow(kind: str) -> Any:
    return pytest.param(kind, marks=pytest.mark.slow)


def settings_of(kind: str = "mdct", **more: Any) -> Settings:
    return parse_settings({**GAN, "frames": FRAMES[kind], **more}, "test")


def encoding_of(kind: str) -> Encoding:
    song = synthesise(4)
    return fit_encoding(song, settings_of(kind).frames, RATE, Normaliser(0, float(song.std())))


def model_of(kind: str = "mdct", **more: Any) -> tuple[DenoisingGan, Encoding]:
    encoding = encoding_of(kind)
    keras.utils.set_random_seed(1)
    model = make_model(settings_of(kind, **more), encoding)
    assert isinstance(model, DenoisingGan)
    return model, encoding


def batch_of(encoding: Encoding, seed: int = 0) -> tuple[tf.Tensor]:
    """Sequences of a song, as the pipeline hands them out."""
    frames = encoding.encode(tf.constant(synthesise(4)[None]))[0].numpy()
    starts = np.random.default_rng(seed).integers(0, len(frames) - TIME - 1, BATCH)
    return (tf.constant(np.stack([frames[start : start + TIME + 1] for start in starts])),)


def weights_of(model: DenoisingGan) -> list[npt.NDArray[Any]]:
    assert model.adversary is not None
    theirs = [np.asarray(variable) for variable in model.adversary.discriminator.variables]
    return [np.asarray(variable) for variable in model.variables] + theirs


# The training step ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parts", slow("mdct"), slow("waveform overlapping")])
def test_it_trains_on_every_kind_of_frame(kind: str) -> None:
    model, encoding = model_of(kind)
    before = weights_of(model)
    step = tf.function(model.train_step, autograph=False)
    losses = [float(step(batch_of(encoding))["loss"]) for _ in range(40)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.01
    changed = [not np.array_equal(one, other) for one, other in zip(before, weights_of(model), strict=True)]
    names = [variable.path for variable in model.variables] + ["discriminator"] * len(changed)
    still = {name for name, moved in zip(names, changed, strict=False) if not moved}
    assert {name.rsplit("/", 1)[-1] for name in still} <= {"scale", "seed_generator_state"}


def test_a_step_depends_on_its_seed_and_number_alone() -> None:
    ended = []
    for _ in range(2):
        model, encoding = model_of()
        for seed in range(2):
            model.train_step(batch_of(encoding, seed))
        ended.append(weights_of(model))
    for one, other in zip(*ended, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_figures_of_a_step_are_shares_and_all_there() -> None:
    model, encoding = model_of()
    told = model.train_step(batch_of(encoding))
    for name in ("told_frame", "told_drawn", "told_run", "told_noise", "told_noisy"):
        assert 0 <= float(told[name]) <= 1
    losses = {"loss", "mixture_loss", "discriminator_loss", "run_score"}
    assert losses | {"gradient_norm", "spread", "run_spread"} < set(told)
    assert all(np.isfinite(value) for value in told.values())


def test_each_core_works_through_its_own_share() -> None:
    """Streams are carried on, whatever the shares."""
    model, encoding = model_of(data={**GAN["data"], "order": "streams"})
    model.shares = 2
    model.carry_state(BATCH)
    model.train_step((*batch_of(encoding), tf.zeros([BATCH])))
    assert all(np.abs(state).max(1).min() > 0 for state in map(np.asarray, model.carried))


def test_without_a_discriminator_it_is_the_heads_own_loss_alone() -> None:
    """Likelihood and energy score; what the discriminator is then like changes nothing."""
    ended = []
    for rate in (0.1, 10.0):
        model, encoding = model_of(gan={**GAN["gan"], "adversarial": 0, "matching": 0, "rate": rate})
        for seed in range(2):
            model.train_step(batch_of(encoding, seed))
        ended.append([np.asarray(variable) for variable in model.trainable_variables])
    for one, other in zip(*ended, strict=True):
        np.testing.assert_array_equal(one, other)


def test_reading_and_running_beside_it_is_reading_and_then_running() -> None:
    model, encoding = model_of()
    (frames,) = batch_of(encoding)
    inputs, _ = halves(frames)
    chance = Chance(3, tf.constant(0), tf.range(BATCH, dtype=tf.int64))
    share = (inputs, frames, tf.zeros([BATCH, 1, 1]), None, chance)
    parameters, after, runs = model._read_and_run(share, settings_of(gan={**GAN["gan"], "run_ahead": 0}).gan)
    run, ahead = runs.frames, runs.known
    whole, last = model.follow(inputs, None)
    np.testing.assert_allclose(parameters, whole, atol=1e-5)
    for one, other in zip(tf.nest.flatten(after), tf.nest.flatten(last), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(
        ahead[:BATCH, 0], whole[:, TIME - 4], atol=1e-5
    )  # the first draw is of the frame TIME - 3
    heard = tf.concat([tf.tile(inputs[:, : TIME - 3], [2, 1, 1]), run[:, :-1]], 1)  # had the draws been the song
    np.testing.assert_allclose(ahead, model.follow(heard, None)[0][:, TIME - 4 :], atol=1e-5)
    noise = chance.normal(RUNS, [2, 4, model.head.noise_size])[:, 1, 2]  # of the third frames of the second runs
    drawn = model.head.draw(ahead[BATCH:, 2], tf.ones([BATCH]), model.head.prepared(noise))
    np.testing.assert_allclose(run[BATCH:, 2], drawn, atol=1e-5)


def test_runs_that_ran_ahead_are_those_of_a_longer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    model, encoding = model_of()
    (frames,) = batch_of(encoding)
    inputs, _ = halves(frames)
    chance = Chance(3, tf.constant(0), tf.range(BATCH, dtype=tf.int64))
    steps = int(chance.alike(AHEAD_STEPS, 6))
    assert 0 < steps < 6
    made, share = settings_of().gan, (inputs, frames, tf.zeros([BATCH, 1, 1]), None, chance)
    whole, after, runs = model._read_and_run(share, made)
    np.testing.assert_allclose(whole, model(inputs), atol=1e-5)
    np.testing.assert_allclose(after[-1][0], model.follow(inputs, None)[1][-1][0], atol=1e-5)

    noise = tf.concat([model._of_both(AHEAD, steps, chance), model._of_both(RUNS, 4, chance)], 1)
    first = TIME + 1 - 4 - steps
    known, states = model.follow(tf.tile(inputs[:, :first], [2, 1, 1]), None)
    heard, seen = list(tf.unstack(tf.tile(frames[:, :first], [2, 1, 1]), axis=1)), [known[:, -1]]
    for step in range(steps + 4):
        heard.append(model._drawn(seen[-1], noise[:, step]))
        known, states = model.advance(heard[-1], states)
        seen.append(known)
    np.testing.assert_allclose(runs.frames, tf.stack(heard[-4:], 1), atol=1e-5)
    np.testing.assert_allclose(runs.history, tf.stack(heard[-6:-4], 1), atol=1e-5)
    np.testing.assert_allclose(runs.known, tf.stack(seen[-5:-1], 1), atol=1e-5)


def test_runs_go_back_no_farther_than_the_sequence() -> None:
    model, encoding = model_of()
    (frames,) = batch_of(encoding)
    inputs, _ = halves(frames)
    made = settings_of(gan={**GAN["gan"], "run_ahead": 1000}).gan
    shapes = set()
    for step in range(30):
        chance = Chance(3, tf.constant(step), tf.range(BATCH, dtype=tf.int64))
        whole, _, runs = model._read_and_run((inputs, frames, tf.zeros([BATCH, 1, 1]), None, chance), made)
        shapes.add((whole.shape[1], runs.history.shape[1], runs.frames.shape[1]))
    assert shapes == {(TIME, made.window - 1, made.run_steps)}


def test_of_what_runs_ahead_nothing_is_learned() -> None:
    model, encoding = model_of()
    (frames,) = batch_of(encoding)
    inputs, _ = halves(frames)
    chance = Chance(3, tf.constant(0), tf.range(BATCH, dtype=tf.int64))
    share = (inputs, frames, tf.zeros([BATCH, 1, 1]), None, chance)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        runs = model._read_and_run(share, settings_of().gan)[-1]
        told = tf.reduce_sum(runs.frames)
    slopes = tape.gradient(told, [inputs, model.stack[0].cell.kernel])
    assert slopes[0] is None
    assert np.abs(slopes[1]).max() > 0


def test_the_discriminator_is_shown_draws_in_the_places_of_the_frames_that_they_are_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A model that predicts perfectly: its draws are the song's own frames, wherever they are put."""
    head = {**GAN["model"]["head"], "mixtures": 1}  # what one Gaussian expects is its mean
    model, encoding = model_of(model={**GAN["model"], "input_noise": 0.0, "head": head})
    (frames,) = batch_of(encoding)
    inputs, targets = halves(frames)
    sure = tf.zeros([BATCH, TIME, model.head.width + model.head.dense.units])
    known = model.head.moved(sure, targets)

    def read_and_run(share: Any, made: Any) -> Any:
        parts = frames[:, -6:-4], targets[:, -4:], known[:, -4:]
        return known, None, Runs(*(tf.tile(part, [2, 1, 1]) for part in parts))

    shown: dict[str, Any] = {}

    def told(real: Any, drawn: Any, *noise: Any) -> Any:
        shown.update(drawn, real=real)
        return [], {}

    monkeypatch.setattr(model, "_read_and_run", read_and_run)
    first = model.head.first  # to the last bit, as the softmax of one number is not
    monkeypatch.setattr(first, "mean", lambda parameters: first.parts(parameters)[1][..., 0, :])
    monkeypatch.setattr(model, "_drawn", lambda parameters, noise: model.head.mean(parameters))
    monkeypatch.setattr(model.adversary, "told", told)
    chance = Chance(1, tf.constant(0), tf.range(BATCH, dtype=tf.int64))
    model._against(model.adversary, (inputs, frames, 0.0, None, chance))
    windows, context = shown["real"]
    np.testing.assert_array_equal(windows, shown["drawn"][0])
    np.testing.assert_array_equal(windows[:, -1], context[:, -model.dimension :])
    np.testing.assert_array_equal(windows[0], frames[0, :3])
    of_run, context = (np.reshape(part, [2 * BATCH, 4, *part.shape[1:]])[BATCH:] for part in shown["run"])
    np.testing.assert_array_equal(of_run[:, :, -1], targets[:, -4:])
    np.testing.assert_array_equal(of_run[:, 0, :-1], targets[:, TIME - 6 : TIME - 4])
    np.testing.assert_array_equal(context[:, :, -model.dimension :], targets[:, -4:])


# What is kept of it -----------------------------------------------------------------------------------------------


def test_a_saved_model_is_the_same_without_its_adversary(tmp_path: Path) -> None:
    model, encoding = model_of("parts")
    model.train_step(batch_of(encoding))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert isinstance(again, DenoisingGan)
    assert again.adversary is None
    frames = batch_of(encoding)[0]
    np.testing.assert_array_equal(again(frames), model(frames))
    assert not any("view" in variable.path for variable in again.variables)


@pytest.mark.slow
def test_a_training_that_goes_on_is_bit_for_bit_one_that_was_never_interrupted(tmp_path: Path) -> None:
    """Both optimizers, the average and all chance are in the checkpoint."""
    whole, encoding = model_of("parts", model={**GAN["model"], "dropout": 0.3, "self_heard": 1})
    begun, _ = model_of("parts", model={**GAN["model"], "dropout": 0.3, "self_heard": 1})
    for seed in range(2):
        whole.train_step(batch_of(encoding, seed))
        begun.train_step(batch_of(encoding, seed))
    save_checkpoint(tmp_path / "checkpoint.npz", begun, Progress(step=2, sums={"spread": 0.1 + 0.2}))
    resumed, _ = model_of("parts", model={**GAN["model"], "dropout": 0.3, "self_heard": 1})
    assert load_checkpoint(tmp_path / "checkpoint.npz", resumed).sums == {"spread": 0.1 + 0.2}
    for seed in range(2, 4):
        whole.train_step(batch_of(encoding, seed))
        resumed.train_step(batch_of(encoding, seed))
    assert whole.adversary is not None
    assert resumed.adversary is not None
    kept = [*whole.averages, *whole.optimizer.variables, *whole.adversary.optimizer.variables]
    others = [*resumed.averages, *resumed.optimizer.variables, *resumed.adversary.optimizer.variables]
    for one, other in zip([*weights_of(whole), *kept], [*weights_of(resumed), *others], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_checkpoint_of_another_discriminator_is_refused(tmp_path: Path) -> None:
    model, _ = model_of()
    save_checkpoint(tmp_path / "checkpoint.npz", model, Progress())
    other, _ = model_of(gan={**GAN["gan"], "width": 17})
    with pytest.raises(UserError, match=r"cannot be resumed.*--fresh"):
        load_checkpoint(tmp_path / "checkpoint.npz", other)


# Whole trainings --------------------------------------------------------------------------------------------------

TINY = {
    "song": {"path": "song.wav"},
    "frames": FRAMES["parts"],
    "data": {"sequence_length": 16, "batch_size": 4},
    "model": GAN["model"],
    "gan": GAN["gan"],
    "train": {"epochs": 2, "epoch_steps": 4, "checkpoint_seconds": 0, "average": 0.9},
    "wandb": {"mode": "disabled"},
}


def trained(folder: Path, song: Path, until: int | None = None) -> tuple[Progress, DenoisingGan, list[str]]:
    """Go on where the folder's training is, up to the end of an epoch."""
    settings = parse_settings({**TINY, "song": {"path": str(song)}}, "test")
    run, said = Run(folder), []
    resumed = enter(run, settings, fresh=False)
    prepared = prepare(run, settings, open_song(settings.song, said.append))
    progress = reached(prepared, resumed)
    train(prepared, None, progress, said.append, until)
    return progress, prepared.model, said


@pytest.mark.slow
def test_a_training_tells_of_both_and_ends_as_if_never_stopped(tmp_path: Path, small_song_file: Path) -> None:
    whole, model, said = trained(tmp_path / "whole", small_song_file)
    trained(tmp_path / "stopped", small_song_file, until=1)
    progress, resumed, _ = trained(tmp_path / "stopped", small_song_file)
    for one, other in zip(weights_of(model), weights_of(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    told = {"told_frame", "told_drawn", "told_run", "told_noise", "told_noisy", "spread", "run_spread"}
    for one, other in zip(whole.history, progress.history, strict=True):
        assert told < set(one)
        assert {name: one[name] for name in told} == {name: other[name] for name in told}
    with (tmp_path / "whole" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in told if name.startswith("told"))
    assert sum("discriminator right: frame" in line for line in said) == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["waveform", "as in the config"])
def test_the_command_ends_with_a_page(kind: str, tmp_path: Path, small_song_file: Path) -> None:
    """From the config to pieces, with no more than its frames changed."""
    settings = [*tiny("sonicrnn.fit", "configs/gan.yaml"), f"song.path={small_song_file}", f"runs={tmp_path}"]
    other = ["frames.recall=false", "frames.parts=null", f"frames.kind={kind}", "frames.frame_length=512"]
    frames = other if kind == "waveform" else []
    done = subprocess.run([*settings, *frames], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert "discriminator right" in done.stdout
    assert (tmp_path / "tiny" / "listen.html").stat().st_size > 10_000
    made = [*tiny("sonicrnn.generate", str(tmp_path / "tiny"))[:4], "--seconds", "2", "--out", str(tmp_path / "out")]
    subprocess.run(made, check=True, capture_output=True, timeout=280)
    samples, rate = soundfile.read(next((tmp_path / "out").iterdir()))
    assert (len(samples), rate) == (32_000, RATE)
    assert np.std(samples) > 0.01


@pytest.mark.slow
def test_a_killed_training_ends_with_the_weights_of_one_that_was_not(tmp_path: Path, small_song_file: Path) -> None:
    def command(folder: str) -> list[str]:
        settings = [*tiny("sonicrnn.fit", "configs/gan.yaml"), f"song.path={small_song_file}"]
        settings += ["frames.recall=false", "train.checkpoint_seconds=0", "train.epochs=12"]
        return [*settings, f"runs={tmp_path / folder}"]

    subprocess.run(command("whole"), check=True, capture_output=True, timeout=280)
    checkpoint, killed_at = tmp_path / "killed" / "tiny" / "checkpoint.npz", 0
    running = subprocess.Popen(command("killed"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while killed_at < 3 and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
        killed_at = json.loads(str(np.load(checkpoint)["progress"]))["step"] if checkpoint.exists() else 0
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert 3 <= killed_at < 60
    done = subprocess.run(command("killed"), capture_output=True, text=True, timeout=280)
    assert "goes on at epoch" in done.stdout
    with np.load(tmp_path / "whole" / "tiny" / "checkpoint.npz") as whole, np.load(checkpoint) as killed:
        assert set(whole.files) == set(killed.files)
        for name in set(whole.files) - {"progress"}:
            np.testing.assert_array_equal(whole[name], killed[name])


def tiny(module: str, of: str) -> list[str]:
    """A command, and settings that make it a short one."""
    settings = ["name=tiny", "wandb.mode=disabled", "data.sequence_length=16", "data.batch_size=4", "model.front=[8]"]
    settings += ["model.widths=[12]", "model.head.width=16", "gan.width=16", "frames.parts=8", "frames.phase_steps=4"]
    settings += ["train.minutes=null", "train.epochs=4", "train.epoch_steps=5", "train.audio_seconds=1"]
    settings += ["generate.prime_seconds=1", "generate.temperature=0.9", "generate.takes=1", "data.shift=4096"]
    settings += ["generate.keep_graphs=false"]
    return [sys.executable, "-m", module, of, *settings]


# What it says of itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"spread": 0.1}, "draws differ by 10%"),
        ({"run_spread": 0.2}, "draws differ by 20%"),
        ({"told_frame": 0.99, "told_drawn": 0.98, "told_run": 1.0}, "never wrong"),
        ({"told_frame": 0.01}, "cannot tell"),
        ({"told_frame": 0.99, "told_drawn": 0.01}, "cannot tell"),
    ],
)
def test_a_collapse_is_told_with_what_to_do(row: dict[str, float], words: str) -> None:
    said = collapse({**ROW, **row})
    assert said is not None
    assert words in said
    assert "gan." in said
    assert said in in_words({**ROW, **row})


@pytest.mark.parametrize("row", [{}, {"told_frame": 0.99}, {"told_drawn": 0.99, "told_run": 1.0}, {"told_drawn": 0.05}])
def test_a_training_that_is_well_is_not_called_collapsed(row: dict[str, float]) -> None:
    assert collapse({**ROW, **row}) is None
    assert "COLLAPSE" not in in_words({**ROW, **row})


def test_the_line_says_how_often_the_discriminator_was_right() -> None:
    said = in_words(ROW)
    assert "frame 70%  drawn 70%  run 80%  noise 100%  noisy 100%" in said
    assert in_words({"loss": 1.0}) == ""


def test_draws_that_do_not_differ_have_no_spread() -> None:
    """The figures that a collapse is told by, of a model that draws one frame whatever its noise."""
    once = {"kind": "gan", "width": 16, "revise": 0}
    model, encoding = model_of(model={**GAN["model"], "input_noise": 0.0, "head": once})
    head = model.head
    head.dense.set_weights([np.zeros_like(weight) for weight in head.dense.get_weights()])
    head.leave.set_weights([np.zeros([16, 2 * 128]), np.full(2 * 128, -20.0)])
    model.echo.set_weights([np.zeros_like(weight) for weight in model.echo.get_weights()])
    told = model.train_step(batch_of(encoding))
    assert told["run_spread"] < 0.05
    assert told["spread"] < 0.05
    assert collapse({name: float(value) for name, value in told.items()}) is not None


# The settings -----------------------------------------------------------------------------------------------------


def test_a_sequence_must_hold_a_run() -> None:
    words = r"sequence_length 10 must hold gan.run_steps and gan.window: take 11"
    with pytest.raises(UserError, match=words):
        settings_of(data={"sequence_length": 10}, gan={"run_steps": 8, "window": 3})
    parse_settings({"data": {"sequence_length": 10}}, "no gan")


def test_the_config_is_the_recommended_one_with_another_head() -> None:
    gan, gru = load_settings("configs/gan.yaml"), load_settings("configs/gru.yaml")
    assert gan.model.head.kind == "gan"
    assert gan.frames == gru.frames
    assert gan.model.widths == gru.model.widths
