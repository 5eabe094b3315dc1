"""The kernel distance: without bias, the same as its definition, and drawn anew by blocks."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonicrnn.kernel_distance import BLOCK, DRAWS, block_draws, compare, interval, reference

Floats = npt.NDArray[np.float64]


def points(count: int, seed: int, shift: float = 0.0) -> Floats:
    return np.random.default_rng(seed).standard_normal([count, 5]) + shift


def by_definition(first: Floats, second: Floats, width: float) -> float:
    """Pair by pair."""

    def kernel(one: Floats, other: Floats) -> float:
        return math.exp(-float(np.square(one - other).sum()) / (2 * width**2))

    def among(several: Floats) -> float:
        pairs = [(i, j) for i in range(len(several)) for j in range(len(several)) if i != j]
        return sum(kernel(several[i], several[j]) for i, j in pairs) / len(pairs)

    across = sum(kernel(one, other) for one in first for other in second) / (len(first) * len(second))
    return among(first) + among(second) - 2 * across


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(2, 12), st.floats(-3, 3), st.integers(0, 99))
def test_it_is_what_its_definition_says(few: int, many: int, shift: float, seed: int) -> None:
    first, second = points(few, seed, shift), points(many, seed + 1)
    to = reference(second)
    assert compare(first, to).distance() == pytest.approx(by_definition(first, second, to.width), abs=1e-9)


def test_the_width_is_the_median_distance() -> None:
    line = np.array([[0.0], [1.0], [3.0]])  # 1, 2 and 3 apart
    assert reference(line).width == pytest.approx(2.0)
    assert reference(np.zeros([4, 2])).width == 1.0  # points that are all one


@pytest.mark.parametrize("count", [5, 20, 60])
def test_the_number_of_points_does_not_shift_it(count: int) -> None:
    to = reference(points(300, 0))
    found = [compare(points(count, seed), to).distance() for seed in range(1, 81)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(len(found))
    assert min(found) < 0 < max(found)


def test_it_rises_with_the_distance() -> None:
    to = reference(points(200, 0))
    found = [compare(points(60, 1, shift), to).distance() for shift in (0.0, 0.5, 1.0, 2.0, 8.0)]
    assert found == sorted(found)
    assert found[0] < 0.02
    assert found[-1] > 1


def test_a_point_drawn_twice_is_not_compared_with_itself() -> None:
    to, few = reference(points(30, 0)), points(4, 1)
    drawn = compare(few, to)
    assert drawn.distance(np.ones(4)) == drawn.distance()
    assert drawn.distance(3 * np.ones(4)) == pytest.approx(drawn.distance())
    assert math.isnan(drawn.distance(np.array([5.0, 0, 0, 0])))
    left_out = compare(few[1:], to)
    assert drawn.distance(np.array([0.0, 1, 1, 1])) == pytest.approx(left_out.distance())


def test_blocks_of_neighbours_are_drawn_together() -> None:
    draws = block_draws(23)
    assert draws.shape == (DRAWS, 23)
    for start in range(0, 23, BLOCK):
        block = draws[:, start : start + BLOCK]
        assert (block == block[:, :1]).all()
    assert draws[:, :20].mean() == pytest.approx(1.0, abs=0.1)
    assert (block_draws(23) == draws).all()


def test_the_interval_holds_the_middle() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.array([math.nan, 2.0, 2.0])) == (2.0, 2.0)
    assert all(map(math.isnan, interval(np.array([math.nan]))))
