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
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sonicrnn import originality
from sonicrnn.classifier import second_by_second, told_apart
from sonicrnn.distances import at_level, distances, stretch
from sonicrnn.levels import Floats, Samples, clipping, dc_offset, level, level_trend, silence
from sonicrnn.originality import Nearest, Originality
from sonicrnn.rhythm import border_clicks, modulation_spectrum, onset_rate, pulsation_rate
from sonicrnn.scores import COPY, FIGURES, FRAMES, HELD_OUT, SILENCE, Row, Scores
from sonicrnn.spectrum import spectral_flatness
from sonicrnn.verdicts import verdicts
from sonicrnn.yardstick import Yardstick, speed, spread, yardstick

SHORTEST_PIECE_SECONDS = 3.0
_PIECE_WINDOWS = 16
_CHECKED_FOR_COPIES = 3  # windows of held-out audio
_MOST_GAIN_DB = 40.0  # a copy is one at any level
_SHORTEST_FRAME = 8  # samples


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
    song = yardstick(min(map(len, pieces.values())), training, held_out, rate, seed)
    measured = {name: _figures(samples, song, hop) for name, samples in pieces.items()}
    references = _references(song, hop, frames)
    own_windows = [_slow_figures(window, song, hop) for window in song.training]
    own_stretches = [distances(one, song.likeness, index) for index, one in enumerate(song.likeness.stretches)]
    originals, usual, threshold = _originality(pieces, song, training, held_out, song_seconds)
    for name, found in originals.items():
        measured[name] |= _copied(found)
    for name, figures in usual.items():
        references[name] |= figures
    rows = _rows(measured, references, own_windows, own_stretches if len(own_stretches) > 1 else [])
    by_key = {row.figure.key: row for row in rows}
    return Scores(
        sample_rate=rate,
        window_seconds=song.window / rate,
        stretch_seconds=song.stretch / rate,
        copy_threshold=threshold,
        rows=rows,
        originality=originals,
        verdicts={name: verdicts(name, by_key, originals[name]) for name in pieces},
    )


Figures = dict[str, float]


def _figures(samples: Samples, song: Yardstick, hop: int | None) -> Figures:
    """All figures but those of originality, of a piece of any length."""
    windows = [_window_figures(one, song) for one in spread(samples, song.window, _PIECE_WINDOWS)]
    stretches = [_distances(one, song) for one in spread(samples, song.stretch, 2 * _PIECE_WINDOWS)]
    told = {"told": told_apart(_seconds(samples, song), song.seconds).share}
    return _whole_figures(samples, song, hop) | _over(windows, _median) | _over(stretches, _mean) | told


def _seconds(samples: Samples, song: Yardstick) -> Floats:
    return second_by_second(at_level(samples, song.dbfs, _MOST_GAIN_DB), song.rate, song.floor_db)


def _slow_figures(window: Samples, song: Yardstick, hop: int | None) -> Figures:
    """The figures that need a whole window, of a window of the song."""
    return _whole_figures(window, song, hop) | _window_figures(window, song)


def _whole_figures(samples: Samples, song: Yardstick, hop: int | None) -> Figures:
    quiet = silence(samples, song.rate, song.silent_dbfs)
    figures = {
        "level": level(samples) - song.dbfs,
        "trend": level_trend(samples, song.rate),
        "silence": quiet.share,
        "longest_silence": quiet.longest_seconds,
        "clipping": clipping(samples),
        "offset": dc_offset(samples),
    }
    return figures | ({"clicks": border_clicks(samples, song.rate, hop)} if hop and hop >= _SHORTEST_FRAME else {})


def _window_figures(window: Samples, song: Yardstick) -> Figures:
    hertz, modulation = modulation_spectrum(window, song.rate)
    told = hertz >= 2.0 * song.rate / len(window)  # two periods of the slowest
    return {
        "flatness": spectral_flatness(window, song.rate) / song.flatness,
        "modulation": float(np.sqrt(np.mean(np.square((modulation - song.modulation)[told])))),
        "pulsation": pulsation_rate(window, song.rate),
        "speed": speed(window, song),
        "onsets": onset_rate(window, song.rate) / song.onsets if song.onsets else math.nan,
    }


def _distances(samples: Samples, song: Yardstick) -> Figures:
    return distances(stretch(samples, song.rate, song.dbfs, song.floor_db), song.likeness)


def _references(song: Yardstick, hop: int | None, frames: Samples | None) -> dict[str, Figures]:
    held_out = _over([_slow_figures(one, song, hop) for one in song.held_out], _median)
    told = _over([{"told": told_apart(_seconds(one, song), song.seconds).share} for one in song.held_out], _median)
    references = {
        HELD_OUT: held_out | _over([_distances(one, song) for one in song.held_out_stretches], _median) | told
    }
    if frames is not None:
        references[FRAMES] = _figures(frames, song, hop)
    for name, noises in song.noises.items():
        references[name] = _over([_figures(noise, song, hop) for noise in noises], _mean)
    references[SILENCE] = _figures(np.zeros(song.window), song, hop)
    references[COPY] = _figures(_copy(song), song, hop)
    return references


def _copy(song: Yardstick) -> Samples:
    return song.training[len(song.training) // 2]


def _originality(
    pieces: Mapping[str, Samples], song: Yardstick, training: Samples, held_out: Samples, song_seconds: float
) -> tuple[dict[str, Originality], dict[str, Figures], float]:
    """What of the song is copied: by piece, as figures of the references, and the likeness that counts as a copy."""

    def pictured(samples: Samples) -> originality.Pictured:
        same_level = at_level(samples, song.dbfs, _MOST_GAIN_DB)
        return originality.pictured(same_level, song.rate, song.floor_db)

    own = [pictured(samples) for samples in pieces.values()]
    real = [pictured(samples) for samples in spread(held_out, song.window, _CHECKED_FOR_COPIES)]
    *found, copy = originality.nearest([*own, *real, pictured(_copy(song))], training, song.rate, song.floor_db)
    found, usual = found[: len(own)], found[len(own) :]
    # A piece may also repeat what it was primed with, and that may come from any part.
    later = originality.nearest(own, held_out, song.rate, song.floor_db)
    found = [_nearer(*both, len(training) / song.rate) for both in zip(found, later, strict=True)]
    threshold = originality.copy_threshold([one for window in usual for one in window])
    references = {
        HELD_OUT: _over([_copied(originality.judge(window, threshold)) for window in usual], _median),
        COPY: _copied(originality.judge(copy, threshold)),
    }
    judged = [originality.judge(_later(one, song_seconds), threshold) for one in found]
    return dict(zip(pieces, judged, strict=True)), references, threshold


def _copied(found: Originality) -> Figures:
    return {"copied": found.copied_seconds, "likeness": found.likeness}


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
