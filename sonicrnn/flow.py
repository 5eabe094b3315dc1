"""The flow head: a frame is noise that layers move and stretch, one half of it by what the other half is.

An invertible network over a conditional Gaussian: the likelihood of a frame is exact, and a draw is the way back.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.spreads import log_scale, spread_of

MOST_STRETCH = 1.0  # logarithm of how much a coupling can stretch a figure, or shrink it


@keras.saving.register_keras_serializable("sonicrnn")
class Flow(keras.layers.Layer):
    """Affine couplings (Dinh et al., "Density estimation using Real NVP", 2017) that depend on what was heard.

    Parameters are the context [width] and, of the Gaussian that is outermost, middle and log standard deviation
    [dimension] each. In each coupling every second figure stays as it is, and says with the context how the others are
    moved and stretched; in the next one it is their turn. Before any training it is that Gaussian alone.

    Args:
        dimension: figures of a frame, 2 at the least.
        width: of the context and of each coupling's network.
        layers: couplings.
        seed: of the first weights.
    """

    def __init__(
        self,
        dimension: int,
        width: int = 384,
        layers: int = 4,
        seed: int = 1,
        **arguments,
    ):
        super().__init__(**arguments)
        if dimension < 2:
            raise ValueError("a flow head needs frames of two figures or more, of which one tells how the other moves")
        self.dimension, self.width, self.depth, self.seed = dimension, width, layers, seed
        glorot = [keras.initializers.GlorotUniform(seed + index) for index in range(2 * layers + 1)]
        self.dense = keras.layers.Dense(width + 2 * dimension, name="context", kernel_initializer=glorot[0])
        kept = [len(range(index % 2, dimension, 2)) for index in range(layers)]
        self.enter = [
            keras.layers.Dense(width, activation="gelu", name=f"enter_{index}", kernel_initializer=glorot[index + 1])
            for index in range(layers)
        ]
        self.leave = [
            keras.layers.Dense(2 * (dimension - count), name=f"leave_{index}", kernel_initializer="zeros")
            for index, count in enumerate(kept)
        ]
        self.kept = kept

    def build(self, shape):
        self.dense.build(shape)
        for count, enter, leave in zip(self.kept, self.enter, self.leave, strict=True):
            enter.build((None, count + self.width))
            leave.build((None, self.width))

    def call(self, inputs):
        return self.dense(inputs)

    def split(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """-> context [..., width], middle and log standard deviation [..., dimension]."""
        context, middle, spread = tf.split(parameters, [self.width, self.dimension, self.dimension], -1)
        return tf.nn.gelu(context), middle, log_scale(spread)

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[..., time, parameter], [..., time, dimension] -> [..., time]: nats per figure."""
        context, middle, log_scale = self.split(parameters)
        noise, stretched = (target - middle) * tf.exp(-log_scale), tf.reduce_sum(log_scale, -1)
        for index in range(self.depth):
            stays, moves = self._halves(noise, index)
            by, stretch = self._coupling(index, stays, context)
            noise = self._whole(stays, (moves - by) * tf.exp(-stretch), index)
            stretched += tf.reduce_sum(stretch, -1)
        each = 0.5 * tf.square(noise) + 0.5 * math.log(2 * math.pi)
        return (tf.reduce_sum(each, -1) + stretched) / self.dimension

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw uses up."""
        return self.dimension

    def prepared(self, noise: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers [..., noise_size], as `draw` takes them: as they are."""
        return noise

    def draw(self, parameters: tf.Tensor, temperature: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """[batch, parameter], temperature [batch], a factor of the noise [batch, noise_size] -> [batch, dimension]."""
        context, middle, log_scale = self.split(parameters)
        frame = temperature[:, None] * noise
        for index in reversed(range(self.depth)):
            stays, moves = self._halves(frame, index)
            by, stretch = self._coupling(index, stays, context)
            frame = self._whole(stays, moves * tf.exp(stretch) + by, index)
        return middle + tf.exp(log_scale) * frame

    def moved(self, parameters: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        """Parameters of a distribution that lies `by`, [..., dimension], further on."""
        context, middle, spread = tf.split(parameters, [self.width, self.dimension, self.dimension], -1)
        return tf.concat([context, middle + by, spread], -1)

    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., dimension]: what is drawn of no noise, near the expected frame."""
        rows = tf.reshape(parameters, [-1, self.width + 2 * self.dimension])
        count = tf.shape(rows)[0]
        drawn = self.draw(rows, tf.zeros([count]), tf.zeros([count, self.dimension]))
        return tf.reshape(drawn, tf.concat([tf.shape(parameters)[:-1], [self.dimension]], 0))

    def begin_with(self, scale: np.ndarray) -> None:
        """Begin with these standard deviations, [dimension]."""
        bias = np.concatenate([np.zeros(self.width + self.dimension), spread_of(scale)])
        self.dense.bias.assign(bias.astype(np.float32))

    def _coupling(self, index: int, stays: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """How far the other figures are moved, and the logarithm of how much they are stretched."""
        by, stretch = tf.split(self.leave[index](self.enter[index](tf.concat([stays, context], -1))), 2, -1)
        return by, MOST_STRETCH * tf.tanh(stretch)

    def _halves(self, frame: tf.Tensor, index: int) -> tuple[tf.Tensor, tf.Tensor]:
        """[..., dimension] -> the figures that stay in this coupling, and those that move."""
        even, odd = frame[..., ::2], frame[..., 1::2]
        return (odd, even) if index % 2 else (even, odd)

    def _whole(self, stays: tf.Tensor, moves: tf.Tensor, index: int) -> tf.Tensor:
        """The inverse of `_halves`."""
        even, odd = (moves, stays) if index % 2 else (stays, moves)
        pairs = tf.stack([even[..., : self.dimension // 2], odd], -1)
        woven = tf.reshape(pairs, tf.concat([tf.shape(odd)[:-1], [2 * (self.dimension // 2)]], 0))
        return woven if self.dimension % 2 == 0 else tf.concat([woven, even[..., -1:]], -1)

    def get_config(self):
        made = {"width": self.width, "layers": self.depth, "seed": self.seed}
        return {**super().get_config(), "dimension": self.dimension, **made}
