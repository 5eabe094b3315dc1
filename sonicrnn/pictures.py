"""Pictures of sound and of learning: each function returns a finished matplotlib Figure in the look of `drawing`.

Samples are mono, [n], full scale ±1.0, and may be mapped from the disk: a song of hours is read in blocks and drawn in
as many columns as the picture has.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from sonicrnn.drawing import (
    COLOURS,
    FONT,
    INK,
    Floats,
    clock_locator,
    clock_text,
    colour_bar,
    dress,
    legend,
    line,
    new_figure,
    new_panels,
    time_axis,
)  # fmt: skip
from sonicrnn.levels import level_curve

COLUMNS = 1000  # that a picture of a long song is reduced to
SPECTROGRAM_DBFS = (-100.0, -10.0)  # the same colours for every spectrogram; 0 is a full-scale sine
LEVEL_DBFS = (-70.0, 0.0)
FRAMES_A_COLUMN = 12  # spectra that are averaged into a column, at most: a long song is sampled evenly
MOST_LIKENESS_MARKS = 6  # along a side of a picture of likeness: several stand in one row


def waveform(
    samples: Floats,
    rate: int,
    title: str = "",
    start_seconds: float = 0.0,
    limit: float | None = None,
    marks: Sequence[float] = (),
) -> Figure:
    """The samples over time, the axis from −`limit` to `limit` (None: what the samples need).

    Few samples are drawn as a line; of more than some thousand, the lowest and the highest of each column are.
    `start_seconds` is what the time axis begins with: the place of an excerpt in its song. At each of `marks`, in
    seconds of that axis, stands a dashed line.
    """
    figure, axes = new_figure(title, height=2.2)
    for mark in marks:
        axes.axvline(mark, color=COLOURS[1], linewidth=1.4, linestyle="--")
    if len(samples) <= 4 * COLUMNS:
        axes.plot(start_seconds + np.arange(len(samples)) / rate, samples, color=COLOURS[0], linewidth=0.8)
        reach = float(np.max(np.abs(samples), initial=0.0))
    else:
        edges = np.linspace(0, len(samples), COLUMNS + 1).astype(np.int64)
        ends = np.array([(samples[a:b].min(), samples[a:b].max()) for a, b in itertools.pairwise(edges)])
        times = start_seconds + edges[:-1] / rate
        axes.fill_between(times, ends[:, 0], ends[:, 1], color=COLOURS[0], linewidth=0.4, step="post")
        reach = float(np.abs(ends).max())
    bound = limit if limit is not None else reach
    axes.set_ylim(-1.05 * (bound or 1.0), 1.05 * (bound or 1.0))
    axes.set_ylabel("amplitude")
    time_axis(axes, start_seconds, start_seconds + max(1, len(samples)) / rate)
    return figure


def spectrogram(samples: Floats, rate: int, title: str = "", log: bool = True, start_seconds: float = 0.0) -> Figure:
    """Level of each frequency over time, in colours that mean the same dB in every picture.

    The frequency axis is logarithmic from 40 Hz, or linear from 0 with `log=False`, up to half the rate.
    """
    levels, hertz = _spectrogram_columns(samples, rate, log)
    figure, axes = new_figure(title, height=3.2)
    seconds = max(1, len(samples)) / rate
    image = axes.imshow(
        levels.T,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="magma",
        vmin=SPECTROGRAM_DBFS[0],
        vmax=SPECTROGRAM_DBFS[1],
        extent=(start_seconds, start_seconds + seconds, 0, len(hertz)),
    )
    marks = [f for f in (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000) if hertz[0] <= f <= hertz[-1]]
    if not log:
        marks = list(range(0, rate // 2 + 1, 1_000 if rate <= 24_000 else 5_000))
    axes.yaxis.set_major_locator(FixedLocator(list(np.interp(marks, hertz, np.arange(len(hertz)) + 0.5))))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_yticklabels([f"{mark / 1000:g} kHz" if mark >= 1000 else f"{mark} Hz" for mark in marks])
    axes.grid(visible=False)
    colour_bar(figure, axes, image, "level (dBFS)")
    time_axis(axes, start_seconds, start_seconds + seconds)
    return figure


def level_curves(pieces: Mapping[str, Floats], rate: int, title: str = "") -> Figure:
    """RMS level over time of several pieces in one picture, from −70 to 0 dBFS."""
    figure, axes = new_figure(title, height=2.8)
    longest = 1.0
    for number, (name, samples) in enumerate(pieces.items()):
        seconds = len(samples) / rate
        window = max(1.0, seconds / COLUMNS)
        curve = np.clip(level_curve(samples, rate, window, window / 2), *LEVEL_DBFS)
        times = np.minimum(np.arange(len(curve)) * window / 2 + window / 2, seconds)
        line(axes, number, times, curve, label=name)
        longest = max(longest, seconds)
    axes.set_ylim(*LEVEL_DBFS)
    axes.set_ylabel("level (dBFS)")
    legend(axes, len(pieces))
    time_axis(axes, 0.0, longest)
    return figure


def learning_curves(history: Mapping[str, Sequence[float | None]], title: str = "") -> Figure:
    """The columns of a history over its epochs: `x` and `val_x` in one panel, each other figure in its own.

    `history` holds a list for each figure, all of one length; "epoch" (else the row's number) is the horizontal axis.
    None and nan are gaps. At most six panels are drawn, the losses first.
    """
    columns = {name: np.array(values, np.float64) for name, values in history.items()}
    rows = max((len(values) for values in columns.values()), default=0)
    epochs = columns.pop("epoch", np.arange(1, rows + 1, dtype=np.float64))
    panels = sorted({name.removeprefix("val_") for name in columns}, key=lambda name: ("loss" not in name, name))[:6]
    figure, grid = new_panels(title, max(1, len(panels)))
    for axes, panel in zip(grid, panels, strict=False):
        pair = [(n, label) for n, label in ((panel, "training"), (f"val_{panel}", "validation")) if n in columns]
        for number, (name, label) in enumerate(pair):
            alone = rows <= 30 or bool(np.isnan(columns[name]).any())  # points that no line may join
            line(axes, number, epochs, columns[name], label=label, marker="o" if alone else "")
        axes.set_ylabel(panel.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        if len(epochs):
            axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        legend(axes, len(pair) if len(pair) > 1 or pair[0][0].startswith("val_") else 0)
    return figure


def target_against_prediction(target: Floats, prediction: Floats, title: str = "") -> Figure:
    """A target above its prediction, both at the same scale (that of the target).

    Both are one frame [samples], drawn as curves, or a sequence [time, features], drawn as pictures.
    Raises ValueError if their shapes differ.
    """
    if target.shape != prediction.shape or target.ndim not in (1, 2):
        raise ValueError(f"one shape, [n] or [time, features], is needed, not {target.shape} and {prediction.shape}")
    figure, (above, below) = new_panels(title, 2, columns=1)
    low, high = (float(np.min(target)), float(np.max(target))) if target.size else (0.0, 1.0)
    spare = 0.05 * (high - low) or 1.0
    for number, (axes, values, name) in enumerate(((above, target, "target"), (below, prediction, "prediction"))):
        axes.set_title(name, loc="left", fontsize=10, color=INK)
        if target.ndim == 1:
            axes.plot(values, color=COLOURS[number], linewidth=0.8)
            axes.set_ylim(low - spare, high + spare)
            axes.set_xlim(0, max(1, len(values) - 1))
            axes.set_ylabel("amplitude")
        else:
            image = axes.imshow(
                values.T, origin="lower", aspect="auto", interpolation="nearest", cmap="viridis", vmin=low, vmax=high
            )
            axes.grid(visible=False)
            axes.set_ylabel("figure of the frame")
            colour_bar(figure, axes, image, "value")
    below.set_xlabel("sample of the frame" if target.ndim == 1 else "frame of the sequence")
    return figure


def self_similarity(matrix: Floats, hop_seconds: float, title: str = "") -> Figure:
    """How like each moment is to each other: [time, time], a row every `hop_seconds`, bright where they are alike."""
    figure, axes = new_figure(title, height=6.6, width=7.6)
    image = _likeness(axes, matrix, hop_seconds, *_range([matrix]))
    colour_bar(figure, axes, image, "likeness")
    return figure


def self_similarities(matrices: Mapping[str, Floats], hop_seconds: float, label: str, title: str = "") -> Figure:
    """The same of several sounds side by side, on one scale, in what `label` says."""
    columns = min(3, len(matrices))
    rows = -(-len(matrices) // columns)
    figure = Figure(figsize=(4.2 * columns + 0.9, 4.2 * rows + 0.4), facecolor="white", layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left", fontfamily=FONT)
    low, high = _range(list(matrices.values()))
    grid = [figure.add_subplot(rows, columns, number + 1) for number in range(len(matrices))]
    for axes, (name, matrix) in zip(grid, matrices.items(), strict=True):
        dress(axes, name)
        image = _likeness(axes, matrix, hop_seconds, low, high)
    bar = figure.colorbar(image, ax=grid, pad=0.01, aspect=25)
    bar.set_label(label, color=INK, fontsize=9, fontfamily=FONT)
    return figure


def _range(matrices: Sequence[Floats]) -> tuple[float, float]:
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    low, high = np.percentile(values, [1, 99.5]) if values.size else (0.0, 1.0)
    return float(low), max(float(high), float(low) + 1e-6)


def _likeness(axes: Axes, matrix: Floats, hop_seconds: float, low: float, high: float) -> Any:
    end = len(matrix) * hop_seconds
    image = axes.imshow(
        matrix,
        origin="lower",
        cmap="viridis",
        interpolation="nearest",
        vmin=low,
        vmax=high,
        extent=(0, end, 0, end),
    )
    axes.grid(visible=False)
    time_axis(axes, 0.0, end)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock_text(seconds, end)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(clock_locator(end, MOST_LIKENESS_MARKS))
    axes.set_ylabel("time")
    return image


def curve_along(
    seconds: Floats, values: Floats, label: str, title: str = "", marks: Sequence[float] = (), time_label: str = "time"
) -> Figure:
    """A figure of the song along its time, nan where it has none; a dashed line at the height of each of `marks`."""
    figure, axes = new_figure(title, height=2.6)
    for mark in marks:
        axes.axhline(mark, color=COLOURS[1], linewidth=1.0, linestyle="--")
    axes.plot(seconds, values, color=COLOURS[0], linewidth=1.4, marker=".", markersize=4)
    axes.set_ylabel(label)
    finite = [float(value) for value in values if np.isfinite(value)]
    axes.set_ylim(min([0.0, *finite]), 1.15 * max([1e-9, *finite, *marks]))
    time_axis(axes, 0.0, float(seconds[-1]) if len(seconds) else 1.0, time_label)
    return figure


def _spectrogram_columns(samples: Floats, rate: int, log: bool) -> tuple[Floats, Floats]:
    """Levels in dBFS [columns, rows] of at most COLUMNS columns, and the frequency of each row in Hz [rows]."""
    size = 1 << max(6, round(np.log2(0.128 * rate)))
    window = np.hanning(size)
    hop = max(1, size // 4)
    frames = 1 + max(0, len(samples) - size) // hop
    columns = min(frames, COLUMNS)
    bins = np.fft.rfftfreq(size, 1 / rate)
    rows, hertz = _frequency_rows(bins, rate, log)
    power = np.empty((columns, len(bins)))
    edges = np.linspace(0, frames, columns + 1)
    for column in range(columns):
        first, last = int(edges[column]), max(int(edges[column]) + 1, int(edges[column + 1]))
        chosen = np.unique(np.linspace(first, last - 1, min(FRAMES_A_COLUMN, last - first)).astype(np.int64))
        block = np.stack([_padded(samples[k * hop : k * hop + size], size) for k in chosen])  # [frames, size]
        power[column] = np.mean(np.abs(np.fft.rfft(block * window)) ** 2, axis=0)
    return 10 * np.log10(power @ rows * (2 / window.sum()) ** 2 + 1e-20), hertz


def _frequency_rows(bins: Floats, rate: int, log: bool) -> tuple[Floats, Floats]:
    """Weights that add the bins of a power spectrum up to the rows of a picture, [bins, rows], and the rows' Hz.

    A tone keeps its level in a wide row, and noise rises with the row's width, as the ear's bands have it.
    """
    count = 240
    hertz = np.geomspace(40.0, rate / 2, count) if log else np.linspace(0.0, rate / 2, count)
    step = bins[1]
    width = np.maximum(np.gradient(hertz), step)  # a row under the bins' distance reads between two of them
    weights = np.maximum(0.0, 1 - np.abs(bins[:, None] - hertz) / width)
    return weights, hertz


def _padded(samples: Floats, size: int) -> Floats:
    return np.pad(np.asarray(samples, np.float64), (0, size - len(samples)))
