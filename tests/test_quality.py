"""A piece beside its song: real audio scores best, noise worst, and the failures of free runs are named."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal

from sonicrnn.distances import NAMES as LOG_MEL
from sonicrnn.distances import at_level
from sonicrnn.levels import level
from sonicrnn.quality import evaluate
from sonicrnn.scores import (
    COLOURED,
    COPY,
    FIGURES,
    FRAMES,
    HELD_OUT,
    NOISES,
    SILENCE,
    WHITE,
    Row,
    Scores,
    as_json,
    table,
)
from sonicrnn.spectrum import long_term_spectrum
from sonicrnn.windows import spread
from sonicrnn.yardstick import noise_like

RATE = 8000
HOP = 128
SECONDS = 20
Floats = npt.NDArray[np.float64]


def music(length: float, seed: int) -> Floats:
    """Chords that change every 3 s, pulsating 20 times a minute, under notes at random moments: about −20 dBFS."""
    random, time = np.random.default_rng(seed), np.arange(round(length * RATE)) / RATE
    roots = random.choice([98.0, 110.0, 123.5, 130.8, 146.8, 164.8], 1 + round(length / 3))
    root = roots[(time / 3).astype(int)]
    phase = 2 * np.pi * np.cumsum(root) / RATE
    pulse = 0.55 + 0.45 * np.sin(2 * np.pi * time / 3)
    samples = 0.05 * pulse * sum(np.sin(k * phase) / k for k in (1, 2, 3, 4)) + 0.001 * random.standard_normal(
        len(time)
    )
    for start in np.arange(0, length - 1.5, 0.5) + random.choice([0, 0.25], len(np.arange(0, length - 1.5, 0.5))):
        note = np.arange(round(random.uniform(0.2, 0.9) * RATE)) / RATE
        hertz = 220 * 2 ** (random.integers(0, 25) / 12)
        tone = sum(np.sin(2 * np.pi * k * hertz * note) / k**1.5 for k in (1, 2, 3)) * np.exp(-6 * note)
        first = round(start * RATE)
        samples[first : first + len(note)] += random.uniform(0.05, 0.15) * tone * (1 - note / note[-1])
    return samples


class Case:
    """A song, its parts, and pieces that fail in one way each."""

    def __init__(self) -> None:
        song = music(160, seed=1)
        self.training, self.held_out = song[: 110 * RATE], song[110 * RATE : 160 * RATE]
        real, window = music(SECONDS, seed=2), SECONDS * RATE
        long = music(4 * SECONDS, seed=3)
        random = np.random.default_rng(0)
        noise = noise_like(long_term_spectrum(self.training, RATE), window, RATE, level(self.training, RATE), random)
        fade = 10 ** (-np.arange(window) / RATE * 4 / 20)
        fall = np.where(np.arange(window) < 5 * RATE, real, 0.0)
        primed = real.copy()
        primed[: 4 * RATE] = self.held_out[7 * RATE + 99 : 11 * RATE + 99]
        self.pieces = {
            "real": real,
            "too fast": scipy.signal.resample_poly(long, 1, 4),
            # A whole example where a frame belongs: every frame stands for four.
            "skipping": np.concatenate([long[start : start + 500] for start in range(0, len(long), 2000)]),
            "fading": real * fade,
            "falls silent": fall,
            "primed": primed,
            "copied": np.concatenate(
                [real[: 6 * RATE], self.training[63 * RATE : 75 * RATE], real[6 * RATE : 8 * RATE]]
            ),
            "clipped and off centre": np.clip(12 * real + 0.3, -1, 1),
            "ticking": real + np.repeat(0.02 * random.standard_normal(window // HOP), HOP),
            "noise": noise,
            "hum": np.tile(real[3 * RATE : 3 * RATE + 400], window // 400),
            **{f"noise {under}": _level(real + 10 ** (-under / 20) * noise) for under in (20, 10, 0)},
        }
        self.scores = evaluate(
            self.pieces,
            self.training,
            self.held_out,
            RATE,
            hop=HOP,
            frames=self.held_out[: 30 * RATE - 77],
            song_seconds=0.25,
            ear=None,
        )

    def text(self, name: str) -> str:
        return " | ".join(verdict.text for verdict in self.scores.verdicts[name])


def _level(samples: Floats) -> Floats:
    return at_level(samples, RATE, -22, 100)


@pytest.fixture(scope="module")
def case() -> Case:
    return Case()


def places(scores: Scores, name: str) -> dict[str, float]:
    rows = [scores.row(key) for key in LOG_MEL]
    return {row.figure.key: row.place({**row.pieces, **row.references}[name]) for row in rows}


def test_held_out_audio_lies_at_0_noise_at_1_or_more(case: Case) -> None:
    assert all(place == 0 for place in places(case.scores, HELD_OUT).values())
    for key in LOG_MEL:
        row = case.scores.row(key)
        assert min(row.place(row.references[name]) for name in NOISES) == pytest.approx(1.0)
        assert row.references[SILENCE] > row.references[HELD_OUT]
    assert all(place < 0.2 for place in places(case.scores, FRAMES).values())


def test_music_of_the_kind_is_near_real_and_noise_moves_it_away(case: Case) -> None:
    series = [places(case.scores, name) for name in ("real", "noise 20", "noise 10", "noise 0", "noise")]
    for key in LOG_MEL:
        values = [place[key] for place in series]
        assert values == sorted(values), f"{key}: {values}"
        assert values[0] < 0.3
        assert values[-1] == pytest.approx(1.0, abs=0.1)


def test_good_news_about_a_good_piece(case: Case) -> None:
    assert all(verdict.good for verdict in case.scores.verdicts["real"]), case.text("real")
    assert "level holds" in case.text("real")
    assert "in every log-mel figure nearer to held-out real audio than to any noise" in case.text("real")
    assert "the song's pace" in case.text("real")
    assert "copies nothing" in case.text("real")


def test_a_piece_played_too_fast_is_told_so(case: Case) -> None:
    assert case.scores.row("speed").pieces["too fast"] == pytest.approx(4.0, rel=0.1)
    assert "too fast: " in case.text("too fast")
    assert case.scores.row("speed").pieces["skipping"] == pytest.approx(4.0, rel=0.15)
    assert "too fast" in case.text("skipping")


def test_a_fade_to_silence_is_told(case: Case) -> None:
    assert case.scores.row("trend").pieces["fading"] == pytest.approx(-240, abs=15)
    assert "fades: -2" in case.text("fading")
    assert "fades" in case.text("falls silent")
    assert "silent for 15" in case.text("falls silent")
    assert "level holds" not in case.text("fading") + case.text("falls silent")


def test_the_prime_inside_the_output_is_told(case: Case) -> None:
    # 110 s of training part, 7 s into what follows, 0.25 s trimmed from the file.
    assert "copies 4 s of the song at 1:57 (at 0:00 of the piece)" in case.text("primed")
    passage = case.scores.originality["primed"].passages[0]
    assert passage.song_seconds == pytest.approx(117.26, abs=0.05)


def test_copied_seconds_are_told_with_their_place(case: Case) -> None:
    assert "copies 12 s of the song at 1:03 (at 0:06 of the piece)" in case.text("copied")
    assert case.scores.row("copied").pieces["copied"] == pytest.approx(12, abs=1.1)
    assert case.scores.row("copied").references[COPY] > SECONDS - 1
    assert case.scores.row("copied").references[HELD_OUT] < 5


def test_the_overall_score_leads_and_has_its_references(case: Case) -> None:
    row = case.scores.row("score")
    assert case.scores.rows[0] is row
    assert row.references[HELD_OUT] == 100
    assert row.references[WHITE] < 5
    assert row.references[COLOURED] < 5
    assert row.references[SILENCE] == 0
    assert row.references[COPY] < 10
    assert row.references[FRAMES] > 80
    series = [row.pieces[name] for name in ("real", "noise 20", "noise 10", "noise 0", "noise")]
    assert series == sorted(series, reverse=True)
    low, high = row.intervals["real"]
    assert low <= row.pieces["real"] <= high
    assert case.text("real").startswith(f"overall score {row.pieces['real']:.0f} ({low:.0f} to {high:.0f}); 0 is noise")
    assert "% of it copied (usual for the song: up to" in case.text("copied")
    assert not case.scores.verdicts["noise"][0].good
    assert "by log-mel alone" in table(case.scores)


def test_how_often_seconds_are_told_stands_beside_real_audio_with_both_intervals(case: Case) -> None:
    row = case.scores.row("told")
    for name, share in (("real", row.pieces["real"]), (HELD_OUT, row.references[HELD_OUT])):
        low, high = row.intervals[name]
        assert 0 <= low < share < high <= 1
    assert row.pieces["noise"] > 0.95
    assert re.search(r"a classifier tells \d+ % .*\(\d+ to \d+\), of held-out real audio \d+ %", case.text("real"))
    assert re.search(r"\d+ \[\d+…\d+\]", next(line for line in table(case.scores).splitlines() if "told from" in line))


def test_copying_is_judged_by_what_the_song_repeats_itself() -> None:
    """What would be a fault for another song is none for one that is a single loop."""
    song = np.tile(music(8, seed=4), 10)
    scores = evaluate({"piece": song[: 12 * RATE]}, song[: 56 * RATE], song[56 * RATE :], RATE, ear=None)
    copying = scores.verdicts["piece"][-1]
    assert copying.good
    assert re.search(r"copies 1[12] s of the song.* (9\d|100) % of the piece", copying.text)
    assert re.search(r"real audio of the song copies up to (9\d|100) % of itself", copying.text)
    caps = {cap["name"]: cap for cap in as_json(scores)["pieces"]["piece"]["caps"]}
    assert caps["copied"]["usual"] > 0.9
    assert caps["copied"]["most"] == 100


def test_faults_are_told(case: Case) -> None:
    assert "clips" in case.text("clipped and off centre")
    assert "stands off centre by +" in case.text("clipped and off centre")
    assert "clicks at the borders of frames" in case.text("ticking")
    assert "clicks" not in case.text("real")
    assert "noisier than the song" in case.text("noise")
    assert "nearer to noise" in case.text("noise")
    assert "nearer to noise" in case.text("hum")
    assert "no pace" in case.text("hum")


def test_figures_of_the_references(case: Case) -> None:
    row = case.scores.row
    assert row("level").references[WHITE] == pytest.approx(0.0, abs=0.01)
    assert row("level").references[COLOURED] == pytest.approx(0.0, abs=0.01)
    assert row("silence").references[SILENCE] == 1.0
    assert math.isnan(row("flatness").references[SILENCE])
    assert row("flatness").references[WHITE] > 10
    assert row("speed").references[HELD_OUT] == pytest.approx(1.0, abs=0.03)
    assert row("pulsation").references[HELD_OUT] == pytest.approx(20.0, rel=0.05)
    assert row("pulsation").low <= 20.2
    with pytest.raises(KeyError):
        row("beauty")


def test_table_and_json_hold_every_figure(case: Case) -> None:
    text, content = table(case.scores), as_json(case.scores)
    json.dumps(content, allow_nan=False)
    for row in case.scores.rows:
        assert row.figure.title in text
        assert set(content["figures"][row.figure.key]["pieces"]) == set(case.pieces)
    assert content["figures"]["level"]["references"].keys() == {
        HELD_OUT, FRAMES, WHITE, COLOURED, SILENCE, COPY
    }  # fmt: skip
    assert content["figures"]["flatness"]["references"][SILENCE] is None
    assert content["figures"]["patches"]["place"]["noise"] == pytest.approx(1.0, abs=0.1)
    assert content["pieces"]["copied"]["copied"][0]["song_seconds"] == pytest.approx(63.25, abs=0.05)
    assert content["figures"]["clipping"]["pieces"]["clipped and off centre"] > 1  # in %
    assert "nan" not in text
    assert not re.search(r"-0\.0+(?!\d)", text)


def test_the_same_input_gives_the_same_scores(case: Case) -> None:
    pieces = {"real": case.pieces["real"]}
    first, second = (evaluate(pieces, case.training, case.held_out, RATE, seed=3, ear=None) for _ in range(2))
    assert as_json(first) == as_json(second)
    assert "clicks" not in as_json(first)["figures"]  # nobody said how long the frames are
    for key in ("level", "spectrum", "copied"):
        assert first.row(key).pieces["real"] == pytest.approx(case.scores.row(key).pieces["real"])


@pytest.mark.parametrize("length", [3.0, 8.0, 75.0])
def test_pieces_of_any_length(length: float) -> None:
    song = music(60, seed=5)
    training, held_out = song[: 48 * RATE], song[48 * RATE :]
    piece = music(length, 6)
    scores = evaluate({"piece": piece}, training, held_out, RATE, hop=HOP, frames=held_out[: len(piece) - 99], ear=None)
    assert scores.window_seconds == pytest.approx(min(length, 12.0))
    json.dumps(as_json(scores), allow_nan=False)
    assert all(np.isfinite(scores.row(key).pieces["piece"]) for key in ("level", "trend", "copied", *LOG_MEL))


def test_too_short_or_silent() -> None:
    song = music(30, seed=5)
    with pytest.raises(ValueError, match=r"tiny: 2\.0 s are too short"):
        evaluate({"tiny": song[: 2 * RATE]}, song, song, RATE, ear=None)
    with pytest.raises(ValueError, match="held-out part"):
        evaluate({"piece": song}, song, song[:RATE], RATE, ear=None)
    scores = evaluate({"nothing": np.zeros(10 * RATE)}, song[: 20 * RATE], song[20 * RATE :], RATE, hop=HOP, ear=None)
    text = " | ".join(verdict.text for verdict in scores.verdicts["nothing"])
    assert "under the song's level" in text
    assert "silent for 10.0 s" in text
    json.dumps(as_json(scores), allow_nan=False)


def test_windows_spread_over_all_samples() -> None:
    samples = np.arange(100)
    assert [window[0] for window in spread(samples, 40, 10)] == [0, 30, 60]
    assert [window[0] for window in spread(samples, 40, 10, step=0.5)] == [0, 20, 40, 60]
    assert [window[0] for window in spread(samples, 10, 4)] == [0, 30, 60, 90]
    assert len(spread(samples, 200, 4)[0]) == 100
    assert spread(samples, 50, 1)[0][0] == 25


def test_noise_has_the_songs_level_and_spectrum() -> None:
    song = music(20, seed=1)
    spectrum = long_term_spectrum(song, RATE)
    noise = noise_like(spectrum, 20 * RATE, RATE, level(song, RATE), np.random.default_rng(0))
    assert level(noise, RATE) == pytest.approx(level(song, RATE), abs=0.01)
    # Octaves of the two spectra agree.
    edges = 2 ** np.arange(3, 8)
    of_noise, of_song = (np.add.reduceat(power, edges) for power in (long_term_spectrum(noise, RATE), spectrum))
    assert 10 * np.log10(of_noise / of_song) == pytest.approx(0, abs=1.0)


def test_a_row_without_a_scale_has_no_place() -> None:
    references = {HELD_OUT: 3.0, WHITE: 2.0, COLOURED: 5.0}
    figure = next(figure for figure in FIGURES if figure.key == "spectrum")
    row = Row(figure, {"piece": 1.0}, references, math.nan, math.nan)
    assert math.isnan(row.place(1.0))


def test_a_long_piece_has_a_form_beside_the_songs() -> None:
    song = music(155, seed=1)
    training, held_out, long = song[: 130 * RATE], song[130 * RATE :], music(125, seed=4)
    stuck = np.tile(long[: 4 * RATE], 31)
    scores = evaluate({"long": long, "stuck": stuck}, training, held_out, RATE, ear=None)
    variety, drift = scores.row("variety"), scores.row("drift")
    assert 0.8 < variety.pieces["long"] < 1.2
    assert variety.pieces["stuck"] < 0.6
    assert (variety.low, variety.high) == (1.0, 1.0)
    assert 0.9 < drift.low == drift.high < 1.2
    assert math.isnan(variety.references[HELD_OUT])
    said = {name: " | ".join(one.text for one in scores.verdicts[name]) for name in scores.verdicts}
    assert "moves over the minutes and does not drift" in said["long"]
    assert "stands still over the minutes" in said["stuck"]


def test_short_pieces_have_no_form(case: Case) -> None:
    assert "variety" not in {row.figure.key for row in case.scores.rows}
    assert "over the minutes" not in case.text("real")
