"""Spectra as sums of parts: a non-negative factorisation of magnitudes.

A part is a spectrum that the song uses again and again: a note, a drum, a stretch of noise. What a model predicts is
then how loud each part is, and whatever it draws, a note keeps its sharp partials: predicted bin by bin, or along
principal components, the same uncertainty would turn into grains all over the spectrum.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from sonicrnn.graphs import graph

LEAST = 1e-6  # of an activation or of a sum of parts
FIND_STEPS, LISTEN_STEPS = 150, 40  # updates; more of them change the fit by less than 0.1 dB
FINE_BINS = 256  # of the lowest, each by itself; of the others, four count as one
TURNS = 10  # updates in one call of a graph


def activations(magnitudes: tf.Tensor, parts: tf.Tensor) -> tf.Tensor:
    """How loud each part is in spectra.

    Multiplicative updates for the Kullback-Leibler divergence (Lee and Seung, "Algorithms for Non-negative Matrix
    Factorization", 2001) with the parts held fixed, from an even start: the same spectrum gives the same figures
    wherever it stands.

    Args:
        magnitudes: [..., time, bins], not negative.
        parts: [part, bins], each of sum 1.

    Returns:
        [..., time, part], positive; their sum is near that of the magnitudes.
    """
    count = parts.shape[0]
    narrow = _narrowed(magnitudes.shape[-1])
    magnitudes, parts = tf.linalg.matmul(magnitudes, narrow), tf.linalg.matmul(parts, narrow)
    even = tf.repeat(tf.reduce_sum(magnitudes, -1, keepdims=True) / count, count, -1) + LEAST
    return tf.while_loop(
        lambda step, _: step < LISTEN_STEPS,
        lambda step, found: (step + 1, found * _share(magnitudes, found, parts)),
        (0, even),
        maximum_iterations=LISTEN_STEPS,
        parallel_iterations=1,
    )[1]


def _narrowed(bins: int) -> np.ndarray:
    """[bins, fewer]: adds up neighbours where they are many; low notes need every bin, high ones do not."""
    groups = np.concatenate([np.arange(min(bins, FINE_BINS)), FINE_BINS + np.arange(max(0, bins - FINE_BINS)) // 4])
    return np.eye(groups[-1] + 1, dtype=np.float32)[groups]


def find_parts(magnitudes: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """The parts that spectra are best made of: float32 [count, bins], each of sum 1.

    Both factors in turn by the same updates, from spectra of the song itself, the loud ones more often. The same
    spectra and seed give the same parts.

    Args:
        magnitudes: [time, bins], not negative, with at least `count` spectra.
        count: parts.
        seed: of the choice of the first parts.
    """
    random = np.random.default_rng(seed)
    time, bins = magnitudes.shape
    loud = np.sqrt(np.maximum(magnitudes.sum(1, dtype=np.float64), 1e-9))
    chosen = random.choice(time, count, replace=False, p=loud / loud.sum())
    rough = 0.1 * magnitudes.mean(0) * random.uniform(0.5, 1.5, [count, bins])
    parts = magnitudes[chosen] + rough + LEAST
    whole = tf.constant(magnitudes, tf.float32)
    factors = (
        tf.repeat(tf.reduce_sum(whole, 1, keepdims=True) / count, count, 1) + LEAST,
        tf.constant(parts / parts.sum(1, keepdims=True), tf.float32),
    )
    for _ in range(FIND_STEPS // TURNS):
        factors = _improved(whole, *factors)
    return factors[1].numpy()


def _share(magnitudes: tf.Tensor, found: tf.Tensor, parts: tf.Tensor) -> tf.Tensor:
    """The factor by which each activation is to change."""
    ratio = magnitudes / (tf.linalg.matmul(found, parts) + LEAST)
    return tf.linalg.matmul(ratio, parts, transpose_b=True)


@graph
def _improved(magnitudes: tf.Tensor, found: tf.Tensor, parts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    for _ in range(TURNS):
        found *= _share(magnitudes, found, parts)
        ratio = magnitudes / (tf.linalg.matmul(found, parts) + LEAST)
        parts *= tf.linalg.matmul(found, ratio, transpose_a=True) / (tf.reduce_sum(found, 0)[:, None] + LEAST)
        weight = tf.reduce_sum(parts, 1, keepdims=True) + LEAST**2
        parts, found = parts / weight, found * tf.transpose(weight)
    return found, parts
