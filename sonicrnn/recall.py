"""Recall: what the model draws is heard through frames that the song really had.

A drawn frame is a guess at a hundred figures at once, and no two of them quite agree: that is heard as grains. So a
frame of the song takes its place, both as what is heard and as the next input, and the free run always stands where a
training frame stood. It is unit selection with a mixture density network as the target cost (Capes et al., "Siri
On-Device Deep Learning-Guided Unit Selection Text-to-Speech System", 2017), with units of a single frame. Which frame
that is, five things say:

- the draw: it is the nearest,
- time: what the song did before it is like what was heard in the last seconds, so that beats stay in step (as in the
  dynamics of Schödl et al., "Video Textures", 2000),
- meter: where the song keeps one beat throughout, it goes on in step; a bar is as the last one as far as those of the
  song are (`bars.py`),
- form: the piece follows the song's course, the mean of its last seconds, from somewhere in the song to somewhere
  else; what was heard too much or too little of, beside that, is made up for,
- novelty: the song's own order is followed for moments only, is not gone back to at once, and passages that were heard
  lately stand back, so that neither the song nor the piece itself is repeated.

What is heard are the samples of those frames (`passages`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.bars import ARRAYS as OF_BARS
from sonicrnn.bars import NUMBERS as BAR_NUMBERS
from sonicrnn.bars import Bars, make_bars
from sonicrnn.encoding import Encoding
from sonicrnn.files import stored_arrays, write_arrays
from sonicrnn.passages import Passages
from sonicrnn.places import Places, loneliness, motion
from sonicrnn.run import TRAIN_AGAIN

LEAST_DISTANCE = 0.3  # of each figure, for the shares of it below: a model may draw the song's very frames

KEEPS_TIME = 2.0  # how much what came before a frame counts, against how near it is to the draw
TIME_SECONDS = 2.0  # of what was heard last, that count most

KEEPS_METER = 1.0  # a frame from another place of the beat seems farther by this share of the nearest one's distance

BALANCES = 6.0  # share of what the mean of what was heard lies off the song's course, that the next draw makes up for
BALANCE_SECONDS = 5.0  # over which that mean is taken
FORM_SECONDS = 40.0  # for so long on average the song's course is followed, before it is taken up elsewhere

FOLLOW_SECONDS = (0.2, 0.7)  # the song's own order is followed for a time drawn from this range at most, × `longer`
LIKES_NEXT = 0.5  # the song's next frame seems nearer by this share of the nearest frame's distance
STALE_SECONDS = 20.0  # for so long, or this share of the song, the thread of a passage that was left is not taken up
STALE_SHARE = 0.3
STALE_REACH_SECONDS = 0.5  # either way from where the passage would be by then
AVOIDS_HEARD = 1.5  # a frame that was just heard seems farther by this share of it
HEARD_SECONDS = 4.0  # how far around a frame its passage counts as heard with it
FORGET_SECONDS = 60.0  # after which it is as good as new

RANDOM = 3  # numbers that each choice takes
MOST_UNITS = 12_000  # more of a long song than a piece can use up
PASSAGE_SECONDS = 20.0  # of a longer song, passages of this length are kept
BARRED = 1e6  # more than any distance; where all are barred, the one that was the longest is still told
FORGOTTEN = 100.0  # -log of nothing
PLACES, ARRAYS, NUMBERS = ("units", "motion"), ("rows", "first"), ("scale", "frame_length", "sample_rate")


class State(NamedTuple):
    """What was heard so far, of each piece.

    last: [pieces] int32, the last unit.
    left: [pieces] int32, how many steps the song's order may still be followed.
    faded: [pieces, unit], how much what was heard of the unit's passage is forgotten: 0 just now, -log of what is left.
    barred: [pieces, unit], `BARRED` for each step that the song's thread which leads to the unit still stands back.
    unlike: [pieces, unit], how far what the song did before the unit is from what was heard, times `KEEPS_TIME`.
    lately: [pieces, dimension], the mean of what was heard lately.
    course: [pieces] int32, the unit whose course of the song the piece should be on.
    place: [pieces], in the bar, seconds; of the next frame, once there was a first one.
    heard: [pieces, step], the units of the last bar, -1 before there were any.
    """

    last: tf.Tensor
    left: tf.Tensor
    faded: tf.Tensor
    barred: tf.Tensor
    unlike: tf.Tensor
    lately: tf.Tensor
    course: tf.Tensor
    place: tf.Tensor
    heard: tf.Tensor


class Recall(tf.Module):
    """Frames of the song to choose from.

    Args:
        units: as the model reads them.
        motion: the same, as of `places.motion`.
        passages: what they sound like.
        bars: the song's time.

    Attributes:
        longer: a variable, by which the times are longer for which the song's order is followed: each song has a length
            of its own from which on pieces copy it.
    """

    def __init__(self, units: Places, motion: Places, passages: Passages, bars: Bars):
        super().__init__()
        self.units, self.motion, self.passages, self.bars = units, motion, passages, bars
        self.longer = tf.Variable(1.0, trainable=False)
        self.step_seconds = passages.step_seconds
        self.count, self.dimension = units.points.shape
        begins = passages.begins.numpy()
        self._goes_on = tf.constant(np.concatenate([[False], ~begins[1:], [False]]))  # of the unit after, from -1 on
        self._course = tf.constant(course(units.points, self._share_of(BALANCE_SECONDS)))
        self._times = tf.constant(self.step_seconds / HEARD_SECONDS * np.arange(self.count), tf.float32)  # all in a row

    def begin(self, pieces: tf.Tensor) -> State:
        """Nothing was heard yet."""
        none = tf.zeros([pieces, self.count])
        return State(
            last=tf.fill([pieces], -1),
            left=tf.zeros([pieces], tf.int32),
            faded=none + FORGOTTEN,
            barred=none,
            unlike=none,
            lately=tf.zeros([pieces, self.dimension]),
            course=tf.fill([pieces], -1),
            place=tf.zeros([pieces]),
            heard=tf.fill([pieces, self.bars.steps], -1),
        )

    def choose(self, drawn: tf.Tensor, state: State, uniform: tf.Tensor) -> tuple[tf.Tensor, State]:
        """The unit for each draw.

        Args:
            drawn: [pieces, dimension].
            state: of `begin` or the last `choose`.
            uniform: [pieces, 3], random in 0 to 1: for how long the order of a new passage may be followed, whether
                the song's course is taken up elsewhere, and where.

        Returns:
            frames [pieces, dimension], and the state to go on from.
        """
        moment, chance, where = tf.unstack(uniform, RANDOM, 1)
        state = self._on_course(state, chance, where)
        wanted = drawn - BALANCES * (state.lately - tf.gather(self._course, state.course))
        if self.bars.beat:
            ago = state.heard[:, 0]
            wanted = self.bars.as_a_bar_ago(wanted, self.units.of(tf.maximum(ago, 0)), ago >= 0)
        far = self.units.distances(wanted) + state.unlike
        scale = tf.maximum(tf.reduce_min(far, 1), LEAST_DISTANCE * self.dimension)
        if self.bars.beat:
            began = tf.cast(state.last >= 0, tf.float32)
            far += self.bars.off_the_beat(KEEPS_METER * scale * began, state.place)
        heard = tf.exp(tf.math.log(AVOIDS_HEARD * scale)[:, None] - state.faded)
        stands_back = tf.add_n([far, heard, state.barred])
        other = tf.argmin(stands_back, 1, tf.int32)
        # The song's next frame is alone in what it may: neither that it was heard nor its thread counts.
        following = tf.minimum(state.last + 1, self.count - 1)
        may = (state.left > 0) & tf.gather(self._goes_on, state.last + 1)
        near = tf.gather(far, following, batch_dims=1) - LIKES_NEXT * scale
        follows = may & (near <= tf.gather(stands_back, other, batch_dims=1))
        unit = tf.where(follows, following, other)
        return self.units.of(unit), self._after(unit, follows, state, moment)

    def _on_course(self, state: State, chance: tf.Tensor, where: tf.Tensor) -> State:
        """A step further on the song's course, or to another place of it."""
        begins = state.course < 0
        following = state.course + 1
        leaves = begins | (following >= self.count) | (chance < self.step_seconds / FORM_SECONDS)
        elsewhere = tf.minimum(tf.cast(where * self.count, tf.int32), self.count - 1)
        course = tf.where(leaves, elsewhere, following)
        lately = tf.where(begins[:, None], tf.gather(self._course, course), state.lately)
        return state._replace(course=course, lately=lately)

    def _after(self, unit: tf.Tensor, follows: tf.Tensor, state: State, moment: tf.Tensor) -> State:
        """The state once `unit` [pieces] was heard, which `follows` [pieces] the last or not.

        `moment`, [pieces], random in 0 to 1, says for how long the order of a new passage may be followed.
        """
        shortest, longest = (seconds / self.step_seconds for seconds in FOLLOW_SECONDS)
        fresh = tf.maximum(1, tf.cast(self.longer * (shortest + (longest - shortest) * moment), tf.int32))
        away = tf.math.squared_difference(self._times, tf.gather(self._times, unit)[:, None])  # [pieces, unit]
        is_thread = away <= (STALE_REACH_SECONDS / HEARD_SECONDS) ** 2  # is taken to be its own
        stale_seconds = min(STALE_SECONDS, STALE_SHARE * self.count * self.step_seconds)
        barred = math.ceil(stale_seconds / self.step_seconds) * BARRED
        share = self._share_of(TIME_SECONDS)
        unlike = self.motion.distances_of(unit, KEEPS_TIME * share)
        # One step on, what stands at a unit is what was said of the unit before it.
        return State(
            last=unit,
            left=tf.where(follows, state.left - 1, fresh),
            faded=tf.minimum(state.faded - math.log(1 - self._share_of(FORGET_SECONDS)), away),  # is heard with it
            barred=tf.roll(tf.where(is_thread, barred, tf.nn.relu(state.barred - BARRED)), 1, 1),
            unlike=tf.roll((1 - share) * state.unlike + unlike, 1, 1),
            lately=state.lately + self._share_of(BALANCE_SECONDS) * (self.units.of(unit) - state.lately),
            course=state.course,
            place=self.bars.next_place(state.place, unit, state.last < 0),
            heard=tf.concat([state.heard[:, 1:], unit[:, None]], 1),
        )

    def _share_of(self, seconds: float) -> float:
        """What one step counts in a mean over the last seconds."""
        return min(1.0, self.step_seconds / seconds)

    def told(self, heard: tf.Tensor) -> tf.Tensor:
        """Frames [pieces, time, dimension] -> [pieces, time] int32, the nearest units."""
        unit = self.units.nearest(tf.reshape(heard, [-1, self.dimension]))
        return tf.reshape(unit, tf.shape(heard)[:2])

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        kept = {name: getattr(self.passages, name).numpy() for name in ARRAYS}
        kept |= {name: getattr(self.passages, name) for name in NUMBERS}
        kept |= {name: getattr(self.bars, name).numpy() for name in OF_BARS}
        kept |= {name: getattr(self.bars, name) for name in BAR_NUMBERS}
        for name in PLACES:
            places = getattr(self, name)
            kept |= {name: places.points, f"{name}_lonely": places.lonely}
        write_arrays(file, kept)

    @classmethod
    def load(cls, file: Path) -> Recall:
        """Raises UserError for a file that is missing or spoiled."""
        with stored_arrays(file, TRAIN_AGAIN) as stored:
            units, motion = (Places(stored[name], stored[f"{name}_lonely"]) for name in PLACES)
            passages = Passages(*(stored[name] for name in ARRAYS), *(stored[name].item() for name in NUMBERS))
            told = {name: stored[name] for name in OF_BARS} | {name: stored[name].item() for name in BAR_NUMBERS}
            return cls(units, motion, passages, Bars(**told, step_seconds=passages.step_seconds))


