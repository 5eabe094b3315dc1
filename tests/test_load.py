"""The load test in small: nothing is lost or mixed up while versions change and the server comes and goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.clients import nearest
from benchmarks.load import drive, wrongs
from tests.served import export_small


@pytest.mark.slow
@pytest.mark.alone
def test_nothing_is_lost_or_mixed_up_under_load(tmp_path: Path, small_song: npt.NDArray[np.float32]) -> None:
    tally = drive(export_small(tmp_path / "my", small_song), clients=10, minutes=0.7, after=5)
    assert wrongs(tally) == []
    for what in (("REST", "200"), ("gRPC", "OK"), ("stream", "begun"), ("stream", "4503")):
        assert tally.codes[what] > 0, tally.codes
    assert sum(count for (_, code), count in tally.codes.items() if code == "no server") > 0


def test_whose_a_piece_is_is_told_by_its_beginning() -> None:
    one, other = (np.arange(size, dtype="<i2").tobytes() for size in (100, 200))
    begins = {1: one, 2: np.full(100, 50, "<i2").tobytes()}
    assert nearest(other, begins) == 1
    assert nearest(np.full(300, 51, "<i2").tobytes(), begins) == 2
