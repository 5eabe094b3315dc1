"""How like its song a piece is: every figure beside what the same figure is for real audio and for noise.

A figure alone says little: half a second of 4 dB is near or far, depending on the song. So the same is measured of

`held-out`   windows of the validation and test part, which no model has seen (their median): as good as it gets;
`frames`     real audio through the model's own frames and back, if given: the best that this kind of frame can do;
`white`      white noise at the song's level;
`coloured`   noise with the song's level and long-term spectrum;
`silence`    and
`copy`       a passage of the training part, as it is.

The first figure sums up: the overall score of `judge`, from 0 (noise) to 100 (held-out).

Windows of the song are as long as the piece (60 s at most, and no longer than what is held out), because many
figures depend on how much is heard. A long song is measured by windows spread over it; only the search for copies
reads the whole, block by block. The same input gives the same scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sonicrnn.classifier import Told, second_by_second, told_apart
from sonicrnn.distances import at_level, distances, stretch
from sonicrnn.ear import INSTALL, Ear, load_ear
from sonicrnn.form import SHORTEST_SECONDS, Form, moments
from sonicrnn.form import form as form_of
from sonicrnn.judge import Judge, Score, make_judge
from sonicrnn.levels import Floats, Samples, clipping, dc_offset, level, level_trend, silence
from sonicrnn.meter import beat
from sonicrnn.originality import Originality
from sonicrnn.rhythm import border_clicks, modulation_spectrum, onset_rate, pulsation_rate
from sonicrnn.scores import COPY, FIGURES, FRAMES, HELD_OUT, SILENCE, Row, Scores
from sonicrnn.spectrum import spectral_flatness
from sonicrnn.verdicts import verdicts
from sonicrnn.windows import spread
from sonicrnn.yardstick import Yardstick, speed, yardstick

SHORTEST_PIECE_SECONDS = 3.0
_PIECE_WINDOWS = 16
_MOST_GAIN_DB = 40.0  # a classifier that hears the level alone would tell little
_SCORED_SECONDS = 15.0  # of each reference but the copy
_SHORTEST_FRAME = 8  # samples
_WITHOUT_EAR = f"The overall score is by log-mel alone; a pretrained network joins in after\n  {INSTALL}"


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
    ear: Ear | Callable[[], Ear | None] | None = load_ear,
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
        ear: the pretrained network, None to do without; by default it is loaded where it is installed.

    Raises ValueError when a piece, the training part or the held-out part is shorter than 3 s.
    """
    for name, samples in [*pieces.items(), ("training part", training), ("held-out part", held_out)]:
        if len(samples) < SHORTEST_PIECE_SECONDS * rate:
            raise ValueError(
                f"{name}: {len(samples) / rate:.1f} s are too short, {SHORTEST_PIECE_SECONDS:.0f} s are needed"
            )
    song = yardstick(min(map(len, pieces.values())), training, held_out, rate, seed)
    judge = make_judge(training, held_out, rate, window_seconds=song.window / rate, seed=seed, ear=ear)
    originals = dict(zip(pieces, judge.copies.look(list(pieces.values()), song_seconds), strict=True))
    overall = {name: judge.score(samples, originals[name]) for name, samples in pieces.items()}
    told = {name: _told(samples, song) for name, samples in pieces.items()}
    measured = {
        name: {
            **_of_score(overall[name]),
            **_figures(samples, song, hop),
            **_form(samples, song),
            **_copied(originals[name]),
            "told": told[name].share,
        }
        for name, samples in pieces.items()
    }
    references, intervals = _references(song, judge, hop, frames)
    intervals["told"] |= {name: (found.low, found.high) for name, found in told.items()}
    for name, found in overall.items():
        for key, bounds in _bounds(found).items():
            intervals.setdefault(key, {})[name] = bounds
    own_windows = [_slow_figures(window, song, hop) for window in song.training]
    own_stretches = [distances(one, song.likeness, index) for index, one in enumerate(song.likeness.stretches)]
    rows = _rows(
        measured, references, own_windows, own_stretches if len(own_stretches) > 1 else [], intervals, song.form
    )
    by_key = {row.figure.key: row for row in rows}
    return Scores(
        sample_rate=rate,
        window_seconds=song.window / rate,
        stretch_seconds=song.stretch / rate,
        copy_threshold=judge.copies.threshold,
        rows=rows,
        originality=originals,
        verdicts={name: verdicts(name, by_key, originals[name], overall[name]) for name in pieces},
        overall=overall,
        note="" if judge.ear else _WITHOUT_EAR,
    )


