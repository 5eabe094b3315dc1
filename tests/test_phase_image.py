"""Frames as images: every bin of a spectrum is a point at its phase and amplitude, in the channel of its band."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from sonicrnn.phase_image import AMPLITUDES, BANDS, PHASES, PhaseImage, phase_images


def tone(bin_number: int, phase: float, gain: float = 1.0, length: int = 1024) -> tf.Tensor:
    """One frame [1, length] of a sine that lies in the middle of a bin."""
    turns = bin_number * np.arange(length) / length + phase
    return tf.constant(gain * np.sqrt(2) * np.cos(2 * np.pi * turns)[None], tf.float32)


def loudest(image: np.ndarray, band: int) -> tuple[int, int]:
    """Row and column of the loudest point of a band: those of its neighbours under the window are 6 dB below it."""
    columns = np.flatnonzero(image[..., band].max(0) > 1)  # an eighth of a point, and more
    return int(np.argmax(image[:, columns[-1], band])), int(columns[-1])


@pytest.mark.parametrize("length", [64, 1000, 4001])
def test_every_point_is_in_the_image_once(length: int) -> None:
    frames = np.random.default_rng(0).standard_normal((3, length)).astype(np.float32)
    images = phase_images(tf.constant(frames)).numpy()
    assert images.shape == (3, PHASES, AMPLITUDES, BANDS)
    np.testing.assert_allclose(images.mean((1, 2)), 1, rtol=1e-4)


def test_a_tone_is_in_the_channel_of_its_band_at_its_phase() -> None:
    for band in (0, 5, 15):
        for quarter in range(4):
            image = phase_images(tone(16 + 32 * band, quarter / 4)).numpy()[0]
            assert loudest(image, band)[0] == quarter * PHASES // 4
            silent = [other for other in range(BANDS) if abs(other - band) > 1]
            assert np.all(image[:, AMPLITUDES // 2 :, silent] == 0)


def test_a_louder_tone_is_higher_and_phases_go_round() -> None:
    heights = [loudest(phase_images(tone(100, 0.25, gain)).numpy()[0], 3)[1] for gain in (0.03, 0.3, 3.0)]
    assert heights == sorted(set(heights))
    near = [phase_images(tone(100, phase)).numpy()[0, :, 8:, 3] for phase in (0.98, 0.02)]
    assert near[0][0].sum() > 0  # seven tenths of the point lie in the first row, on the other side
    assert near[0][-1].sum() > 0
    np.testing.assert_allclose(near[0][0].sum(), near[1][0].sum(), rtol=0.05)


def test_the_layer_sees_each_frame_by_itself_and_is_that_of_its_seed() -> None:
    frames = tf.constant(np.random.default_rng(1).standard_normal((2, 5, 200)), tf.float32)
    layers = [PhaseImage(seed) for seed in (1, 1, 2)]
    for layer in layers:
        layer.build((None, None, 200))
    seen = layers[0](frames)
    assert seen.shape == (2, 5, layers[0].units)
    np.testing.assert_allclose(layers[0](frames[:, 3]), seen[:, 3], atol=1e-6)
    np.testing.assert_array_equal(layers[1](frames), seen)
    assert np.abs(layers[2](frames) - seen).max() > 1e-3
    assert np.std(seen, axis=(0, 1)).max() > 1e-2
