"""Bars: where in the bar a song's units begin, and how alike its bars are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn import bars
from sonicrnn.bars import Bars, alike, bell, make_bars, wave_orders, waves
from tests.test_meter import RATE, steady

STEP_SECONDS = 0.05
Frames = npt.NDArray[np.float32]


@pytest.mark.parametrize(("beat", "beats"), [(0.3, 1), (0.5, 4), (2.0, 2)])
def test_how_far_off_a_unit_is_is_summed_up_by_waves(beat: float, beats: int) -> None:
    """It is a matter of the place in the beat, and of which beat of the bar it is."""
    bar = beats * beat
    place, here = np.linspace(0, bar, 50), np.linspace(0, 0.99 * bar, 7).astype(np.float32)
    orders = wave_orders(beat, bar)
    found = waves(tf.constant(here), bar, orders).numpy() @ bell(place, beat, bar, orders)
    away = np.abs(place - here[:, None])
    off = np.minimum(away % beat, beat - away % beat)
    expected = 1 - np.exp(-np.square(off / bars.METER_SECONDS))
    expected += bars.KEEPS_BAR * (1 - np.cos(2 * np.pi * away / bar)) / 2
    np.testing.assert_allclose(found, expected, atol=0.03 if beat < 0.4 else 2e-3)


def test_a_song_with_a_beat_has_bars_of_its_pulsation() -> None:
    """Of frames whose first figure comes again with each bar, and whose second one never does."""
    song = steady(150, 2.4)
    seconds = STEP_SECONDS * np.arange(2990)
    frames = np.random.default_rng(1).standard_normal([2990, 2]).astype(np.float32)
    frames[:, 0] = np.tile(frames[:48, 0], 63)[:2990]
    made = make_bars(song, RATE, frames, seconds[100:2000], STEP_SECONDS)
    assert made.bar == pytest.approx(2.4, rel=1e-3)
    assert made.steps == 48
    assert made.bar / made.beat == pytest.approx(round(made.bar / made.beat))
    np.testing.assert_allclose(made.place, seconds[100:2000] % made.bar, atol=1e-4)
    first, second = made.alike.numpy()
    assert first == pytest.approx(1.0, abs=1e-3)
    assert second < 0.1


def test_bars_of_a_beat_whose_pulsation_is_no_part_of_it_have_four(monkeypatch: pytest.MonkeyPatch) -> None:
    song, frames = steady(150, 2.4), np.zeros([2990, 2], np.float32)
    beat = make_bars(song, RATE, frames, np.zeros(5), STEP_SECONDS).beat
    for pulsations, beats in (([60 / (2.4 * beat)], 4), ([], 4), ([60 / (3.1 * beat)], 3), ([60 / (0.96 * beat)], 1)):
        monkeypatch.setattr(bars, "usual_pulsations", lambda part, rate, found=pulsations: found)
        found = make_bars(song, RATE, frames, np.zeros(5), STEP_SECONDS)
        assert found.bar == pytest.approx(beats * beat)


def test_of_several_pulsations_the_bar_is_the_one_most_like_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    song, frames = steady(150, 2.4), np.zeros([2990, 2], np.float32)
    beat = make_bars(song, RATE, frames, np.zeros(5), STEP_SECONDS).beat
    near = round(bars.BAR_SECONDS / beat)
    for beats in ([near, 4 * near], [4 * near, near], [1, near + 1, 3 * near]):
        pulsations = [60 / (one * beat) for one in beats]
        monkeypatch.setattr(bars, "usual_pulsations", lambda part, rate, found=pulsations: found)
        found = make_bars(song, RATE, frames, np.zeros(5), STEP_SECONDS)
        assert round(found.bar / beat) in (near, near + 1)


def test_a_song_without_a_beat_repeats_nothing() -> None:
    noise = np.random.default_rng(1).standard_normal(60 * RATE)
    made = make_bars(noise, RATE, np.ones([1200, 3], np.float32), STEP_SECONDS * np.arange(1200), STEP_SECONDS)
    assert (made.beat, made.bar, made.steps) == (0.0, 0.0, 1)
    assert not made.alike.numpy().any()
    assert made.next_place(tf.constant([0.3]), tf.constant([7]), tf.constant([True])).numpy() == pytest.approx(0.3)


def test_a_song_of_few_bars_repeats_nothing() -> None:
    song = steady(150, 2.4)
    frames = np.tile(np.random.default_rng(1).standard_normal([48, 3]), [5, 1]).astype(np.float32)
    assert make_bars(song, RATE, frames, np.zeros(5), STEP_SECONDS).alike.numpy().all()
    assert not make_bars(song, RATE, frames[:180], np.zeros(5), STEP_SECONDS).alike.numpy().any()


@pytest.mark.parametrize("count", [3_000, 60_000])
def test_how_alike_frames_are_is_their_correlation(count: int) -> None:
    random = np.random.default_rng(2)
    bar = random.standard_normal([40, 4])
    told = np.array([0.0, 1.0, 3.0, 30.0])
    frames = (5 + told * np.tile(bar, [count // 40, 1]) + random.standard_normal([count, 4])).astype(np.float32)
    frames[::80, 0] *= -1
    power = np.square(told) * bar.var(0)
    np.testing.assert_allclose(alike(frames, 40), power / (power + 1), atol=0.05)
    turned = frames * np.where(np.arange(count) // 40 % 2, 1, -1)[:, None]
    assert not alike(turned - turned.mean(0), 40)[1:].any()
    assert not alike(np.ones([100, 3], np.float32), 40).any()


def test_a_draw_is_moved_to_what_was_heard_where_a_bar_was() -> None:
    made = Bars(np.zeros(5), np.array([0.0, 0.0625, 0.25]), 1.0, 2.0, STEP_SECONDS)
    drawn, ago = tf.constant([[4.0, 4.0, 4.0]] * 2), tf.constant([[8.0, 8.0, 8.0]] * 2)
    for repeats, there in ((1.0, [4.0, 5.0, 6.0]), (1.6, [4.0, 5.6, 7.2]), (9.0, [4.0, 7.8, 7.8])):
        made.repeats.assign(repeats)
        moved = made.as_a_bar_ago(drawn, ago, tf.constant([True, False]))
        np.testing.assert_allclose(moved, [there, [4.0, 4.0, 4.0]], rtol=1e-5)


def test_the_bar_goes_on_from_where_its_first_unit_is() -> None:
    made = Bars(np.array([0.1, 1.98]), np.zeros(3), 1.0, 2.0, STEP_SECONDS)
    first = made.next_place(tf.constant([0.0, 0.7]), tf.constant([1, 1]), tf.constant([True, False]))
    np.testing.assert_allclose(first, [0.03, 0.75], atol=1e-6)
