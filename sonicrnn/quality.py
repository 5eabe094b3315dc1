"""How like its song a piece is: every figure beside what the same figure is for real audio and for noise.

A figure alone says little: half a second of 4 dB is near or far, depending on the song. So the same is measured of

`held-out`   windows of the validation and test part, which no model has seen (their median): as good as it gets;
`frames`     real audio through the model's own frames and back, if given: the best that this kind of frame can do;
`white`      white noise at the song's level;
`coloured`   noise with the song's level and long-term spectrum;
`silence`    and
`copy`       a passage of the training part, as it is.

Windows of the song are as long as the piece (60 s at most, and no longer than what is held out), because many
figures depend on how much is heard. A long song is measured by windows spread over it; only the search for copies
reads the whole, block by block. The same input gives the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.fft

from sonicrnn import originality, tempo
from sonicrnn.distances import Likeness, at_level, distances, likeness, log_mel_floor, stretch
from sonicrnn.levels import (
    Floats,
    Samples,
    clipping,
    dc_offset,
    level,
    level_curve,
    level_trend,
    silence,
    silence_threshold,
)
from sonicrnn.originality import Nearest, Originality
from sonicrnn.rhythm import border_clicks, modulation_spectrum, onset_rate, pulsation_rate
from sonicrnn.scores import COPY, FIGURES, FRAMES, HELD_OUT, NOISES, SILENCE, Row, Scores
from sonicrnn.spectrum import bin_hertz, long_term_spectrum, spectral_flatness
from sonicrnn.verdicts import verdicts

LONGEST_WINDOW_SECONDS = 60.0
SHORTEST_PIECE_SECONDS = 3.0
_TRAINING_WINDOWS, _TRAINING_STRETCHES, _HELD_OUT_WINDOWS, _PIECE_WINDOWS = 12, 16, 8, 16
_NOISE_DRAWS = 2
_LEAST_FIT = 0.4  # under it a pace cannot be told from the song's
_MOST_GAIN_DB = 40.0  # a copy is one at any level
_FASTEST_CLICKS = 8  # samples: no frame is shorter


@dataclass(frozen=True, eq=False)
class Real:
    """What the pieces are measured against: the song, by windows of its training part."""

    rate: int
    window: int  # samples
    stretch: int  # samples
    dbfs: float
    silent_dbfs: float
    floor_db: float
    flatness: float
    onsets: float  # per second
    modulation: Floats  # [bands] dB
    paces: tuple[tempo.Pace, ...]
    likeness: Likeness
    training: tuple[Samples, ...]  # windows
    stretches: tuple[Samples, ...]
    held_out: tuple[Samples, ...]
    held_out_stretches: tuple[Samples, ...]


def evaluate(
    pieces: Mapping[str, Samples],
    training: Samples,
    held_out: Samples,
    rate: int,
    *,
    hop: int | None = None,
    frames: Samples | None = None,
    song_seconds: float = 0.0,
    seed: int = 0,
) -> Scores:
    """Measure pieces against the song they were learnt from.

    Args:
        pieces: mono samples [n] by name, full scale ±1.0, at the song's rate, each of at least 3 s.
        training: the song's training part.
        held_out: the validation and test part, as they follow it.
        hop: samples between the frames that the pieces are made of, to look for clicks at their borders.
        frames: real audio that went through the model's frames and back.
        song_seconds: where the training part starts in the song's file, for the places of copies.
        seed: of the noises.

    Raises ValueError when a piece, the training part or the held-out part is shorter than 3 s.
    """
    for name, samples in [*pieces.items(), ("training part", training), ("held-out part", held_out)]:
        if len(samples) < SHORTEST_PIECE_SECONDS * rate:
            raise ValueError(
                f"{name}: {len(samples) / rate:.1f} s are too short, {SHORTEST_PIECE_SECONDS:.0f} s are needed"
            )
    real = _real(pieces.values(), training, held_out, rate)
    measured = {name: _figures(samples, real, hop) for name, samples in pieces.items()}
    references = _references(real, hop, frames, seed)
    own_windows = [_slow_figures(window, real, hop) for window in real.training]
    own_stretches = [distances(one, real.likeness, index) for index, one in enumerate(real.likeness.stretches)]
    originals, threshold = _originality(pieces, real, training, held_out, song_seconds)
    for name, found in originals.items():
        target = measured if name in pieces else references
        target[name] |= {"copied": found.copied_seconds, "likeness": found.likeness}
    rows = _rows(measured, references, own_windows, own_stretches if len(own_stretches) > 1 else [])
    by_key = {row.figure.key: row for row in rows}
    originals = {name: originals[name] for name in pieces}
    return Scores(
        sample_rate=rate,
        window_seconds=real.window / rate,
        stretch_seconds=real.stretch / rate,
        copy_threshold=threshold,
        rows=rows,
        originality=originals,
        verdicts={name: verdicts(name, by_key, originals[name]) for name in pieces},
    )


def spread(samples: Samples, length: int, at_most: int, step: float = 1.0) -> tuple[Samples, ...]:
    """Windows of `length` samples spread evenly from the first sample to the last; all there is if that is less.

    As many as it takes for their starts to be no more than `step` windows apart, but not more than `at_most`.
    """
    free = len(samples) - length
    if free <= 0:
        return (samples,)
    count = min(at_most, 1 + math.ceil(free / (length * step)))
    if count == 1:
        return (samples[free // 2 :][:length],)
    return tuple(samples[start : start + length] for start in np.linspace(0, free, count).round().astype(int))


def _apart(samples: Samples, length: int, at_most: int) -> tuple[Samples, ...]:
    """Windows of the same kind that do not overlap."""
    return spread(samples, length, min(at_most, max(1, len(samples) // length)))


def _real(pieces: Iterable[Samples], training: Samples, held_out: Samples, rate: int) -> Real:
    shortest = min([len(samples) for samples in pieces] + [round(LONGEST_WINDOW_SECONDS * rate), len(training)])
    window = min(shortest, len(held_out))
    # Half of what is held out, where that is less: of three overlapping stretches the median leaves out an odd one.
    length = max(min(window, len(held_out) // 2), round(rate * SHORTEST_PIECE_SECONDS / 2))
    windows = spread(training, window, _TRAINING_WINDOWS, 0.5)
    stretches = _apart(training, length, _TRAINING_STRETCHES)
    dbfs = level(training)
    floor_db = log_mel_floor(stretches, rate)
    levels = np.concatenate([level_curve(one, rate) for one in windows])
    paced = window >= tempo.SHORTEST_SECONDS * rate
    return Real(
        rate=rate,
        window=window,
        stretch=length,
        dbfs=dbfs,
        silent_dbfs=silence_threshold(levels),
        floor_db=floor_db,
        flatness=float(np.median([spectral_flatness(one, rate) for one in windows])),
        onsets=float(np.mean([onset_rate(one, rate) for one in windows])),
        modulation=np.mean([modulation_spectrum(one, rate)[1] for one in windows], axis=0),
        paces=tuple(tempo.pace(one, rate) for one in windows) if paced else (),
        likeness=likeness([stretch(one, rate, dbfs, floor_db) for one in stretches]),
        training=windows,
        stretches=stretches,
        held_out=spread(held_out, window, _HELD_OUT_WINDOWS, 0.5),
        held_out_stretches=spread(held_out, length, _HELD_OUT_WINDOWS, 0.5),
    )


Figures = dict[str, float]


def _figures(samples: Samples, real: Real, hop: int | None) -> Figures:
    """All figures but those of originality, of a piece of any length."""
    windows = [_window_figures(one, real) for one in spread(samples, real.window, _PIECE_WINDOWS)]
    stretches = [_distances(one, real) for one in spread(samples, real.stretch, 2 * _PIECE_WINDOWS)]
    return _whole_figures(samples, real, hop) | _over(windows, _median) | _over(stretches, _mean)


def _slow_figures(window: Samples, real: Real, hop: int | None) -> Figures:
    """The figures that need a whole window, of a window of the song."""
    return _whole_figures(window, real, hop) | _window_figures(window, real)


def _whole_figures(samples: Samples, real: Real, hop: int | None) -> Figures:
    quiet = silence(samples, real.rate, real.silent_dbfs)
    figures = {
        "level": level(samples) - real.dbfs,
        "trend": level_trend(samples, real.rate),
        "silence": quiet.share,
        "longest_silence": quiet.longest_seconds,
        "clipping": clipping(samples),
        "offset": dc_offset(samples),
    }
    return figures | ({"clicks": border_clicks(samples, real.rate, hop)} if hop and hop >= _FASTEST_CLICKS else {})


def _window_figures(window: Samples, real: Real) -> Figures:
    hertz, modulation = modulation_spectrum(window, real.rate)
    told = hertz >= 2.0 * real.rate / len(window)  # two periods of the slowest
    return {
        "flatness": spectral_flatness(window, real.rate) / real.flatness,
        "modulation": float(np.sqrt(np.mean(np.square((modulation - real.modulation)[told])))),
        "pulsation": pulsation_rate(window, real.rate),
        "speed": _speed(window, real),
        "onsets": onset_rate(window, real.rate) / real.onsets if real.onsets else math.nan,
    }


def _speed(window: Samples, real: Real) -> float:
    if not real.paces or level(window) < real.silent_dbfs:
        return math.nan
    found = tempo.speed(tempo.pace(window, real.rate), real.paces)
    return found.ratio if found.fit >= _LEAST_FIT else math.nan


def _distances(samples: Samples, real: Real) -> Figures:
    return distances(stretch(samples, real.rate, real.dbfs, real.floor_db), real.likeness)


def _references(real: Real, hop: int | None, frames: Samples | None, seed: int) -> dict[str, Figures]:
    held_out = _over([_slow_figures(one, real, hop) for one in real.held_out], _median)
    references = {HELD_OUT: held_out | _over([_distances(one, real) for one in real.held_out_stretches], _median)}
    if frames is not None:
        references[FRAMES] = _figures(frames, real, hop)
    random = np.random.default_rng(seed)
    spectrum = np.mean([long_term_spectrum(one, real.rate) for one in real.training], axis=0)
    for name, shape in zip(NOISES, (np.ones_like(spectrum), spectrum), strict=True):
        noises = [noise_like(shape, real.window, real.rate, real.dbfs, random) for _ in range(_NOISE_DRAWS)]
        references[name] = _over([_figures(noise, real, hop) for noise in noises], _mean)
    references[SILENCE] = _figures(np.zeros(real.window), real, hop)
    references[COPY] = _figures(_copy(real), real, hop)
    return references


def noise_like(spectrum: Floats, samples: int, rate: int, dbfs: float, random: np.random.Generator) -> Floats:
    """Noise at the level `dbfs` with the long-term power `spectrum` ([bins] as of `long_term_spectrum`): [samples]."""
    shape = np.interp(np.fft.rfftfreq(samples, 1.0 / rate), bin_hertz(rate), np.sqrt(spectrum))
    noise = scipy.fft.irfft(scipy.fft.rfft(random.standard_normal(samples)) * shape, samples)
    return at_level(noise, dbfs, math.inf)


def _copy(real: Real) -> Samples:
    return real.training[len(real.training) // 2]


def _originality(
    pieces: Mapping[str, Samples], real: Real, training: Samples, held_out: Samples, song_seconds: float
) -> tuple[dict[str, Originality], float]:
    """What is copied from the song: by piece, of held-out audio and of a copy; and the likeness that counts as one."""

    def pictured(samples: Samples) -> originality.Pictured:
        same_level = at_level(samples, real.dbfs, _MOST_GAIN_DB)
        return originality.pictured(same_level, real.rate, real.floor_db)

    own = [pictured(samples) for samples in pieces.values()]
    checks = [pictured(real.held_out[len(real.held_out) // 2]), pictured(_copy(real))]
    *found, ordinary, copy = originality.nearest(own + checks, training, real.rate, real.floor_db)
    # A piece may also repeat what it was primed with, and that may come from any part.
    later = originality.nearest(own, held_out, real.rate, real.floor_db)
    found = [_nearer(*both, len(training) / real.rate) for both in zip(found, later, strict=True)]
    threshold = originality.copy_threshold(ordinary)
    names = [*pieces, HELD_OUT, COPY]
    judged = [originality.judge(_later(one, song_seconds), threshold) for one in [*found, ordinary, copy]]
    return dict(zip(names, judged, strict=True)), threshold


def _nearer(first: Sequence[Nearest], second: Sequence[Nearest], seconds: float) -> list[Nearest]:
    """Of each pair the likelier one; the second of them were looked for in what follows `seconds` later."""
    pairs = zip(first, _later(second, seconds), strict=True)
    return [max(pair, key=lambda found: found.likeness) for pair in pairs]


def _later(found: Sequence[Nearest], seconds: float) -> list[Nearest]:
    return [Nearest(one.piece_seconds, one.song_seconds + seconds, one.likeness) for one in found]


def _rows(
    pieces: Mapping[str, Figures], references: Mapping[str, Figures], windows: list[Figures], stretches: list[Figures]
) -> tuple[Row, ...]:
    low, high = (_over(windows, part) | _over(stretches, part) for part in (_tenth, _ninetieth))
    rows = []
    for figure in FIGURES:
        values = {name: figures.get(figure.key, math.nan) for name, figures in pieces.items()}
        others = {name: figures.get(figure.key, math.nan) for name, figures in references.items()}
        if not all(map(math.isnan, [*values.values(), *others.values()])):
            rows.append(Row(figure, values, others, low.get(figure.key, math.nan), high.get(figure.key, math.nan)))
    return tuple(rows)


def _over(figures: Sequence[Figures], summary: Callable[[Floats], float]) -> Figures:
    """Sum up each figure over several measurements of it; what says nothing (nan) is not counted."""
    if not figures:
        return {}
    columns = {key: np.array([one[key] for one in figures]) for key in figures[0]}
    known = {key: values[~np.isnan(values)] for key, values in columns.items()}
    return {key: summary(values) if len(values) else math.nan for key, values in known.items()}


def _mean(values: Floats) -> float:
    return float(values.mean())


def _median(values: Floats) -> float:
    return float(np.median(values))


def _tenth(values: Floats) -> float:
    return float(np.quantile(values, 0.1))


def _ninetieth(values: Floats) -> float:
    return float(np.quantile(values, 0.9))
