"""Windows of a recording, spread evenly over it."""

from __future__ import annotations

import math

import numpy as np

from sonicrnn.levels import Samples


def spread(samples: Samples, length: int, at_most: int, step: float = 1.0) -> tuple[Samples, ...]:
    """Windows of `length` samples spread evenly from the first sample to the last; all there is if that is less.

    As many as it takes for their starts to be no more than `step` windows apart, but not more than `at_most`.
    """
    free = len(samples) - length
    if free <= 0:
        return (samples,)
    count = min(at_most, 1 + math.ceil(free / (length * step)))
    if count == 1:
        return (samples[free // 2 :][:length],)
    return tuple(samples[start : start + length] for start in np.linspace(0, free, count).round().astype(int))
