"""Output layers, each with its loss and its way to draw a frame, side by side.

A head turns the trunk's output [..., width] into parameters [..., parameter]; `loss` compares those with the real next
frame; `draw` makes a frame from them and from noise, which is `prepared` for many draws at once. Losses are negative
log likelihoods in nats per figure of the frame (for `mse`: half the squared error; for `spectral`, more than that; for
`gan`, an energy score), so that frames of any size compare.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.config import HeadSettings
from sonicrnn.denoiser import Denoiser
from sonicrnn.flow import Flow
from sonicrnn.frames import power_of
from sonicrnn.mixture import GaussianMixture
from sonicrnn.noise import uniform_of

SPECTRAL_LENGTHS = (256, 512, 1024, 2048)  # samples of the windows that `spectral` compares by; a quarter is their hop
SPECTRAL_FLOOR = 1e-3  # of a magnitude before its logarithm, under windows of unit energy: 60 dB below white noise
QUANTISED_RANGE = 6.0  # standard deviations that the levels of `softmax` reach to either side


@keras.saving.register_keras_serializable("sonicrnn")
class MeanSquaredError(keras.layers.Layer):
    """The seeds' head: one value for each figure, trained on squared error. Its draw is its prediction."""

    def __init__(self, dimension: int, **arguments):
        super().__init__(**arguments)
        self.dimension = dimension
        self.dense = keras.layers.Dense(dimension, name="prediction")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[..., time, dimension] twice -> [..., time]: half the mean squared error."""
        return 0.5 * tf.reduce_mean(tf.square(parameters - target), -1)

    def begin_with(self, scale: np.ndarray) -> None:
        """Squared error knows no spread: there is nothing to begin with."""

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw uses up."""
        return 0

    def prepared(self, noise: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers [..., noise_size], as `draw` takes them: as they are."""
        return noise

    def draw(self, parameters: tf.Tensor, temperature: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The prediction itself; temperature and noise change nothing."""
        return parameters

    def moved(self, parameters: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        """Parameters of a prediction that lies `by`, [..., dimension], further on."""
        return parameters + by

    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., dimension]: the expected frame."""
        return parameters

    def get_config(self):
        return {**super().get_config(), "dimension": self.dimension}


@keras.saving.register_keras_serializable("sonicrnn")
class SpectralError(MeanSquaredError):
    """Squared error, and how far the spectra of the predicted frames in a row are from the song's.

    Spectral convergence and the mean distance of the log magnitudes, under windows of several lengths that reach over
    the frames' borders (Yamamoto et al., "Parallel WaveGAN", 2020). For waveform frames that do not overlap.
    """

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[batch, time, dimension] twice -> [batch, time]: what the spectra cost is that of all frames alike."""
        samples, wanted = (tf.reshape(frames, [tf.shape(frames)[0], -1]) for frames in (parameters, target))
        return super().loss(parameters, target) + spectral_distance(samples, wanted)[:, None]


def spectral_distance(samples: tf.Tensor, wanted: tf.Tensor) -> tf.Tensor:
    """[batch, samples] twice -> [batch]: the mean over those of `SPECTRAL_LENGTHS` that are no longer than the samples.

    Samples have unit variance. The shortest window is filled up with zeros where the samples are fewer still.
    """
    total, used = tf.zeros([tf.shape(samples)[0]]), tf.zeros([])
    for length in SPECTRAL_LENGTHS:
        fits = tf.cast(tf.shape(samples)[1] >= length, tf.float32) if length > SPECTRAL_LENGTHS[0] else tf.ones([])
        made, real = (_magnitudes(one, length) for one in (samples, wanted))
        convergence = tf.norm(real - made, axis=[1, 2]) / tf.maximum(tf.norm(real, axis=[1, 2]), SPECTRAL_FLOOR)
        distance = tf.reduce_mean(tf.abs(tf.math.log(made) - tf.math.log(real)), [1, 2])
        total, used = total + fits * (convergence + distance), used + fits
    return total / used


def _magnitudes(samples: tf.Tensor, length: int) -> tf.Tensor:
    """[batch, samples] -> [batch, time, bins], smoothly floored, so that silence has a gradient, too."""
    missing = tf.maximum(0, length - tf.shape(samples)[1])
    window = tf.signal.hann_window(length)
    window = window / tf.norm(window)
    framed = tf.signal.frame(tf.pad(samples, [[0, 0], [0, missing]]), length, length // 4) * window
    return tf.sqrt(power_of(tf.signal.rfft(framed)) + SPECTRAL_FLOOR**2)


@keras.saving.register_keras_serializable("sonicrnn")
class Quantised(keras.layers.Layer):
    """A choice among levels for each figure by itself, µ-law apart (van den Oord et al., "WaveNet", 2016).

    For short waveform frames. Any shape of distribution can be told, but the figures of a frame are drawn independently
    of each other: what they have in common, the next frame alone can take up. Temperature divides the logits.
    """

    def __init__(self, dimension: int, levels: int = 256, **arguments):
        super().__init__(**arguments)
        self.dimension = dimension
        self.levels = levels
        self.dense = keras.layers.Dense(dimension * levels, name="logits")
        edges = np.linspace(-1, 1, levels + 1)
        self.edges = _expanded(edges, levels).astype(np.float32)
        self.centres = _expanded((edges[:-1] + edges[1:]) / 2, levels).astype(np.float32)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)

    def level_of(self, figures: tf.Tensor) -> tf.Tensor:
        """Figures of any shape -> int32, the level that each lies in; beyond the range, the outermost."""
        return tf.searchsorted(self.edges[1:-1], tf.reshape(figures, [-1]), side="right")

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[..., time, parameter], [..., time, dimension] -> [..., time]: nats per figure.

        A level's probability counts as spread over its width: a density, which compares with a Gaussian's.
        """
        chosen = tf.reshape(self.level_of(target), tf.shape(target))
        missed = tf.nn.sparse_softmax_cross_entropy_with_logits(chosen, self._logits(parameters))
        widths = tf.constant(np.log(np.diff(self.edges)))
        return tf.reduce_mean(missed + tf.gather(widths, chosen), -1)

    def begin_with(self, scale: np.ndarray) -> None:
        """Begins with all levels alike."""

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw uses up."""
        return self.dimension

    def prepared(self, noise: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers [..., noise_size], as `draw` takes them: uniform from 0 to 1."""
        return uniform_of(noise)

    def draw(self, parameters: tf.Tensor, temperature: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """[batch, parameter], temperature [batch], `prepared` noise [batch, noise_size] -> [batch, dimension]."""
        cooled = self._logits(parameters) / tf.maximum(temperature, 1e-4)[:, None, None]
        below = tf.cumsum(tf.nn.softmax(cooled), -1)  # up to and with each level
        chosen = tf.reduce_sum(tf.cast(below < noise[..., None], tf.int32), -1)
        return tf.gather(tf.constant(self.centres), tf.minimum(chosen, self.levels - 1))

    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., dimension]: the expected frame."""
        return tf.linalg.matvec(tf.nn.softmax(self._logits(parameters)), tf.constant(self.centres))

    def moved(self, parameters: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        """Raises ValueError: levels cannot be moved by a part of their width."""
        raise ValueError("a softmax head has no prediction that could be moved")

    def _logits(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., parameter] -> [..., dimension, levels]."""
        return tf.reshape(parameters, tf.concat([tf.shape(parameters)[:-1], [self.dimension, self.levels]], 0))

    def get_config(self):
        return {**super().get_config(), "dimension": self.dimension, "levels": self.levels}


def _expanded(compressed: np.ndarray, levels: int) -> np.ndarray:
    """µ-law: -1 to 1 -> figures, µ being one less than the number of levels."""
    return QUANTISED_RANGE * np.sign(compressed) * np.expm1(np.abs(compressed) * np.log(levels)) / (levels - 1)


Head = MeanSquaredError | GaussianMixture | Quantised | Denoiser | Flow


def make_head(settings: HeadSettings, dimension: int, seed: int = 1) -> Head:
    """The head that the settings name, for frames of `dimension` figures; `seed` is of its first weights."""
    if settings.kind == "gan":
        made = settings
        return Denoiser(dimension, made.width, made.layers, made.revise, made.mixtures, seed, name="head")
    if settings.kind == "flow":
        return Flow(dimension, settings.width, settings.layers, seed, name="head")
    if settings.kind == "mse":
        return MeanSquaredError(dimension, name="head")
    if settings.kind == "spectral":
        return SpectralError(dimension, name="head")
    if settings.kind == "softmax":
        return Quantised(dimension, settings.levels, name="head")
    return GaussianMixture(dimension, settings.mixtures if settings.kind == "mixture" else 1, name="head")
