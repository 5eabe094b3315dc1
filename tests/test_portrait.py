"""Portraits: what a take of a song is measured by."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.portrait import MOST, Portrait, portrait, usual_pulsations
from sonicrnn.takes import GOOD

RATE = 8000
LITTLE = 0.5 * GOOD
Samples = npt.NDArray[np.float32]


def sound(seconds: float, per_minute: float = 20.0, level: float = 0.1, tone: float = 0.9, seed: int = 1) -> Samples:
    """A tone in noise that swells and fades, and a note that starts every second."""
    time = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(seed).standard_normal(len(time))
    notes = 1.0 + 4.0 * np.exp(-20.0 * (time % 1.0))
    both = tone * np.sqrt(2) * np.sin(2 * np.pi * 440 * time) + (1 - tone) * noise
    swell = 1.0 + 0.7 * np.cos(2 * np.pi * per_minute / 60 * time)
    whole = both * swell * notes
    return (level * whole / np.sqrt(np.mean(np.square(whole)))).astype(np.float32)


@pytest.fixture(scope="module")
def song() -> Portrait:
    return portrait(sound(120), sound(20, seed=5), RATE)


def test_a_song_is_told_in_its_units(song: Portrait) -> None:
    assert song.level == pytest.approx(-20.0, abs=0.1)
    assert song.pulsations == pytest.approx([20.0], rel=0.02)
    assert song.onsets == pytest.approx(1.0, abs=0.1)
    assert 0.0 < song.flatness < 0.1
    assert song.trend < 3.0


def test_more_of_the_same_has_nothing_to_complain_of(song: Portrait) -> None:
    more = sound(60, seed=2)
    assert song.unlike(more, RATE) < LITTLE
    assert song.unlike(more[: 20 * RATE], RATE) < LITTLE


@pytest.mark.parametrize(("per_second", "worse"), [(1.08, 0.0), (1.2, GOOD), (1.5, 2 * MOST - 1), (3.0, 2 * MOST - 1)])
def test_note_starts_must_be_as_many(song: Portrait, per_second: float, worse: float) -> None:
    """Counts in units of what they may be off by."""
    other = dataclasses.replace(song, onsets=song.onsets / per_second)
    more = sound(60, seed=2)
    found = other.unlike(more, RATE) - dataclasses.replace(song, onsets=0.0).unlike(more, RATE)
    assert worse <= found <= worse + GOOD


@pytest.mark.parametrize(
    "other",
    [
        {"per_minute": 31.0},
        {"level": 0.2},
        {"tone": 0.5},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_off_counts_and_more_of_it_counts_more(song: Portrait, other: dict[str, float]) -> None:
    wrong = sound(60, **other)
    assert song.unlike(wrong, RATE) > 0.0
    assert song.unlike(sound(60, **(other | {"level": 0.5})), RATE) > song.unlike(wrong, RATE)


def test_a_piece_that_fades_is_complained_of(song: Portrait) -> None:
    fading = sound(60) * np.linspace(1.4, 0.4, 60 * RATE, dtype=np.float32)
    assert song.unlike(fading, RATE) > song.unlike(sound(60), RATE)


def test_no_figure_counts_for_more_than_its_most(song: Portrait) -> None:
    assert song.unlike(np.zeros(60 * RATE, np.float32), RATE) <= 8 * MOST
    assert song.unlike(np.zeros(60 * RATE, np.float32), RATE) > 3 * MOST


def test_a_song_of_two_tempi_may_be_gone_on_with_in_either() -> None:
    song = portrait(np.concatenate([sound(150, 12.0), sound(150, 20.0)]), sound(20, seed=5), RATE)
    assert sorted(song.pulsations) == pytest.approx([12.0, 20.0], rel=0.03)
    assert song.unlike(sound(60, 12.0, seed=3), RATE) < LITTLE
    assert song.unlike(sound(60, 20.0, seed=3), RATE) < LITTLE
    assert song.unlike(sound(60, 15.0, seed=3), RATE) > GOOD


@pytest.mark.parametrize(("own", "other"), [(24.0, 12.0), (12.0, 24.0), (12.0, 48.0)])
def test_of_a_pulsation_and_its_multiple_the_songs_own_is_liked_better(
    song: Portrait, own: float, other: float
) -> None:
    """Either will do, where no take has the song's own: a bar is heard in twos by chance."""
    song = dataclasses.replace(song, pulsations=[own, other], onsets=0.0)
    assert song.unlike(sound(60, own, seed=3), RATE) < LITTLE
    lost = song.unlike(sound(60, 17.0, seed=3), RATE)
    assert GOOD < song.unlike(sound(60, other, seed=3), RATE) < 2 * GOOD < lost


def test_the_pulsation_of_the_whole_comes_first_though_more_of_its_minutes_have_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where the strongest swell of few minutes is that of all."""
    samples = np.zeros(300 * RATE, np.float32)
    others = iter([12.0, 24.0, 12.0, 12.0] * 3)
    whole = 24.3

    def rate_of(part: Samples, rate: int) -> float:
        return whole if len(part) == len(samples) else next(others)

    monkeypatch.setattr("sonicrnn.portrait.pulsation_rate", rate_of)
    assert usual_pulsations(samples, RATE) == [24.0, 12.0]
    others, whole = iter([12.0, 24.0, 12.0, 12.0] * 3), 31.0
    assert usual_pulsations(samples, RATE) == [12.0, 24.0]
    others, whole = iter([12.0, 24.0, 12.0, 12.0] * 3), 0.0
    assert usual_pulsations(samples, RATE) == [12.0, 24.0]


def test_from_the_best_on_nothing_more_is_told(song: Portrait, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = sound(60, 31.0, seed=3)
    whole = song.unlike(lost, RATE)
    assert song.unlike(lost, RATE, whole + 0.1) == whole
    monkeypatch.setattr("sonicrnn.portrait.spectral_flatness", lambda samples, rate: pytest.fail("told"))
    monkeypatch.setattr("sonicrnn.portrait.onset_rate", lambda samples, rate: pytest.fail("told"))
    assert GOOD <= song.unlike(lost, RATE, GOOD) <= whole


def test_a_pulsation_that_hangs_on_the_last_second_is_none_to_rely_on(
    song: Portrait, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = 60 * RATE
    monkeypatch.setattr("sonicrnn.portrait.pulsation_rate", lambda part, rate: 20.0 if len(part) == whole else 3.0)
    assert song.unlike(sound(60), RATE) > GOOD
    monkeypatch.setattr("sonicrnn.portrait.pulsation_rate", lambda part, rate: 20.0)
    assert song.unlike(sound(60), RATE) == 0.0


def test_silence_has_a_portrait() -> None:
    silent = portrait(np.zeros(10 * RATE, np.float32), np.zeros(RATE, np.float32), RATE)
    assert (silent.pulsations, silent.onsets) == ([], 0.0)
    assert np.isfinite(silent.unlike(sound(30), RATE))
