"""Short free runs from a few places of the song, on which calibration tries what generation takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from sonicrnn.config import Settings
from sonicrnn.encoding import Contrast, Encoding
from sonicrnn.free_run import FreeRun
from sonicrnn.graphs import graph
from sonicrnn.levels import Samples


def trial_runs(
    free_run: FreeRun, part: Samples, settings: Settings, temperatures: Sequence[float], pieces: int, seconds: float
) -> list[tf.Tensor]:
    """For each temperature [pieces, time, ...]: all in one batch, from the same few primes of a part of the song."""
    encoding = free_run.encoding
    length = min(len(part), round(settings.generate.prime_seconds * encoding.sample_rate))
    starts = np.linspace(0, len(part) - length, pieces + 2)[1:-1].astype(int)
    primes = np.stack([part[start : start + length] for start in starts] * len(temperatures))
    parameters, states = free_run.listen(free_run.encode(tf.constant(primes)))
    count = -(-(round(seconds * encoding.sample_rate) + encoding.overlap) // encoding.step)
    seeds = [settings.seed + index for index in range(pieces)] * len(temperatures)
    each = tf.constant(np.repeat(temperatures, pieces), tf.float32)
    drawn, _, _ = free_run.draw(
        parameters, states, tf.constant(0), tf.constant(count), each, tf.constant(seeds, tf.int32)
    )
    return list(tf.split(drawn, len(temperatures)))


def audio_of(free_run: FreeRun, drawn: tf.Tensor, contrast: Contrast | None = None) -> Samples:
    """[pieces, samples] of what was drawn, without its edges and the song's offset."""
    encoding = free_run.encoding
    if contrast is None:
        decoded = free_run.decode(drawn)
    else:
        decoded = _decode(encoding, drawn, tf.constant(contrast.centre), tf.constant(contrast.factor))
    samples: Samples = decoded.numpy() - np.float32(encoding.normaliser.offset)
    return samples[:, encoding.overlap : samples.shape[1] - encoding.overlap]


@graph
def _decode(encoding: Encoding, drawn: tf.Tensor, centre: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    return encoding.decode(drawn, None, Contrast(centre, factor))