def make_recall(encoded: np.ndarray, part: np.ndarray, encoding: Encoding) -> Recall:
    """The frames of the training part, or of passages spread evenly over it where it has more than `MOST_UNITS`.

    Args:
        encoded: [frames, dimension], the part in STFT frames that are not stacked.
        part: [samples] of the part, at full scale 1.
    """
    step_seconds, kept = encoding.step / encoding.sample_rate, kept_frames(len(encoded), encoding)
    units = np.concatenate([encoded[start : start + kept.length] for start in kept.starts])
    size, hop = encoding.settings.frame_length, encoding.settings.hop_length
    span = frames.samples_of(kept.length, size, hop)
    sounds = [part[start * hop : start * hop + span] for start in kept.starts]
    seconds = step_seconds * (kept.starts[:, None] + np.arange(kept.length)).ravel()
    return Recall(
        Places(units, loneliness(units)),
        motion(units, step_seconds),
        make_passages(sounds, kept, size, hop, encoding.sample_rate),
        make_bars(part, encoding.sample_rate, encoded, seconds, step_seconds),
    )


def course(units: np.ndarray, share: float) -> np.ndarray:
    """The mean of the last seconds at each unit, [unit, dimension]; `share` is what a step counts in it."""
    found, mean = np.empty_like(units), units[: max(1, round(1 / share))].mean(0)
    for index, unit in enumerate(units):
        mean = mean + share * (unit - mean)
        found[index] = mean
    return found


