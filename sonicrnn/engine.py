"""What runs a model's graphs for whoever makes pieces: arrays in, arrays out, whatever library is behind it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Units = npt.NDArray[np.int32]

# Where pieces stand: arrays [pieces, ...] by name, among them `SEED`, from which a piece's numbers are drawn.
State = Mapping[str, npt.NDArray[Any]]
SEED = "seed"


class Made(NamedTuple):
    """A block of pieces; within a graph tensors, else arrays.

    samples: float32 [pieces, samples], finished.
    units: int32 [pieces, time], of the song, that were drawn meanwhile; empty without a recall. They are `lead` ahead.
    factors: float32 [pieces, samples], by which the level was changed.
    """

    samples: Any
    units: Any
    factors: Any


class Engine(Protocol):
    """The free run of one model, from primes to finished samples."""

    @property
    def sample_rate(self) -> int:
        """Hz."""

    @property
    def step(self) -> int:
        """Samples that a step of the model makes."""

    @property
    def span(self) -> int:
        """Samples of one frame, the shortest prime."""

    @property
    def draws(self) -> bool:
        """Whether how a piece goes on is a matter of chance."""

    def begin(self, primes: Samples, temperatures: Samples, seeds: Units) -> tuple[State, Units]:
        """Listen to primes [pieces, samples] at full scale 1.

        Returns:
            Where the pieces stand, and the units drawn so far of which no sample is finished, [pieces, lead].
        """

    def go_on(self, state: State, count: int, temperatures: Samples) -> tuple[Made, State]:
        """The next `count` steps of pieces, and where they stand then."""


class Recording(Protocol):
    """What a recall's units sound like in the recording itself."""

    @property
    def channels(self) -> int: ...

    @property
    def sample_rate(self) -> int:
        """Hz, of the recording."""

    @property
    def plays(self) -> int:
        """Hz, of what `play` gives."""

    @property
    def frame_length(self) -> int:
        """Samples of a unit."""

    @property
    def hop(self) -> int:
        """Samples from unit to unit."""

    @property
    def context(self) -> int:
        """Units before one that tell how it sounds."""

    def play(self, units: Units, begin: int, factors: Samples) -> Samples:
        """Samples [samples, channels] within full scale of units [time], from sample `begin` on.

        `factors`, [samples], are what they are multiplied by, and say how many there are to be.
        """


def steps(seconds: float, sample_rate: int, step: int) -> int:
    """The fewest steps of `step` samples that last so long."""
    return max(1, math.ceil(seconds * sample_rate / step))


def joined(blocks: Sequence[Made], axis: int) -> Made:
    """Blocks of arrays, one after the other: in time along axis 1, in pieces along axis 0."""
    return Made(*(np.concatenate(values, axis) for values in zip(*blocks, strict=True)))
