"""Standard normal numbers, made into what a draw needs."""

from __future__ import annotations

import math

import tensorflow as tf


def uniform_of(noise: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers -> as many that are uniform from 0 to 1."""
    return 0.5 * tf.math.erfc(-noise / math.sqrt(2))


def gumbel_of(noise: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers -> as many of Gumbel's: added to logits, the largest is a draw from their softmax."""
    return -tf.math.log(-tf.math.log(tf.clip_by_value(uniform_of(noise), 1e-7, 1 - 1e-7)))
