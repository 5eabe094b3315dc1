"""How near a sound is to the held-out audio that it was made from, and to its song, for `there_and_back.py`.

measures = Measures(training, held_out, rate, (frame_length, hop), by)
measures(samples, asked, seconds).score
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.learning import lowest_bin
from sonicrnn import frames
from sonicrnn.classifier import second_by_second, told_apart
from sonicrnn.distances import at_level
from sonicrnn.ear import Ear, load_ear
from sonicrnn.judge import make_judge
from sonicrnn.levels import Floats
from sonicrnn.rhythm import onset_rate
from sonicrnn.song import Normaliser

Singles = npt.NDArray[np.float32]

MOST_GAIN_DB = 40.0  # as of `evaluate`
NEPER = 20 / math.log(10)  # dB


@dataclass(frozen=True)
class Measured:
    """One row.

    Attributes:
        convergence: dB, how far the magnitudes from 20 Hz on are from those that were asked for; nan where none were.
        off: dB, the same from the magnitudes of the held-out audio.
        distance: dB, of the log spectra from those of the held-out audio, the mean over the frames.
        score: the overall score; `place`, the same without bounds, 0 to 1.
        told: the share of seconds that a classifier tells from the training part's; `apart`, from the held-out ones.
        onsets: note starts, times those of the held-out audio.
        seconds: of one core for a minute of audio.
    """

    convergence: float
    off: float
    distance: float
    score: float
    place: float
    told: float
    apart: float
    onsets: float
    seconds: float


class Measures:
    """Of sounds made of one held-out part.

    Args:
        training, held_out: samples [n] of the song, full scale 1; the latter a whole number of frames long.
        by: the change of scale under which all magnitudes are.
        size: window and hop of all magnitudes.
        ear: the pretrained network, as of `make_judge`.
    """

    def __init__(
        self,
        training: Singles,
        held_out: Singles,
        rate: int,
        size: tuple[int, int],
        by: Normaliser,
        ear: Ear | Callable[[], Ear | None] | None = load_ear,
    ):
        self.size, self.by, self.rate, self.lowest = size, by, rate, lowest_bin(size[0])
        self.judge = make_judge(training, held_out, rate, ear=ear)
        self.real = self.inner(held_out)
        self.seconds = self._by_seconds(training), self._by_seconds(self.real)
        self.spectra = self._magnitudes(self.real)

    def __call__(self, samples: Singles, asked: Singles | None, seconds: float = math.nan) -> Measured:
        """Of samples [n] at full scale 1; `asked`, [time, bins], are the magnitudes that were to be."""
        heard = self.inner(samples)
        found = self._magnitudes(heard)
        cut = self.size[0] // self.size[1]  # frames before the first inner sample
        score = self.judge.score(heard, self.judge.copies.look_in_training(heard))
        own = self._by_seconds(heard)
        logarithms = (frames.log_magnitude(one).numpy() for one in (found, self.spectra))
        return Measured(
            convergence=math.nan if asked is None else convergence(found, asked[cut:-cut, self.lowest :]),
            off=convergence(found, self.spectra),
            distance=log_distance(*logarithms),
            score=score.value,
            place=score.place,
            told=told_apart(own, self.seconds[0]).share,
            apart=told_apart(own, self.seconds[1]).share,
            onsets=onset_rate(heard, self.rate) / max(onset_rate(self.real, self.rate), 1e-9),
            seconds=seconds / (len(samples) / self.rate / 60),
        )

    def inner(self, samples: Singles) -> Singles:
        """Without the first and last frame, in which overlapping neighbours are missing."""
        return samples[self.size[0] : -self.size[0]]

    def _magnitudes(self, samples: Singles) -> Singles:
        normalised = tf.constant(self.by.apply(samples)[None], tf.float32)
        made: Singles = tf.abs(frames.spectra(normalised, *self.size))[0].numpy()
        return made[:, self.lowest :]

    def _by_seconds(self, samples: Singles) -> Floats:
        leveled = at_level(samples, self.rate, self.judge.dbfs, MOST_GAIN_DB)
        return second_by_second(leveled, self.rate, self.judge.floor_db)


def convergence(found: Singles, asked: Singles) -> float:
    """Spectral convergence in dB, of magnitudes [time, bins]; not under -120."""
    away = float(np.linalg.norm(found - asked)) / max(float(np.linalg.norm(asked)), 1e-30)
    return 20 * math.log10(max(away, 1e-6))


def log_distance(one: Singles, other: Singles) -> float:
    """dB, of log magnitudes [time, bins] in nepers: the root of the mean square over the bins, the mean over time."""
    return NEPER * float(np.sqrt(np.square(one - other).mean(1)).mean())
