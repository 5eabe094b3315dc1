"""The reviser: a bidirectional network that repairs frames from both sides.

A frame that is in doubt is mixed with noise: `cos(angle) * frame + sin(angle) * noise`. Each frame has an angle of its
own, from 0, which is to be believed, to a quarter turn, of which nothing is known. The network is told the angles and
says what the frames are. It learns from the song alone: spans of its frames are missing, or noisy, or all are.

It is trained on squared error, so one answer of it is a mean. But a frame is not taken from one answer. Its noise is
turned away little by little, each time by the answer to what is left; that draws from the distribution of frames which
fit (Song et al., "Denoising Diffusion Implicit Models", 2021; an angle for each frame is of Chen et al., "Diffusion
Forcing", 2024). How a recording is revised so stands in `revising`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from sonicrnn.chance import Chance
from sonicrnn.recurrent import GRU

QUARTER = math.pi / 2
LEAST_SINE = 1e-3

# Shares of the sequences of a training:
NOISY = 0.5  # that are noisy throughout; the others in spans
MISSING = 0.5  # of the others, whose spans are missing and not only noisy
CLEAN = 0.6  # of the others, in which there is no noise around the spans
WRONG = 0.25  # in which some frames are others of the song
MOST_WRONG = 0.2  # of the frames of such a sequence

# What chance is for, see `chance`.
KIND, NOISE, PERIOD, SHIFT, SHARE, INSIDE, AROUND, IS_MISSING, IS_CLEAN, HOW_WRONG, IS_WRONG = range(11)


@keras.saving.register_keras_serializable("sonicrnn")
class Reviser(keras.Model):
    """Noisy frames and their angles -> frames.

    Input and output are weighed by the angle as in "v prediction" (Salimans and Ho, "Progressive Distillation for Fast
    Sampling of Diffusion Models", 2022): a frame without noise stays as it is.

    Args:
        dimension: figures of a frame, of mean 0 and variance 1.
        widths: of the bidirectional layers, each way.
        seed: of the first weights.
    """

    def __init__(self, dimension: int, widths: Sequence[int], seed: int = 1, **arguments):
        super().__init__(**arguments)
        self.dimension, self.widths, self.seed = dimension, list(widths), seed
        self.enter = keras.layers.Dense(
            2 * self.widths[0],
            activation="gelu",
            kernel_initializer=keras.initializers.GlorotUniform(seed),
            name="enter",
        )
        self.both = [both_ways(width, seed + 10 * (index + 1), f"both_{index}") for index, width in enumerate(widths)]
        self.leave = keras.layers.Dense(dimension, kernel_initializer="zeros", name="leave")

    def build(self, input_shape=None):
        """Make all weights."""
        self.enter.build((None, None, self.dimension + 2))
        width = self.enter.units
        for layer, units in zip(self.both, self.widths, strict=True):
            layer.build((None, None, width))
            width = 2 * units
        self.leave.build((None, None, self.enter.units + width))
        self.built = True

    def call(self, inputs):
        """(noisy frames [batch, time, dimension], their angles [batch, time, 1]) -> expected frames, as many."""
        noisy, angle = inputs
        return tf.cos(angle) * noisy + tf.sin(angle) * self.turned(noisy, angle)

    def turned(self, noisy: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
        """What lies a quarter turn on, `sin(angle) * frame - cos(angle) * noise`: [batch, time, dimension]."""
        entered = hidden = self.enter(tf.concat([noisy, tf.cos(angle), tf.sin(angle)], -1))
        for layer in self.both:
            hidden = layer(hidden)
        return self.leave(tf.concat([entered, hidden], -1))

    def loss_of(self, frames: tf.Tensor, chance: Chance) -> tf.Tensor:
        """Mean squared error of the turn, at the frames that are in doubt, of the song's [batch, time, dimension]."""
        angle, noise = angles(tf.shape(frames)[1], chance), chance.normal(NOISE, tf.shape(frames)[1:])
        heard = tf.where(wrong(tf.shape(frames)[1], chance), tf.roll(frames, 1, 0), frames)
        wanted = tf.sin(angle) * frames - tf.cos(angle) * noise
        error = tf.square(self.turned(tf.cos(angle) * heard + tf.sin(angle) * noise, angle) - wanted)
        doubt = tf.cast(angle > 0, tf.float32)
        return tf.reduce_sum(doubt * error) / (self.dimension * tf.maximum(1.0, tf.reduce_sum(doubt)))

    def get_config(self):
        return {**super().get_config(), "dimension": self.dimension, "widths": self.widths, "seed": self.seed}


def both_ways(units: int, seed: int, name: str) -> keras.layers.Layer:
    """A bidirectional layer of which each way has first weights of its own."""
    forward, backward = (
        GRU(
            units,
            return_sequences=True,
            go_backwards=backwards,
            kernel_initializer=keras.initializers.GlorotUniform(seed + 2 * backwards),
            recurrent_initializer=keras.initializers.Orthogonal(seed=seed + 2 * backwards + 1),
            name="backward" if backwards else "forward",
        )
        for backwards in (False, True)
    )
    return keras.layers.Bidirectional(forward, backward_layer=backward, name=name)


def angles(time: tf.Tensor, chance: Chance) -> tf.Tensor:
    """[batch, time, 1]: in how much doubt the frames of a training are.

    Spans are of any length, and return as often as their period says; a long period leaves one of them, which may reach
    beyond the sequence.
    """

    def share_of_sequences(purpose: int, share: float) -> tf.Tensor:
        return chance.uniform(purpose, [1, 1]) < share

    length = tf.cast(time, tf.float32)
    period = 2.0 * tf.pow(length, chance.uniform(PERIOD, [1, 1]))  # frames, from 2 to twice a sequence
    place = tf.math.floormod(tf.range(length)[:, None] / period + chance.uniform(SHIFT, [1, 1]), 1.0)
    drawn = chance.uniform(INSIDE, [1, 1])
    inside = tf.where(share_of_sequences(IS_MISSING, MISSING), 1.0, drawn)
    around = tf.where(share_of_sequences(IS_CLEAN, CLEAN), 0.0, inside * chance.uniform(AROUND, [1, 1]))
    spans = tf.where(place < chance.uniform(SHARE, [1, 1]), inside, around)
    return QUARTER * tf.where(share_of_sequences(KIND, NOISY), drawn, spans)


def wrong(time: tf.Tensor, chance: Chance) -> tf.Tensor:
    """bool [batch, time, 1]: which frames are others of the song, which nobody tells."""
    most = MOST_WRONG / WRONG * tf.maximum(0.0, chance.uniform(HOW_WRONG, [1, 1]) - (1 - WRONG))
    return chance.uniform(IS_WRONG, [time, 1]) < most
