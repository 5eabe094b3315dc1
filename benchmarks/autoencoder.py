"""An autoencoder of log magnitudes that has learnt one song: spectra through a narrow middle and back.

    code, spectra_of = train(spectra, figures, minutes)    # [time, bins] log magnitudes of the training part
    spectra_of(code(others))

Dense layers on both sides of the middle, beside a linear way through it that begins as the principal components: it
can only be better than these, on what it learns from. Each spectrum stands for itself.
"""

from __future__ import annotations

import keras
import numpy as np
import numpy.typing as npt
import scipy.linalg
import tensorflow as tf

from benchmarks.learning import excerpts, learn

Singles = npt.NDArray[np.float32]

WIDTH, DROPOUT, BATCH = 512, 0.5, 128


def train(spectra: Singles, figures: int, minutes: float, seed: int = 1) -> tuple[keras.Model, keras.Model]:
    """Both directions, [..., bins] -> [..., figures] and back, from log magnitudes [time, bins]."""
    keras.utils.set_random_seed(seed)
    mean, axes = spectra.mean(0), _components(spectra, figures)
    spread = np.sqrt(np.mean(np.square((spectra - mean) @ axes), 0)) + 1e-6
    code = _model(spectra.shape[1], -mean, axes / spread, None)
    back = _model(figures, None, (axes * spread).T, mean)

    def loss(batch: tf.Tensor) -> tf.Tensor:
        rows = _mixed(batch[:, 0])
        return tf.reduce_mean(tf.square(back(code(rows, training=True), training=True) - rows))

    variables = code.trainable_variables + back.trainable_variables
    learn(variables, loss, excerpts((spectra,), 1, BATCH), minutes)
    return code, back


def _mixed(rows: tf.Tensor) -> tf.Tensor:
    """[batch, bins] log magnitudes, the second half each mixed with one of the first: none is known by heart."""
    one, other = tf.split(rows, 2)
    share = tf.random.uniform(tf.stack([tf.shape(one)[0], 1]))
    return tf.concat([one, tf.math.log(share * tf.exp(one) + (1 - share) * tf.exp(other))], 0)


def _model(size: int, before: Singles | None, linear: Singles, after: Singles | None) -> keras.Model:
    """A linear way [size, other size] and one of dense layers beside it, which begins as nothing."""
    given = keras.Input([size])
    shifted = given if before is None else given + before
    hidden = shifted
    for _ in range(2):
        hidden = keras.layers.Dropout(DROPOUT)(keras.layers.Dense(WIDTH, activation="gelu")(hidden))
    straight = keras.layers.Dense(linear.shape[1], use_bias=False, kernel_initializer=_as(linear))(shifted)
    made = straight + keras.layers.Dense(linear.shape[1], kernel_initializer="zeros")(hidden)
    return keras.Model(given, made if after is None else made + after)


def _as(values: Singles) -> keras.initializers.Initializer:
    return keras.initializers.Constant(values)


def _components(spectra: Singles, count: int) -> Singles:
    """[bins, count]: the axes along which spectra vary most."""
    covariance = np.cov(spectra.astype(np.float64).T)
    size = len(covariance)
    axes = scipy.linalg.eigh(covariance, subset_by_index=(size - count, size - 1))[1]
    found: Singles = axes.astype(np.float32)
    return found
