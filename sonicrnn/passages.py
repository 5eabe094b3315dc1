"""The song's own samples, frame by frame: overlapped and added where they follow one another, cross-faded where not.

Where one passage gives way to another, phases found anew for their magnitudes, even by 64 Griffin-Lim steps, fit these
worse than a cross-fade of the samples does.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from sonicrnn import frames

FADE_SECONDS = 0.15  # either way from where a passage gives way to another
MOST_LOST, LEAST_POWER = 4.0, 1e-9  # of a frame's power, that is made up for where passages meet; that still counts
DRIFT_SECONDS = 2.0  # over which the offset of what is heard is told


class Passages(tf.Module):
    """What a song sounds like at each of its frames, the units.

    Args:
        rows: [row, hop] int16, the song's samples. Passages that lay apart in the song share no row.
        first: [unit] int32, the row that each unit begins with.
        scale: of the samples, full scale 1.
        frame_length: samples of a unit.
        sample_rate: Hz.
    """

    def __init__(self, rows: np.ndarray, first: np.ndarray, scale: float, frame_length: int, sample_rate: int):
        super().__init__()
        self.rows, self.first = tf.constant(rows, tf.int16), tf.constant(first, tf.int32)
        self.scale, self.frame_length, self.sample_rate = scale, frame_length, sample_rate
        self.count, self.hop = len(first), rows.shape[1]
        self.across = -(-frame_length // self.hop)  # rows of a unit
        self.step_seconds = self.hop / sample_rate
        self.reach = round(FADE_SECONDS / self.step_seconds)
        self.drift = round(DRIFT_SECONDS / self.step_seconds)
        offsets = np.convolve(rows.mean(1, dtype=np.float64), np.full(self.across, scale / self.across), "valid")
        self.offsets = tf.constant(offsets[first], tf.float32)
        # Where a passage begins: the unit before it in this list is not the one before it in the song.
        self.begins = tf.constant(np.diff(first, prepend=-2) != 1)

    @property
    def context(self) -> int:
        """Frames before one that tell how it sounds."""
        return max(self.drift, self.reach)

    def sound(self, unit: tf.Tensor, known: tf.Tensor | None = None) -> tf.Tensor:
        """Units [pieces, time] int32 -> [pieces, samples] about 0, at full scale 1.

        `known`, [pieces, samples] about 0, is audio that takes the place of the first frames: whole frames of it. How a
        frame sounds also hangs on the `context` ones before it and on `reach` after it.
        """
        time = tf.shape(unit)[1]
        cut = self._faded(unit) - self._drift(unit)[:, :, None]
        if known is not None:
            own = tf.signal.frame(known, self.frame_length, self.hop)[:, :time]
            cut = tf.concat([own, cut[:, tf.shape(own)[1] :]], 1)
        return frames.overlapped(frames.windowed(cut), self.hop)

    def _faded(self, unit: tf.Tensor) -> tf.Tensor:
        """Units [pieces, time] -> their samples [pieces, time, frame_length].

        Where one passage gives way to another they are cross-faded: each frame is a mean over what it would be if the
        song had gone on from, or had led to, the units around it. Two passages do not fit in phase, so what they lose
        where they meet is made up for: the sound keeps its power.
        """
        time = tf.shape(unit)[1]
        mixed, offset, power, whole = 0.0, 0.0, 0.0, 0.0
        for lag in range(-self.reach, self.reach + 1):
            weight = math.cos(0.5 * math.pi * lag / (self.reach + 1)) ** 2
            near = tf.clip_by_value(tf.range(time) + lag, 0, time - 1)
            told = tf.gather(unit, near, axis=1) - (near - tf.range(time))
            told = tf.clip_by_value(told, 0, self.count - 1)
            own = tf.gather(self.offsets, told)[:, :, None]
            samples = self._samples(told) - own
            mixed, offset = mixed + weight * samples, offset + weight * own
            power, whole = power + weight * _power(samples), whole + weight
        mixed /= whole
        lost = power / whole / tf.maximum(_power(mixed), LEAST_POWER)
        return mixed * tf.sqrt(tf.clip_by_value(lost, 1.0, MOST_LOST)) + offset / whole

    def _samples(self, unit: tf.Tensor) -> tf.Tensor:
        """[pieces, time] -> [pieces, time, frame_length]"""
        rows = tf.gather(self.rows, tf.gather(self.first, unit)[:, :, None] + tf.range(self.across))
        samples = tf.reshape(rows, [tf.shape(unit)[0], tf.shape(unit)[1], self.across * self.hop])
        return self.scale * tf.cast(samples[:, :, : self.frame_length], tf.float32)

    def _drift(self, unit: tf.Tensor) -> tf.Tensor:
        """[pieces, time], the mean of each unit and those of two seconds before it.

        Songs have offsets that change from moment to moment. Frames from here and there would add them up to one that
        is none of the song's.
        """
        time, window = tf.shape(unit)[1], self.drift + 1
        total = tf.cumsum(tf.gather(self.offsets, unit), 1)
        before = tf.pad(total, [[0, 0], [window, 0]])[:, :time]
        return (total - before) / tf.cast(tf.minimum(tf.range(time) + 1, window), tf.float32)

    def cuts(self) -> list[np.ndarray]:
        """The samples of each passage, [n] at full scale 1."""
        starts = self.first.numpy()[np.flatnonzero(self.begins.numpy())]
        return [self.scale * rows.ravel().astype(np.float32) for rows in np.split(self.rows.numpy(), starts[1:])]


def _power(samples: tf.Tensor) -> tf.Tensor:
    """[..., frame_length] -> [..., 1], under the window."""
    return tf.reduce_sum(tf.square(frames.windowed(samples)), -1, keepdims=True)
