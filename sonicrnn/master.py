"""The master: what a recall plays, in the recording's own channels and at its own rate.

The model hears and draws the song in mono and at few samples a second, which is what makes it quick to learn. Since
what is heard are frames of the song, the same frames can be cut from the recording itself. The units of a free run are
played once more, as wide and as bright as they were recorded, with the levels found for the model's own sound.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.files import written_beside
from sonicrnn.graphs import graph
from sonicrnn.original import own_channels, own_rate, read_original
from sonicrnn.passages import Passages
from sonicrnn.recall import kept_frames, make_passages
from sonicrnn.resample import SoxrResampler
from sonicrnn.song import Song
from sonicrnn.sounding import limited
from sonicrnn.stream import Made

Samples = npt.NDArray[np.float32]


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

    @graph
    def sound(self, units: tf.Tensor) -> tf.Tensor:
        """[time] int32 -> [samples, channels] about 0, at full scale 1; edges included."""
        return tf.stack([one.sound(units[None])[0] for one in self.passages], 1)

    def save(self, file: Path) -> None:
        """Write what `load` reads."""
        first = self.passages[0]
        numbers = {"frame_length": first.frame_length, "rate": first.sample_rate, "sample_rate": self.sample_rate}
        rows = np.stack([one.rows.numpy() for one in self.passages])
        scales = np.array([one.scale for one in self.passages])
        with written_beside(file) as beside, beside.open("wb") as stream:
            np.savez(stream, rows=rows, first=first.first.numpy(), scales=scales, **numbers)

    @classmethod
    def load(cls, file: Path) -> Master:
        """Raises UserError for a file that is missing or spoiled."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                first, length, rate = stored["first"], stored["frame_length"].item(), stored["rate"].item()
                channels = zip(stored["rows"], stored["scales"], strict=True)
                passages = [Passages(rows, first, float(scale), length, rate) for rows, scale in channels]
                return cls(passages, stored["sample_rate"].item())
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} cannot be read ({error}): train the run again with --fresh") from None


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


def rendered(master: Master, lead: npt.NDArray[np.int32], blocks: Iterable[Made]) -> Iterator[Samples]:
    """A piece once more, as it was recorded: [some samples, channels] for each block of it, and the rest.

    Args:
        lead: [time], the units that were drawn before the first block, see `Stream.lead`.
        blocks: of one piece, [1, …].
    """
    return _at_own_rate(master, _played(master, lead, blocks))


def through(master: Master, units: npt.NDArray[np.int32]) -> Samples:
    """What units [time] sound like, without the edges: [samples, channels]."""
    edge = master.passages[0].frame_length - master.passages[0].hop
    whole = limited(master.sound(tf.constant(units))).numpy()
    return np.concatenate(list(_at_own_rate(master, [whole[edge : len(whole) - edge]])))


def _at_own_rate(master: Master, blocks: Iterable[Samples]) -> Iterator[Samples]:
    plays = master.passages[0].sample_rate
    if plays == master.sample_rate:
        yield from blocks
        return
    resampler = SoxrResampler(plays, master.sample_rate, master.channels)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


def _played(master: Master, lead: npt.NDArray[np.int32], blocks: Iterable[Made]) -> Iterator[Samples]:
    plays = master.passages[0]
    context, hop, overlap = plays.context, plays.hop, plays.frame_length - plays.hop
    units, before = np.asarray(lead, np.int32), 0  # units, of which so many were finished with an earlier block
    for block in blocks:
        count = block.units.shape[1]
        units = np.concatenate([units, block.units[0]])
        begin = before * hop + overlap
        sound = master.sound(tf.constant(units))[begin : begin + count * hop]
        yield limited(sound * _stretched(block.factors[0], count * hop)[:, None]).numpy()
        forgotten = max(0, before + count - context)
        units, before = units[forgotten:], before + count - forgotten


def _stretched(factors: Samples, length: int) -> Samples:
    """Factors of samples at one rate -> as many as there are at another."""
    places = np.arange(length) * (len(factors) / length)
    return np.interp(places, np.arange(len(factors)), factors).astype(np.float32)
