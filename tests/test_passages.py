"""The song's samples, cross-faded: the fast way beside the plain one, which adds up each frame at every lag."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.passages import Passages

RATE = 16_000
Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module", params=[(512, 256), (500, 200)], ids=["whole rows", "a part of a row"])
def passages(request: pytest.FixtureRequest) -> Passages:
    """Two passages of noise, whose offset comes and goes."""
    frame_length, hop = request.param
    random = np.random.default_rng(1)
    rows = 3000 * random.standard_normal([206, hop]) + 2000 * random.standard_normal([206, 1])
    first = np.concatenate([np.arange(100), np.arange(103, 203)])
    return Passages(rows.astype(np.int16), first, 1e-4, frame_length, RATE)


def plain(made: Passages, unit: npt.NDArray[np.int32], known: Samples | None) -> Samples:
    """What `Passages.sound` tells, frame by frame and lag by lag."""
    time = unit.shape[1]
    rows, first, offsets = made.rows.numpy(), made.first.numpy(), made.offsets.numpy()
    window = frames.windowed(tf.ones([made.frame_length])).numpy()
    cut = np.zeros([len(unit), time, made.frame_length], np.float32)
    weights = [math.cos(0.5 * math.pi * lag / (made.reach + 1)) ** 2 for lag in range(-made.reach, made.reach + 1)]
    for piece, place in np.ndindex(unit.shape):
        turned, root, offset = 0.0, 0.0, 0.0
        for lag, weight in zip(range(-made.reach, made.reach + 1), np.divide(weights, sum(weights)), strict=True):
            near = min(max(place + lag, 0), time - 1)
            told = min(max(unit[piece, near] - (near - place), 0), made.count - 1)
            samples = made.scale * rows[first[told] :].ravel()[: made.frame_length] - offsets[told]
            spectrum = np.fft.rfft(window * samples)
            own = np.sqrt(np.abs(spectrum))
            turned, root = turned + weight * spectrum / own, root + weight * own
            offset += weight * offsets[told]
        drift = offsets[unit[piece, max(0, place - made.drift) : place + 1]].mean()
        mixed = np.fft.irfft(np.square(root) * turned / np.abs(turned), made.frame_length)
        cut[piece, place] = mixed + window * (offset - drift)
    if known is not None:
        own = tf.signal.frame(known, made.frame_length, made.hop)[:, :time].numpy()
        cut[:, : own.shape[1]] = window * own
    heard: Samples = frames.overlapped(tf.constant(cut), made.hop).numpy()
    return heard


def changing(made: Passages, pieces: int, time: int) -> npt.NDArray[np.int32]:
    """Units that follow one another for 1 to 14 steps at a time; one piece stands at either end of the song."""
    random = np.random.default_rng(2)
    made_up = random.integers(0, made.count - 14, [pieces, time, 1]) + np.arange(14)
    unit = np.stack([np.concatenate([row[: random.integers(1, 15)] for row in piece])[:time] for piece in made_up])
    unit[0, 5:8], unit[0, 20:23] = made.count - 1, 0
    return unit.astype(np.int32)


@pytest.mark.parametrize("known_frames", [None, 0, 1, 17, 40, 60])
def test_it_sounds_as_each_frame_added_up_at_every_lag(passages: Passages, known_frames: int | None) -> None:
    unit, known = changing(passages, 3, 40), None
    if known_frames is not None:
        length = passages.frame_length - 1 if not known_frames else frames.samples_of(known_frames, *shape(passages))
        known = np.random.default_rng(3).standard_normal([3, length]).astype(np.float32)
    heard = passages.sound(tf.constant(unit), None if known is None else tf.constant(known)).numpy()
    expected = plain(passages, unit, known)
    assert heard.shape == expected.shape
    # Samples under the very begin of the first window can hardly be told from its frame; known ones need not be.
    np.testing.assert_allclose(heard[:, 60:], expected[:, 60:], atol=2e-5)


@pytest.mark.parametrize("seconds", [0.0, 0.6])
def test_cross_fades_may_be_harder_or_softer(passages: Passages, seconds: float) -> None:
    unit, other = changing(passages, 2, 60), passages.fading(seconds)
    assert other.reach == round(seconds * RATE / passages.hop)
    heard = other.sound(tf.constant(unit)).numpy()
    np.testing.assert_allclose(heard[:, 60:], plain(other, unit, None)[:, 60:], atol=2e-5)


def test_known_audio_is_heard_as_it_is(passages: Passages) -> None:
    known = np.random.default_rng(3).standard_normal([2, frames.samples_of(20, *shape(passages))]).astype(np.float32)
    heard = passages.sound(tf.constant(changing(passages, 2, 40)), tf.constant(known)).numpy()
    np.testing.assert_array_equal(heard[:, : 20 * passages.hop], known[:, : 20 * passages.hop])


def shape(made: Passages) -> tuple[int, int]:
    return made.frame_length, made.hop


def test_notes_that_two_passages_have_neither_swell_nor_vanish_where_these_meet() -> None:
    """A chord whose passages meet in any phase keeps its level, as a mean of their samples would not."""
    time = np.arange(RATE * 8) / RATE
    chord = np.sum([np.sin(2 * np.pi * hertz * time) for hertz in (147.3, 221.9, 379.1)], 0)
    made = Passages(np.round(8000 * chord).astype(np.int16).reshape(-1, 512), np.arange(247), 1e-4, 2048, RATE)
    unit = (np.random.default_rng(4).integers(0, 220, [16, 1]) + np.arange(20)).reshape(1, -1)
    heard = made.sound(tf.constant(unit, tf.int32))[0].numpy()[2048:-2048]
    weights = [0.5 * (1 + math.cos(math.pi * lag / (made.reach + 1))) for lag in range(-made.reach, made.reach + 1)]
    assert len(weights) < 20, "passages last longer than fades"
    tenths = heard[: len(heard) // 1600 * 1600].reshape(-1, 1600)
    off_db = 20 * np.log10(tenths.std(1) / (8000 * 1e-4 * chord.std()))
    assert np.abs(np.quantile(off_db, [0.05, 0.95])).max() < 1.5
