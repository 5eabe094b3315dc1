"""The overall score: 100 for held-out audio, 0 for noise, between them in order, and capped for what is no music."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.judge import Cap, Judge, Score, make_judge
from sonicrnn.levels import level
from sonicrnn.spectrum import long_term_spectrum
from sonicrnn.yardstick import noise_like
from tests.test_quality import RATE, music

Floats = npt.NDArray[np.float64]
SECONDS = 20


class Case:
    """A song, and the judge that looked at it: by log-mel alone, which is fast."""

    def __init__(self) -> None:
        song = music(100, seed=1)
        self.training, self.held_out = song[: 66 * RATE], song[66 * RATE :]
        self.judge = make_judge(self.training, self.held_out, RATE, window_seconds=SECONDS, ear=None)
        self.real = music(SECONDS, seed=2)

    def noise(self, shape: Floats, samples: int, dbfs: float, seed: int = 9) -> Floats:
        return noise_like(shape, samples, RATE, dbfs, np.random.default_rng(seed))

    @property
    def spectrum(self) -> Floats:
        return long_term_spectrum(self.training, RATE)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def caps(score: Score) -> dict[str, Cap]:
    return {cap.name: cap for cap in score.caps}


def test_held_out_audio_is_100(case: Case) -> None:
    score = case.judge.score_held_out()
    assert score.value == score.likeness == 100
    assert all(seen.place == pytest.approx(1.0) for seen in score.seen.values())
    assert 50 < score.low <= score.high == 100
    assert not score.with_ear
    assert set(score.seen) == {"log_mel_sound", "log_mel_movement"}


def test_noise_is_0_whatever_its_colour(case: Case) -> None:
    hertz = np.maximum(20.0, np.fft.rfftfreq(2 * len(case.spectrum) - 2, 1 / RATE))
    for shape in (np.ones_like(hertz), case.spectrum, 1 / hertz, 1 / hertz**2):
        assert case.judge.score(case.noise(shape, SECONDS * RATE, level(case.training, RATE))).value < 5


def test_noise_that_is_mixed_in_lowers_it_step_by_step(case: Case) -> None:
    for shape in (np.ones_like(case.spectrum), case.spectrum):
        noise = case.noise(shape, len(case.real), level(case.real, RATE))
        values = [case.judge.score(case.real + 10 ** (-snr / 20) * noise).value for snr in (99, 20, 10, 0, -20)]
        assert values == sorted(values, reverse=True), values
        assert values[0] > 75
        assert values[-1] < 10


def test_the_wrong_order_costs_something_and_other_music_more(case: Case) -> None:
    random, grain = np.random.default_rng(1), RATE // 10
    starts = random.integers(0, len(case.training) - grain, SECONDS * 10)
    grains = np.concatenate([case.training[start : start + grain] for start in starts])
    time = np.arange(SECONDS * RATE) / RATE
    other = 0.1 * np.sin(2 * np.pi * 440 * time * (1 + (time // 0.7) % 5 / 8)) * np.exp(-((time / 0.7) % 1) * 3)
    real, mixed, foreign = (case.judge.score(one) for one in (case.real, grains, other))
    assert real.value > mixed.likeness > foreign.value
    assert mixed.seen["log_mel_movement"].place < 0.8 * real.seen["log_mel_movement"].place


def test_copies_are_capped_by_how_much_is_copied(case: Case) -> None:
    passage = case.training[31 * RATE : (31 + SECONDS) * RATE]
    half = np.concatenate([passage[: len(passage) // 2], case.real[len(passage) // 2 :]])
    whole, some, real = (case.judge.score(one) for one in (passage, half, case.real))
    assert whole.likeness > 90
    assert whole.value < 10
    assert whole.capped_by == some.capped_by == "copied"
    assert caps(some)["copied"].share == pytest.approx(0.5, abs=0.06)
    assert 40 < some.value < 65
    assert real.capped_by is None
    assert real.high <= 100


def test_loops_hums_and_near_silence_are_capped(case: Case) -> None:
    loop = np.tile(case.real[: 5 * RATE], 4)
    score = case.judge.score(loop)
    assert score.value < 10
    assert score.capped_by == "repeats itself"
    assert caps(score)["repeats itself"].share > 0.9
    hum = np.tile(case.real[: RATE // 20], 20 * SECONDS)
    assert caps(case.judge.score(hum))["repeats itself"].share == 1.0
    assert case.judge.score(10 ** (-40 / 20) * case.real).value == 0
    assert case.judge.score(np.zeros(SECONDS * RATE)).value == 0
    fallen = np.where(np.arange(len(case.real)) < 10 * RATE, case.real, 0)
    assert caps(case.judge.score(fallen))["next to silent"].share == pytest.approx(0.5, abs=0.05)
    assert caps(case.judge.score(0.5 * case.real))["next to silent"].share < 0.1


def test_what_the_song_does_itself_is_allowed() -> None:
    """A song of one loop: going on with it is no fault."""
    song = np.tile(music(8, seed=4), 12)
    judge = make_judge(song[: 60 * RATE], song[60 * RATE :], RATE, window_seconds=20, ear=None)
    assert judge.usual["copied"] > 0.9
    assert judge.usual["repeats itself"] > 0.9
    score = judge.score(song[3 * RATE : 23 * RATE])
    assert score.value == score.likeness > 80


@pytest.mark.parametrize(
    ("share", "usual", "most"), [(0, 0, 100), (0.3, 0.3, 100), (0.6, 0.2, 50), (1, 0.2, 0), (1, 1, 100)]
)
def test_a_cap_takes_in_proportion(share: float, usual: float, most: float) -> None:
    assert Cap("copied", share, usual).most == pytest.approx(most)


def test_short_pieces_and_songs_that_are_noise(case: Case) -> None:
    assert 0 <= case.judge.score(case.real[: 3 * RATE]).value <= 100
    with pytest.raises(ValueError, match=r"2\.0 s are too short to score"):
        case.judge.score(case.real[: 2 * RATE])
    noise = np.random.default_rng(0).standard_normal(60 * RATE) / 10
    judge = make_judge(noise[: 40 * RATE], noise[40 * RATE :], RATE, ear=None)
    assert all(0 <= found.low <= found.high <= 100 or math.isnan(found.value) for found in [judge.score(case.real)])


def test_the_same_input_gives_the_same_score(case: Case) -> None:
    again = make_judge(case.training, case.held_out, RATE, window_seconds=SECONDS, ear=None)
    assert again.score(case.real) == case.judge.score(case.real)


def test_the_pretrained_network_joins_in() -> None:
    song = music(30, seed=1)
    judge: Judge = make_judge(song[: 18 * RATE], song[18 * RATE :], RATE)
    score = judge.score(music(8, seed=2))
    assert score.with_ear
    assert list(score.seen) == ["network_sound", "network_movement", "log_mel_sound", "log_mel_movement"]
    random = np.random.default_rng(3)
    noise = judge.score(noise_like(long_term_spectrum(song, RATE), 8 * RATE, RATE, level(song, RATE), random))
    assert score.value > 50 > 10 > noise.value
    assert score.frechet[0] < noise.frechet[0]
