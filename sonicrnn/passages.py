"""The song's own samples, frame by frame: overlapped and added where they follow one another, cross-faded where not.

Where one passage gives way to another, phases found anew for their magnitudes, even by 64 Griffin-Lim steps, fit these
worse than a cross-fade of the samples does.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.cuts import begins, cuts

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
        self.powers = tf.constant(self._powers(rows, first, offsets[first]), tf.float32)
        fade = np.cos(0.5 * math.pi * np.arange(-self.reach, self.reach + 1) / (self.reach + 1)) ** 2
        self._weights = tf.constant(fade / fade.sum(), tf.float32)
        self._summed = tf.constant(np.append(0.0, np.cumsum(fade / fade.sum())), tf.float32)
        self.begins = tf.constant(begins(first))

    @property
    def context(self) -> int:
        """Frames before one that tell how it sounds."""
        return max(self.drift, self.reach)

    def sound(self, unit: tf.Tensor, known: tf.Tensor | None = None) -> tf.Tensor:
        """Units [pieces, time] int32 -> [pieces, samples] about 0, at full scale 1.

        `known`, [pieces, samples] about 0, is audio that takes the place of the first frames: whole frames of it. How a
        frame sounds also hangs on the `context` ones before it and on `reach` after it.
        """
        # One by one, so that what is under way stays near the core.
        like = tf.TensorSpec([None], tf.float32)
        if known is None:
            return tf.map_fn(lambda one: self._sound(one[None], None)[0], unit, fn_output_signature=like)
        return tf.map_fn(
            lambda one: self._sound(one[0][None], one[1][None])[0], (unit, known), fn_output_signature=like
        )

    def _sound(self, unit: tf.Tensor, known: tf.Tensor | None) -> tf.Tensor:
        first = 0 if known is None else self._whole_frames(known, unit)
        fresh = self._faded(unit, first) - self._drift(unit)[:, first:, None]
        if known is None:
            return frames.overlapped(frames.windowed(fresh), self.hop)
        # Of what is known, the last few frames alone reach over those that are made.
        begin = tf.maximum(0, first - self.across + 1) * self.hop
        own = tf.signal.frame(known[:, begin:], self.frame_length, self.hop)[:, : first - begin // self.hop]
        made = frames.overlapped(frames.windowed(tf.concat([own, fresh], 1)), self.hop)
        return tf.concat([known[:, : first * self.hop], made[:, first * self.hop - begin :]], 1)

    def _whole_frames(self, known: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """How many of the units audio [pieces, samples] is of."""
        whole = 1 + (tf.shape(known)[1] - self.frame_length) // self.hop
        return tf.clip_by_value(whole, 0, tf.shape(unit)[1])

    def _faded(self, unit: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
        """Units [pieces, time] -> the samples of those from `first` on, [pieces, time - first, frame_length].

        Where one passage gives way to another they are cross-faded: each frame is a mean over what it would be if the
        song had gone on from, or had led to, the units around it. Two passages do not fit in phase, so what they lose
        where they meet is made up for: the sound keeps its power.
        """
        pieces, time = tf.shape(unit)[0], tf.shape(unit)[1]
        place = tf.range(first, time)[:, None]
        near = tf.clip_by_value(place + tf.range(-self.reach, self.reach + 1), 0, time - 1)
        told = tf.gather(unit, near, axis=1) - (near - place)
        told = tf.clip_by_value(told, 0, self.count - 1)  # [pieces, time, lag]
        offset = self._mean(self.offsets, told)
        mixed = self._mixed(tf.reshape(told, [-1, 2 * self.reach + 1]))
        mixed = tf.reshape(mixed, [pieces, time - first, self.frame_length]) - offset
        lost = self._mean(self.powers, told) / tf.maximum(_power(mixed), LEAST_POWER)
        return mixed * tf.sqrt(tf.clip_by_value(lost, 1.0, MOST_LOST)) + offset

    def _mean(self, of_unit: tf.Tensor, told: tf.Tensor) -> tf.Tensor:
        """[unit], [pieces, time, lag] -> [pieces, time, 1], by the weights of a fade."""
        return tf.linalg.matvec(tf.gather(of_unit, told), self._weights)[:, :, None]

    def _mixed(self, told: tf.Tensor) -> tf.Tensor:
        """The mean over the samples of units [frame, lag], by the weights of a fade: [frame, frame_length].

        Neighbours mostly tell the same unit, whose samples are then taken once.
        """
        lags = 2 * self.reach + 1
        other = tf.concat([tf.fill([tf.shape(told)[0], 1], True), told[:, 1:] != told[:, :-1]], 1)
        begin = tf.cast(tf.where(tf.reshape(other, [-1]))[:, 0], tf.int32)  # of each run of one unit
        frame = begin // lags
        end = tf.minimum(tf.concat([begin[1:], [tf.size(told)]], 0), (frame + 1) * lags)
        weights = tf.gather(self._summed, end - frame * lags) - tf.gather(self._summed, begin - frame * lags)
        samples = self._samples(tf.gather(tf.reshape(told, [-1]), begin))
        runs = tf.range(tf.size(begin))
        places = tf.cast(tf.stack([frame, runs], 1), tf.int64)
        shape = tf.cast([tf.shape(told)[0], tf.size(begin)], tf.int64)
        return tf.sparse.sparse_dense_matmul(tf.SparseTensor(places, weights, shape), samples)

    def _samples(self, unit: tf.Tensor) -> tf.Tensor:
        """[some] -> [some, frame_length]"""
        rows = tf.gather(self.rows, tf.gather(self.first, unit)[:, None] + tf.range(self.across))
        samples = tf.reshape(rows, [tf.size(unit), self.across * self.hop])[:, : self.frame_length]
        return self.scale * tf.cast(samples, tf.float32)

    def _powers(self, rows: np.ndarray, first: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        """[unit], of their samples without their offset, under the window."""
        window = np.zeros(self.across * self.hop)
        window[: self.frame_length] = np.square(frames.windowed(tf.ones([self.frame_length])).numpy())
        parts = window.reshape(self.across, self.hop).T
        samples = self.scale * rows.astype(np.float64)
        total = np.zeros(len(first))
        for index in range(self.across):
            own = first + index
            squares, sums = np.square(samples) @ parts[:, index], samples @ parts[:, index]
            total += squares[own] - 2 * offsets * sums[own] + offsets**2 * parts[:, index].sum()
        return np.maximum(0.0, total)

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
        return cuts(self.rows.numpy(), self.first.numpy(), self.scale)


def _power(samples: tf.Tensor) -> tf.Tensor:
    """[..., frame_length] -> [..., 1], under the window."""
    return tf.reduce_sum(tf.square(frames.windowed(samples)), -1, keepdims=True)
