"""How a recall keeps the song's time: its beat goes on, and a bar is as the one before it, as far as the song's are.

Most songs say the same again a bar later, in other words. Passages from here and there do not by themselves: each would
be in time with the next, and no bar like the last, so that of the slow rise and fall of the loudness that is the song's
pulsation little would be left.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from sonicrnn.calibration import REPEATS
from sonicrnn.meter import BEATS, bar_seconds
from sonicrnn.portrait import is_same, usual_pulsations

METER_SECONDS = 0.08  # from which on it is another place of the beat
BAR_SECONDS = 4.0  # that a bar has: one of two is soon known by heart, and one of eight lost on the way
KEEPS_BAR = 0.5  # how much another place of the bar counts at most, beside another one of the beat
MOST_REPEATED = 0.95
LEAST_BARS = 4  # of a song, that tell how alike they are
MOST_FRAMES = 20_000  # that are asked for that
LEAST_WAVE = 1e-3  # of those that make up how far off the beat a unit is, beside the first
ARRAYS, NUMBERS = ("place", "alike"), ("beat", "bar")


class Bars(tf.Module):
    """The song's time at each of its units.

    Args:
        place: [unit], where in the bar each begins, seconds.
        alike: [dimension], 0..1, how much a bar is like the one before it, in each figure of a frame.
        beat: seconds; 0 for a song that does not keep one throughout, for which nothing here is asked.
        bar: seconds, so many beats as a pulsation of the song has; 0 without a beat.
        step_seconds: between units.

    Attributes:
        repeats: a variable; so many times the root of how alike bars are, a draw is moved to what was heard a bar ago.
            Each song has a factor of its own, from which on pieces stay where they are.
    """

    def __init__(self, place: np.ndarray, alike: np.ndarray, beat: float, bar: float, step_seconds: float):
        super().__init__()
        self.place, self.alike = tf.constant(place, tf.float32), tf.constant(alike, tf.float32)
        self.repeats = tf.Variable(REPEATS, trainable=False)
        self.beat, self.bar, self.step_seconds = beat, bar, step_seconds
        self.steps = max(1, round(bar / step_seconds))
        if beat:
            self._orders = wave_orders(beat, bar)
            self.on_beat = tf.constant(bell(place, beat, bar, self._orders))

    def as_a_bar_ago(self, drawn: tf.Tensor, ago: tf.Tensor, is_known: tf.Tensor) -> tf.Tensor:
        """Draws [pieces, dimension], moved to what was heard a bar ago, [pieces, dimension], where that `is_known`."""
        share = tf.minimum(MOST_REPEATED, self.repeats * tf.sqrt(self.alike))
        return drawn + tf.cast(is_known, tf.float32)[:, None] * share * (ago - drawn)

    def off_the_beat(self, weight: tf.Tensor, place: tf.Tensor) -> tf.Tensor:
        """How far units are from where the bar has come to, `place` [pieces]: [pieces, unit] × `weight` [pieces].

        0 for the same place, 1 for another one of the beat, and up to `KEEPS_BAR` more for another beat.
        """
        here = waves(place, self.bar, self._orders)
        return tf.linalg.matmul(weight[:, None] * here, self.on_beat)

    def next_place(self, place: tf.Tensor, unit: tf.Tensor, is_first: tf.Tensor) -> tf.Tensor:
        """Where the bar has come to after a unit, [pieces]; the first one tells where it is."""
        if not self.beat:
            return place
        here = tf.where(is_first, tf.gather(self.place, unit), place)
        return tf.math.floormod(here + self.step_seconds, self.bar)


def make_bars(part: np.ndarray, rate: int, encoded: np.ndarray, seconds: np.ndarray, step_seconds: float) -> Bars:
    """Those of a song's part.

    Args:
        part: [samples] at full scale 1.
        rate: Hz.
        encoded: [frames, dimension], the part.
        seconds: [unit], where in the part each unit begins.
        step_seconds: between frames.
    """
    beat = (bar_seconds(part, rate) or 0.0) / BEATS
    bar = _bar(beat, usual_pulsations(part, rate)) if beat else 0.0
    steps = round(bar / step_seconds)
    told = bool(steps) and len(encoded) >= LEAST_BARS * steps
    known = alike(encoded, steps) if told else np.zeros(encoded.shape[1])
    return Bars(seconds % bar if bar else 0 * seconds, known, beat, bar, step_seconds)


def _bar(beat: float, pulsations: list[float]) -> float:
    """As many beats as a pulsation per minute has, of several the one that is most like a bar: seconds.

    Where none has beats in full, `BEATS` of them.
    """
    found = []
    for seconds in (60.0 / per_minute for per_minute in pulsations):
        bar = max(1, round(seconds / beat)) * beat
        if is_same(seconds, bar):
            found.append(bar)
    return min(found, key=lambda bar: abs(math.log(bar / BAR_SECONDS)), default=BEATS * beat)


def alike(encoded: np.ndarray, steps: int) -> np.ndarray:
    """How much of each figure of a frame [frames, dimension] is as it was so many steps before, [dimension] 0..1.

    It is the correlation, 0 where that is less; of a long song that of frames spread over it.
    """
    places = np.unique(np.linspace(0, len(encoded) - steps - 1, MOST_FRAMES).astype(int))
    before, after = encoded[places], encoded[places + steps]
    before, after = before - before.mean(0), after - after.mean(0)
    return np.clip((before * after).mean(0) / np.maximum(before.std(0) * after.std(0), 1e-9), 0.0, 1.0)


def wave_orders(beat: float, bar: float) -> np.ndarray:
    """Of the waves, in a bar, that make up `bell`: one for the bar, and those of the beat."""
    narrow = math.pi * METER_SECONDS / beat
    count = math.ceil(math.sqrt(-math.log(LEAST_WAVE)) / narrow)
    return np.concatenate([[1], round(bar / beat) * np.arange(1, count + 1)])


def bell(place: np.ndarray, beat: float, bar: float, orders: np.ndarray) -> np.ndarray:
    """How far off places [unit], seconds, are in the bar, as a sum of waves: [wave, unit], to multiply by `waves`.

    That is 1 - exp(-(off / `METER_SECONDS`)²) of the beat, by its Fourier series, which one product sums up for all
    units; and of the bar (1 - cos) / 2 × `KEEPS_BAR`.
    """
    narrow = math.pi * METER_SECONDS / bar
    wide = METER_SECONDS * math.sqrt(math.pi) / beat
    heights = 2 * wide * np.exp(-np.square(narrow * orders))
    heights[0] = KEEPS_BAR / 2
    angles = 2 * math.pi * orders[:, None] * place / bar
    flat = np.full([1, len(place)], 1 - wide + KEEPS_BAR / 2)
    heights = heights[:, None]
    return np.concatenate([flat, -heights * np.cos(angles), -heights * np.sin(angles)]).astype(np.float32)


def waves(place: tf.Tensor, bar: float, orders: np.ndarray) -> tf.Tensor:
    """Places [pieces], seconds -> [pieces, wave], to multiply by what `bell` gave."""
    angles = place[:, None] * tf.constant(2 * math.pi / bar * orders, tf.float32)
    return tf.concat([tf.ones_like(angles[:, :1]), tf.cos(angles), tf.sin(angles)], 1)
