"""How a free run is made to sound most like the song: its temperature and its level, found after training.

The temperature differs from song to song and decides between music and failure: too cold and the run hums one chord,
too warm and it crumbles into noise. So short free runs are made at several temperatures, and the one whose distribution
of log-mel frames, patches and movements, and whose spectral flatness and note starts, lie nearest to the song's is
kept; where spectra are heard as they are drawn, so is how much the noise of the draws persists. What its level then
still lacks is made up for by a gain. The training and the validation part are the measure;
the test part is left for the evaluation. What a recall asks for besides, `calibrate_recall` finds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.ndimage
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.calibrate_recall import calibrate_recall
from sonicrnn.calibration import Calibration
from sonicrnn.config import Settings
from sonicrnn.distances import NAMES, Likeness, Stretch, distances, likeness, log_mel_floor, stretch
from sonicrnn.encoding import Contrast
from sonicrnn.free_run import FreeRun
from sonicrnn.leveller import usual_level
from sonicrnn.levels import Samples, level
from sonicrnn.portrait import portrait
from sonicrnn.rhythm import onset_rate
from sonicrnn.song import Song
from sonicrnn.spectrum import spectral_flatness
from sonicrnn.trial_runs import audio_of, trial_runs

TEMPERATURES = (0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5)
PERSISTENCES = (0.7, 0.9)  # of the draws' noise, tried at the best temperature so far, and at so many on either side
COLDER, HOTTER = 1, 2
PIECES = 4  # at each temperature, from different primes
PIECE_SECONDS = 30.0
WINDOWS = 12  # of the song, spread over the training and the validation part
MOST_GAIN_DB, MOST_LOSS_DB = 9.0, 24.0  # that a level is mended by
CONTRAST_RANGE = (0.8, 1.8)
CONTRAST_SMOOTHING = 9  # bins
STRENGTHS = (0.0, 0.5, 1.15, 1.3)  # powers of the factor: none, half of it, more
MOST_FLATNESS = 1.4
MOST_OFF = 3.0  # that either counts: a model that has learned little has too many note starts at any temperature
LEAST_SPREAD = 0.1  # of logarithms over windows of the song: not all that differs by less is heard


def calibrate(free_run: FreeRun, song: Song, settings: Settings) -> Calibration:
    """Try temperatures and take the least unlike the song; a temperature that the settings fix is the only one tried.

    Unlikeness is the mean of the log-mel distances and of how far the flatness and the note starts are off, up to
    `MOST_OFF`, each in units of what stretches of the song have from the rest of it: about 1 for the song itself.
    """
    fixed = settings.generate.temperature
    temperatures: Sequence[float] = TEMPERATURES if fixed == "auto" else (fixed,)
    if not free_run.model.head.noise_size:
        temperatures = (1.0,)  # without chance there is no temperature
    yardstick = _Yardstick(song)
    target = _spectral_moments(free_run, yardstick.windows)
    trials = functools.partial(_trials, yardstick, free_run, song.part("training"), settings, target)
    persists = free_run.is_balanced and free_run.model.head.noise_size
    tried = _search(trials, temperatures, PERSISTENCES if persists else ())
    best = min(tried, key=_unlikeness)
    free_run.persistence.assign(best.persistence)
    if best.contrast is not None:
        # Phases that were found anew blur the spectra once more, so a little beyond the song's own contrast may be
        # best; where the draws are still rough, less.
        others = [Contrast(best.contrast.centre, best.contrast.factor**strength) for strength in STRENGTHS]
        of_best = free_run, best.temperature, best.persistence, best.drawn
        again = [_trial(yardstick, *of_best, contrast) for contrast in others]
        tried += again
        best = min([best, *again], key=_unlikeness_and_flatness)
    lacking = 0.0 if free_run.recall else -best.figures["level"]  # the song's own spectra have nearly its level
    gain = 10 ** (float(np.clip(lacking, -MOST_LOSS_DB, MOST_GAIN_DB)) / 20)
    arrays = best.contrast or Contrast(np.empty(0), np.empty(0))
    rows = [trial.row() for trial in tried]
    usual = usual_level(np.concatenate(yardstick.windows), song.sample_rate)
    looks = portrait(song.part("training"), song.part("validation"), song.sample_rate)
    contrast = arrays.centre.tolist(), arrays.factor.tolist()
    found = Calibration(best.temperature, gain, usual, *contrast, rows, looks, persistence=best.persistence)
    return calibrate_recall(free_run, song, settings, found, yardstick.windows) if free_run.recall else found


@dataclass(frozen=True, eq=False)
class _Trial:
    """Free runs at one temperature, persistence and contrast, and how they measure."""

    temperature: float
    persistence: float
    drawn: tf.Tensor
    contrast: Contrast | None
    figures: dict[str, float]

    def row(self) -> dict[str, float]:
        contrast = float(self.contrast.factor.mean()) if self.contrast else 1.0
        return {"temperature": self.temperature, "persistence": self.persistence, "contrast": contrast, **self.figures}


def _trial(
    yardstick: _Yardstick,
    free_run: FreeRun,
    temperature: float,
    persistence: float,
    drawn: tf.Tensor,
    contrast: Contrast | None,
) -> _Trial:
    figures = yardstick.measure(audio_of(free_run, drawn, contrast))
    return _Trial(temperature, persistence, drawn, contrast, figures)


def _unlikeness(trial: _Trial) -> float:
    return trial.figures["unlikeness"]


def _unlikeness_and_flatness(trial: _Trial) -> float:
    """Flatness is heard as noise: beyond a factor of `MOST_FLATNESS` it counts on its own."""
    beyond = abs(np.log(trial.figures["flatness"])) - np.log(MOST_FLATNESS)
    return trial.figures["unlikeness"] + max(0.0, float(beyond))


def _trials(
    yardstick: _Yardstick,
    free_run: FreeRun,
    part: Samples,
    settings: Settings,
    target: tuple[np.ndarray, np.ndarray] | None,
    temperatures: Sequence[float],
    persistence: float,
) -> list[_Trial]:
    """At each temperature, with the contrast that has the `target` of `find_contrast`, where there is one."""
    free_run.persistence.assign(persistence)
    made = []
    runs = trial_runs(free_run, part, settings, temperatures, PIECES, PIECE_SECONDS)
    for temperature, drawn in zip(temperatures, runs, strict=True):
        contrast = find_contrast(free_run.encoding.spectra_of(drawn).numpy(), *target) if target else None
        made.append(_trial(yardstick, free_run, temperature, persistence, drawn, contrast))
    return made


def _search(
    trials: Callable[[Sequence[float], float], list[_Trial]],
    temperatures: Sequence[float],
    persistences: Sequence[float],
) -> list[_Trial]:
    """At each temperature, and with noise that persists more and more for as long as that helps."""
    tried = trials(temperatures, 0.0)
    for persistence in persistences:
        best = min(tried, key=_unlikeness)
        first = temperatures.index(best.temperature)
        more = trials(temperatures[max(0, first - COLDER) : first + 1 + HOTTER], persistence)
        tried += more
        if min(map(_unlikeness, more)) >= _unlikeness(best):
            break
    return tried


def find_contrast(spectra: np.ndarray, song_mean: np.ndarray, song_power: np.ndarray) -> Contrast:
    """How far the log magnitudes of free runs must be spread for each bin to have the song's peaks.

    A free run that knows its song's mean but not all that happens in it is too even: its spectra are too flat, and too
    quiet for their mean logarithm. The factor is that which brings each bin's mean power, relative to its geometric
    mean, to the song's; it is a variance compensation as in Toda and Tokuda (2007), of the tail that is heard.

    Args:
        spectra: natural log magnitudes of the free runs, [runs, time, bins].
        song_mean: mean log magnitude of each bin of the song.
        song_power: logarithm of each bin's mean power.

    Returns:
        Its centre is the free runs' own mean, which stays as it is.
    """
    flat = spectra.reshape(-1, spectra.shape[-1])
    centre = flat.mean(0)
    deviation, wanted = flat - centre, song_power - 2 * song_mean
    low, high = np.full_like(centre, CONTRAST_RANGE[0]), np.full_like(centre, CONTRAST_RANGE[1])
    for _ in range(12):  # bisection: the power grows with the factor
        middle = (low + high) / 2
        more = np.log(np.mean(np.exp(2 * middle * deviation), 0)) < wanted
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    factor = scipy.ndimage.uniform_filter1d(middle, CONTRAST_SMOOTHING, mode="nearest")
    return Contrast(centre.astype(np.float32), factor.astype(np.float32))


def _spectral_moments(free_run: FreeRun, windows: Sequence[Samples]) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean log magnitude and log mean power of each bin of the song, [bins]; None for frames that are no spectra."""
    encoding, made = free_run.encoding, free_run.encoding.settings
    if made.kind != "stft" or made.parts is not None or free_run.recall:
        return None  # parts keep their contrast whatever their levels are, and the song's own spectra have it
    samples = encoding.normalise(tf.constant(np.stack(windows), tf.float32))
    spectra = (
        frames.stft_frames(samples, made.frame_length, made.hop_length).numpy().reshape(-1, made.frame_length // 2 + 1)
    )
    return spectra.mean(0), np.log(np.mean(np.exp(2 * spectra), 0))


class _Yardstick:
    """Windows of the song, and how far they lie from one another."""

    def __init__(self, song: Song):
        self.rate = song.sample_rate
        heard = song.samples[: song.parts["validation"][1]]
        length = min(len(heard), round(PIECE_SECONDS * self.rate))
        starts = np.unique(np.linspace(0, len(heard) - length, WINDOWS).astype(int))
        windows = [heard[start : start + length] for start in starts]
        windows = [window - window.mean() for window in windows]  # a constant offset is no sound
        self.windows = windows
        self.level = level(np.concatenate(windows), self.rate)
        flatness = [self._flatness(window) for window in windows]
        self.flatness, self.own_flatness = float(np.mean(flatness)), max(LEAST_SPREAD, float(np.std(flatness)))
        onsets = [self._onsets(window) for window in windows]
        self.onsets, self.own_onsets = float(np.mean(onsets)), max(LEAST_SPREAD, float(np.std(onsets)))
        self.floor = log_mel_floor(windows, self.rate)
        self.song: Likeness = likeness([self.stretch(window) for window in windows])
        self.own = dict.fromkeys(NAMES, 1.0)  # a song of one window has nothing to be measured by
        if len(windows) > 1:
            own = [distances(one, self.song, index) for index, one in enumerate(self.song.stretches)]
            self.own = {name: max(0.05, float(np.mean([one[name] for one in own]))) for name in NAMES}

    def stretch(self, samples: Samples) -> Stretch:
        return stretch(samples, self.rate, self.level, self.floor)

    def measure(self, pieces: np.ndarray) -> dict[str, float]:
        """Means over pieces, [pieces, samples]: `level` in dB, `flatness` and `onsets` as ratios to the song's."""
        far = [distances(self.stretch(piece), self.song) for piece in pieces]
        mean = {name: float(np.mean([one[name] for one in far])) for name in NAMES}
        flatness = float(np.mean([self._flatness(piece) for piece in pieces])) - self.flatness
        onsets = float(np.mean([self._onsets(piece) for piece in pieces])) - self.onsets
        off = [min(MOST_OFF, abs(flatness) / self.own_flatness), min(MOST_OFF, abs(onsets) / self.own_onsets)]
        return {
            "unlikeness": float(np.mean([mean[name] / self.own[name] for name in NAMES] + off)),
            **mean,
            "flatness": float(np.exp(flatness)),
            "onsets": float(np.exp(onsets)),
            "level": level(np.concatenate(pieces), self.rate) - self.level,
        }

    def _flatness(self, samples: Samples) -> float:
        """Logarithm of the spectral flatness."""
        return float(np.log(max(spectral_flatness(samples, self.rate), 1e-9)))

    def _onsets(self, samples: Samples) -> float:
        """Logarithm of the note starts per second, as if there were one at least."""
        return float(np.log(max(onset_rate(samples, self.rate), self.rate / len(samples))))