class Kept(NamedTuple):
    """Which frames of the training part are units: `length` of them from each of `starts`, [passage]."""

    starts: np.ndarray
    length: int


def kept_frames(count: int, encoding: Encoding) -> Kept:
    """Of so many frames all, or passages spread evenly where there are more than `MOST_UNITS`."""
    if count <= MOST_UNITS:
        return Kept(np.zeros(1, int), count)
    length = min(MOST_UNITS, round(PASSAGE_SECONDS * encoding.sample_rate / encoding.step))
    return Kept(np.linspace(0, count - length, MOST_UNITS // length).astype(int), length)


def make_passages(sounds: Sequence[np.ndarray], kept: Kept, frame_length: int, hop: int, rate: int) -> Passages:
    """What the units sound like: `sounds`, [samples] at full scale 1 of each passage, may lack some at their ends."""
    across = kept.length - 1 + -(-frame_length // hop)  # rows of a passage, the last filled up with silence
    samples = np.zeros([len(kept.starts), across * hop], np.float32)
    for passage, sound in zip(samples, sounds, strict=True):
        passage[: len(sound)] = sound
    scale = max(1.0, float(np.abs(samples).max())) / np.iinfo(np.int16).max
    first = (np.arange(len(kept.starts))[:, None] * across + np.arange(kept.length)).ravel()
    rows = np.round(samples / scale).astype(np.int16).reshape(-1, hop)
    return Passages(rows, first, scale, frame_length, rate)