Figures = dict[str, float]
Bounds = tuple[float, float]


def _figures(samples: Samples, song: Yardstick, hop: int | None) -> Figures:
    """All figures but those of originality, of a piece of any length."""
    windows = [_window_figures(one, song) for one in spread(samples, song.window, _PIECE_WINDOWS)]
    stretches = [_distances(one, song) for one in spread(samples, song.stretch, 2 * _PIECE_WINDOWS)]
    return _whole_figures(samples, song, hop) | _over(windows, _median) | _over(stretches, _mean)


def _form(samples: Samples, song: Yardstick) -> Figures:
    """The figures of form, of a piece and a song that are long enough to have one."""
    if song.form is None or len(samples) < SHORTEST_SECONDS * song.rate:
        return {}
    return _of_form(form_of(moments(samples, song.rate, song.dbfs, song.floor_db), song.form.variety), song.form)


def _of_form(found: Form, song: Form) -> Figures:
    return {"variety": found.variety / song.variety, "drift": found.drift, "turns": found.turns}


def _told(samples: Samples, song: Yardstick) -> Told:
    """How often a classifier tells the seconds of a piece from the song's."""
    seconds = second_by_second(at_level(samples, song.rate, song.dbfs, _MOST_GAIN_DB), song.rate, song.floor_db)
    return told_apart(seconds, song.seconds)


def _of_score(score: Score) -> Figures:
    distances = {name: seen.distance for name, seen in score.seen.items()}
    return {"score": score.value, **distances, "frechet": score.frechet[0] if score.with_ear else math.nan}


def _bounds(score: Score) -> dict[str, Bounds]:
    """The intervals of the figures of `_of_score`."""
    seen = {name: (one.low, one.high) for name, one in score.seen.items()}
    return {"score": (score.low, score.high), **seen, "frechet": score.frechet[1:]}


def _slow_figures(window: Samples, song: Yardstick, hop: int | None) -> Figures:
    """The figures that need a whole window, of a window of the song."""
    return _whole_figures(window, song, hop) | _window_figures(window, song)


def _whole_figures(samples: Samples, song: Yardstick, hop: int | None) -> Figures:
    quiet = silence(samples, song.rate, song.silent_dbfs)
    figures = {
        "level": level(samples, song.rate) - song.dbfs,
        "trend": level_trend(samples, song.rate),
        "silence": quiet.share,
        "longest_silence": quiet.longest_seconds,
        "clipping": clipping(samples),
        "offset": dc_offset(samples),
        "pulsation": pulsation_rate(samples, song.rate),  # the mean of a bar's and a beat's would be neither
    }
    return figures | ({"clicks": border_clicks(samples, song.rate, hop)} if hop and hop >= _SHORTEST_FRAME else {})


def _window_figures(window: Samples, song: Yardstick) -> Figures:
    hertz, modulation = modulation_spectrum(window, song.rate)
    told = hertz >= 2.0 * song.rate / len(window)  # two periods of the slowest
    return {
        "flatness": spectral_flatness(window, song.rate) / song.flatness,
        "modulation": float(np.sqrt(np.mean(np.square((modulation - song.modulation)[told])))),
        "speed": speed(window, song),
        "beat": beat(window, song.rate, song.bar) / song.beat if song.bar else math.nan,
        "onsets": onset_rate(window, song.rate) / song.onsets if song.onsets else math.nan,
    }


