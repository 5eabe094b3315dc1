"""What a piece is measured against: windows of its song, what they are like, and noises of the same kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from sonicrnn import tempo
from sonicrnn.classifier import second_by_second
from sonicrnn.distances import Likeness, at_level, likeness, log_mel_floor, stretch
from sonicrnn.form import SHORTEST_SECONDS, Form, form, moments
from sonicrnn.levels import Floats, Samples, level, level_curve, silence, silence_threshold
from sonicrnn.meter import bar_seconds, beat
from sonicrnn.rhythm import modulation_spectrum, usual_onset_rate
from sonicrnn.scores import COLOURED, WHITE
from sonicrnn.spectrum import bin_hertz, long_term_spectrum, spectral_flatness
from sonicrnn.windows import spread

LONGEST_WINDOW_SECONDS = 60.0
SHORTEST_STRETCH_SECONDS = 1.5
_TRAINING_WINDOWS, _TRAINING_STRETCHES, _HELD_OUT_WINDOWS = 12, 16, 8
_NOISE_DRAWS = 2
_FORM_SECONDS = 600.0
_LEAST_FIT, _BETTER_THAN_NOISE = 0.4, 0.05  # a pace that fits less, or no better than noise's, cannot be told
_MOST_SILENCE = 0.25  # of a window, to tell its pace


@dataclass(frozen=True, eq=False)
class Yardstick:
    """A song, by windows of its training and of its held-out part; all windows are views, [n] samples."""

    rate: int
    training: tuple[Samples, ...]
    held_out: tuple[Samples, ...]
    stretches: tuple[Samples, ...]  # shorter windows, of the training part, for the log-mel distances
    held_out_stretches: tuple[Samples, ...]
    noises: dict[str, tuple[Samples, ...]]  # by name, each as long as a window and at the song's level
    dbfs: float
    silent_dbfs: float  # under it a second is silent, by the song's measure
    floor_db: float  # of log-mel values
    flatness: float
    onsets: float  # per second of the training part
    bar: float | None  # seconds, for a song that keeps one
    beat: float  # how regularly its windows keep it
    modulation: Floats  # [bands] dB
    paces: tuple[tempo.Pace, ...]  # none when the windows are too short for one
    least_fit: float  # that tells a pace from noise's
    likeness: Likeness
    seconds: Floats  # of the training windows, as a classifier hears them
    form: Form | None  # None where the training part is too short for any

    @property
    def window(self) -> int:
        """Samples of a window."""
        return len(self.training[0])

    @property
    def stretch(self) -> int:
        """Samples of a stretch."""
        return len(self.stretches[0])


def yardstick(shortest_piece: int, training: Samples, held_out: Samples, rate: int, seed: int) -> Yardstick:
    """Look at a song.

    Windows are as long as the shortest piece (samples), and at most 60 s and the held-out part. Stretches are half of
    what is held out where that is less: of three overlapping ones the median leaves out an odd one, such as the song's
    end.
    """
    window = min(shortest_piece, round(LONGEST_WINDOW_SECONDS * rate), len(training), len(held_out))
    length = max(min(window, len(held_out) // 2), min(window, round(SHORTEST_STRETCH_SECONDS * rate)))
    windows = spread(training, window, _TRAINING_WINDOWS, 0.5)
    stretches = spread(training, length, min(_TRAINING_STRETCHES, max(1, len(training) // length)))  # do not overlap
    apart = spread(training, window, min(_TRAINING_STRETCHES, max(1, len(training) // window)))  # do not overlap
    dbfs, floor_db = level(training, rate), log_mel_floor(stretches, rate)
    noises = _noises(windows, rate, dbfs, seed)
    bar = bar_seconds(training, rate)
    paces = tuple(tempo.pace(one, rate) for one in windows if window >= tempo.SHORTEST_SECONDS * rate)
    return Yardstick(
        rate=rate,
        training=windows,
        held_out=spread(held_out, window, _HELD_OUT_WINDOWS, 0.5),
        stretches=stretches,
        held_out_stretches=spread(held_out, length, _HELD_OUT_WINDOWS, 0.5),
        noises=noises,
        dbfs=dbfs,
        silent_dbfs=silence_threshold(np.concatenate([level_curve(one, rate) for one in windows])),
        floor_db=floor_db,
        flatness=float(np.median([spectral_flatness(one, rate) for one in windows])),
        onsets=usual_onset_rate(training, rate),
        bar=bar,
        beat=float(np.median([beat(one, rate, bar) for one in windows])) if bar else math.nan,
        modulation=np.mean([modulation_spectrum(one, rate)[1] for one in windows], axis=0),
        paces=paces,
        least_fit=_least_fit(paces, [noise for several in noises.values() for noise in several], rate),
        likeness=likeness([stretch(one, rate, dbfs, floor_db) for one in stretches]),
        seconds=np.concatenate([second_by_second(one, rate, floor_db) for one in apart]),
        form=_form(training, rate, dbfs, floor_db),
    )


def _form(training: Samples, rate: int, dbfs: float, floor_db: float) -> Form | None:
    """That of the training part, or of ten minutes in its middle."""
    length = min(len(training), round(_FORM_SECONDS * rate))
    middle = training[(len(training) - length) // 2 :][:length]
    return form(moments(middle, rate, dbfs, floor_db)) if length >= SHORTEST_SECONDS * rate else None


def speed(window: Samples, song: Yardstick) -> float:
    """How many times the song's pace a window has; nan when that cannot be told."""
    if not song.paces or len(window) < tempo.SHORTEST_SECONDS * song.rate:
        return math.nan
    if silence(window, song.rate, song.silent_dbfs).share > _MOST_SILENCE:
        return math.nan
    found = tempo.speed(tempo.pace(window, song.rate), song.paces)
    return found.ratio if found.fit >= song.least_fit else math.nan


def _least_fit(paces: Sequence[tempo.Pace], noises: Sequence[Samples], rate: int) -> float:
    fits = [tempo.speed(tempo.pace(noise, rate), paces).fit for noise in noises] if paces else []
    return max([_LEAST_FIT, *(fit + _BETTER_THAN_NOISE for fit in fits)])


def noise_like(spectrum: Floats, samples: int, rate: int, dbfs: float, random: np.random.Generator) -> Floats:
    """Noise at the level `dbfs` with the long-term power `spectrum` ([bins] as of `long_term_spectrum`): [samples]."""
    shape = np.interp(np.fft.rfftfreq(samples, 1.0 / rate), bin_hertz(rate), np.sqrt(spectrum))
    noise = scipy.fft.irfft(scipy.fft.rfft(random.standard_normal(samples)) * shape, samples)
    return at_level(noise, rate, dbfs, math.inf)


def _noises(windows: Sequence[Samples], rate: int, dbfs: float, seed: int) -> dict[str, tuple[Samples, ...]]:
    random = np.random.default_rng(seed)
    spectrum = np.mean([long_term_spectrum(one, rate) for one in windows], axis=0)
    return {
        name: tuple(noise_like(shape, len(windows[0]), rate, dbfs, random) for _ in range(_NOISE_DRAWS))
        for name, shape in ((WHITE, np.ones_like(spectrum)), (COLOURED, spectrum))
    }
