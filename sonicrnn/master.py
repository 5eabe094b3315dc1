"""The master: what a recall plays, in the recording's own channels and at its own rate.

The model hears and draws the song in mono and at few samples a second, which is what makes it quick to learn. Since
what is heard are frames of the song, the same frames can be cut from the recording itself. The units of a free run are
played once more, as wide and as bright as they were recorded, with the levels found for the model's own sound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from sonicrnn.encoding import Encoding
from sonicrnn.engine import Samples, Units
from sonicrnn.files import stored_arrays, write_arrays
from sonicrnn.graphs import graph
from sonicrnn.original import own_channels, own_rate, read_original
from sonicrnn.passages import Passages
from sonicrnn.recall import kept_frames, make_passages
from sonicrnn.rendering import at_own_rate
from sonicrnn.run import TRAIN_AGAIN
from sonicrnn.song import Song
from sonicrnn.sounding import limited


@dataclass(frozen=True, eq=False)
class Master:
    """What the units of a recall sound like in the recording.

    Attributes:
        passages: of each channel, all of one rate: the recording's own or, where a frame would not begin on a sample
            of it, the next multiple of the model's.
        sample_rate: Hz, of the recording.
    """

    passages: Sequence[Passages]
    sample_rate: int

    @property
    def channels(self) -> int:
        return len(self.passages)

    @property
    def plays(self) -> int:
        """Hz, of `play`."""
        return self.passages[0].sample_rate

    @property
    def frame_length(self) -> int:
        return self.passages[0].frame_length

    @property
    def hop(self) -> int:
        return self.passages[0].hop

    @property
    def context(self) -> int:
        """Units before one that tell how it sounds."""
        return self.passages[0].context

    def play(self, units: Units, begin: int, factors: Samples) -> Samples:
        """See `engine.Recording`."""
        made = self.sound(tf.constant(units), tf.constant(begin), tf.constant(factors, tf.float32))
        return np.asarray(made, np.float32)

    @graph
    def sound(self, units: tf.Tensor, begin: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        """[time] int32 -> [samples, channels] from sample `begin` on, times `factors`, [samples], within full scale."""
        whole = tf.stack([one.sound(units[None])[0] for one in self.passages], 1)
        return limited(whole[begin : begin + tf.shape(factors)[0]] * factors[:, None])

    def of(self, rows: tf.Tensor) -> Master:
        """The same with samples [channel, row, hop] int16 that a graph is given, instead of its own."""
        passages = [copy(one) for one in self.passages]
        for channel, one in enumerate(passages):
            one.rows = rows[channel]
        return Master(passages, self.sample_rate)

    def fading(self, seconds: float) -> Master:
        """The same with other cross-fades, see `Passages.fading`."""
        return Master([one.fading(seconds) for one in self.passages], self.sample_rate)

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        first = self.passages[0]
        numbers = {"frame_length": first.frame_length, "rate": first.sample_rate, "sample_rate": self.sample_rate}
        rows = np.stack([one.rows.numpy() for one in self.passages])
        scales = np.array([one.scale for one in self.passages])
        write_arrays(file, {"rows": rows, "first": first.first.numpy(), "scales": scales, **numbers})

    @classmethod
    def load(cls, file: Path) -> Master:
        """Raises UserError for a file that is missing or spoiled."""
        with stored_arrays(file, TRAIN_AGAIN) as stored:
            first, length, rate = stored["first"], stored["frame_length"].item(), stored["rate"].item()
            channels = zip(stored["rows"], stored["scales"], strict=True)
            passages = [Passages(rows, first, float(scale), length, rate) for rows, scale in channels]
            return cls(passages, stored["sample_rate"].item())


def make_master(song: Song, encoding: Encoding) -> Master | None:
    """That of the recall of the song's training part; None where the song is heard as it was recorded anyhow.

    Raises UserError for a recording that cannot be read any more.
    """
    own, rate, hop = own_rate(song), encoding.sample_rate, encoding.settings.hop_length
    if own <= rate and own_channels(song) == 1:
        return None
    size = encoding.settings.frame_length
    plays = _rate_of_whole_frames(own, rate, math.gcd(hop, size))
    start, stop = song.parts["training"]
    kept = kept_frames(encoding.frame_count(stop - start), encoding)
    span = (kept.length - 1) * hop + size
    begins = [start + int(first) * hop for first in kept.starts]
    sounds = [read_original(song, begin, min(begin + span, stop), plays) for begin in begins]
    length, hop = size * plays // rate, hop * plays // rate
    passages = [
        make_passages([sound[:, channel] for sound in sounds], kept, length, hop, plays)
        for channel in range(own_channels(song))
    ]
    return Master(passages, max(own, rate))


def _rate_of_whole_frames(own: int, rate: int, step: int) -> int:
    """The recording's own rate, or the next multiple of the model's, where `step` samples of that are not whole."""
    return own if own > rate and step * own % rate == 0 else rate * -(-own // rate)


def through(master: Master, units: Units) -> Samples:
    """What units [time] sound like, without the edges: [samples, channels]."""
    edge = master.frame_length - master.hop
    samples = len(units) * master.hop - edge
    return np.concatenate(list(at_own_rate(master, [master.play(units, edge, np.ones(samples, np.float32))])))


