"""The benchmark of the search: does its line say what the search did?"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import search
from benchmarks.search import Search, row
from sonicrnn.errors import UserError
from tuner.results import Result


def test_a_line_has_pace_start_best_and_growth() -> None:
    results = [
        Result(str(number), "completed", loss, {}, {"memory_mb": 700.0 + 10 * number})
        for number, loss in enumerate((0.9, 0.8, 0.7, 0.75, 0.95))
    ]
    results.append(Result("5", "failed", None, {}, {}, "diverged"))
    made = Search(2, 1, results, seconds=120.0, core_seconds=360.0, chief_mb={0: 300.0, 2: 310.0, 1: 305.0})
    assert row(made) == "| 2 | 1 | 6 | 1 | 2.0 | 3.00 | 3.00 | 0.900 | 0.700 | 700, 740 | 300, 310 |"


def test_trials_that_are_over_are_counted_in_the_table(tmp_path: Path) -> None:
    table = tmp_path / "trials.csv"
    assert search._ended(table) == 0
    table.write_text("trial,status\n0,completed\n1,failed\n2,running\n")
    assert search._ended(table) == 2


def test_a_search_that_fails_says_why() -> None:
    with pytest.raises(UserError, match=r"ended with code 2:\n.*there is no space nowhere"):
        search.search(workers=1, cores=1, trials=1, epochs=1, space="nowhere")
