"""Temperatures that change within a piece: each moment has its own, and the table says what was measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import temperatures
from benchmarks.temperatures import HIGH, LOW, PIECES, SCHEDULES, SECONDS


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_moment_has_a_temperature_of_the_range(name: str) -> None:
    found = [SCHEDULES[name](seconds) for seconds in np.arange(0, SECONDS, 0.5)]
    assert min(found) >= LOW
    assert max(found) <= HIGH + 1e-9
    assert ("throughout" in name) == (len(set(found)) == 1)


def test_each_block_is_drawn_at_its_own_temperature_and_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a model whose draw is its temperature."""
    rate, step = 1000, 100
    free_run = SimpleNamespace(
        recall=object(),
        encode=lambda samples: samples,
        listen=lambda prime: (tf.zeros([PIECES, 1]), tf.zeros([PIECES])),
        draw=lambda parameters, states, first, count, temperature, seeds: (
            tf.repeat(temperature[:, None], count, 1),
            parameters,
            states + tf.cast(count, tf.float32),
        ),
    )
    generator: Any = SimpleNamespace(
        free_run=free_run,
        encoding=SimpleNamespace(sample_rate=rate, step=step, overlap=150),
        primes=lambda part, seeds: np.zeros([len(seeds), 10], np.float32),
    )
    monkeypatch.setattr("sonicrnn.trial_runs.audio_of", lambda free_run, drawn, contrast: drawn.numpy())
    drawn = temperatures.made(generator, lambda seconds: seconds)
    assert drawn.shape == (PIECES, 602)  # a minute and the edges
    np.testing.assert_allclose(drawn[0], np.floor(np.arange(602) / 5) * 0.5)


def test_the_table_says_what_was_measured() -> None:
    figures = {"score": 98.4, "told": 61.0, "flatness": 1.2, "onsets": 0.98, "beat": None, "copied": 2.25}
    lines = temperatures.table({"my-run": {"rising": figures}}).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][2:] == list(temperatures.HEADINGS)
    assert cells[2] == ["my-run", "rising", "98", "61", "1.20", "0.98", "–", "2.2"]


def test_the_page_has_a_place_for_it() -> None:
    text = Path("docs/explored.md").read_text()
    assert all(mark in text for mark in temperatures.MARKS)
