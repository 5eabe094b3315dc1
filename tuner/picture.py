"""All trials in one picture: an axis for each dimension, a line for each trial (Inselberg's parallel coordinates)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sonicrnn.drawing import save_figure
from tuner.results import Result, ranked, search_columns
from tuner.space import Choice, Layers, Range, Space, Value

BEST_COLOUR, FAILED_COLOUR = "#D55E00", "#999999"
NONE_HEIGHT = -0.12  # of a width that a trial without such a layer does not have


@dataclass(frozen=True)
class Axis:
    """One dimension: its name, what stands at which height from 0 to 1, and whether it is logarithmic."""

    name: str
    marks: Mapping[float, str]
    places: Mapping[Value, float] | None = None  # of choices
    ends: tuple[float, float] = (0.0, 1.0)
    log: bool = False

    def height(self, value: Value | None) -> float:
        """Of a value, 0 to 1; below for none."""
        if value is None:
            return NONE_HEIGHT
        if self.places is not None:
            return self.places[value]
        low, high = self.ends
        if self.log:
            return (math.log(float(value)) - math.log(low)) / (math.log(high) - math.log(low))
        return (float(value) - low) / (high - low)


def parallel_coordinates(space: Space, results: Sequence[Result], title: str) -> Figure:
    """Lines are darker the lower the objective; the best is thick, failed trials are dotted and end before it."""
    axes_of = [axis(name, space) for name in search_columns(space)]
    objectives = [one.objective for one in ranked(results) if one.objective is not None]
    low, high = min(objectives), max(objectives)
    last = Axis(title, _number_marks(low, high, False), ends=(low, high if high > low else low + 1e-9))
    figure = Figure(figsize=(max(8.0, 1.35 * (len(axes_of) + 1)), 5.4), layout="constrained")
    axes = figure.add_subplot()
    colours = matplotlib.colormaps["viridis"]
    best = ranked(results)[0]
    for one in sorted(results, key=lambda one: (one.objective is not None, -(one.objective or 0.0))):
        heights = [each.height(one.values.get(each.name)) for each in axes_of]
        if one.objective is None:
            axes.plot(range(len(heights)), heights, color=FAILED_COLOUR, linestyle=":", linewidth=1.0)
            continue
        heights.append(last.height(one.objective))
        style: dict[str, Any] = {"color": colours(0.9 * heights[-1]), "linewidth": 1.2, "alpha": 0.85}
        if one is best:
            style |= {"color": BEST_COLOUR, "linewidth": 3.0, "label": f"best: trial {one.trial}", "alpha": 1.0}
        axes.plot(range(len(heights)), heights, marker="o", markersize=3, **style)
    for place, each in enumerate([*axes_of, last]):
        axes.plot([place, place], [0, 1], color="#222222", linewidth=0.8)
        none = {NONE_HEIGHT: "none"} if any(each.name not in one.values for one in results) and each is not last else {}
        for height, text in {**each.marks, **none}.items():
            axes.annotate(text, (place, height), xytext=(4, 0), textcoords="offset points", fontsize=8, va="center")
    axes.set_xticks(range(len(axes_of) + 1), [each.name.replace(".", "\n") for each in [*axes_of, last]], fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(NONE_HEIGHT - 0.05, 1.06)
    axes.set_xlim(-0.15, len(axes_of) + 0.6)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.legend(loc="upper left", bbox_to_anchor=(0, 1.08), frameon=False, fontsize=9)
    return figure


def axis(name: str, space: Space) -> Axis:
    """The axis of one of KerasTuner's values."""
    if name in space.dimensions:
        dimension = space.dimensions[name]
    else:
        setting, _, part = name.rpartition(".")
        layers = space.dimensions[setting]
        assert isinstance(layers, Layers)
        dimension = Choice(choice=sorted(set(layers.layers))) if part == "layers" else layers.each
    assert not isinstance(dimension, Layers)
    if isinstance(dimension, Range):
        low, high, log = float(dimension.low), float(dimension.high), dimension.scale == "log"
        return Axis(name, _number_marks(low, high, log), ends=(low, high), log=log)
    encoded = list(dimension.encoded)
    places = {value: index / (len(encoded) - 1) if len(encoded) > 1 else 0.5 for index, value in enumerate(encoded)}
    return Axis(name, {height: str(value) for value, height in places.items()}, places)


def save(file: Path, figure: Figure) -> None:
    """Write a picture as PNG."""
    save_figure(file, figure)


def _number_marks(low: float, high: float, log: bool) -> dict[float, str]:
    shares = (0.0, 0.25, 0.5, 0.75, 1.0) if high > low else (0.0,)
    return {share: f"{low * (high / low) ** share if log else low + share * (high - low):.3g}" for share in shares}
