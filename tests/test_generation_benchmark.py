"""The benchmark of the generation: do its loops do the same work, and does its table say what it measured?"""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import generation
from benchmarks.generation import keras_loop, our_loop, seeds_generator
from sonicrnn.config import load_settings

SMALL = ["frames.frame_length=20", "model.widths=[6, 5]"]


def test_the_loop_of_plain_keras_begins_with_the_frame_that_ours_does() -> None:
    """And with the others until the window forgets what the carried state does not."""
    generator = seeds_generator(load_settings(generation.SEEDS_CONFIG, SMALL))
    window = np.random.default_rng(1).uniform(-0.3, 0.3, [30, 20]).astype(np.float32)
    ours, loops = our_loop(generator)(window, 3), keras_loop(generator)(window, 3)
    np.testing.assert_allclose(ours[0], loops[0], atol=1e-5)
    np.testing.assert_allclose(ours, loops, atol=1e-2)


def test_a_window_slides_by_a_frame() -> None:
    """A model that predicts the sum of all that it reads."""
    made = generation._slide(lambda frames: np.cumsum(frames, 1), np.array([[1.0], [2.0]]), 4)
    np.testing.assert_array_equal(made[:, 0], [3, 5, 8, 13])


def test_it_tells_what_was_measured_and_that_pytorch_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def seconds(loops: list[str], turns: int) -> dict[str, float]:
        assert loops == ["`model.predict`"]
        return {"ours": 0.001, "`model.predict`": 0.08, "frames": 50}

    monkeypatch.setattr(generation.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(generation, "take_one_core", lambda: None)
    monkeypatch.setattr(generation, "_of_run", lambda run, turns: [(f"one piece of {run}", "70 ×", "60 ×")])
    monkeypatch.setattr(generation, "_seeds_seconds", seconds)
    generation.main(["runs/my"])
    said = capsys.readouterr().out
    assert "| one piece of runs/my | 70 × | 60 × |" in said
    assert "PyTorch is missing" in said
    assert "| a loop of `model.predict` | 80.00 | 80 × | 50 × |" in said


def test_speeds_are_of_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = seeds_generator(load_settings(generation.SEEDS_CONFIG, SMALL))
    primes = np.random.default_rng(1).uniform(-0.3, 0.3, [16, 4000]).astype(np.float32)
    monkeypatch.setattr(generation, "_primes", lambda generator, seeds: primes[: len(seeds)])
    monkeypatch.setattr(generation, "BLOCK_SECONDS", 0.2)
    block = generation._blocks(generator, 2)
    assert block() == pytest.approx(2 * 0.2, abs=0.01)
    speeds = generation._speeds(generator, 2)
    assert 0 < speeds[1] < 1e4
    assert 0 < speeds[16] < 1e5
    assert generation._read_bytes(generator) == 4 * generator.free_run.model.count_params()


def test_the_limit_of_the_memory_is_told() -> None:
    assert 1e8 < generation._bandwidth(4_000_000) < 1e13
