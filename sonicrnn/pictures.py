"""Drawing: each function returns a finished matplotlib Figure, and two more write one as PNG.

Figures are made without pyplot, so that nothing global is kept and any thread may draw. All look alike: white,
one column, times as m:ss, colours that colour-blind eyes tell apart and line styles besides. Samples are mono,
[n], full scale ±1.0, and may be mapped from the disk: a song of hours is read in blocks and drawn in as many columns
as the picture has.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, MaxNLocator, MultipleLocator, NullLocator
from PIL import Image

from sonicrnn.files import written_beside
from sonicrnn.levels import level_curve

Floats = npt.NDArray[np.floating[Any]]

WIDTH_INCHES = 10.0
DOTS_PER_INCH = 100
COLUMNS = 1000  # that a picture of a long song is reduced to
SPECTROGRAM_DBFS = (-100.0, -10.0)  # the same colours for every spectrogram; 0 is a full-scale sine
LEVEL_DBFS = (-70.0, 0.0)
FRAMES_A_COLUMN = 12  # spectra that are averaged into a column, at most: a long song is sampled evenly
MOST_LIKENESS_MARKS = 6  # along a side of a picture of likeness: several stand in one row

# Okabe & Ito's palette (2008), darkest first, each with its own line style.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
INK, PALE = "#222222", "#DDDDDD"
FONT = "DejaVu Sans"  # comes with matplotlib


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
    figure, axes = _figure(title, height=2.2)
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
    _time_axis(axes, start_seconds, start_seconds + max(1, len(samples)) / rate)
    return figure


def spectrogram(samples: Floats, rate: int, title: str = "", log: bool = True, start_seconds: float = 0.0) -> Figure:
    """Level of each frequency over time, in colours that mean the same dB in every picture.

    The frequency axis is logarithmic from 40 Hz, or linear from 0 with `log=False`, up to half the rate.
    """
    levels, hertz = _spectrogram_columns(samples, rate, log)
    figure, axes = _figure(title, height=3.2)
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
    _colour_bar(figure, axes, image, "level (dBFS)")
    _time_axis(axes, start_seconds, start_seconds + seconds)
    return figure


def level_curves(pieces: Mapping[str, Floats], rate: int, title: str = "") -> Figure:
    """RMS level over time of several pieces in one picture, from −70 to 0 dBFS."""
    figure, axes = _figure(title, height=2.8)
    longest = 1.0
    for number, (name, samples) in enumerate(pieces.items()):
        seconds = len(samples) / rate
        window = max(1.0, seconds / COLUMNS)
        curve = np.clip(level_curve(samples, rate, window, window / 2), *LEVEL_DBFS)
        times = np.minimum(np.arange(len(curve)) * window / 2 + window / 2, seconds)
        _line(axes, number, times, curve, label=name)
        longest = max(longest, seconds)
    axes.set_ylim(*LEVEL_DBFS)
    axes.set_ylabel("level (dBFS)")
    _legend(axes, len(pieces))
    _time_axis(axes, 0.0, longest)
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
    figure, grid = _panels(title, max(1, len(panels)))
    for axes, panel in zip(grid, panels, strict=False):
        pair = [(n, label) for n, label in ((panel, "training"), (f"val_{panel}", "validation")) if n in columns]
        for number, (name, label) in enumerate(pair):
            alone = rows <= 30 or bool(np.isnan(columns[name]).any())  # points that no line may join
            _line(axes, number, epochs, columns[name], label=label, marker="o" if alone else "")
        axes.set_ylabel(panel.replace("_", " "))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
        if len(epochs):
            axes.set_xlim(epochs.min() - 0.5, epochs.max() + 0.5)
        _legend(axes, len(pair) if len(pair) > 1 or pair[0][0].startswith("val_") else 0)
    return figure


def target_against_prediction(target: Floats, prediction: Floats, title: str = "") -> Figure:
    """A target above its prediction, both at the same scale (that of the target).

    Both are one frame [samples], drawn as curves, or a sequence [time, features], drawn as pictures.
    Raises ValueError if their shapes differ.
    """
    if target.shape != prediction.shape or target.ndim not in (1, 2):
        raise ValueError(f"one shape, [n] or [time, features], is needed, not {target.shape} and {prediction.shape}")
    figure, (above, below) = _panels(title, 2, columns=1)
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
            _colour_bar(figure, axes, image, "value")
    below.set_xlabel("sample of the frame" if target.ndim == 1 else "frame of the sequence")
    return figure


def self_similarity(matrix: Floats, hop_seconds: float, title: str = "") -> Figure:
    """How like each moment is to each other: [time, time], a row every `hop_seconds`, bright where they are alike."""
    figure, axes = _figure(title, height=6.6, width=7.6)
    image = _likeness(axes, matrix, hop_seconds, *_range([matrix]))
    _colour_bar(figure, axes, image, "likeness")
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
        _dress(axes, name)
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
    _time_axis(axes, 0.0, end)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, end)))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(_clock_locator(end, MOST_LIKENESS_MARKS))
    axes.set_ylabel("time")
    return image


def curve_along(
    seconds: Floats, values: Floats, label: str, title: str = "", marks: Sequence[float] = (), time_label: str = "time"
) -> Figure:
    """A figure of the song along its time, nan where it has none; a dashed line at the height of each of `marks`."""
    figure, axes = _figure(title, height=2.6)
    for mark in marks:
        axes.axhline(mark, color=COLOURS[1], linewidth=1.0, linestyle="--")
    axes.plot(seconds, values, color=COLOURS[0], linewidth=1.4, marker=".", markersize=4)
    axes.set_ylabel(label)
    finite = [float(value) for value in values if np.isfinite(value)]
    axes.set_ylim(min([0.0, *finite]), 1.15 * max([1e-9, *finite, *marks]))
    _time_axis(axes, 0.0, float(seconds[-1]) if len(seconds) else 1.0, time_label)
    return figure


def png_bytes(figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """The figure as a PNG of at most 256 colours, a third of the size of a full-colour one."""
    figure.set_dpi(dots_per_inch)
    canvas: Any = FigureCanvasAgg(figure)  # matplotlib leaves its methods untyped
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    small = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    file = io.BytesIO()
    small.save(file, "PNG", optimize=True)
    return file.getvalue()


def save_figure(path: str | Path, figure: Figure, dots_per_inch: int = DOTS_PER_INCH) -> None:
    """Write the figure as a PNG, whole or not at all."""
    content = png_bytes(figure, dots_per_inch)
    with written_beside(path) as beside:
        beside.write_bytes(content)


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


def _figure(title: str, height: float, width: float = WIDTH_INCHES) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    _dress(axes, title)
    return figure, axes


def _panels(title: str, count: int, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Panels in rows of `columns`; the picture's title stands over the first."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH_INCHES, 2.5 * rows + 0.4), facecolor="white", layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left", fontfamily=FONT)
    grid = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axes in grid:
        _dress(axes, "")
    return figure, grid


def _dress(axes: Axes, title: str) -> None:
    """The common look, said in full, so that a user's own matplotlib style cannot change it."""
    axes.set_facecolor("white")
    if title:
        axes.set_title(title, loc="left", fontsize=12, color=INK, fontfamily=FONT)
    axes.tick_params(labelsize=9, colors=INK, labelfontfamily=FONT)
    axes.grid(visible=True, color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=INK, fontsize=10, fontfamily=FONT)
    for name, spine in axes.spines.items():
        spine.set(color="#888888", linewidth=0.8, visible=name in ("left", "bottom"))


