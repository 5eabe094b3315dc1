"""How passages of a recall follow one another, found after training: how much a bar is as the one before it, for how
long each is heard, and how softly they give way to one another. Each song asks for its own: pieces of one stay in a
section, what copies soon is to be cut, and calm music is told by its joins.
"""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from sonicrnn.bars import Bars
from sonicrnn.beside import Beside
from sonicrnn.calibration import FADE_SECONDS, REPEATS, Calibration
from sonicrnn.classifier import second_by_second, told_apart
from sonicrnn.config import Settings
from sonicrnn.devices import cores
from sonicrnn.distances import at_level
from sonicrnn.free_run import FreeRun
from sonicrnn.graphs import graph
from sonicrnn.levels import Floats, Samples, level
from sonicrnn.passages import Passages
from sonicrnn.portrait import MOST_GAIN_DB, Portrait
from sonicrnn.rhythm import onset_rate
from sonicrnn.song import Song
from sonicrnn.trial_runs import audio_of, trial_runs

TAKES = 16
HOPELESS = 4.0  # unlike the song by so much or more, a take is none
CLEARLY = 0.3  # less unlike the song takes are to be, on average, for other than the usual
LESS_REPEATS = (1.75, 1.25)  # × the root of how alike bars are, see `Bars.repeats`
LONGER = (0.7, 0.85, 1.0, 1.2, 1.4, 1.7, 2.0, 2.4)  # than usual the song's order may be followed
TRIED = 3  # of them, every other one
MOST_COPIED = 0.13  # of pieces of one take; of several the one that copies least is kept
FADES = (FADE_SECONDS, 0.35, 0.5, 0.7)  # seconds
STARTS_FACTOR = 1.1  # by which note starts may be off
STARTS_WEIGH = 0.2  # a piece with e times as many, or so few, weighs as one that is told in so many more of its seconds
MOST_LOST_DB = 2.0  # where passages meet; what pieces lack beyond that is another matter
PIECES, PIECE_SECONDS = 8, 60.0  # or as long as the song


def calibrate_recall(
    free_run: FreeRun, song: Song, settings: Settings, found: Calibration, windows: Sequence[Samples]
) -> Calibration:
    """What was found so far, and how its passages follow one another; `windows` are of the song."""
    recall, looks = free_run.recall, found.portrait
    assert recall
    assert looks
    beside = Beside(looks, recall.passages.cuts(), song.sample_rate)

    # Beside a song that is shorter, a piece would have to repeat what the song does not.
    seconds = min(PIECE_SECONDS, len(song.samples) / song.sample_rate)

    def drawn(pieces: int) -> tf.Tensor:
        """Units of pieces that follow one another as they do by now, [pieces, time]."""
        return trial_runs(free_run, song.part("validation"), settings, [found.temperature], pieces, seconds)[0]

    def mean_of(measure: Callable[[Samples], float], pieces: int) -> float:
        return float(np.mean(list(threads.map(measure, audio_of(free_run, drawn(pieces))))))

    told: dict[tuple[float, float], float] = {}  # what is found second begins where the first ended

    def unlike() -> float:
        now = float(recall.longer), float(recall.bars.repeats)
        if now not in told:
            told[now] = mean_of(lambda take: min(HOPELESS, beside.unlike(take, HOPELESS)), TAKES)
        return told[now]

    with ThreadPoolExecutor(cores()) as threads:
        longer = find_longer(recall.longer, lambda: mean_of(beside.copied, PIECES), unlike)
        repeats = find_repeats(recall.bars, unlike)
    units = drawn(PIECES)
    fade = find_fade(recall.passages, units, windows, looks, beside.copied)
    gain = find_gain(recall.passages.fading(fade), units, looks.level)
    return dataclasses.replace(found, longer=longer, repeats=repeats, fade=fade, gain=gain)


def find_longer(longer: tf.Variable, copied: Callable[[], float], unlike: Callable[[], float]) -> float:
    """For how much longer than usual the song's order may be followed, see `Recall.longer`; it is so from then on.

    The fewer the places where passages meet, the less a piece is told from the song; the longer they are, the more it
    copies. So they are as long as that allows, or shorter where takes are clearly better then.

    Args:
        copied: which share of pieces is copied, 0..1, as passages are.
        unlike: how unlike the song takes are then.
    """

    def too_long(place: int) -> bool:
        longer.assign(LONGER[place])
        return place > 0 and copied() > MOST_COPIED

    place = bisect.bisect_left(range(len(LONGER)), True, key=too_long) - 1
    return _clearly_best(longer, LONGER[place::-2][:TRIED], unlike)


def find_repeats(bars: Bars, unlike: Callable[[], float]) -> float:
    """How much a bar is to be as the one before it, see `Bars.repeats`; it is so from then on.

    The more it is, the more takes keep the song's pulsation, and the more stay in one of its sections: so it is less
    where takes are clearly better then. `unlike` is how unlike the song they are.
    """
    if not bars.alike.numpy().any():
        return float(bars.repeats)
    return _clearly_best(bars.repeats, (REPEATS, *LESS_REPEATS), unlike)


def _clearly_best(variable: tf.Variable, values: Sequence[float], unlike: Callable[[], float]) -> float:
    """The value with which takes are best, or the first one where they are not clearly better than with that."""
    found: dict[float, float] = {}
    for value in values:
        variable.assign(value)
        found[value] = unlike()
    best = min(values, key=found.__getitem__)
    if found[best] > found[values[0]] - CLEARLY:
        best = values[0]
    variable.assign(best)
    return best


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
    rate = passages.sample_rate

    def heard(samples: Samples) -> Floats:
        return second_by_second(samples, rate, looks.floor_db)

    theirs = np.concatenate([heard(window) for window in windows])
    found: dict[float, tuple[float, float]] = {}  # how easily pieces are told, and how much of them is copied
    for seconds in FADES:
        sounds = _sound_of(passages.fading(seconds), drawn)
        pieces = [at_level(piece, rate, looks.level, MOST_GAIN_DB) for piece in sounds]
        told = float(np.mean([told_apart(heard(piece), theirs).share for piece in pieces]))
        if math.isnan(told):
            return FADE_SECONDS
        off = _beyond(float(np.mean([onset_rate(piece, rate) for piece in pieces])), looks.onsets)
        found[seconds] = told + STARTS_WEIGH * off, float(np.mean([copied(piece) for piece in pieces]))
    most = max(MOST_COPIED, found[FADE_SECONDS][1])
    return min((told, seconds) for seconds, (told, share) in found.items() if share <= most)[1]


def find_gain(passages: Passages, drawn: tf.Tensor, dbfs: float) -> float:
    """The factor that makes up for what pieces lose where passages meet.

    Args:
        drawn: units, [pieces, time].
        dbfs: the song's level.
    """
    lacking = dbfs - level(_sound_of(passages, drawn).ravel(), passages.sample_rate)
    return float(10 ** (np.clip(lacking, 0.0, MOST_LOST_DB) / 20))


def _sound_of(passages: Passages, drawn: tf.Tensor) -> Samples:
    """Units [pieces, time] -> [pieces, samples], without the edges."""
    sound, edge = graph(passages.sound)(drawn).numpy(), passages.frame_length - passages.hop
    return np.asarray(sound[:, edge : sound.shape[1] - edge])


def _beyond(starts: float, wanted: float) -> float:
    """How far beyond what is allowed note starts per second are off, as a logarithm; of a song without any, nothing."""
    if not wanted:
        return 0.0
    return max(0.0, abs(math.log(max(starts, 1 / PIECE_SECONDS) / wanted)) - math.log(STARTS_FACTOR))
