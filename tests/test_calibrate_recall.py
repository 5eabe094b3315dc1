"""How softly passages give way to one another is found for each song."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.calibrate_recall import FADES, find_fade
from sonicrnn.calibration import FADE_SECONDS
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
