"""The figures of an evaluation: what they are called, each piece beside its references, as a table and as JSON."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sonicrnn.distances import NAMES as LOG_MEL
from sonicrnn.originality import Originality

if TYPE_CHECKING:
    from sonicrnn.judge import Cap, Score

# Names of the references, as the columns of the table.
HELD_OUT, FRAMES, WHITE, COLOURED, SILENCE, COPY = "held-out", "frames", "white", "coloured", "silence", "copy"
NOISES = (WHITE, COLOURED)
_COLUMNS_A_TABLE = 3  # pieces beside one another
_LEGEND = f"""\
song: 10th and 90th percentile of its own windows; {HELD_OUT}: real audio that no model saw; {FRAMES}: real audio
through the model's frames and back; {WHITE}, {COLOURED}: noise at the song's level, with its spectrum; {COPY}: a
passage of the training part. Told: by a classifier, 50 is chance. […]: 95 % interval. (0.00): where a log-mel distance
lies between {HELD_OUT} (0) and the nearest noise (1)."""


@dataclass(frozen=True)
class Figure:
    """One measured quantity. `scale` is what the value is multiplied by to be shown in `unit`."""

    key: str
    title: str
    unit: str
    decimals: int = 1
    scale: float = 1.0


FIGURES = (
    Figure("score", "overall score, 0 to 100", "", 0),
    Figure("network_sound", "network: kernel distance, sound", "", 3),
    Figure("network_movement", "network: kernel distance, movement", "", 3),
    Figure("frechet", "network: Fréchet distance", "", 2),
    Figure("log_mel_sound", "log-mel: kernel distance, sound", "", 3),
    Figure("log_mel_movement", "log-mel: kernel distance, movement", "", 3),
    Figure("told", "seconds told from the song's", "%", 0, 100.0),
    Figure("level", "level against the song", "dB"),
    Figure("trend", "level trend", "dB/min"),
    Figure("silence", "silent time", "%", 1, 100.0),
    Figure("longest_silence", "longest silence", "s"),
    Figure("clipping", "clipped samples", "%", 3, 100.0),
    Figure("offset", "DC offset", "%", 2, 100.0),
    Figure("flatness", "spectral flatness", "× the song's", 2),
    Figure("spectrum", "log-mel: mean spectrum", "dB", 2),
    Figure("frames", "log-mel: all frames", "dB", 2),
    Figure("patches", "log-mel: half seconds", "", 2),
    Figure("movement", "log-mel: movement", "dB", 2),
    Figure("modulation", "envelope modulation", "dB"),
    Figure("pulsation", "pulsations", "/min"),
    Figure("speed", "pace", "× the song's", 2),
    Figure("beat", "beat: note starts in step with the bar", "× the song's", 2),
    Figure("onsets", "note starts", "× the song's", 2),
    Figure("clicks", "clicks at frame borders", "dB"),
    Figure("variety", "form: variety of moments", "× the song's", 2),
    Figure("drift", "form: far moments against near ones", "", 2),
    Figure("turns", "form: turns to something else", "/min", 1),
    Figure("copied", "copied", "s"),
    Figure("likeness", "nearest passages, likeness", "", 2),
)


@dataclass(frozen=True)
class Row:
    """One figure of all pieces and references; a value is nan where the figure says nothing.

    `low`, `high`: the 10th and 90th percentile of the song's own training windows, nan where they were not measured;
    `intervals`: of 95 %, by piece or reference, where there are any.
    """

    figure: Figure
    pieces: dict[str, float]
    references: dict[str, float]
    low: float
    high: float
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def place(self, value: float) -> float:
        """Where a distance lies between held-out real audio (0) and the nearest noise (1); nan without such a scale.

        Under 0 is nearer to the training part than held-out audio is, over 1 is worse than noise.
        """
        real, noise = self.references[HELD_OUT], min(self.references[name] for name in NOISES)
        return (value - real) / (noise - real) if noise > real else math.nan


@dataclass(frozen=True)
class Verdict:
    """One line about a piece in words, and whether it is good news."""

    good: bool
    text: str


@dataclass(frozen=True)
class Scores:
    """All that an evaluation found out."""

    sample_rate: int
    window_seconds: float  # pace, pulsation and trend were measured over windows as long as this
    stretch_seconds: float  # the log-mel distances over stretches as long as this
    copy_threshold: float
    rows: tuple[Row, ...]
    originality: dict[str, Originality]
    verdicts: dict[str, tuple[Verdict, ...]]
    overall: dict[str, Score] = field(default_factory=dict)
    note: str = ""  # on how they were measured

    def row(self, key: str) -> Row:
        """The row of the figure `key`. Raises KeyError when it was not measured."""
        for row in self.rows:
            if row.figure.key == key:
                return row
        raise KeyError(key)


def as_json(scores: Scores) -> dict[str, Any]:
    """The scores as plain dictionaries, for `files.write_json`; what says nothing is null.

    `figures`: by figure `title`, `unit`, `pieces` and `references` (by name, in the unit), `song` (10th and 90th
    percentile of the song's own windows), `intervals` of 95 % and, for a log-mel distance, `place` of each piece (0
    held-out, 1 nearest noise); `pieces`: by piece its `verdicts` in words, `copied` passages, the `nearest` and the
    few `closest` ones, in seconds of piece and song, and the `caps` of its score; `note`: how it was measured.
    """
    return {
        "sample_rate": scores.sample_rate,
        "window_seconds": scores.window_seconds,
        "stretch_seconds": scores.stretch_seconds,
        "copy_threshold": round(scores.copy_threshold, 4),
        "note": scores.note,
        "figures": {row.figure.key: _row_json(row) for row in scores.rows},
        "pieces": {
            name: {
                "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts],
                "nearest": dataclasses.asdict(scores.originality[name].nearest),
                "copied": [dataclasses.asdict(passage) for passage in scores.originality[name].passages],
                "closest": [dataclasses.asdict(found) for found in scores.originality[name].closest],
                "caps": [dataclasses.asdict(cap) | {"most": cap.most} for cap in _caps(scores, name)],
            }
            for name, verdicts in scores.verdicts.items()
        },
    }


def _caps(scores: Scores, name: str) -> tuple[Cap, ...]:
    return scores.overall[name].caps if name in scores.overall else ()


def _row_json(row: Row) -> dict[str, Any]:
    figure = row.figure

    def shown(value: float) -> float | None:
        return round(value * figure.scale, 5) if math.isfinite(value) else None

    return {
        "title": figure.title,
        "unit": figure.unit,
        "pieces": {name: shown(value) for name, value in row.pieces.items()},
        "references": {name: shown(value) for name, value in row.references.items()},
        "song": [shown(row.low), shown(row.high)],
        "intervals": {name: [shown(low), shown(high)] for name, (low, high) in row.intervals.items()},
    } | ({"place": {name: _finite(row.place(value)) for name, value in row.pieces.items()}} if _is_placed(row) else {})


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _is_placed(row: Row) -> bool:
    return row.figure.key in LOG_MEL


def table(scores: Scores) -> str:
    """The scores as text: a row for each figure, a column for each piece and reference, and then the verdicts.

    Beside a log-mel distance of a piece its place stands in brackets: 0 as held-out real audio, 1 as the nearest noise.
    """
    names = list(scores.verdicts)
    parts = []
    for first in range(0, len(names), _COLUMNS_A_TABLE):
        parts.append(_table(scores, names[first : first + _COLUMNS_A_TABLE]))
    parts.append("\n".join(filter(None, [_LEGEND, scores.note])))
    for name in names:
        lines = (f"  {'+' if verdict.good else '!'} {verdict.text}" for verdict in scores.verdicts[name])
        parts.append("\n".join([f"{name}:", *lines]))
    return "\n\n".join(parts)


def _table(scores: Scores, names: list[str]) -> str:
    references = list(scores.rows[0].references)
    lines = [["", *names, "song", *references]]
    for row in scores.rows:
        values = [_piece_text(row, name) for name in names]
        spread = "" if math.isnan(row.low) else f"{_text(row, row.low)}…{_text(row, row.high)}"
        lines.append([", ".join(filter(None, [row.figure.title, row.figure.unit])), *values, spread])
        lines[-1] += [_text(row, row.references[name]) + _interval_text(row, name) for name in references]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(line, widths) for line in lines)


def _aligned(line: list[str], widths: list[int]) -> str:
    right = [text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True)]
    return "  ".join([line[0].ljust(widths[0]), *right]).rstrip()


def _text(row: Row, value: float) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value * row.figure.scale:.{row.figure.decimals}f}"
    return text.removeprefix("-") if not float(text) else text  # no −0.0


def _interval_text(row: Row, name: str) -> str:
    low, high = row.intervals.get(name, (math.nan, math.nan))
    return "" if math.isnan(low) or math.isnan(high) else f" [{_text(row, low)}…{_text(row, high)}]"


def _piece_text(row: Row, name: str) -> str:
    value = row.pieces[name]
    if not _is_placed(row) or math.isnan(row.place(value)):
        return _text(row, value) + _interval_text(row, name)
    return f"{_text(row, value)} ({row.place(value):.2f})"
