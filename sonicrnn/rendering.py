"""A piece once more, from the recording itself: the units that were drawn, with the levels of the model's own sound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from sonicrnn.engine import Made, Recording, Samples, Units
from sonicrnn.resample import SoxrResampler


def rendered(recording: Recording, lead: Units, blocks: Iterable[Made]) -> Iterator[Samples]:
    """A piece once more, as it was recorded: [some samples, channels] for each block of it, and the rest.

    Args:
        lead: [time], the units that were drawn before the first block, see `Stream.lead`.
        blocks: of one piece, [1, …].
    """
    return at_own_rate(recording, _played(recording, lead, blocks))


def at_own_rate(recording: Recording, blocks: Iterable[Samples]) -> Iterator[Samples]:
    """As the recording's rate has them."""
    if recording.plays == recording.sample_rate:
        yield from blocks
        return
    resampler = SoxrResampler(recording.plays, recording.sample_rate, recording.channels)
    for block in blocks:
        yield resampler.push(block)
    yield resampler.finish()


def _played(recording: Recording, lead: Units, blocks: Iterable[Made]) -> Iterator[Samples]:
    hop, overlap = recording.hop, recording.frame_length - recording.hop
    units, before = np.asarray(lead, np.int32), 0  # units, of which so many were finished with an earlier block
    for block in blocks:
        count = block.units.shape[1]
        units = np.concatenate([units, block.units[0]])
        yield recording.play(units, before * hop + overlap, _stretched(block.factors[0], count * hop))
        forgotten = max(0, before + count - recording.context)
        units, before = units[forgotten:], before + count - forgotten


def _stretched(factors: Samples, length: int) -> Samples:
    """Factors of samples at one rate -> as many as there are at another."""
    places = np.arange(length) * (len(factors) / length)
    return np.interp(places, np.arange(len(factors)), factors).astype(np.float32)
