"""Frames and phases, there and back: the networks learn, ways back are what they say, figures have their order."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from benchmarks import autoencoder, learned_gradient, there_and_back, vocoder
from benchmarks.back_measures import Measured, Measures, convergence, log_distance
from benchmarks.learning import lowest_bin
from benchmarks.narrow import mdct, narrow_frames
from benchmarks.phase_gradient import phases
from benchmarks.ways_back import angles_of, griffin_lim, magnitudes_of, random_angles
from sonicrnn import frames
from sonicrnn.config import FrameSettings, load_settings
from sonicrnn.errors import UserError
from sonicrnn.song import Normaliser, Song, split
from tests.conftest import SMALL_RATE, synthesise

SIZE = LENGTH, HOP = 512, 128
Singles = npt.NDArray[np.float32]
ROW = Measured(-12.34, -11.0, 2.5, 97.4, 0.987, 0.85, 0.57, 1.0, math.nan)


@pytest.fixture(scope="module")
def song() -> Singles:
    """20 s at a standard deviation of 1."""
    samples = synthesise(20)
    return np.asarray(samples / samples.std(), np.float32)


@pytest.fixture(scope="module")
def other(song: Singles) -> Singles:
    """A stretch that nothing is learnt from."""
    return song[-4 * SMALL_RATE :]


def far(samples: Singles, magnitude: Singles) -> float:
    return convergence(magnitudes_of(samples, *SIZE), magnitude)


# Phases -----------------------------------------------------------------------------------------------------------


def test_fast_griffin_lim_is_that_of_the_frames(other: Singles) -> None:
    magnitude = magnitudes_of(other, *SIZE)
    made = griffin_lim(magnitude, random_angles(magnitude, *SIZE), *SIZE, 8, 0.99)
    logarithm = tf.constant(frames.log_magnitude(magnitude)[None])
    np.testing.assert_allclose(made, frames.stft_samples(logarithm, *SIZE, 8)[0], atol=0.02)


def test_the_songs_own_phases_give_it_back_and_steps_come_nearer(other: Singles) -> None:
    magnitude, length = magnitudes_of(other, *SIZE), len(other) // HOP * HOP
    own = griffin_lim(magnitude, angles_of(other, *SIZE), *SIZE, 0, 0.0)
    np.testing.assert_allclose(own[LENGTH : length - LENGTH], other[LENGTH : length - LENGTH], atol=1e-3)
    start = random_angles(magnitude, *SIZE)
    found = [far(griffin_lim(magnitude, start, *SIZE, steps, 0.0), magnitude) for steps in (0, 4, 16)]
    assert found[0] - 2 > found[1] > found[2] + 1


@pytest.mark.slow
def test_learned_gradients_begin_as_the_theory_and_come_nearer(song: Singles, other: Singles) -> None:
    magnitude, known = magnitudes_of(other, *SIZE), magnitudes_of(song[: -len(other)], *SIZE)
    theory = phases(magnitude, *SIZE)
    fresh = learned_gradient.phases(learned_gradient.make_net(), magnitude, *SIZE)
    assert np.cos(fresh - theory).mean() > 0.99
    known_angles, right = angles_of(song[: -len(other)], *SIZE), angles_of(other, *SIZE)
    # Seconds are enough where nothing else runs.
    nets = (learned_gradient.train(known, known_angles, *SIZE, minutes) for minutes in (0.08, 0.4))
    here, there = _off(theory, right, magnitude), (learned_gradient.phases(net, magnitude, *SIZE) for net in nets)
    assert any(_off(learnt, right, magnitude) < 0.9 * here for learnt in there)


def _off(angles: npt.ArrayLike, right: Singles, magnitude: Singles) -> float:
    """How wrong the turns from frame to frame are, the loud ones above all."""
    turned = np.cos(np.diff(angles, axis=0) - np.diff(right, axis=0))
    return float(1 - np.average(turned, weights=magnitude[1:]))


def test_a_vocoder_learns_and_its_phases_are_better_than_random_ones(song: Singles, other: Singles) -> None:
    magnitude = magnitudes_of(other, *SIZE)
    net = vocoder.train(song[: -len(other)], *SIZE, 0.05)
    random = griffin_lim(magnitude, random_angles(magnitude, *SIZE), *SIZE, 0, 0.0)
    made = vocoder.sound(net, magnitude, *SIZE)
    assert made.shape == random.shape
    assert far(made, magnitude) < far(random, magnitude) - 2


def test_spectral_distance_is_0_for_the_same_and_grows(other: Singles) -> None:
    real = tf.constant(other[None])
    near, further = (vocoder.spectral_distance(real, factor * real, *SIZE) for factor in (1.1, 2.0))
    assert vocoder.spectral_distance(real, real, *SIZE) == 0
    assert 0.1 < near < further


def test_an_offset_teaches_nothing(other: Singles) -> None:
    real = tf.constant(other[None])
    assert vocoder.spectral_distance(real, real + 1.0, *SIZE) < 0.01
    assert [lowest_bin(length) for length in (256, 2048, 4096)] == [2, 3, 6]


# Frames -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_autoencoder_begins_as_the_components_and_gets_better() -> None:
    """Spectra on a curve, of which one straight axis shows a part."""
    place = np.random.default_rng(1).uniform(-2, 2, [2000, 1])
    spectra = np.concatenate([place, place**2, np.sin(2 * place), np.ones_like(place)], 1).astype(np.float32)
    begins = _away(autoencoder.train(spectra[:1500], 1, 1e-9), spectra[1500:])
    axis = autoencoder._components(spectra[:1500], 1)
    centred = spectra[1500:] - spectra[:1500].mean(0)
    assert begins == pytest.approx(float(np.square(centred @ axis @ axis.T - centred).mean()), rel=0.05)
    # Seconds are enough where nothing else runs.
    trained = (_away(autoencoder.train(spectra[:1500], 1, minutes), spectra[1500:]) for minutes in (0.04, 0.4))
    assert any(away < 0.6 * begins for away in trained)


def _away(both: tuple[object, object], spectra: Singles) -> float:
    code, back = both
    return float(np.square(back(code(spectra)) - spectra).mean())  # type: ignore[operator]


def test_narrow_frames_are_of_one_width_and_near_the_song(song: Singles) -> None:
    settings = FrameSettings(kind="stft", frame_length=LENGTH, parts=12)
    held_out = song[-4 * SMALL_RATE :][: 100 * LENGTH]
    made = there_and_back.Cut(song[: -4 * SMALL_RATE], held_out, Normaliser(0.0, 1.0), SMALL_RATE, settings)
    known, own = magnitudes_of(made.training, *SIZE), magnitudes_of(held_out, *SIZE)
    found = dict(narrow_frames(made, known, own, 0.001))
    assert list(found) == ["12 parts", "12 components", "12 of an autoencoder"]
    for magnitude in found.values():
        assert magnitude.shape == own.shape
        assert -60 < convergence(magnitude, own) < -6


def test_the_mdct_is_exact_but_for_its_ends(other: Singles) -> None:
    whole = other[: len(other) // LENGTH * LENGTH]
    back = mdct(whole, LENGTH)
    assert back.shape == whole.shape
    np.testing.assert_allclose(back[LENGTH:-LENGTH], whole[LENGTH:-LENGTH], atol=1e-4)


# Figures ----------------------------------------------------------------------------------------------------------


def test_figures_are_in_the_order_of_the_harm() -> None:
    song = synthesise(100, seed=1)
    by, held_out = Normaliser(0.01, 0.3), song[-24 * SMALL_RATE :][: 24 * SMALL_RATE // LENGTH * LENGTH]
    measures = Measures(song[: -24 * SMALL_RATE], held_out, SMALL_RATE, SIZE, by, ear=None)
    asked = magnitudes_of(by.apply(held_out), *SIZE)
    noise = np.random.default_rng(1).standard_normal(len(held_out)).astype(np.float32)
    same, worse, worst = (measures(one, asked, 6.0) for one in (held_out, held_out + 0.05 * noise, 0.3 * noise))
    assert same.convergence == same.off == -120
    assert same.distance == 0
    assert same.onsets == 1
    assert same.apart < 0.6
    assert same.seconds == pytest.approx(15, rel=0.01)
    assert same.convergence < worse.convergence < worst.convergence
    assert same.distance < worse.distance < worst.distance
    assert same.place > worse.place > worst.place
    assert worst.told > 0.95
    assert math.isnan(measures(held_out, None).convergence)
    assert measures(held_out + 0.5, asked).convergence < -80  # nobody hears an offset


def test_log_distance_is_in_decibels() -> None:
    one = np.zeros([5, 9], np.float32)
    assert log_distance(one + math.log(10), one) == pytest.approx(20)


# The page ---------------------------------------------------------------------------------------------------------


def test_the_table_says_what_was_measured() -> None:
    lines = [line.split("|")[1:-1] for line in there_and_back.table({"random phases": ROW}).splitlines()]
    assert len({len(line) for line in lines}) == 1
    shown = dict(zip(there_and_back.HEADINGS, [cell.strip() for cell in lines[-1]], strict=True))
    assert shown == {
        "sound": "random phases", "from asked, dB": "-12.3", "from held-out, dB": "-11.0", "log spectra, dB": "2.5",
        "score": "**97**", "place": "0.99", "told, %": "85", "told from held-out, %": "57", "note starts, ×": "1.00",
        "a minute takes, s": "–",
    }  # fmt: skip


def test_held_out_audio_is_whole_frames_by_the_training_parts_normaliser() -> None:
    samples = synthesise(20)
    samples[: len(samples) // 2] += 0.1
    song = Song(samples, SMALL_RATE, "a", "", (), 0, 0, split(len(samples), (0.8, 0.1, 0.1)))
    made = there_and_back.cut(song, load_settings(there_and_back.CONFIG, []))
    assert made.size == (2048, 512)
    assert not made.frames.recall
    assert len(made.held_out) == 4 * SMALL_RATE // 2048 * 2048
    assert made.training.mean() == pytest.approx(0, abs=1e-4)
    assert made.training.std() == pytest.approx(1, rel=1e-4)
    np.testing.assert_allclose(
        made.by.invert(made.held_out), song.samples[16 * SMALL_RATE :][: len(made.held_out)], atol=1e-6
    )


def test_each_song_has_a_table_and_the_words_around_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_song_file: Path
) -> None:
    page = tmp_path / "explored.md"
    page.write_text(f"before\n{there_and_back.MARKS[0]}\nan older table\n{there_and_back.MARKS[1]}\nafter\n")
    monkeypatch.setattr(there_and_back, "PAGE", page)
    monkeypatch.setattr(there_and_back, "take_one_core", lambda: None)
    monkeypatch.setattr(there_and_back, "made", lambda song, minutes: {f"{minutes:g} minutes": ROW})
    monkeypatch.setenv("SONICRNN_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"missing\.ogg"):
        there_and_back.main([str(small_song_file), "missing.ogg"])
    with pytest.raises(UserError, match="minutes"):
        there_and_back.main([str(small_song_file), "--minutes", "0"])
    assert "an older table" in page.read_text()
    there_and_back.main([str(small_song_file), str(small_song_file), "--minutes", "2"])
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "an older table" not in text
    assert text.count(f"### {small_song_file.stem}\n") == text.count("| 2 minutes |") == 2


def test_the_page_has_its_place_for_the_tables() -> None:
    text = there_and_back.PAGE.read_text(encoding="utf-8")
    assert text.index(there_and_back.MARKS[0]) < text.index(there_and_back.MARKS[1])
