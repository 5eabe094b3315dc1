"""The temperature at which a free run sounds most like the song.

It differs from song to song and decides between music and failure: too cold and the run hums one chord, too warm and it
crumbles into noise. So, after training, short free runs are made at several temperatures and the one whose
distribution of log-mel frames, patches and movements lies nearest to the song's is kept. The training and the
validation part are the measure; the test part is left for the evaluation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sonicrnn.config import Settings
from sonicrnn.distances import NAMES, Likeness, Stretch, distances, likeness, log_mel_floor, stretch
from sonicrnn.free_run import FreeRun
from sonicrnn.generator import Generator
from sonicrnn.levels import Samples, level
from sonicrnn.song import Song

TEMPERATURES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
PIECES = 2  # at each temperature, from different primes
PIECE_SECONDS = 20.0
WINDOWS = 12  # of the song, spread over the training and the validation part
DECIBELS_PER_UNIT = 3.0  # a level that is so far off counts as much as the song's own distance from itself


def find_temperature(free_run: FreeRun, song: Song, settings: Settings) -> dict[str, Any]:
    """{"temperature": the best, "tried": [{"temperature", "unlikeness", each distance, "level"}]}.

    Settings that fix a temperature keep it. Unlikeness is the mean of the distances, each in units of what stretches of
    the song have from the rest of it, plus the difference in level in units of 3 dB: about 1 for the song itself.
    """
    if settings.generate.temperature != "auto" or free_run.model.head.noise_size == 0:
        fixed = settings.generate.temperature
        return {"temperature": 1.0 if fixed == "auto" else fixed, "tried": []}
    yardstick = _Yardstick(song)
    tried = [
        {"temperature": temperature, **yardstick.measure(pieces)}
        for temperature, pieces in zip(TEMPERATURES, _pieces(free_run, song, settings), strict=True)
    ]
    return {"temperature": min(tried, key=lambda row: row["unlikeness"])["temperature"], "tried": tried}


class _Yardstick:
    """Windows of the song, and how far they lie from one another."""

    def __init__(self, song: Song):
        self.rate = song.sample_rate
        heard = song.samples[: song.parts["validation"][1]]
        length = min(len(heard), round(PIECE_SECONDS * self.rate))
        starts = np.unique(np.linspace(0, len(heard) - length, WINDOWS).astype(int))
        windows = [heard[start : start + length] for start in starts]
        self.level = float(np.median([level(window) for window in windows]))
        self.floor = log_mel_floor(windows, self.rate)
        self.song: Likeness = likeness([self.stretch(window) for window in windows])
        self.own = {name: 1.0 for name in NAMES}  # a song of one window has nothing to be measured by
        if len(windows) > 1:
            own = [distances(one, self.song, index) for index, one in enumerate(self.song.stretches)]
            self.own = {name: max(0.05, float(np.mean([one[name] for one in own]))) for name in NAMES}

    def stretch(self, samples: Samples) -> Stretch:
        return stretch(samples, self.rate, self.level, self.floor)

    def measure(self, pieces: np.ndarray) -> dict[str, float]:
        """The mean over some pieces, [pieces, samples]."""
        far = [distances(self.stretch(piece), self.song) for piece in pieces]
        mean = {name: float(np.mean([one[name] for one in far])) for name in NAMES}
        off = float(np.mean([level(piece) for piece in pieces])) - self.level
        unlikeness = float(np.mean([mean[name] / self.own[name] for name in NAMES])) + abs(off) / DECIBELS_PER_UNIT
        return {"unlikeness": unlikeness, **mean, "level": off}


def _pieces(free_run: FreeRun, song: Song, settings: Settings) -> np.ndarray:
    """[temperatures, pieces, samples]: all in one batch, from primes at the validation part's start and end."""
    part = song.part("validation")
    length = min(len(part), round(settings.generate.prime_seconds * song.sample_rate))
    primes = [part[start : start + length] for start in np.linspace(0, len(part) - length, PIECES).astype(int)]
    made = Generator(free_run, 1.0).generate(
        np.stack(primes * len(TEMPERATURES)),
        PIECE_SECONDS,
        np.repeat(TEMPERATURES, PIECES).tolist(),
        seeds=[settings.seed + index for index in range(PIECES)] * len(TEMPERATURES),
    )
    return made.reshape(len(TEMPERATURES), PIECES, -1)
