"""The discriminator: told the context, it says frame or noise.

It judges the last frame of a window of frames, by several views of it: of spectra and MDCT frames the window and the
frame alone; of waveforms also their spectra at several resolutions (Yamamoto et al., "Parallel WaveGAN", 2020; Jang et
al., "UnivNet: A Neural Vocoder with Multi-Resolution Spectrogram Discriminators", 2021).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.config import FrameSettings, GanSettings
from sonicrnn.frames import power_of

SPECTRAL_SIZES = (2048, 512, 128)  # samples of a spectrum, those that are longer than the window left out
LEAST_MAGNITUDE = 1e-2  # of normalised samples, under which a bin is silent
SLOPE = 0.2  # of the activations below 0


class WeightNormDense(keras.layers.Layer):
    """A dense layer whose kernel's length and direction are learned apart.

    Salimans and Kingma, "Weight Normalization", 2016. Unlike a spectral norm it keeps no state from step to step.
    """

    def __init__(self, units: int, seed: int, **arguments):
        super().__init__(**arguments)
        self.units, self.seed = units, seed

    def build(self, input_shape):
        glorot = keras.initializers.GlorotUniform(self.seed)
        self.direction = self.add_weight(shape=(input_shape[-1], self.units), initializer=glorot, name="direction")
        self.length = self.add_weight(shape=(self.units,), initializer="ones", name="length")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        return tf.linalg.matmul(inputs, self.length * tf.math.l2_normalize(self.direction, 0)) + self.bias


class ViewJudge(keras.layers.Layer):
    """Scores one view: two layers, the context added in the first."""

    def __init__(self, width: int, seed: int, **arguments):
        super().__init__(**arguments)
        self.seen = WeightNormDense(width, seed, name="seen")
        self.told = WeightNormDense(width, seed + 1, name="told")
        self.inner = WeightNormDense(width, seed + 2, name="inner")
        self.said = WeightNormDense(1, seed + 3, name="said")

    def build(self, view_shape, context_shape):
        self.seen.build(view_shape)
        self.told.build(context_shape)
        self.inner.build((None, self.seen.units))
        self.said.build((None, self.seen.units))

    def call(self, view, context):
        """[rows, figures], [rows, width] -> score [rows] and the features of both layers, [rows, width] each."""
        first = tf.nn.leaky_relu(self.seen(view) + self.told(context), SLOPE)
        second = tf.nn.leaky_relu(self.inner(first), SLOPE)
        return self.said(second)[:, 0], [first, second]


class Discriminator(keras.layers.Layer):
    """Windows of frames and their context -> scores, above 0 for a frame of the song and below for noise.

    Args:
        settings: of the GAN.
        frames: what frames are.
        dimension: figures of a frame.
        context: figures of the context.
        seed: of the first weights.
    """

    def __init__(
        self, settings: GanSettings, frames: FrameSettings, dimension: int, context: int, seed: int = 1, **arguments
    ):
        super().__init__(**arguments)
        self.frames = frames
        example = tf.zeros([1, settings.window, dimension])
        sizes = [int(view.shape[-1]) for view in self.views(example)]
        self.judges = []
        for index, size in enumerate(sizes):
            judge = ViewJudge(settings.width, seed + 10 * index, name=f"view_{index}")
            judge.build((None, size), (None, context))
            self.judges.append(judge)
        self.built = True

    def views(self, windows: tf.Tensor) -> list[tf.Tensor]:
        """[rows, window, dimension] -> what each judge looks at, [rows, figures] each."""
        rows = tf.shape(windows)[0]
        if self.frames.kind != "waveform":
            flat = int(windows.shape[1]) * int(windows.shape[2])
            return [tf.reshape(windows, [rows, flat]), windows[:, -1]]
        samples = joined(windows, self.frames.step_length)
        sizes = [size for size in SPECTRAL_SIZES if size <= int(samples.shape[-1])]
        return [samples, *(spectral_view(samples, size) for size in sizes)]

    def call(self, windows, context):
        """-> scores [rows, views], and all features, [rows, width] each."""
        heard = [judge(view, context) for judge, view in zip(self.judges, self.views(windows), strict=True)]
        return tf.stack([score for score, _ in heard], -1), [one for _, features in heard for one in features]


def joined(windows: tf.Tensor, hop: int) -> tf.Tensor:
    """Waveform frames [rows, window, frame_length] -> [rows, samples]: each as far as the next, the last one whole."""
    rows, before = tf.shape(windows)[0], int(windows.shape[1]) - 1
    samples = tf.reshape(windows[:, :-1, :hop], [rows, before * hop])
    return tf.concat([samples, windows[:, -1]], -1)


def spectral_view(samples: tf.Tensor, size: int) -> tf.Tensor:
    """Log magnitudes of spectra of `size` samples, half overlapping, up to the last sample: [rows, figures]."""
    length = int(samples.shape[-1])
    count = 1 + (length - size) // (size // 2)
    used = size + (count - 1) * (size // 2)
    cut = tf.signal.frame(samples[:, length - used :], size, size // 2) * tf.constant(np.hanning(size), tf.float32)
    power = power_of(tf.signal.rfft(cut)) * (4 / size)  # [rows, count, bins]
    view = 0.5 * tf.math.log(power + LEAST_MAGNITUDE**2)
    return tf.reshape(view, [tf.shape(samples)[0], count * (size // 2 + 1)])


def windows_of(frames: tf.Tensor, window: int) -> tf.Tensor:
    """[batch, time, dimension] -> [batch, time - window + 1, window, dimension]: each frame with those before it."""
    count = tf.shape(frames)[1] - window + 1
    return tf.stack([frames[:, index : index + count] for index in range(window)], 2)
