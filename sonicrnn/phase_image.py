"""Each waveform frame as an image, phase against amplitude, seen through 2-D convolutions: the seeds' idea of an input.

Every bin of a frame's spectrum is a point of the image, at its phase and its log amplitude. A plot of all of them would
forget which frequency a point is of, so the spectrum is cut into bands of neighbouring bins, each of them a channel.
"""

from __future__ import annotations

import math

import keras
import tensorflow as tf

from sonicrnn.frames import MAGNITUDE_FLOOR, log_magnitude, windowed

PHASES, AMPLITUDES, BANDS = 16, 16, 16
LOUDEST = 4.0  # natural logarithm of the magnitude at the image's border: a sine of 60 dB over the floor, and more
FILTERS = (16, 32)


def phase_images(frames: tf.Tensor) -> tf.Tensor:
    """Waveform frames [n, length] -> [n, PHASES, AMPLITUDES, BANDS].

    A point lies between four pixels and is shared out among them; phases go round. In each channel the pixels' mean is
    1. Frames have samples of unit variance and at least `2 * BANDS` of them.
    """
    spectrum = tf.signal.rfft(windowed(frames))[:, 1:]  # the offset has no phase
    spectrum = spectrum[:, : spectrum.shape[-1] // BANDS * BANDS]  # the very highest bins are left out
    lowest = math.log(MAGNITUDE_FLOOR)
    height = (log_magnitude(tf.abs(spectrum)) - lowest) / (LOUDEST - lowest) * (AMPLITUDES - 1)
    height = tf.clip_by_value(height, 0.0, AMPLITUDES - 1.0)[..., None]
    turn = (tf.math.angle(spectrum) / (2 * math.pi) % 1.0 * PHASES)[..., None]
    far = tf.abs(turn - tf.range(PHASES, dtype=tf.float32))
    phases = tf.maximum(0.0, 1 - tf.minimum(far, PHASES - far))  # [n, bins, PHASES]
    amplitudes = tf.maximum(0.0, 1 - tf.abs(height - tf.range(AMPLITUDES, dtype=tf.float32)))
    phases, amplitudes = (_in_bands(one) for one in (phases, amplitudes))
    images = tf.linalg.matmul(phases, amplitudes, transpose_a=True)  # [n, BANDS, PHASES, AMPLITUDES]
    points = spectrum.shape[-1] // BANDS
    return tf.transpose(images, [0, 2, 3, 1]) * (PHASES * AMPLITUDES / points)


def _in_bands(bins: tf.Tensor) -> tf.Tensor:
    """[n, bins, pixels] -> [n, BANDS, bins of a band, pixels]."""
    return tf.reshape(bins, [tf.shape(bins)[0], BANDS, bins.shape[1] // BANDS, bins.shape[2]])


@keras.saving.register_keras_serializable("sonicrnn")
class PhaseImage(keras.layers.Layer):
    """Waveform frames [..., length] -> features [..., `units`]: their images through two layers of convolutions."""

    def __init__(self, seed: int = 1, **arguments):
        super().__init__(**arguments)
        self.seed = seed
        self.layers = [
            keras.layers.Conv2D(
                filters, 3, strides=2, activation="gelu", name=f"convolution_{index}",
                kernel_initializer=keras.initializers.GlorotUniform(seed + index),
            )
            for index, filters in enumerate(FILTERS)
        ]  # fmt: skip
        self.units = PHASES // 4 * (AMPLITUDES // 4) * FILTERS[-1]

    def build(self, shape):
        channels = BANDS
        for layer in self.layers:
            layer.build((None, None, None, channels))
            channels = layer.filters
        self.built = True

    def call(self, inputs):
        shape = tf.shape(inputs)[:-1]
        hidden = phase_images(tf.reshape(inputs, [-1, inputs.shape[-1]]))
        for layer in self.layers:
            hidden = layer(_padded(hidden))
        return tf.reshape(hidden, tf.concat([shape, [self.units]], 0))

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def _padded(images: tf.Tensor) -> tf.Tensor:
    """One pixel more at the beginning of both axes: phases go round, beyond the amplitudes there is nothing.

    With a stride of 2 and an even size, the last pixel is the middle of no window, so that it needs no neighbour.
    """
    images = tf.concat([images[:, -1:], images], 1)
    return tf.pad(images, [[0, 0], [0, 0], [1, 0], [0, 0]])
