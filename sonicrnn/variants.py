"""The training part at other speeds and levels, so that a network does not learn one take by heart.

A variant is the part resampled, its pitch and pace together, and made louder or softer. What is fitted to the song, and
what a training is judged by, go by the song as it is: variants are learned from, and nothing else.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sonicrnn.pcm import PcmWriter
from sonicrnn.resample import make_resampler

Samples = npt.NDArray[np.float32]

_FINEST = 10_000  # largest denominator of a speed: a twentieth of a thousandth off at most, a tenth of a cent
_BLOCK = 1 << 20  # samples that are changed at once


@dataclass(frozen=True)
class Variant:
    """How a part is changed.

    Attributes:
        speed: 0.5 to 2: as many times as fast, and as high; 1 is the song's own.
        gain: dB, 0 is the song's own level.
    """

    speed: float = 1.0
    gain: float = 0.0

    @property
    def ratio(self) -> Fraction:
        """Samples in for each sample out: the speed as a fraction of whole numbers, as a resampler takes it."""
        return Fraction(self.speed).limit_denominator(_FINEST)

    @property
    def name(self) -> str:
        """What tells it from other variants of the same samples; nothing for the song as it is."""
        return "" if self == AS_IT_IS else f" speed {self.ratio} gain {self.gain} dB"


AS_IT_IS = Variant()


def other_variants(speeds: Sequence[float], gains: Sequence[float]) -> list[Variant]:
    """Each speed at each gain in dB, in the order of the lists, but for the song as it is."""
    made = (Variant(speed, gain) for speed, gain in itertools.product(speeds, gains))
    return [variant for variant in made if variant != AS_IT_IS]


def varied_length(samples: int, variant: Variant) -> int:
    """Samples that so many become: samples / speed, rounded, halves up."""
    return int(samples / variant.ratio + Fraction(1, 2))


def varied_blocks(part: Samples, variant: Variant) -> Iterator[Samples]:
    """The variant of a part [n] float32 in blocks, `varied_length(n, variant)` samples in all.

    At full scale 1 as the part is; what a gain lifts above it is not clipped.
    """
    resampler = make_resampler(variant.ratio.numerator, variant.ratio.denominator, in_graph=False)
    factor = np.float32(10 ** (variant.gain / 20))
    for start in range(0, len(part), _BLOCK):
        block = np.asarray(part[start : start + _BLOCK])  # soxr takes no mapped array
        yield factor * resampler.push(block)
    yield factor * resampler.finish()


@contextlib.contextmanager
def varied(part: Samples, variant: Variant, folder: Path) -> Iterator[Samples]:
    """The variant of a part [n], n ≥ 1, for as long as the block lasts; no more of it is in memory than is touched.

    It is mapped from a file in `folder` that has no name, so that nothing of it stays, even when the process is killed.
    Raises OSError where the disk is full.
    """
    if variant == AS_IT_IS:
        yield part
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        writer = PcmWriter(file)
        for block in varied_blocks(part, variant):
            writer.write(block)
        file.flush()
        yield np.memmap(file, np.float32, "r")