def _line(axes: Axes, number: int, x: Floats, y: Floats, label: str, marker: str = "") -> None:
    style, colour = STYLES[number % len(STYLES)], COLOURS[number % len(COLOURS)]
    axes.plot(x, y, color=colour, linestyle=style, linewidth=1.5, label=label, marker=marker, markersize=3)


def _legend(axes: Axes, entries: int) -> None:
    """A legend beside nothing it could hide: above the plot, as many columns as fit."""
    if entries:
        columns = min(entries, 4)
        legend = axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set(color=INK, fontfamily=FONT)


def _colour_bar(figure: Figure, axes: Axes, image: Any, label: str) -> None:
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=25)
    bar.set_label(label, color=INK, fontsize=9, fontfamily=FONT)
    bar.ax.tick_params(labelsize=8, colors=INK, labelfontfamily=FONT)
    bar.outline.set_visible(False)


def _time_axis(axes: Axes, start: float, stop: float, label: str = "time") -> None:
    axes.set_xlim(start, max(stop, start + 1e-3))
    axes.xaxis.set_major_locator(_clock_locator(stop - start))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _clock(seconds, stop - start)))
    axes.set_xlabel(label)


def _clock_locator(span: float, most: int = 10) -> Locator:
    """Marks at whole times a musician counts in, at most `most` and the first."""
    steps = (1, 2, 3, 5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 18_000, 36_000)
    if span <= 5:
        return MaxNLocator(nbins=most, steps=[1, 2, 5, 10])
    return MultipleLocator(next((step for step in steps if span / step <= most), span / most))


def _clock(seconds: float, span: float) -> str:
    """A time as s with decimals (short spans), m:ss or h:mm:ss."""
    if span <= 20 and seconds < 60:
        return f"{seconds:.4g} s"
    whole = round(seconds, 3)
    minutes, rest = divmod(whole, 60)
    digits = f"{rest:06.3f}".rstrip("0").rstrip(".") if rest % 1 else f"{int(rest):02d}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{digits}" if hours else f"{minutes}:{digits}"
