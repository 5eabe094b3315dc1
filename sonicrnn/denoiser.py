"""The gan head: a denoiser that turns noise, or a noisy frame, into the next frame.

A draw begins with noise alone and is revised: noise is mixed in again, less each time, and denoised. The noise of a
frame is an angle: `cos(angle) * frame + sin(angle) * noise`, a quarter turn is noise alone. What is noise, and what a
frame without any, is measured from one Gaussian of a mixture, which says about where the next frame lies and how sure
that is: a denoiser by itself learns slowly that what sounds on has hardly anything left to chance.
"""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.mixture import GaussianMixture
from sonicrnn.noise import gumbel_of

QUARTER = math.pi / 2
MOST_SPREAD = 1.0  # logarithm of how much wider than its Gaussian a draw's chance can be
LOSS_SEED = (3, 14)  # of the draws that a loss is told by: always the same ones


@keras.saving.register_keras_serializable("sonicrnn")
class Denoiser(keras.layers.Layer):
    """Next frames as draws of a network: (context, noisy frame, angle of the noise, chance) -> frame.

    Parameters are the context [width] and those of the mixture. What is denoised is the frame's distance from the
    mean of one Gaussian, in units of its standard deviations: for a draw, the Gaussian is drawn first; for a frame
    of the song, by its chance to have made that frame. Input and output of the network are weighed by the angle as
    in "v prediction" (Salimans and Ho, "Progressive Distillation for Fast Sampling of Diffusion Models", 2022): a
    frame without noise stays as it is. Chance beside the noisy frame, so that a large step of denoising is a draw
    and no mean, is of Xiao et al., "Tackling the Generative Learning Trilemma with Denoising Diffusion GANs", 2022;
    to mix noise in again and denoise once more is how consistency models draw (Song et al., "Consistency Models",
    2023).

    Before any training draws are those of the mixture, whatever the angle: of a Gaussian x of unit variance,
    `cos(angle) * noisy + sin(angle) * chance` is distributed as x given the noisy one.

    Args:
        dimension: figures of a frame.
        width, layers: of the network.
        revise: how often a draw is noised again and denoised.
        mixtures: Gaussians that a draw can begin with.
        seed: of the first weights.
    """

    def __init__(
        self,
        dimension: int,
        width: int = 384,
        layers: int = 2,
        revise: int = 1,
        mixtures: int = 8,
        seed: int = 1,
        **arguments,
    ):
        super().__init__(**arguments)
        self.dimension, self.width, self.depth = dimension, width, layers
        self.revise, self.mixtures, self.seed = revise, mixtures, seed
        glorot = [keras.initializers.GlorotUniform(seed + index) for index in range(layers + 2)]
        self.context = keras.layers.Dense(width, name="context", kernel_initializer=glorot[0])
        self.first = GaussianMixture(dimension, mixtures, name="first")
        self.first.dense.kernel_initializer = glorot[-1]
        self.enter = keras.layers.Dense(width, use_bias=False, name="noisy", kernel_initializer=glorot[1])
        self.inner = [
            keras.layers.Dense(width, activation="gelu", name=f"inner_{index}", kernel_initializer=glorot[index + 1])
            for index in range(1, layers)
        ]
        self.leave = keras.layers.Dense(2 * dimension, name="clean", kernel_initializer="zeros")

    @property
    def dense(self) -> keras.layers.Dense:
        """That of the mixture."""
        return self.first.dense

    def build(self, shape):
        self.context.build(shape)
        self.first.build(shape)
        self.enter.build((None, 3 * self.dimension + 2))
        for layer in (*self.inner, self.leave):
            layer.build((None, self.width))
        self.scale = self.add_weight(shape=(self.dimension,), initializer="ones", trainable=False, name="scale")

    def call(self, inputs):
        return tf.concat([self.context(inputs), self.first(inputs)], -1)

    def split(self, parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """-> context [..., width], parameters of the mixture."""
        context, first = tf.split(parameters, [self.width, self.first.dense.units], -1)
        return context, first

    def known(self, parameters: tf.Tensor) -> tf.Tensor:
        """What a discriminator is told: context and expected frame, [..., width + dimension]."""
        context, first = self.split(parameters)
        return tf.concat([context, self.first.mean(first)], -1)

    def denoised(
        self, context: tf.Tensor, mean: tf.Tensor, noisy: tf.Tensor, angle: tf.Tensor, chance: tf.Tensor
    ) -> tf.Tensor:
        """Distances from the Gaussian's mean, in units of its standard deviations.

        Args:
            context: [..., width].
            mean: of the Gaussian, [..., dimension].
            noisy: [..., dimension].
            angle: [..., 1], 0 to a quarter turn.
            chance: [..., dimension], standard normal.

        Returns:
            [..., dimension], without noise.
        """
        told = tf.concat([noisy, chance, mean, tf.cos(angle), tf.sin(angle)], -1)
        hidden = tf.nn.gelu(context + self.enter(told))
        for layer in self.inner:
            hidden = hidden + layer(hidden)
        middle, spread = tf.split(self.leave(hidden), 2, -1)
        return tf.cos(angle) * noisy + tf.sin(angle) * (middle + tf.exp(tf.minimum(spread, MOST_SPREAD)) * chance)

    @property
    def noise_size(self) -> int:
        """Standard normal numbers that one draw uses up."""
        return self.mixtures + (1 + self.revise) * 2 * self.dimension

    def prepared(self, noise: tf.Tensor) -> tf.Tensor:
        """Standard normal numbers [..., noise_size], as `draw` takes them: Gumbel's where they choose a Gaussian."""
        normal, others = tf.split(noise, [self.mixtures, -1], -1)
        return tf.concat([gumbel_of(normal), others], -1)

    def draw(self, parameters: tf.Tensor, temperature: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """A frame from noise, revised.

        Args:
            parameters: [batch, parameter].
            temperature: [batch], factor of all noise; 0 draws what is denoised of none, near the likeliest Gaussian.
            noise: `prepared`, [batch, noise_size].

        Returns:
            [batch, dimension].
        """
        context, first = self.split(parameters)
        warm = temperature[:, None] * noise
        gumbel, noise = tf.split(warm, [self.mixtures, -1], -1)
        mean, deviation = self.first.chosen(first, gumbel)
        clean = tf.zeros_like(mean)
        for turn, new in enumerate(tf.split(noise, 1 + self.revise, -1)):
            angle = tf.fill([tf.shape(mean)[0], 1], QUARTER * (1 - turn / (1 + self.revise)))
            noisy = tf.cos(angle) * clean + tf.sin(angle) * new[:, : self.dimension]
            clean = self.denoised(context, mean, noisy, angle, new[:, self.dimension :])
        return mean + deviation * clean

    def loss(self, parameters: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """[..., time, parameter], [..., time, dimension] -> [..., time]: the energy score of two draws."""
        shape, rows = tf.shape(target)[:-1], tf.reshape(parameters, [-1, parameters.shape[-1]])
        size = [2, tf.shape(rows)[0], self.noise_size]
        noise = self.prepared(tf.random.stateless_normal(size, LOSS_SEED))
        one, other = (self.draw(rows, tf.ones([size[1]]), each) for each in tf.unstack(noise))
        return tf.reshape(self.score(one, other, tf.reshape(target, [-1, self.dimension])), shape)

    def score(self, one: tf.Tensor, other: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        """Two draws and the real frame, [..., dimension] each -> [...]: `energy_score` in units of `scale`."""
        return energy_score(one / self.scale, other / self.scale, target / self.scale)

    @property
    def denoising_size(self) -> int:
        """Standard normal numbers that each of the two draws of a `denoising_loss` uses up."""
        return self.mixtures + 2 * self.dimension

    def denoising_loss(
        self, parameters: tf.Tensor, target: tf.Tensor, noise: tf.Tensor, place: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """What the head learns by itself: the mixture, and the denoiser at the angles that a draw goes through.

        Args:
            parameters: [rows, parameter].
            target: the real frames [rows, dimension].
            noise: [2, rows, denoising_size], standard normal.
            place: [rows, 1], from 0 up to but not 1: at which angle, each alike often, the first share is noise alone.

        Returns:
            The energy score [rows]; the mixture's negative log likelihood [rows], in nats per figure; and how far two
            draws of one noise alone lie apart, as a share of how far they lie from the real frame, a scalar: 1 where
            draws are as various as the song, 0 where all are one.
        """
        context, first = self.split(parameters)
        unlikely, fits = self.first.told(first, target)
        turn = tf.floor(place * (1 + self.revise))
        alone, angle = turn < 0.5, QUARTER * (1 - turn / (1 + self.revise))
        choosing, mixed, chance = tf.split(noise, [self.mixtures, self.dimension, self.dimension], -1)
        # Of one noisy frame two draws are wanted; of noise alone, that of each is all there is to draw by.
        choosing, mixed = (tf.where(alone, each, each[:1]) for each in (choosing, mixed))
        choosing, draws = gumbel_of(choosing) + tf.where(alone, 0.0, fits), []
        for index in range(2):
            mean, deviation = self.first.chosen(first, choosing[index])
            mean, deviation = (tf.where(alone, each, tf.stop_gradient(each)) for each in (mean, deviation))
            real = tf.stop_gradient((target - mean) / deviation)
            noisy = tf.cos(angle) * real + tf.sin(angle) * mixed[index]
            draws.append(mean + deviation * self.denoised(context, mean, noisy, angle, chance[index]))
        # How sure the Gaussian of a noisy frame is, both draws know, so that it may be what they are measured in.
        units = tf.where(alone, self.scale, tf.stop_gradient(deviation))
        one, other, wanted = draws[0] / units, draws[1] / units, target / units
        apart, off = (distance(one, further) * tf.cast(alone[:, 0], tf.float32) for further in (other, wanted))
        spread = tf.reduce_sum(apart) / tf.maximum(tf.reduce_sum(off), 1e-6)
        return energy_score(one, other, wanted), unlikely, spread

    def begin_with(self, scale: np.ndarray) -> None:
        """Begin with these standard deviations, [dimension], in every Gaussian."""
        self.scale.assign(scale)
        self.first.begin_with(scale)

    def moved(self, parameters: tf.Tensor, by: tf.Tensor) -> tf.Tensor:
        """Parameters of draws that lie `by`, [..., dimension], further on."""
        context, first = self.split(parameters)
        return tf.concat([context, self.first.moved(first, by)], -1)

    def mean(self, parameters: tf.Tensor) -> tf.Tensor:
        """[..., dimension]: the frame that the mixture expects."""
        return self.first.mean(self.split(parameters)[1])

    def get_config(self):
        made = {"width": self.width, "layers": self.depth, "revise": self.revise, "mixtures": self.mixtures}
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
