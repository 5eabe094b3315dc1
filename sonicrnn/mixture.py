"""The mixture of Gaussians: the `mixture` head, and what a draw of the gan head begins with."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.noise import gumbel_of
from sonicrnn.spreads import log_scale, spread_of

BEGIN_GAIN = 0.3  # of the first weights, where the head begins with a known spread


@keras.saving.register_keras_serializable("sonicrnn")
class GaussianMixture(keras.layers.Layer):
    """A mixture of diagonal Gaussians over the whole frame (Bishop, "Mixture Density Networks", 1994).

    With one Gaussian it is the `gaussian` head. Temperature divides the mixture's logits and multiplies the standard
    deviations: 0 draws the mean of the likeliest Gaussian, 1 the model's own distribution.
    """

    def __init__(self, dimension: int, mixtures: int = 1, **arguments):
        super().__init__(**arguments)
        self.dimension = dimension
        self.mixtures = mixtures
        self.dense = keras.layers.Dense(mixtures * (1 + 2 * dimension), name="parameters")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        return self.dense(inputs)

    def parts(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """-> logits [..., mixtures], means and what is said of the spreads [..., mixtures, dimension]."""
        size = self.mixtures * self.dimension
        logits, means, spreads = tf.split(parameters, [self.mixtures, size, size], -1)
        shape = tf.concat([tf.shape(parameters)[:-1], [self.mixtures, self.dimension]], 0)
        return logits, tf.reshape(means, shape), tf.reshape(spreads, shape)

    def split(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """-> logits [..., mixtures], means and log standard deviations [..., mixtures, dimension]."""
        logits, means, spreads = self.parts(parameters)
        return logits, means, log_scale(spreads)

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[..., time, parameter], [..., time, dimension] -> [..., time]: nats per figure."""
        return self.told(parameters, target)[0]

    def told(self, parameters: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The loss [...], and how well each Gaussian fits, [..., mixtures]: its log density, but for a constant."""
        logits, means, log_scales = self.split(parameters)
        error = (target[..., None, :] - means) * tf.exp(-log_scales)
        fits = -tf.reduce_sum(0.5 * tf.square(error) + log_scales, -1)
        likely = tf.reduce_logsumexp(tf.nn.log_softmax(logits) + fits, -1) / self.dimension
        return 0.5 * math.log(2 * math.pi) - likely, fits

    def begin_with(self, scale: np.ndarray) -> None:
        """Begin with these standard deviations, [dimension], in every Gaussian, and with nearly equal Gaussians."""
        spreads = np.tile(spread_of(scale), self.mixtures)
        bias = np.concatenate([np.zeros(self.mixtures + len(spreads)), spreads])
        self.dense.bias.assign(bias.astype(np.float32))
        self.dense.kernel.assign(BEGIN_GAIN * self.dense.kernel)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw uses up."""
        return self.mixtures + self.dimension

    def prepared(self, noise: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers [..., noise_size], as `draw` takes them: Gumbel's where they choose a Gaussian."""
        normal, others = tf.split(noise, [self.mixtures, self.dimension], -1)
        return tf.concat([gumbel_of(normal), others], -1)

    def draw(self, parameters: tf.Tensor, temperature: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """[batch, parameter], temperature [batch], `prepared` noise [batch, noise_size] -> [batch, dimension]."""
        gumbel, normal = tf.split(noise, [self.mixtures, self.dimension], -1)
        mean, deviation = self.chosen(parameters, temperature[:, None] * gumbel)
        return mean + temperature[:, None] * deviation * normal

    def chosen(self, parameters: tf.Tensor, gumbel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """[batch, parameter], [batch, mixtures] -> mean and standard deviations of one Gaussian, [batch, dimension]."""
        logits, means, spreads = self.parts(parameters)
        # A product, for the slope of a `gather` is slow.
        this = tf.one_hot(tf.argmax(logits + gumbel, -1), self.mixtures)[:, None]
        return tf.matmul(this, means)[:, 0], tf.exp(log_scale(tf.matmul(this, spreads)[:, 0]))

    def moved(self, parameters: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        """Parameters of a distribution that lies `by`, [..., dimension], further on."""
        size = self.mixtures * self.dimension
        logits, means, spreads = tf.split(parameters, [self.mixtures, size, size], -1)
        return tf.concat([logits, means + tf.concat([by] * self.mixtures, -1), spreads], -1)

    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., dimension]: the expected frame."""
        logits, means, _ = self.parts(parameters)
        return tf.reduce_sum(tf.nn.softmax(logits)[..., None] * means, -2)

    def get_config(self):
        return {**super().get_config(), "dimension": self.dimension, "mixtures": self.mixtures}
