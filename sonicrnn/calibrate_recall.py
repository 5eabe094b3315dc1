"""How passages of a recall follow one another, found after training: how much a bar is as the one before it, for how
long each is heard, and how softly they give way to one another. Each song asks for its own: pieces of one stay in a
section, what copies soon is to be cut, and calm music is told by its joins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from sonicrnn.beside import Beside
from sonicrnn.calibration import FADE_SECONDS, Calibration
from sonicrnn.classifier import second_by_second, told_apart
from sonicrnn.config import Settings
from sonicrnn.distances import at_level
from sonicrnn.free_run import FreeRun
from sonicrnn.levels import Floats, Samples
from sonicrnn.passages import Passages
from sonicrnn.portrait import MOST_GAIN_DB, Portrait
from sonicrnn.rhythm import onset_rate
from sonicrnn.song import Song
from sonicrnn.takes import Unlike
from sonicrnn.trial_runs import audio_of, trial_runs

REPEATS = (1.25, 1.75, 2.25)  # × the root of how alike bars are, see `Bars.repeats`
HOPELESS = 4.0  # unlike the song by so much or more, a take is none
TAKES = 16
LONGER = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4)  # than usual the song's order may be followed
MOST_COPIED = 0.13  # of pieces of one take; of several the one that copies least is kept
FADES = (FADE_SECONDS, 0.35, 0.5, 0.7)  # seconds
STARTS_FACTOR = 1.1  # by which note starts may be off
STARTS_WEIGH = 0.2  # a piece with e times as many, or so few, weighs as one that is told in so many more of its seconds
PIECES, PIECE_SECONDS = 8, 60.0


def calibrate_recall(
    free_run: FreeRun, song: Song, settings: Settings, found: Calibration, windows: Sequence[Samples]
) -> Calibration:
    """What was found so far, and how its passages follow one another; `windows` are of the song."""
    assert free_run.recall
    assert found.portrait
    part, rate = song.part("validation"), song.sample_rate
    beside = Beside(found.portrait, free_run.recall.passages.cuts(), rate)
    repeats = find_repeats(free_run, part, settings, found.temperature, beside.unlike)
    longer, drawn = find_longer(free_run, part, settings, found.temperature, beside.copied)
    fade = find_fade(free_run.recall.passages, drawn, windows, found.portrait, beside.copied)
    return dataclasses.replace(found, repeats=repeats, longer=longer, fade=fade)


def find_repeats(free_run: FreeRun, part: Samples, settings: Settings, temperature: float, unlike: Unlike) -> float:
    """How much a bar is to be as the one before it, for takes to be like the song: the recall goes by it from then on.

    The more it is, the more takes keep the song's pulsation, and the more stay in one of its sections.

    Args:
        part: of the song, [samples], in which the primes are.
        unlike: how unlike the song a take is.
    """
    assert free_run.recall
    bars = free_run.recall.bars
    if not bars.alike.numpy().any():
        return float(bars.repeats)
    found: dict[float, float] = {}
    for repeats in REPEATS:
        bars.repeats.assign(repeats)
        drawn = trial_runs(free_run, part, settings, [temperature], TAKES, PIECE_SECONDS)[0]
        found[repeats] = float(np.mean([min(HOPELESS, unlike(take, HOPELESS)) for take in audio_of(free_run, drawn)]))
    best = min(REPEATS, key=found.__getitem__)
    bars.repeats.assign(best)
    return best


def find_longer(
    free_run: FreeRun, part: Samples, settings: Settings, temperature: float, copied: Callable[[Samples], float]
) -> tuple[float, tf.Tensor]:
    """For how much longer than usual a recall may follow the song's order without copying it, see `Recall.longer`.

    The fewer the places where passages meet, the less a piece is told from the song. The recall follows it for so long
    from then on.

    Args:
        part: of the song, [samples], in which the primes are.
        copied: which share of a piece is copied, 0..1.

    Returns:
        How much longer, and the units of pieces that follow it for so long, [pieces, time].
    """

    def drawn_at(place: int) -> tf.Tensor:
        assert free_run.recall
        free_run.recall.longer.assign(LONGER[place])
        return trial_runs(free_run, part, settings, [temperature], PIECES, PIECE_SECONDS)[0]

    low, high, found = 0, len(LONGER) - 1, None
    while low < high:
        middle = (low + high + 1) // 2
        drawn = drawn_at(middle)
        if np.mean([copied(piece) for piece in audio_of(free_run, drawn)]) <= MOST_COPIED:
            low, found = middle, drawn
        else:
            high = middle - 1
    assert free_run.recall
    free_run.recall.longer.assign(LONGER[low])
    return LONGER[low], drawn_at(low) if found is None else found


def find_fade(
    passages: Passages,
    drawn: tf.Tensor,
    windows: Sequence[Samples],
    looks: Portrait,
    copied: Callable[[Samples], float],
) -> float:
    """Over how many seconds passages should be cross-faded for a classifier to tell pieces least from the song.

    A short fade lets joins be heard as note starts the song does not have, which counts by itself as well; a long one
    blurs what is played in time.

    Args:
        drawn: units, [pieces, time].
        windows: of the song, [samples] each.
        looks: the song's.
        copied: which share of a piece is copied, 0..1: it may be told a copy by a softer fade alone.

    Returns:
        Seconds, for `Passages.fading`; the usual ones where the song or the pieces are too short to tell.
    """
    rate, edge = passages.sample_rate, passages.frame_length - passages.hop

    def heard(samples: Samples) -> Floats:
        return second_by_second(samples, rate, looks.floor_db)

    theirs = np.concatenate([heard(window) for window in windows])
    found: dict[float, tuple[float, float]] = {}  # how easily pieces are told, and how much of them is copied
    for seconds in FADES:
        pieces = passages.fading(seconds).sound(drawn).numpy()
        pieces = [at_level(piece[edge : len(piece) - edge], rate, looks.level, MOST_GAIN_DB) for piece in pieces]
        told = float(np.mean([told_apart(heard(piece), theirs).share for piece in pieces]))
        if math.isnan(told):
            return FADE_SECONDS
        off = _beyond(float(np.mean([onset_rate(piece, rate) for piece in pieces])), looks.onsets)
        found[seconds] = told + STARTS_WEIGH * off, float(np.mean([copied(piece) for piece in pieces]))
    most = max(MOST_COPIED, found[FADE_SECONDS][1])
    return min((told, seconds) for seconds, (told, share) in found.items() if share <= most)[1]


def _beyond(starts: float, wanted: float) -> float:
    """How far beyond what is allowed note starts per second are off, as a logarithm; of a song without any, nothing."""
    if not wanted:
        return 0.0
    return max(0.0, abs(math.log(max(starts, 1 / PIECE_SECONDS) / wanted)) - math.log(STARTS_FACTOR))
