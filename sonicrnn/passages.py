"""The song's own samples, frame by frame: overlapped and added where they follow one another, cross-faded where not.

Two passages do not fit in phase: in a mean of their samples, notes that both have would swell or vanish where these
meet. So means tell the phases alone; how loud each frequency is, the mean of the roots of its magnitudes tells. (The
mean of the magnitudes themselves leaves no frequency faint where passages meet. Phases found anew for them, even by 64
Griffin-Lim steps, fit them worse.)
"""

from __future__ import annotations

import math
from copy import copy

import numpy as np
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.calibration import FADE_SECONDS
from sonicrnn.cuts import begins, cuts

LEAST_MAGNITUDE = 1e-9  # of a frequency, that still counts
AT_ONCE = 32  # frames that are mixed
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
        self.drift = round(DRIFT_SECONDS / self.step_seconds)
        offsets = np.convolve(rows.mean(1, dtype=np.float64), np.full(self.across, scale / self.across), "valid")
        self.offsets = tf.constant(offsets[first], tf.float32)
        self.begins = tf.constant(begins(first))
        self._fade_over(FADE_SECONDS)

    def _fade_over(self, seconds: float) -> None:
        self.reach = round(seconds / self.step_seconds)
        fade = np.cos(0.5 * math.pi * np.arange(-self.reach, self.reach + 1) / (self.reach + 1)) ** 2
        self._weights = tf.constant(fade / fade.sum(), tf.float32)
        self._summed = tf.constant(np.append(0.0, np.cumsum(fade / fade.sum())), tf.float32)

    def fading(self, seconds: float) -> Passages:
        """The same with cross-fades of so many seconds either way."""
        other = copy(self)
        other._fade_over(seconds)
        return other

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
        fresh = self._faded(unit, first)
        if known is None:
            return frames.overlapped(fresh, self.hop)
        # Of what is known, the last few frames alone reach over those that are made.
        begin = tf.maximum(0, first - self.across + 1) * self.hop
        own = tf.signal.frame(known[:, begin:], self.frame_length, self.hop)[:, : first - begin // self.hop]
        made = frames.overlapped(tf.concat([frames.windowed(own), fresh], 1), self.hop)
        return tf.concat([known[:, : first * self.hop], made[:, first * self.hop - begin :]], 1)

    def _whole_frames(self, known: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """How many of the units audio [pieces, samples] is of."""
        whole = 1 + (tf.shape(known)[1] - self.frame_length) // self.hop
        return tf.clip_by_value(whole, 0, tf.shape(unit)[1])

    def _faded(self, unit: tf.Tensor, first: tf.Tensor | int = 0) -> tf.Tensor:
        """Units [pieces, time] -> those from `first` on, under the window: [pieces, time - first, frame_length].

        Where one passage gives way to another they are cross-faded: each frame is a mean over what it would be if the
        song had gone on from, or had led to, the units around it.
        """
        pieces, time = tf.shape(unit)[0], tf.shape(unit)[1]
        place = tf.range(first, time)[:, None]
        near = tf.clip_by_value(place + tf.range(-self.reach, self.reach + 1), 0, time - 1)
        told = tf.gather(unit, near, axis=1) - (near - place)
        told = tf.clip_by_value(told, 0, self.count - 1)  # [pieces, time, lag]
        mixed = self._mixed(tf.reshape(told, [-1, 2 * self.reach + 1]))
        offset = tf.linalg.matvec(tf.gather(self.offsets, told), self._weights) - self._drift(unit)[:, first:]
        return tf.reshape(mixed, [pieces, time - first, self.frame_length]) + frames.windowed(
            offset[:, :, None] * tf.ones([self.frame_length])
        )

    def _mixed(self, told: tf.Tensor) -> tf.Tensor:
        """The mean over the samples of units [frame, lag], without their offsets, by the weights of a fade.

        Under the window: [frame, frame_length].
        """
        # A few at a time, so that their spectra stay in the core's cache: a third of the time.
        count, lags = tf.shape(told)[0], told.shape[1]
        blocks = -(-count // AT_ONCE)
        padded = tf.pad(told, [[0, blocks * AT_ONCE - count], [0, 0]])
        made = tf.map_fn(
            self._mixed_at_once,
            tf.reshape(padded, [blocks, AT_ONCE, lags]),
            parallel_iterations=1,
            fn_output_signature=tf.TensorSpec([AT_ONCE, self.frame_length], tf.float32),
        )
        return tf.reshape(made, [-1, self.frame_length])[:count]

    def _mixed_at_once(self, told: tf.Tensor) -> tf.Tensor:
        """`_mixed`. Neighbours mostly tell one unit, whose samples are then taken once."""
        lags = 2 * self.reach + 1
        other = tf.concat([tf.fill([tf.shape(told)[0], 1], True), told[:, 1:] != told[:, :-1]], 1)
        begin = tf.cast(tf.where(tf.reshape(other, [-1]))[:, 0], tf.int32)  # of each run of one unit
        frame = begin // lags
        end = tf.minimum(tf.concat([begin[1:], [tf.size(told)]], 0), (frame + 1) * lags)
        weights = tf.gather(self._summed, end - frame * lags) - tf.gather(self._summed, begin - frame * lags)
        unit = tf.gather(tf.reshape(told, [-1]), begin)
        samples = self._samples(unit) - tf.gather(self.offsets, unit)[:, None]
        spectra = tf.signal.rfft(frames.windowed(samples))
        roots, weights = tf.sqrt(tf.sqrt(frames.power_of(spectra)) + LEAST_MAGNITUDE), weights[:, None]
        turned = tf.math.segment_sum(tf.cast(weights / roots, tf.complex64) * spectra, frame)
        wanted = tf.square(tf.math.segment_sum(weights * roots, frame))
        gain = wanted / (tf.sqrt(frames.power_of(turned)) + LEAST_MAGNITUDE)
        return tf.signal.irfft(tf.cast(gain, tf.complex64) * turned, [self.frame_length])

    def _samples(self, unit: tf.Tensor) -> tf.Tensor:
        """[some] -> [some, frame_length]"""
        rows = tf.gather(self.rows, tf.gather(self.first, unit)[:, None] + tf.range(self.across))
        samples = tf.reshape(rows, [tf.size(unit), self.across * self.hop])[:, : self.frame_length]
        return self.scale * tf.cast(samples, tf.float32)

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
