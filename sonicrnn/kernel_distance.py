"""How far apart two sets of points lie: the kernel distance, without bias, and what it might have been.

The kernel distance is the squared maximum mean discrepancy (Gretton et al. 2012, "A kernel two-sample test") under a
Gaussian kernel as wide as the median distance of the reference's own points, as Chung et al. (2025, "KAD: no more
FAD!", arXiv 2502.15602) recommend for audio: it needs no Gaussian points, few of them suffice, and their number does
not shift it. It is 0 for two sets of one distribution, give or take, and at most 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sonicrnn.levels import Floats

BLOCK = 5  # neighbouring points are alike, so they are drawn together
DRAWS = 200


@dataclass(frozen=True, eq=False)
class Reference:
    """The points that others are compared with, [points, features], the kernel's width, and their own mean kernel."""

    points: Floats
    width: float
    own: float

    def kernel(self, first: Floats, second: Floats) -> Floats:
        """The kernel between all pairs, [first, second], 0..1."""
        return np.asarray(np.exp(-_squared(first, second) / (2.0 * self.width**2)))


def reference(points: Floats) -> Reference:
    """Take at least two points as the reference."""
    squared = _squared(points, points)
    width = math.sqrt(float(np.median(squared[np.triu_indices(len(points), 1)]))) or 1.0
    made = Reference(points, width, 0.0)
    kernel = made.kernel(points, points)
    return Reference(points, width, _mean_of_pairs(kernel, np.ones(len(points))))


@dataclass(frozen=True, eq=False)
class Compared:
    """Points beside a reference: what is needed to weigh them anew."""

    among: Floats  # kernel [points, points]
    across: Floats  # mean kernel of each point with the reference's, [points]
    own: float  # the reference's

    def distance(self, weights: Floats | None = None) -> float:
        """The squared discrepancy, with each point as often as `weights` [points] say; nan for fewer than two points.

        A point is never paired with itself, however often it was drawn: that is what keeps it without bias.
        """
        if weights is None:
            weights = np.ones(len(self.across))
        if np.count_nonzero(weights) < 2:
            return math.nan
        across = float(weights @ self.across / weights.sum())
        return _mean_of_pairs(self.among, weights) + self.own - 2.0 * across


def compare(points: Floats, to: Reference) -> Compared:
    """Points [points, features] beside a reference."""
    return Compared(to.kernel(points, points), to.kernel(points, to.points).mean(1), to.own)


def block_draws(points: int, seed: int = 0) -> Floats:
    """Weights of a bootstrap by blocks (Künsch 1989), [draws, points]: how often each point was drawn."""
    blocks = -(-points // BLOCK)
    drawn = np.random.default_rng(seed).integers(0, blocks, (DRAWS, blocks))
    counts = np.stack([np.bincount(one, minlength=blocks) for one in drawn])  # [draws, blocks]
    return np.repeat(counts, BLOCK, axis=1)[:, :points].astype(np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """The bounds that hold 95 % of the drawn values; nan without any."""
    known = values[~np.isnan(values)]
    return (float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))) if len(known) else (math.nan, math.nan)


def _mean_of_pairs(kernel: Floats, weights: Floats) -> float:
    own = np.square(weights)
    return float((weights @ kernel @ weights - own @ np.diag(kernel)) / (weights.sum() ** 2 - own.sum()))


def _squared(first: Floats, second: Floats) -> Floats:
    squared = np.square(first).sum(axis=1)[:, None] + np.square(second).sum(axis=1) - 2.0 * first @ second.T
    return np.asarray(np.maximum(0.0, squared))
