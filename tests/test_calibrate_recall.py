"""How softly passages give way to one another is found for each song."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.bars import Bars
from sonicrnn.calibrate_recall import (
    FADES,
    LESS_REPEATS,
    LONGER,
    MOST_COPIED,
    MOST_LOST_DB,
    find_fade,
    find_gain,
    find_longer,
    find_repeats,
)
from sonicrnn.calibration import FADE_SECONDS, REPEATS
from sonicrnn.distances import log_mel_floor
from sonicrnn.levels import level
from sonicrnn.passages import Passages
from sonicrnn.portrait import Portrait
from sonicrnn.rhythm import onset_rate

RATE, HOP, FRAME = 16_000, 512, 2048
SECONDS = 90
Samples = npt.NDArray[np.float32]


def calm() -> Samples:
    """Tones that swell and sink over seconds, each for itself."""
    time, random = np.arange(RATE * SECONDS) / RATE, np.random.default_rng(1)
    tones = [
        np.sin(2 * np.pi * hertz * time) * (1 + np.sin(2 * np.pi * time / random.uniform(5, 12) + random.uniform(0, 6)))
        for hertz in 110 * 2 ** (random.integers(0, 48, 12) / 12)
    ]
    return np.asarray(0.03 * np.sum(tones, 0), np.float32)


def struck() -> Samples:
    """Noise that is struck four times a second and dies away at once, each time with another colour."""
    random, dies = np.random.default_rng(2), np.exp(-np.arange(RATE // 4) / 800)
    noises, colours = random.standard_normal([4 * SECONDS, RATE // 4]), random.standard_normal([4 * SECONDS, 9])
    strokes = [dies * np.convolve(*both, "same") for both in zip(noises, colours, strict=True)]
    return np.asarray(0.05 * np.concatenate(strokes), np.float32)


def passages_of(song: Samples) -> Passages:
    rows = np.round(song[: len(song) // HOP * HOP] * 32_767).astype(np.int16).reshape(-1, HOP)
    return Passages(rows, np.arange(len(rows) - FRAME // HOP + 1), 1 / 32_767, FRAME, RATE)


def pieces_of(passages: Passages, steps: int, seconds: float) -> tf.Tensor:
    """Two pieces of passages from anywhere, as many steps each, that begin where strokes do."""
    count, random = round(seconds * RATE / HOP / steps), np.random.default_rng(3)
    begins = steps * random.integers(0, (passages.count - steps) // steps, [2, count, 1])
    return tf.constant((begins + np.arange(steps)).reshape(2, -1), tf.int32)


def chosen(song: Samples, seconds: float = 40.0, copied: Callable[[Samples], float] = lambda piece: 0.0) -> float:
    floor_db = log_mel_floor([song], RATE)
    looks = Portrait(level(song, RATE), 1.0, 0.1, onset_rate(song, RATE), [], floor_db, 0.95, 0.0)
    windows = np.split(song[: 80 * RATE], 4)
    passages = passages_of(song)
    return find_fade(passages, pieces_of(passages, 16, seconds), windows, looks, copied)


def test_calm_music_asks_for_softer_joins_than_what_is_struck() -> None:
    of_calm, of_struck = chosen(calm()), chosen(struck())
    assert of_calm >= 0.35
    assert of_struck == FADE_SECONDS
    assert {of_calm, of_struck} <= set(FADES)


def test_what_is_a_copy_by_a_softer_fade_alone_is_cut_harder() -> None:
    """Every fade after the first makes a copy of the two pieces."""
    seen: list[int] = []

    def copied(piece: Samples) -> float:
        seen.append(len(piece))
        return 0.0 if len(seen) <= 2 else 0.5

    assert chosen(calm(), copied=copied) == FADE_SECONDS
    assert len(seen) == 2 * len(FADES)


def test_pieces_too_short_to_be_told_keep_the_usual_fade() -> None:
    assert chosen(calm(), 8.0) == FADE_SECONDS


@pytest.mark.parametrize("seconds", [0.0, 0.18, 0.7])
def test_a_fade_is_a_matter_of_a_copy(seconds: float) -> None:
    passages = passages_of(struck())
    reach = passages.reach
    other = passages.fading(seconds)
    assert other.reach == round(seconds * RATE / HOP)
    assert passages.reach == reach
    assert other.rows is passages.rows


def longer_for(most: float, unlike: Callable[[float], float]) -> tuple[float, int]:
    """What is found for a song that is copied the more the longer it is followed, and how often copies were sought."""
    longer, sought = tf.Variable(1.0), []

    def copied() -> float:
        sought.append(float(longer))
        return float(longer) * MOST_COPIED / most - 1e-6

    found = find_longer(longer, copied, lambda: unlike(float(longer)))
    assert float(longer) == pytest.approx(found)
    return found, len(sought)


@pytest.mark.parametrize(("most", "expected"), [(1.2, 1.2), (1.69, 1.4), (0.1, 0.7), (5.0, 2.4)])
def test_the_songs_order_is_followed_for_as_long_as_that_copies_little(most: float, expected: float) -> None:
    found, sought = longer_for(most, lambda longer: 2.0)
    assert found == expected
    assert sought <= 3
    assert longer_for(most, lambda longer: 2.0 + 0.1 * longer)[0] == expected  # hardly better where it is shorter


def test_it_is_followed_for_shorter_where_takes_are_clearly_better() -> None:
    assert longer_for(2.0, lambda longer: 2.0 + longer)[0] == 1.0
    assert longer_for(2.0, lambda longer: 2.0 + abs(longer - 1.4))[0] == 1.4
    assert longer_for(0.9, lambda longer: 2.0 + longer)[0] == LONGER[1]  # no other but the shortest is left to try


def bars_of(alike: float) -> Bars:
    return Bars(np.zeros(9), np.full(3, alike), 0.5, 2.0, 0.1)


@pytest.mark.parametrize(
    ("unlike", "expected"),
    [((2.0, 1.8, 1.75), REPEATS), ((2.0, 1.1, 1.2), LESS_REPEATS[0]), ((2.0, 2.5, 1.0), LESS_REPEATS[1])],
    ids=["no better", "less", "even less"],
)
def test_bars_are_less_alike_where_takes_are_clearly_better(unlike: tuple[float, ...], expected: float) -> None:
    bars = bars_of(0.5)
    told = dict(zip((REPEATS, *LESS_REPEATS), unlike, strict=True))
    assert find_repeats(bars, lambda: told[float(bars.repeats)]) == expected
    assert float(bars.repeats) == expected


def test_a_song_without_bars_has_nothing_to_find_there() -> None:
    def unlike() -> float:
        raise AssertionError("no take is needed")

    assert find_repeats(bars_of(0.0), unlike) == REPEATS


def test_what_is_lost_where_passages_meet_is_made_up_for() -> None:
    song = struck()
    passages, dbfs = passages_of(song), level(song, RATE)
    whole = tf.range(passages.count)[None]
    assert find_gain(passages, whole, dbfs) == pytest.approx(1.0, abs=0.02)
    joined = pieces_of(passages, 16, 40.0)
    lost = level(passages.sound(joined).numpy().ravel(), RATE) - dbfs
    assert -2.0 < lost < -0.2
    assert 20 * np.log10(find_gain(passages, joined, dbfs)) == pytest.approx(-lost, abs=0.1)
    assert find_gain(passages, joined, dbfs - 9.0) == 1.0
    assert 20 * np.log10(find_gain(passages, joined, dbfs + 9.0)) == pytest.approx(MOST_LOST_DB)
