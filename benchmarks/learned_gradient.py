"""Phase gradients that a network has learnt of one song, in place of those that theory has for a Gaussian window.

    net = train(magnitude, angle, frame_length, hop, minutes)    # of the training part
    angles = phases(net, magnitude, frame_length, hop)           # of other audio

What the phase itself is, no network can read off magnitudes: a steady tone has the same ones in every frame, while its
phase goes on. How far it turns from frame to frame and from bin to bin is a matter of the magnitudes around (Masuyama,
Yatabe and Oikawa, "Phase Reconstruction Based on Recurrent Phase Unwrapping with Deep Neural Networks", 2020; Thieling
et al. 2021). A small net of two-dimensional convolutions, the same for all bins, corrects both differences of
`phase_gradient.differences`, which are then added up in the same way.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.learning import excerpts, learn, lowest_bin
from benchmarks.phase_gradient import Floats, differences, integrate

CHANNELS, LAYERS, SIZE = 16, 3, (3, 5)  # frames and bins that a convolution looks at
LENGTH, BATCH = 24, 4  # frames of an excerpt, and how many
AROUND = (5, 15)  # frames and bins whose mean a bin's log magnitude is taken against
FLOOR = 1e-5  # of the loudest magnitude, under its logarithm


def make_net(seed: int = 1) -> keras.Model:
    """[batch, time, bins] magnitudes, the loudest 1 -> [batch, time, bins, 4]: cosine and sine of both corrections."""
    keras.utils.set_random_seed(seed)
    given = keras.Input([None, None])
    logarithm = keras.ops.log(keras.ops.maximum(given, FLOOR))[..., None]
    around = keras.ops.average_pool(logarithm, AROUND, 1, "same")
    hidden = keras.ops.concatenate([logarithm - around, around / 4], -1)
    for _ in range(LAYERS):
        hidden = keras.layers.Conv2D(CHANNELS, SIZE, padding="same", activation="gelu")(hidden)
    turned = keras.layers.Dense(4, kernel_initializer="zeros")(hidden)
    return keras.Model(given, turned + np.array([1, 0, 1, 0], np.float32))  # begins with the theory as it is


def train(magnitude: npt.ArrayLike, angle: npt.ArrayLike, frame_length: int, hop: int, minutes: float) -> keras.Model:
    """A net that has learnt from a song's own spectra, [time, bins] magnitudes and angles."""
    net, exact = make_net(), np.asarray(magnitude, np.float64)
    loud = (exact / exact.max()).astype(np.float32)
    in_time, in_frequency = differences(exact, frame_length, hop)
    right = np.diff(angle, axis=0) - in_time, np.diff(angle, axis=1) - in_frequency
    last, first = len(loud) - 1, lowest_bin(frame_length)
    rows = loud[:last], loud[1:], right[0].astype(np.float32), right[1][:last].astype(np.float32)

    def loss(here: tf.Tensor, next_one: tf.Tensor, onward: tf.Tensor, upward: tf.Tensor) -> tf.Tensor:
        turned = [one[..., first:, :] for one in _units(net(here))]
        here, next_one = here[..., first:], next_one[..., first:]
        off = _off(turned[0], onward[..., first:], tf.sqrt(here * next_one))
        return off + _off(turned[1][..., :-1, :], upward[..., first:], tf.sqrt(here[..., 1:] * here[..., :-1]))

    learn(net.trainable_variables, loss, excerpts(rows, min(LENGTH, last), BATCH), minutes, rate=3e-3)
    return net


def phases(net: keras.Model, magnitude: npt.ArrayLike, frame_length: int, hop: int) -> Floats:
    """Angles [time, bins] of magnitudes [time, bins], by the differences that the net makes right."""
    exact = np.asarray(magnitude, np.float64)
    loud = (exact / max(float(exact.max()), 1e-30)).astype(np.float32)
    onward, upward = (_angle(one) for one in _units(_in_blocks(net, loud)))
    in_time, in_frequency = differences(exact, frame_length, hop)
    return integrate(exact, in_time + onward[:-1], in_frequency + upward[:, :-1])


def _in_blocks(net: keras.Model, loud: npt.NDArray[np.float32], length: int = 256, edge: int = 8) -> tf.Tensor:
    """The net over [time, bins] in blocks: whole songs would take too much memory."""
    made = []
    for start in range(0, len(loud), length):
        first = max(0, start - edge)
        block = net(tf.constant(loud[None, first : start + length + edge]))[0]
        made.append(block[start - first : start - first + length])
    return tf.concat(made, 0)


def _units(turned: tf.Tensor) -> list[tf.Tensor]:
    """[..., 4] -> two of [..., 2], each of length 1."""
    return [one / (tf.norm(one, axis=-1, keepdims=True) + 1e-6) for one in tf.split(turned, 2, -1)]


def _angle(unit: tf.Tensor) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = np.arctan2(unit[..., 1].numpy(), unit[..., 0].numpy())
    return found


def _off(unit: tf.Tensor, angle: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """1 less the cosine of what is left to turn, the mean by weight."""
    right = unit[..., 0] * tf.cos(angle) + unit[..., 1] * tf.sin(angle)
    return tf.reduce_sum(weight * (1 - right)) / (tf.reduce_sum(weight) + 1e-9)
