"""How like the song the free run of a model in training is: what its weights can be selected by.

The loss of one step is lowest long before the free run is at its best, see docs/selection.md. So every few epochs short
pieces are made from primes of the validation part, and scored as `judge` scores, with the validation part as what is
held out, by log-mel alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from sonicrnn.calibration import Calibration
from sonicrnn.config import Settings
from sonicrnn.errors import UserError
from sonicrnn.free_run import FreeRun
from sonicrnn.generator import Generator
from sonicrnn.judge import SHORTEST_SECONDS, Score, make_judge
from sonicrnn.song import Song

PIECES = 4
PIECE_SECONDS = 20.0


def free_run_score(free_run: FreeRun, song: Song, settings: Settings) -> Callable[[], float]:
    """A function that makes pieces with the weights as they are and scores them.

    What it returns is 0 for the nearest noise, 1 for the validation part, and not bounded by them, so that it still
    tells models apart which are all better than held-out audio; but no more than the score's caps let pass. nan for a
    song that cannot be told from noise. Raises UserError for a song whose parts are too short.
    """
    training, validation, rate = song.part("training"), song.part("validation"), song.sample_rate
    shortest = min(len(training), len(validation)) / rate
    if shortest < SHORTEST_SECONDS:
        raise UserError(
            f"train.score_epochs needs {SHORTEST_SECONDS:g} s of validation part, and the song has {shortest:.1f} s: "
            "give it a larger share in song.split, or set train.score_epochs=null"
        )
    judge = make_judge(training, validation, rate, window_seconds=PIECE_SECONDS, ear=None, seed=settings.seed)
    made = settings.generate
    generator = Generator(free_run, Calibration(1.0 if made.temperature == "auto" else made.temperature))
    length = min(len(validation), round(made.prime_seconds * rate))
    starts = np.linspace(0, len(validation) - length, PIECES).astype(int)
    primes = np.stack([validation[start : start + length] for start in starts])
    seeds = [settings.seed + index for index in range(PIECES)]

    def score() -> float:
        pieces = generator.generate(primes, PIECE_SECONDS, seeds=seeds)
        return float(np.mean([_capped(judge.score(piece)) for piece in pieces]))

    return score


def _capped(score: Score) -> float:
    most = min(cap.most for cap in score.caps)
    return min(score.place, most / 100) if most < 100 else score.place


def is_better(score: float, best: float | None) -> bool:
    """Whether a score is the best so far; the first one is, whatever it is."""
    return best is None or (not math.isnan(score) and (math.isnan(best) or score > best))