def _distances(samples: Samples, song: Yardstick) -> Figures:
    return distances(stretch(samples, song.rate, song.dbfs, song.floor_db), song.likeness)


def _references(
    song: Yardstick, judge: Judge, hop: int | None, frames: Samples | None
) -> tuple[dict[str, Figures], dict[str, dict[str, Bounds]]]:
    """The figures of each reference; by figure and reference the interval, where there is one."""
    sounds: dict[str, Samples] = {SILENCE: np.zeros(song.window), COPY: _copy(song)}
    if frames is not None:
        sounds[FRAMES] = frames
    held_out = _over([_slow_figures(one, song, hop) for one in song.held_out], _median)
    held_out |= _over([_distances(one, song) for one in song.held_out_stretches], _median)
    found = {HELD_OUT: held_out, **{name: _figures(samples, song, hop) for name, samples in sounds.items()}}
    for name, noises in song.noises.items():
        found[name] = _over([_figures(noise, song, hop) for noise in noises], _mean)
        sounds[name] = noises[0]
    real = judge.score_held_out()
    found[HELD_OUT] |= _of_score(real) | _over([_copied(one) for one in judge.copies.usual], _median)
    intervals = {key: {HELD_OUT: bounds} for key, bounds in _bounds(real).items()}
    for name, figures in _scored(sounds, judge).items():
        found[name] |= figures
    told = {HELD_OUT: [_told(one, song) for one in song.held_out]} | {
        name: [_told(samples, song)] for name, samples in sounds.items()
    }
    for name, several in told.items():
        found[name]["told"] = _median(np.array([one.share for one in several]))
    real_told = np.array([(one.low, one.high) for one in told[HELD_OUT]])
    intervals["told"] = {HELD_OUT: (_median(real_told[:, 0]), _median(real_told[:, 1]))}
    order = [HELD_OUT, *([FRAMES] if frames is not None else []), *song.noises, SILENCE, COPY]
    return {name: found[name] for name in order}, intervals


def _scored(sounds: Mapping[str, Samples], judge: Judge) -> dict[str, Figures]:
    """The figures of the overall score of each reference; of the copy also what is copied."""
    cut = {name: samples[: round(_SCORED_SECONDS * judge.rate)] for name, samples in sounds.items()} | {
        COPY: sounds[COPY]
    }
    originals = dict(zip(cut, judge.copies.look(list(cut.values())), strict=True))  # the song is read once
    if FRAMES in cut:
        # Held-out audio is no copy of itself: only the training part counts.
        originals[FRAMES] = judge.copies.look_in_training(cut[FRAMES])
    figures = {name: _of_score(judge.score(samples, originals[name])) for name, samples in cut.items()}
    figures[COPY] |= _copied(originals[COPY])
    return figures


def _copy(song: Yardstick) -> Samples:
    return song.training[len(song.training) // 2]


def _copied(found: Originality) -> Figures:
    return {"copied": found.copied_seconds, "likeness": found.likeness}


def _rows(
    pieces: Mapping[str, Figures],
    references: Mapping[str, Figures],
    windows: list[Figures],
    stretches: list[Figures],
    intervals: Mapping[str, dict[str, Bounds]],
    form: Form | None,
) -> tuple[Row, ...]:
    whole = _of_form(form, form) if form else {}  # the song has one form, and no windows of it
    low, high = (_over(windows, part) | _over(stretches, part) | whole for part in (_tenth, _ninetieth))
    rows = []
    for figure in FIGURES:
        values = {name: figures.get(figure.key, math.nan) for name, figures in pieces.items()}
        others = {name: figures.get(figure.key, math.nan) for name, figures in references.items()}
        if not all(map(math.isnan, [*values.values(), *others.values()])):
            bounds = low.get(figure.key, math.nan), high.get(figure.key, math.nan)
            rows.append(Row(figure, values, others, *bounds, intervals.get(figure.key, {})))
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
