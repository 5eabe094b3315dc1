"""Form: whether a long piece is stuck, drifts, and turns to something else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.form import MOMENT_SECONDS, Form, form, moments, turns, unlikeness
from sonicrnn.levels import level

Floats = npt.NDArray[np.float64]
RATE = 8000


def scattered(count: int, seed: int = 1, spread: float = 4.0) -> Floats:
    """Moments without any form."""
    return -40.0 + spread * np.random.default_rng(seed).standard_normal((count, 64))


def in_sections(count: int, length: int) -> Floats:
    """Two sections that take turns."""
    offset = np.where(np.arange(count) // length % 2, 10.0, 0.0)
    return scattered(count, spread=1.0) + offset[:, None] * np.linspace(-1, 1, 64)


def test_unlikeness_is_the_distance_in_decibels() -> None:
    of = scattered(5)
    apart = unlikeness(of)
    assert apart[1, 3] == pytest.approx(np.sqrt(np.mean(np.square(of[1] - of[3]))))
    np.testing.assert_allclose(apart, apart.T)
    np.testing.assert_allclose(np.diag(apart), 0.0, atol=1e-5)


def test_moments_without_form_neither_drift_nor_turn() -> None:
    found = form(scattered(300))
    assert found.variety == pytest.approx(4.0 * np.sqrt(2), rel=0.02)
    assert found.drift == pytest.approx(1.0, abs=0.02)
    assert found.turns == 0.0


def test_what_drifts_is_told() -> None:
    away = scattered(300) + np.linspace(0, 12, 300)[:, None]
    assert form(away).drift > 1.3


def test_a_drift_there_and_back_is_none() -> None:
    """Returning to what was is what songs do."""
    wave = scattered(300) + 6 * np.sin(np.arange(300) * 2 * np.pi / 75)[:, None]
    assert form(wave).drift < 1.1


def test_every_turn_is_found_where_it_is() -> None:
    of = in_sections(200, 25)
    found = turns(unlikeness(of), 2.0)
    assert found == [25, 50, 75, 100, 125, 150, 175]
    assert form(of).turns == pytest.approx(7 / (200 * MOMENT_SECONDS / 60))


def test_what_is_stuck_has_no_variety_and_no_turns_by_the_songs_measure() -> None:
    song = form(in_sections(200, 25))
    stuck = form(scattered(200, spread=0.5), song.variety)
    assert stuck.variety < 0.3 * song.variety
    assert stuck.turns == 0.0


def test_silence_and_one_sound_have_a_form() -> None:
    assert form(np.full((60, 64), -80.0)) == Form(0.0, 1.0, 0.0)


def test_moments_are_two_seconds_each_at_the_songs_level() -> None:
    time = np.arange(130 * RATE) / RATE
    tone = 0.2 * np.sin(2 * np.pi * np.where(time < 64, 300, 1200) * time)
    of = moments(tone, RATE, level(tone, RATE), -90.0)
    assert of.shape == (65, 64)
    loud = of.argmax(1)
    assert len(set(loud[:31])) == len(set(loud[33:])) == 1
    assert loud[0] < loud[-1]
    np.testing.assert_allclose(moments(0.5 * tone, RATE, level(tone, RATE), -90.0), of, atol=0.01)
