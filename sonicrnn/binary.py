"""Binary stochastic units: a draw of 0 or 1 forward, the gradient of its probability backward.

The units that the seeds wondered about (Hinton, "Neural Networks for Machine Learning", 2012, lecture 9). The true
gradient of a draw is 0 almost everywhere; that of its probability is passed on in its place: straight through (Bengio,
Léonard and Courville, "Estimating or Propagating Gradients Through Stochastic Neurons", 2013).
"""

from __future__ import annotations

import tensorflow as tf


@tf.custom_gradient
def drawn(probability: tf.Tensor, uniform: tf.Tensor):
    """1 where `uniform` lies under `probability`, else 0; backward as if that were the probability itself.

    Args:
        probability: float32 of any shape, 0 to 1.
        uniform: as many numbers, from 0 to 1.
    """
    return tf.cast(uniform < probability, probability.dtype), lambda upstream: (upstream, tf.zeros_like(uniform))
