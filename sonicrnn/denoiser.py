"""The gan head: a denoiser that turns noise, or a noisy frame, into the next frame.

A draw begins with noise alone and is revised: noise is mixed in again, less each time, and denoised. The noise of a
frame is an angle: `cos(angle) * frame + sin(angle) * noise`, a quarter turn is noise alone.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

QUARTER = math.pi / 2
MOST_SPREAD = 1.0  # logarithm of how much wider than `scale` a draw's chance can be
LOSS_SEED = (3, 14)  # of the draws that a loss is told by: always the same ones


@keras.saving.register_keras_serializable("sonicrnn")
class Denoiser(keras.layers.Layer):
    """Next frames as draws of a network: (context, noisy frame, angle of the noise, chance) -> frame.

    Parameters are the context [width] and a first guess of the frame [dimension]; what is denoised is the frame's
    distance from the guess, in units of `scale`. Input and output of the network are weighed by the angle as in "v
    prediction" (Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022): a frame
    without noise stays as it is. Chance beside the noisy frame, so that a large step of denoising is a draw and no
    mean, is of Xiao et al., "Tackling the Generative Learning Trilemma with Denoising Diffusion GANs", 2022; to mix
    noise in again and denoise once more is how consistency models draw (Song et al., "Consistency Models", 2023).

    Before any training a draw is Gaussian around the guess, with `scale` as its deviation, whatever the angle: of a
    Gaussian x of unit variance, `cos(angle) * noisy + sin(angle) * chance` is distributed as x given the noisy one.

    Args:
        dimension: figures of a frame.
        width, layers: of the network.
        revise: how often a draw is noised again and denoised.
        seed: of the first weights.
    """

    def __init__(
        self,
        dimension: int,
        width: int = 384,
        layers: int = 2,
        revise: int = 1,
        seed: int = 1,
        **arguments,
    ):
        super().__init__(**arguments)
        self.dimension, self.width, self.depth = dimension, width, layers
        self.revise, self.seed = revise, seed
        glorot = [keras.initializers.GlorotUniform(seed + index) for index in range(layers + 1)]
        self.dense = keras.layers.Dense(width + dimension, name="context", kernel_initializer=glorot[0])
        self.enter = keras.layers.Dense(width, use_bias=False, name="noisy", kernel_initializer=glorot[1])
        self.inner = [
            keras.layers.Dense(width, activation="gelu", name=f"inner_{index}", kernel_initializer=glorot[index + 1])
            for index in range(1, layers)
        ]
        self.leave = keras.layers.Dense(2 * dimension, name="clean", kernel_initializer="zeros")

    def build(self, shape):
        self.dense.build(shape)
        self.enter.build((None, 2 * self.dimension + 2))
        for layer in (*self.inner, self.leave):
            layer.build((None, self.width))
        self.scale = self.add_weight(shape=(self.dimension,), initializer="ones", trainable=False, name="scale")

    def call(self, inputs):
        return self.dense(inputs)

    def split(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """-> context [..., width], first guess [..., dimension]."""
        context, guess = tf.split(parameters, [self.width, self.dimension], -1)
        return context, guess

    def denoised(self, context: tf.Tensor, noisy: tf.Tensor, angle: tf.Tensor, chance: tf.Tensor) -> tf.Tensor:
        """Distances from the guess, in units of `scale`.

        Args:
            context: [..., width].
            noisy: [..., dimension].
            angle: [..., 1], 0 to a quarter turn.
            chance: [..., dimension], standard normal.

        Returns:
            [..., dimension], without noise.
        """
        told = tf.concat([noisy, chance, tf.cos(angle), tf.sin(angle)], -1)
        hidden = tf.nn.gelu(context + self.enter(told))
        for layer in self.inner:
            hidden = hidden + layer(hidden)
        middle, spread = tf.split(self.leave(hidden), 2, -1)
        return tf.cos(angle) * noisy + tf.sin(angle) * (middle + tf.exp(tf.minimum(spread, MOST_SPREAD)) * chance)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw uses up."""
        return (1 + self.revise) * 2 * self.dimension

    def prepared(self, noise: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers [..., noise_size], as `draw` takes them: as they are."""
        return noise

    def draw(self, parameters: tf.Tensor, temperature: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """A frame from noise, revised.

        Args:
            parameters: [batch, parameter].
            temperature: [batch], factor of all noise; 0 draws what is denoised of none, near the middle of all draws.
            noise: [batch, noise_size], standard normal.

        Returns:
            [batch, dimension].
        """
        context, guess = self.split(parameters)
        clean = tf.zeros_like(guess)
        for turn, new in enumerate(tf.split(temperature[:, None] * noise, 1 + self.revise, -1)):
            angle = tf.fill([tf.shape(guess)[0], 1], QUARTER * (1 - turn / (1 + self.revise)))
            noisy = tf.cos(angle) * clean + tf.sin(angle) * new[:, : self.dimension]
            clean = self.denoised(context, noisy, angle, new[:, self.dimension :])
        return guess + self.scale * clean

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[..., time, parameter], [..., time, dimension] -> [..., time]: the energy score of two draws."""
        shape, rows = tf.shape(target)[:-1], tf.reshape(parameters, [-1, self.width + self.dimension])
        size = [2, tf.shape(rows)[0], self.noise_size]
        noise = tf.random.stateless_normal(size, LOSS_SEED)
        one, other = (self.draw(rows, tf.ones([size[1]]), each) for each in tf.unstack(noise))
        return tf.reshape(self.score(one, other, tf.reshape(target, [-1, self.dimension])), shape)

    def score(self, one: tf.Tensor, other: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Two draws and the real frame, [..., dimension] each -> [...]: `energy_score` in units of `scale`."""
        return energy_score(one / self.scale, other / self.scale, target / self.scale)

    def denoising_loss(
        self, parameters: tf.Tensor, target: tf.Tensor, noise: tf.Tensor, place: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the denoiser learns by itself, at the angles that a draw goes through, alike often.

        Args:
            parameters: [rows, parameter].
            target: the real frames [rows, dimension].
            noise: [2, rows, 2 * dimension], standard normal.
            place: [rows, 1], from 0 up to but not 1: at which angle, the first share is noise alone.

        Returns:
            The energy score [rows]; and how far two draws of one noise alone lie apart, as a share of how far they lie
            from the real frame, a scalar: 1 where draws are as various as the song, 0 where all are one.
        """
        context, guess = self.split(parameters)
        real = (target - tf.stop_gradient(guess)) / self.scale
        turn = tf.floor(place * (1 + self.revise))
        alone, angle = turn < 0.5, QUARTER * (1 - turn / (1 + self.revise))
        draws = []
        for index in range(2):
            # Of one noisy frame two draws are wanted; of noise alone, that of each is all there is to draw by.
            mixed = tf.where(alone, noise[index, :, : self.dimension], noise[0, :, : self.dimension])
            noisy = tf.cos(angle) * real + tf.sin(angle) * mixed
            clean = self.denoised(context, noisy, angle, noise[index, :, self.dimension :])
            draws.append(guess / self.scale + clean)
        wanted = target / self.scale
        apart, off = (distance(draws[0], other) * tf.cast(alone[:, 0], tf.float32) for other in (draws[1], wanted))
        return energy_score(draws[0], draws[1], wanted), tf.reduce_sum(apart) / tf.maximum(tf.reduce_sum(off), 1e-6)

    def begin_with(self, scale: np.ndarray) -> None:
        """Begin with these standard deviations, [dimension], around the first guess."""
        self.scale.assign(scale)

    def moved(self, parameters: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        """Parameters of draws that lie `by`, [..., dimension], further on."""
        context, guess = self.split(parameters)
        return tf.concat([context, guess + by], -1)

    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., dimension]: the draw of no noise, near the expected frame."""
        rows = tf.reshape(parameters, [-1, self.width + self.dimension])
        count = tf.shape(rows)[0]
        drawn = self.draw(rows, tf.zeros([count]), tf.zeros([count, self.noise_size]))
        return tf.reshape(drawn, tf.concat([tf.shape(parameters)[:-1], [self.dimension]], 0))

    def get_config(self):
        made = {"width": self.width, "layers": self.depth, "revise": self.revise}
        return {**super().get_config(), "dimension": self.dimension, **made, "seed": self.seed}


def distance(one: tf.Tensor, other: tf.Tensor) -> tf.Tensor:
    """[..., figures] twice -> [...]: half the root of the mean square, half the mean of the absolute values.

    The first tells frames apart as wholes, the second each figure by itself, however small it is beside the others.
    """
    squares = tf.square(one - other) + 1e-6
    return 0.5 * (tf.sqrt(tf.reduce_mean(squares, -1)) + tf.reduce_mean(tf.sqrt(squares), -1))


def energy_score(one: tf.Tensor, other: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """How far draws lie from the real frame, less half of how far they lie from one another: [..., figures] -> [...].

    It is lowest where the draws have the distribution of what is drawn, spread and all (Gneiting and Raftery, "Strictly
    Proper Scoring Rules, Prediction, and Estimation", 2007), so a network that is trained on it learns draws and not
    their mean: Gritsenko et al., "A Spectral Energy Distance for Parallel Speech Synthesis", 2020; Shen and
    Meinshausen, "Engression", 2024.
    """
    return 0.5 * (distance(one, target) + distance(other, target) - distance(one, other))
