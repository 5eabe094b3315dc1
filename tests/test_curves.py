"""How cost grows: the benchmark's exponents, its table, and a point that is really measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import curves
from benchmarks.curves import CURVES, Curve, growth, table
from sonicrnn.config import load_settings
from sonicrnn.errors import UserError


def test_growth_is_the_exponent() -> None:
    amounts = [1.0, 2.0, 8.0]
    assert growth(amounts, [3.0, 6.0, 24.0]) == pytest.approx([1.0, 1.0])
    assert growth(amounts, [1.0, 4.0, 4.0]) == pytest.approx([2.0, 0.0])


def test_every_value_of_every_curve_is_settings() -> None:
    for curve in CURVES.values():
        made = {str(load_settings("configs/gru.yaml", curve.overrides(value))) for value in curve.values}
        assert len(made) == (len(curve.values) if curve.settings else 1)


def test_the_table_has_each_value_its_cost_and_its_growth() -> None:
    points = {24: {"amount": 24.0, "step": 0.1}, 48: {"amount": 48.0, "step": 0.2}}
    lines = table(CURVES["sequence"], points).splitlines()
    assert [line.count("|") for line in lines] == [4] * 4
    assert lines[2:] == ["| 24 | 0.1 |  |", "| 48 | 0.2 | 1.00 |"]


def test_a_curve_of_one_value_is_refused() -> None:
    with pytest.raises(UserError, match="take 4"):
        curves.main(["--of", "batch", "--most", "2"])


@pytest.mark.slow
def test_points_are_measured(tmp_path: Path) -> None:
    small = ["data={sequence_length: {0}, shift: 8192, batch_size: 2}", "model.front=[8]", "model.widths=[8]"]
    point = curves._measure_here(Curve("sequence", "frames", (8,), small), 8)
    assert point["amount"] == 8
    assert 0 < point["step"] < 60
    song = curves._song(tmp_path, 1)
    assert song["amount"] == 1
    assert 0 < song["delivered"] < song["preparing"] < 600
