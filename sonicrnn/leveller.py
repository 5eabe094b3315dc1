"""A slow hand on the volume: keeps a free run, however long, near the song's level.

A free run may stay for minutes in a quiet passage that the song leaves after seconds. The level is followed as a
listener follows it, rising within a second or two and falling within eight; as long as it stays near the song's nothing
is changed, and beyond that only what is too much or too little is made up for.

TensorFlow throughout, so that the same code levels a piece in Python and inside an export.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn.graphs import graph

HOP_SECONDS = 0.1
RISE_SECONDS, FALL_SECONDS = 1.5, 8.0
FREE_DB = 3.0  # either way from the song's level
MOST_DB = 15.0
_LEAST_POWER = 1e-9
_DECIBEL = math.log(10) / 10  # of a power, as a natural logarithm


@graph
def followed(powers: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """Mean squares, one every `HOP_SECONDS`, [hops, ...] -> the power that is followed after each of them.

    `before` is the power that was followed so far, [...].
    """
    rise, fall = (
        tf.constant(1 - math.exp(-HOP_SECONDS / seconds), powers.dtype) for seconds in (RISE_SECONDS, FALL_SECONDS)
    )
    return tf.scan(lambda now, power: now + tf.where(power > now, rise, fall) * (power - now), powers, before)


def usual_level(samples: npt.NDArray[np.float32], rate: int) -> float:
    """The level that is followed in a song, dB re full scale: its median. `samples` are [n], of at least a second.

    Each hop is measured about its mean: an offset that wanders is not heard, and pieces do not have it.
    """
    hop = round(HOP_SECONDS * rate)
    count = len(samples) // hop
    powers = samples[: count * hop].astype(np.float64).reshape(count, hop).var(1)
    course = followed(tf.constant(powers), tf.constant(powers.mean())).numpy()
    return float(10 * np.log10(np.median(course) + _LEAST_POWER))


class Level(NamedTuple):
    """How loud pieces were so far: what the next block is levelled from.

    power: [pieces], that is followed.
    gains: [pieces, 2], at the begin and at the end of the hop that is under way.
    sum: [pieces], of the squares of the samples of that hop so far.
    place: [pieces] int32, how many these are.
    """

    power: tf.Tensor
    gains: tf.Tensor
    sum: tf.Tensor
    place: tf.Tensor


class Leveller:
    """Samples in, the factors that level them out, block by block: where the blocks begin changes nothing.

    A hop's gain follows from the hops before it and glides to the next one's. Every piece is levelled by itself.

    Args:
        level: dB re full scale, as of `usual_level`.
        rate: Hz.
    """

    def __init__(self, level: float, rate: int):
        self.level, self.hop = level, round(HOP_SECONDS * rate)

    def begin(self, pieces: tf.Tensor) -> Level:
        """Nothing was heard yet."""
        return Level(
            power=tf.fill([pieces], 10 ** (self.level / 10)),
            gains=tf.ones([pieces, 2]),
            sum=tf.zeros([pieces]),
            place=tf.zeros([pieces], tf.int32),
        )

    def factors(self, samples: tf.Tensor, level: Level) -> tuple[tf.Tensor, Level]:
        """[pieces, some samples, at least one] -> the factor of each, and the level to go on from."""
        count = tf.shape(samples)[1]
        hops = (count + 2 * self.hop - 2) // self.hop  # that the samples may reach into; the last may be under way
        rows = self._in_hops(samples, level.place, hops)
        sums = tf.reduce_sum(tf.square(rows), 2) + level.sum[:, None] * tf.one_hot(0, hops)  # [pieces, hops]
        powers = tf.transpose(followed(tf.transpose(sums) / self.hop, level.power))
        gains = tf.concat([level.gains, self._gain(powers)], 1)  # at the begin of each hop; [pieces, hops + 2]
        begin, end = gains[:, :hops, None], gains[:, 1 : hops + 1, None]
        share = tf.range(self.hop, dtype=tf.float32) / self.hop
        factors = self._out_of_hops(begin + share * (end - begin), level.place, count)

        whole = (level.place + count) // self.hop  # hops that came to their end, [pieces]

        def at(values: tf.Tensor, hop: tf.Tensor) -> tf.Tensor:
            return tf.gather(values, hop, axis=1, batch_dims=1)

        return factors, Level(
            power=at(tf.concat([level.power[:, None], powers], 1), whole),
            gains=tf.stack([at(gains, whole), at(gains, whole + 1)], 1),
            sum=at(tf.pad(sums, [[0, 0], [0, 1]]), whole),
            place=(level.place + count) % self.hop,
        )

    def _in_hops(self, samples: tf.Tensor, place: tf.Tensor, hops: tf.Tensor) -> tf.Tensor:
        """[pieces, samples] that begin at `place`, [pieces], of the first hop -> [pieces, hops, hop], 0 around them."""
        count = tf.shape(samples)[1]

        def of_piece(piece: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            samples, place = piece
            filled = tf.pad(samples, [[place, hops * self.hop - place - count]])
            return tf.reshape(filled, [hops, self.hop])

        like = tf.TensorSpec([None, self.hop], tf.float32)
        return tf.map_fn(of_piece, (samples, place), fn_output_signature=like)

    def _out_of_hops(self, rows: tf.Tensor, place: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """The inverse: [pieces, hops, hop] -> [pieces, count]."""

        def of_piece(piece: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
            rows, place = piece
            return tf.reshape(rows, [-1])[place : place + count]

        return tf.map_fn(of_piece, (rows, place), fn_output_signature=tf.TensorSpec([None], tf.float32))

    def _gain(self, power: tf.Tensor) -> tf.Tensor:
        off = tf.math.log(power + _LEAST_POWER) / _DECIBEL - self.level
        beyond = tf.clip_by_value(off - tf.clip_by_value(off, -FREE_DB, FREE_DB), -MOST_DB, MOST_DB)
        return tf.exp(-0.5 * _DECIBEL * beyond)
