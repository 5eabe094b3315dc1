"""Recall: what the model draws is heard through frames that the song really had.

A drawn frame is a guess at a hundred figures at once, and no two of them quite agree: that is heard as grains. So the
frame of the song that is nearest to the draw takes its place, both as what is heard and as the next input, and the free
run always stands where a training frame stood. It is unit selection with a mixture density network as the target cost
(Capes et al., "Siri On-Device Deep Learning-Guided Unit Selection Text-to-Speech System", 2017), with units of a single
frame. What comes next is the model's to say: the song's own order is followed for moments only, and passages that were
heard lately stand back, so that neither the song nor the piece itself is repeated.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.files import written_beside

FOLLOW_SECONDS = (0.2, 0.7)  # the song's own order is followed for no longer than a time drawn from this range
LEFT_SECONDS = 1.0  # what comes within this time of a passage that was followed for long enough is barred
LIKES_NEXT = 0.5  # the song's next frame seems nearer by this share of the nearest frame's distance
AVOIDS_HEARD = 1.5  # a frame that was just heard seems farther by this share of it
HELPS_LONELY = 0.5  # share of its neighbours' distance that a frame seems nearer by
NEIGHBOURS = 32
FADE_SECONDS = 0.15  # either way from where a passage gives way to another
LEAST_DISTANCE = 0.3  # of each figure, for these shares: a model that knows the song by heart draws its very frames
HEARD_SECONDS = 4.0  # how far around a frame its passage counts as heard with it
FORGET_SECONDS = 60.0  # after which it is as good as new
MOST_UNITS = 12_000  # more of a long song than a piece can use up
PASSAGE_SECONDS = 20.0  # of a longer song, passages of this length are kept
BARRED = 1e9  # a distance beyond all others
ARRAYS = ("units", "begins", "spectra", "loneliness")

State = tuple[tf.Tensor, tf.Tensor, tf.Tensor]


class Recall(tf.Module):
    """Frames of the song to choose from.

    Args:
        units: [unit, dimension] float32, as the model reads them.
        begins: [unit] bool, where a passage begins: the frame before it in this list is not the one before it in the
            song.
        spectra: [unit, bins] float16, their log magnitudes.
        loneliness: [unit] float32, as of `loneliness`.
        step_seconds: of one frame.
    """

    def __init__(
        self, units: np.ndarray, begins: np.ndarray, spectra: np.ndarray, loneliness: np.ndarray, step_seconds: float
    ):
        super().__init__()
        self.units, self.begins = tf.constant(units, tf.float32), tf.constant(begins, tf.bool)
        self.spectra = tf.constant(spectra, tf.float16)
        self.loneliness = tf.constant(loneliness, tf.float32)
        self.step_seconds = step_seconds
        self.squares = tf.reduce_sum(tf.square(self.units), 1)  # [unit]

    def begin(self, pieces: tf.Tensor) -> State:
        """Nothing was heard yet.

        Returns:
            for each piece the last unit, how many steps the song's order may still be followed, both [pieces] int32,
            and how lately each unit was heard, [pieces, unit] from 0 (never) to 1 (just now).
        """
        return tf.fill([pieces], -2), tf.ones([pieces], tf.int32), tf.zeros([pieces, len(self.units)])

    def choose(self, drawn: tf.Tensor, state: State, uniform: tf.Tensor) -> tuple[tf.Tensor, State]:
        """The unit nearest to each draw, once the song's order and what was heard are allowed for.

        Args:
            drawn: [pieces, dimension].
            state: of `begin` or the last `choose`.
            uniform: [pieces], random in 0 to 1: for how long the order of a new passage may be followed.

        Returns:
            frames [pieces, dimension], and the state to go on from.
        """
        last, left, heard = state
        far = self._distances(drawn) + tf.reduce_sum(tf.square(drawn), 1, keepdims=True)  # [pieces, unit]
        far -= HELPS_LONELY * self.loneliness
        scale = tf.maximum(tf.reduce_min(far, 1, keepdims=True), LEAST_DISTANCE * self.units.shape[1])
        place, over = tf.range(len(self.units)), (left == 0)[:, None]
        follows = (place == last[:, None] + 1) & ~self.begins & ~over
        ahead = place - last[:, None]
        barred = over & (ahead >= 0) & (ahead <= max(1, round(LEFT_SECONDS / self.step_seconds)))
        far += scale * tf.where(follows, -LIKES_NEXT, AVOIDS_HEARD * heard) + tf.where(barred, BARRED, 0.0)
        unit = tf.argmin(far, 1, tf.int32)
        followed = (unit == last + 1) & (left > 0)
        shortest, longest = (seconds / self.step_seconds for seconds in FOLLOW_SECONDS)
        fresh = tf.maximum(1, tf.cast(shortest + (longest - shortest) * uniform, tf.int32))
        away = tf.cast(place - unit[:, None], tf.float32) * (self.step_seconds / HEARD_SECONDS)
        faded = heard * (1 - min(1.0, self.step_seconds / FORGET_SECONDS))
        heard = tf.maximum(faded, tf.exp(-tf.square(away)))
        return tf.gather(self.units, unit), (unit, tf.where(followed, left - 1, fresh), heard)

    def spectra_of(self, chosen: tf.Tensor) -> tf.Tensor:
        """Units [pieces, time, dimension] -> log magnitudes [pieces, time, bins]; of other frames the nearest unit's.

        Where one passage gives way to another they are cross-faded, in power: each frame is a mean over what it would
        be if the song had gone on from, or had led to, the units around it. Inside a passage all of those are one.
        """
        pieces, time = tf.shape(chosen)[0], tf.shape(chosen)[1]
        flat = tf.reshape(chosen, [-1, self.units.shape[1]])
        unit = tf.reshape(tf.argmin(self._distances(flat), 1, tf.int32), [pieces, time])
        reach = round(FADE_SECONDS / self.step_seconds)
        power, whole = tf.zeros([pieces, time, self.spectra.shape[1]]), 0.0
        for lag in range(-reach, reach + 1):
            weight = math.cos(0.5 * math.pi * lag / (reach + 1)) ** 2
            near = tf.clip_by_value(tf.range(time) + lag, 0, time - 1)
            told = tf.gather(unit, near, axis=1) - (near - tf.range(time))
            told = tf.clip_by_value(told, 0, len(self.units) - 1)
            power += weight * tf.exp(2 * tf.cast(tf.gather(self.spectra, told), tf.float32))
            whole += weight
        return 0.5 * tf.math.log(power / whole)

    def _distances(self, wanted: tf.Tensor) -> tf.Tensor:
        """[some, dimension] -> [some, unit], squared, but for the wanted frames' own squares."""
        return self.squares - 2 * tf.linalg.matmul(wanted, self.units, transpose_b=True)

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        arrays = {name: getattr(self, name).numpy() for name in ARRAYS}
        with written_beside(file) as beside, beside.open("wb") as stream:
            np.savez(stream, step_seconds=self.step_seconds, **arrays)

    @classmethod
    def load(cls, file: Path) -> Recall:
        """Raises UserError for a file that is missing or spoiled."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                units, begins, spectra, lonely = (stored[name] for name in ARRAYS)
                return cls(units, begins, spectra, lonely, float(stored["step_seconds"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} cannot be read ({error}): train the run again with --fresh") from None


def make_recall(rows: np.ndarray, part: np.ndarray, encoding: Encoding) -> Recall:
    """The frames of the training part, or of passages spread evenly over it where it has more than `MOST_UNITS`.

    Args:
        rows: [frames, dimension], the part encoded, in STFT frames that are not stacked.
        part: [samples] of the part, at full scale 1.
    """
    count, step_seconds = len(rows), encoding.step / encoding.sample_rate
    length = min(count, MOST_UNITS, round(PASSAGE_SECONDS / step_seconds)) if count > MOST_UNITS else count
    starts = np.linspace(0, count - length, max(1, min(count, MOST_UNITS) // length)).astype(int)
    units = np.concatenate([rows[start : start + length] for start in starts])
    begins = np.zeros(len(units), bool)
    begins[::length] = True
    size, hop = encoding.settings.frame_length, encoding.settings.hop_length
    graph = tf.function(lambda samples: encoding.log_magnitudes(encoding.normalise(samples)))
    spectra = [
        graph(tf.constant(part[None, start * hop : start * hop + frames.samples_of(length, size, hop)]))[0].numpy()
        for start in starts
    ]
    return Recall(units, begins, np.concatenate(spectra).astype(np.float16), loneliness(units), step_seconds)


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
