"""The look that all pictures have in common, and how one becomes a PNG.

White, times as m:ss, colours that colour-blind eyes tell apart and line styles besides. Figures are made without
pyplot, so that nothing global is kept and any thread may draw.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator, MaxNLocator, MultipleLocator
from PIL import Image

from sonicrnn.files import written_beside

Floats = npt.NDArray[np.floating[Any]]

WIDTH_INCHES = 10.0
DOTS_PER_INCH = 100

# Okabe & Ito's palette (2008), darkest first, each with its own line style.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (3, 1)), (0, (1, 1)))
INK, PALE = "#222222", "#DDDDDD"
FONT = "DejaVu Sans"  # comes with matplotlib


def new_figure(title: str, height: float, width: float = WIDTH_INCHES) -> tuple[Figure, Axes]:
    """A picture of one plot; inches."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    dress(axes, title)
    return figure, axes


def new_panels(title: str, count: int, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Panels in rows of `columns`; the picture's title stands over the first."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH_INCHES, 2.5 * rows + 0.4), facecolor="white", layout="constrained")
    if title:
        figure.suptitle(title, fontsize=12, color=INK, x=0.01, ha="left", fontfamily=FONT)
    grid = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axes in grid:
        dress(axes, "")
    return figure, grid


def dress(axes: Axes, title: str) -> None:
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


def line(axes: Axes, number: int, x: Floats, y: Floats, label: str, marker: str = "") -> None:
    """The curve of this number: y over x, [points] each, in a colour and a style of its own."""
    style, colour = STYLES[number % len(STYLES)], COLOURS[number % len(COLOURS)]
    axes.plot(x, y, color=colour, linestyle=style, linewidth=1.5, label=label, marker=marker, markersize=3)


def legend(axes: Axes, entries: int) -> None:
    """A legend beside nothing it could hide: above the plot, as many columns as fit."""
    if entries:
        columns = min(entries, 4)
        legend = axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set(color=INK, fontfamily=FONT)


def colour_bar(figure: Figure, axes: Axes, image: Any, label: str) -> None:
    """Beside the plot, what the colours of its image stand for."""
    bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=25)
    bar.set_label(label, color=INK, fontsize=9, fontfamily=FONT)
    bar.ax.tick_params(labelsize=8, colors=INK, labelfontfamily=FONT)
    bar.outline.set_visible(False)


def time_axis(axes: Axes, start: float, stop: float, label: str = "time") -> None:
    """A horizontal axis from `start` to `stop`, seconds."""
    axes.set_xlim(start, max(stop, start + 1e-3))
    axes.xaxis.set_major_locator(clock_locator(stop - start))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock_text(seconds, stop - start)))
    axes.set_xlabel(label)


def clock_locator(span: float, most: int = 10) -> Locator:
    """Marks at whole times a musician counts in, at most `most` and the first."""
    steps = (1, 2, 3, 5, 10, 15, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 18_000, 36_000)
    if span <= 5:
        return MaxNLocator(nbins=most, steps=[1, 2, 5, 10])
    return MultipleLocator(next((step for step in steps if span / step <= most), span / most))


def clock_text(seconds: float, span: float) -> str:
    """A time as s with decimals (short spans), m:ss or h:mm:ss."""
    if span <= 20 and seconds < 60:
        return f"{seconds:.4g} s"
    whole = round(seconds, 3)
    minutes, rest = divmod(whole, 60)
    digits = f"{rest:06.3f}".rstrip("0").rstrip(".") if rest % 1 else f"{int(rest):02d}"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{digits}" if hours else f"{minutes}:{digits}"


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
