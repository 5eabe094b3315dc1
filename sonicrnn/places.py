"""Where the song's frames lie, for finding those that are near: to a draw, or to what was heard."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

HELPS_LONELY = 0.5  # share of its neighbours' distance that a frame seems nearer by
NEIGHBOURS = 32

MOTION_DIMENSIONS = 16  # in which the song moves most
MOTION_SECONDS = 0.128  # between the frames whose difference is a movement


class Places:
    """Where units lie: points [unit, dimension] float32, and how lonely each is, [unit], as of `loneliness`."""

    def __init__(self, points: np.ndarray, lonely: np.ndarray):
        self.points, self.lonely = np.asarray(points, np.float32), np.asarray(lonely, np.float32)
        squares = np.square(self.points).sum(1)
        self._points = tf.constant(self.points)
        # One product gives the whole of a squared distance: of [wanted, its square, 1] and these.
        self._near = tf.constant(_factors(self.points, squares))
        self._helped = tf.constant(_factors(self.points, squares - HELPS_LONELY * self.lonely))
        self._wanted = _with_square(self._points)

    def of(self, unit: tf.Tensor) -> tf.Tensor:
        """Their points."""
        return tf.gather(self._points, unit)

    def nearest(self, wanted: tf.Tensor) -> tf.Tensor:
        """[some, dimension] -> [some] int32, the unit that lies nearest."""
        return tf.argmin(tf.linalg.matmul(_with_square(wanted), self._near), 1, tf.int32)

    def distances_of(self, unit: tf.Tensor, weight: float) -> tf.Tensor:
        """[some] int32 -> [some, unit], from these units to all, as of `distances`."""
        return tf.linalg.matmul(weight * tf.gather(self._wanted, unit), self._helped)

    def distances(self, wanted: tf.Tensor, weight: float = 1.0) -> tf.Tensor:
        """[some, dimension] -> [some, unit], squared, times `weight`; less for the lonely."""
        return tf.linalg.matmul(weight * _with_square(wanted), self._helped)


def _factors(points: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """[dimension + 2, unit]"""
    return np.concatenate([-2 * points.T, np.ones([1, len(points)]), squares[None]]).astype(np.float32)


def _with_square(wanted: tf.Tensor) -> tf.Tensor:
    """[some, dimension + 2]"""
    square = tf.reduce_sum(tf.square(wanted), 1, keepdims=True)
    return tf.concat([wanted, square, tf.ones_like(square)], 1)


def motion(units: np.ndarray, step_seconds: float) -> Places:
    """Units in the few dimensions in which the song moves most, spread as widely as in all of them.

    They are the principal ones of the differences between frames that lie `MOTION_SECONDS` apart: beats and changes of
    notes more than what lasts.
    """
    lag = max(1, min(len(units) - 1, round(MOTION_SECONDS / step_seconds)))
    moved = units[lag:] - units[:-lag]
    _, directions = np.linalg.eigh(moved.T @ moved)
    points = units @ directions[:, -MOTION_DIMENSIONS:]
    points *= np.sqrt(units.var(0).sum() / max(points.var(0).sum(), 1e-9))
    return Places(points, loneliness(points))


def loneliness(units: np.ndarray) -> np.ndarray:
    """How far each unit is from those most like it: the mean squared distance of its nearest neighbours, [unit].

    In many dimensions the frames near the middle of all are the nearest to almost any draw, and loud or noisy ones to
    none; allowing for this gives each its turn (hubness: Radovanović et al. 2010; the correction: Conneau et al., "Word
    Translation Without Parallel Data", 2018).
    """
    squares = np.square(units).sum(1)
    count = min(NEIGHBOURS, len(units))
    found = []
    for start in range(0, len(units), 512):
        block = units[start : start + 512]
        far = squares - 2 * block @ units.T
        nearest = np.partition(far, count - 1, 1)[:, :count]
        found.append(nearest.mean(1) + squares[start : start + 512])
    return np.concatenate(found).astype(np.float32)
