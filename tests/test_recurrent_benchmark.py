"""The benchmark of the recurrent layers: do its columns do the same work?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recurrent
from benchmarks.recurrent import WAITING, Row, keras_step, our_step
from sonicrnn.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "carried"), [("gru", True), ("lstm", False)])
def test_a_step_of_ours_learns_what_a_step_of_keras_learns(kind: str, carried: bool) -> None:
    row = Row(kind, 8, 5, 2, carried)
    losses = [[step() for _ in range(4)] for step in (our_step(row, threads=2), keras_step(row, threads=2))]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0]


def test_carried_state_is_what_the_next_step_begins_with() -> None:
    losses = []
    for carried in (True, False):
        step = our_step(Row("gru", 8, 5, 2, carried), threads=1)
        losses.append([step() for _ in range(2)])
    assert losses[0][0] == losses[1][0]
    assert losses[0][1] != losses[1][1]


@pytest.mark.slow
def test_peers_are_measured_in_processes_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    seconds, memory = recurrent._measured(Row("gru", 40, 100, 128, carried=True), ["ours"], threads=1, turns=1)
    assert 0.01 < seconds["ours"] < 100
    assert memory["ours"] > 50


def test_a_peer_that_ends_is_told_of() -> None:
    with pytest.raises(UserError, match="has ended"):
        recurrent._measured(Row("none", 40, 100, 128, carried=True), ["ours"], threads=1, turns=1)


def test_products_are_counted_by_hand() -> None:
    forward_and_backward = 3 * (3 * (199 * 199 + 256 * (199 + 256)) + 256 * 40)
    frames = 2 * 3 * 199 * 40  # and their weights
    row = Row("gru", 40, 100, 128, carried=True)
    assert row.products == 2 * 100 * 128 * (forward_and_backward + frames)


def test_without_pytorch_it_says_so_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(row: Row, peers: list[str], threads: int, turns: int) -> tuple[dict[str, float], dict[str, float]]:
        assert peers == ["ours", "Keras", WAITING]
        at_the_peak.append((row.products - row.waiting) / 1e11)
        return {"ours": 1.0, "Keras": 2.0, WAITING: 0.25}, {"ours": 10.0, "Keras": 11.0, WAITING: 3.0}

    at_the_peak: list[float] = []
    monkeypatch.setattr(recurrent.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(recurrent, "_peak", lambda threads: 1e11)
    monkeypatch.setattr(recurrent, "_measured", without)
    recurrent.main(["--rows", "40x100x128", "--kinds", "gru", "--threads", "1"])
    said = capsys.readouterr().out
    assert "PyTorch is missing" in said
    assert "| 1.000 | 2.000 | – | 2.00 × | – |" in said
    assert f"| {0.25 + at_the_peak[0]:.3f} | 10, 11 |" in said


def test_memory_is_of_the_process_itself_not_of_the_one_that_started_it() -> None:
    held = np.ones(25_000_000)  # 200 MB
    said = "from benchmarks.recurrent import _highest; print(_highest())"
    made = subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True, cwd=ROOT)
    assert float(made.stdout) < recurrent._highest() - held.nbytes / 1e6 * 0.8
