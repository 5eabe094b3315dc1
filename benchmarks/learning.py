"""Training for so many minutes of one core, as the networks of `there_and_back.py` are trained.

losses = learn(net.trainable_variables, loss, batches, minutes)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn.graphs import graph

CLIP = 1.0  # of the gradients' norm
LOWEST = 20 / 16_000  # cycles a sample: below is an offset that wanders, most of some songs' power, and nobody hears it
LEAST_RATE = 0.02  # of the first rate, at the end


def learn(
    variables: list[Any],
    loss: Callable[..., tf.Tensor],
    batches: Iterator[tuple[npt.NDArray[Any], ...]],
    minutes: float,
    rate: float = 1e-3,
) -> list[float]:
    """Adam on the loss of one batch after the other, with a rate that falls along half a cosine: the losses.

    Minutes are those of this process's own work, after the graph was made; one step there is at the least.
    """
    optimizer = keras.optimizers.Adam(rate, global_clipnorm=CLIP)
    optimizer.build(variables)

    @graph
    def step(*batch: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(*batch)
        optimizer.apply_gradients(zip(tape.gradient(value, variables), variables, strict=True))
        return value

    losses, begin, gone = [float(step(*map(tf.constant, next(batches))))], time.process_time(), 0.0
    while gone < 1:
        gone = (time.process_time() - begin) / (60 * minutes)
        optimizer.learning_rate.assign(rate * max(LEAST_RATE, 0.5 + 0.5 * np.cos(np.pi * min(1.0, gone))))
        losses.append(float(step(*map(tf.constant, next(batches)))))
    return losses


def lowest_bin(frame_length: int) -> int:
    """The first bin that counts: it is heard, and a Hann window lets nothing of an offset into it."""
    return max(2, math.ceil(LOWEST * frame_length))


def excerpts(
    rows: tuple[npt.NDArray[Any], ...], length: int, batch: int, seed: int = 0
) -> Iterator[tuple[npt.NDArray[Any], ...]]:
    """Stretches [batch, length, ...] at random places of rows [time, ...], the same places of each, without end."""
    random = np.random.default_rng(seed)
    while True:
        starts = random.integers(0, len(rows[0]) - length + 1, batch)
        yield tuple(np.stack([one[start : start + length] for start in starts]) for one in rows)
