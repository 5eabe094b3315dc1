"""The discriminator: what it looks at, and that it can tell frames from noise."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from sonicrnn.adversary import NOISES, Adversary
from sonicrnn.config import FrameSettings, GanSettings, parse_settings
from sonicrnn.discriminator import Discriminator, WeightNormDense, joined, spectral_view, windows_of
from sonicrnn.frames import waveform_frames

WINDOW, DIMENSION, CONTEXT = 3, 6, 4


def normal(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).standard_normal(shape), tf.float32)


def made(kind: str = "mdct", dimension: int = DIMENSION, **frames: int) -> Discriminator:
    settings = GanSettings(width=16, window=WINDOW)
    return Discriminator(settings, FrameSettings(kind=kind, **frames), dimension, CONTEXT)  # type: ignore[arg-type]


def test_a_window_is_a_frame_and_those_before_it() -> None:
    frames = tf.reshape(tf.range(2.0 * 5 * DIMENSION), [2, 5, DIMENSION])
    windows = windows_of(frames, WINDOW).numpy()
    assert windows.shape == (2, 3, WINDOW, DIMENSION)
    for start in range(3):
        np.testing.assert_array_equal(windows[:, start], frames[:, start : start + WINDOW])


@pytest.mark.parametrize(("length", "hop"), [(100, 100), (100, 60)])
def test_waveform_frames_are_joined_to_what_the_song_was(length: int, hop: int) -> None:
    song = normal(2, 2 * hop + length)
    frames = waveform_frames(song, length, hop)
    np.testing.assert_array_equal(joined(windows_of(frames, WINDOW)[:, 0], hop), song)


def test_a_tone_is_seen_at_its_pitch() -> None:
    tone = np.sin(2 * np.pi * 8 * np.arange(512) / 128)[None]
    view = spectral_view(tf.constant(tone, tf.float32), 128).numpy().reshape(7, 65)
    assert np.all(view.argmax(1) == 8)
    np.testing.assert_allclose(view, np.broadcast_to(view[0], view.shape), atol=1e-3)


@pytest.mark.parametrize("size", [128, 512])
def test_a_spectrum_of_silence_has_a_slope(size: int) -> None:
    samples = tf.zeros([2, 700])
    with tf.GradientTape() as tape:
        tape.watch(samples)
        view = tf.reduce_sum(spectral_view(samples, size))
    assert np.all(np.isfinite(tape.gradient(view, samples)))


@pytest.mark.parametrize(("kind", "views"), [("mdct", 2), ("stft", 2), ("waveform", 3)])
def test_it_has_a_word_and_features_for_each_view(kind: str, views: int) -> None:
    frame_length = 200 if kind == "waveform" else 256
    judge = made(kind, 200, frame_length=frame_length)  # of waveforms 600 samples are seen: room for two resolutions
    said, features = judge(normal(5, WINDOW, 200), normal(5, CONTEXT))
    assert said.shape == (5, views)
    assert [tuple(one.shape) for one in features] == [(5, 16)] * (2 * views)


def test_its_word_depends_on_all_that_it_is_shown() -> None:
    judge, windows, context = made(), normal(4, WINDOW, DIMENSION), normal(4, CONTEXT)
    said = judge(windows, context)[0]
    for place in range(WINDOW):
        moved = windows + tf.one_hot([place], WINDOW)[:, :, None]
        assert np.abs(judge(moved, context)[0] - said).max() > 1e-3
    assert np.abs(judge(windows, context + 1)[0] - said).max() > 1e-3


def test_the_length_of_a_kernel_is_learned_apart_from_its_direction() -> None:
    layer, inputs = WeightNormDense(5, seed=1), normal(3, 7)
    layer.build((None, 7))
    before = layer(inputs)
    layer.direction.assign(100 * layer.direction)
    np.testing.assert_allclose(layer(inputs), before, rtol=1e-4, atol=1e-5)
    layer.length.assign(2 * layer.length)
    np.testing.assert_allclose(layer(inputs), 2 * before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [pytest.param("mdct", marks=pytest.mark.slow), "waveform"])
def test_it_learns_to_tell_frames_from_each_kind_of_noise(kind: str) -> None:
    """The song is a slow wave, the draws are too loud; only the run's draws are as good as the song."""
    frames = {"kind": kind, "frame_length": 40 if kind == "waveform" else 80}
    tree = {
        "frames": frames,
        "model": {"head": {"kind": "gan", "width": 4}},
        "gan": {"width": 32, "window": 2, "penalty": 0.1},
    }
    adversary = Adversary(parse_settings(tree, "test"), 40)

    def waves(number: int, loud: float) -> tuple[tf.Tensor, tf.Tensor]:
        phase = np.random.default_rng(number).uniform(0, 6.28, [64, 1])
        wave = np.sin(0.3 * np.arange(80) + phase)
        wave[:, 40:] *= loud
        return tf.constant(wave.reshape(64, 2, 40), tf.float32), tf.zeros([64, 44])

    @tf.function
    def learn(real, drawn, run, number):  # type: ignore[no-untyped-def]
        noise = tf.random.stateless_normal([2, 64, 40], tf.stack([1, number]))
        place = tf.random.stateless_uniform([2, 64, 1], tf.stack([2, number]))
        gradients, told = adversary.told(real, {"drawn": drawn, "run": run}, noise, place)
        adversary.learn(gradients)
        return told

    adversary.learn_at(0.01)
    for number in range(400):
        told = learn(waves(3 * number, 1), waves(3 * number + 1, 2), waves(3 * number + 2, 1), tf.constant(number))
    assert set(told) == {"discriminator_loss", "told_frame", *(f"told_{name}" for name in NOISES)}
    for name in ("drawn", "noise", "noisy"):
        assert told[f"told_{name}"] > 0.7, name
    # What is just like the song is noise as often as it is frame: which of the two, is a matter of the weights.
    assert float(told["told_frame"]) + float(told["told_run"]) == pytest.approx(1.0, abs=0.25)
    assert float(adversary.optimizer.learning_rate) == pytest.approx(0.01)
