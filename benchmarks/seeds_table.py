"""The rows of `benchmarks.seeds` as a table and as a picture of learning curves, in configs/seeds/README.md."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sonicrnn.config import parse_settings
from sonicrnn.drawing import COLOURS, INK, STYLES, save_figure
from sonicrnn.files import write_text

BEGIN, END = "<!-- The table is written by `python -m benchmarks.seeds`. -->", "<!-- End of the table. -->"
PICTURE = "learning-curves.png"
COLUMNS = 3  # of panels

SCORES = {"score": 0, "hum": 2, "flatness": 2, "clicks": 1, "copied": 1}  # and with how many decimals
HEADINGS = (
    "config", "minutes", "steps", "weights", "steps/s", "samples/s", "memory, GB",
    "training", "validation", "test", "nats", "1 s", "5 s", "30 s", *SCORES,
)  # fmt: skip


def write_table(folder: Path, rows: Mapping[Path, Mapping[str, Any]]) -> None:
    """Put the table into the folder's README.md in place of the one that is there, and draw the picture."""
    readme = folder / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    write_text(readme, f"{before}{BEGIN}\n\n{_table(folder, rows)}\n\n{END}{after}")
    if rows:
        save_figure(folder / PICTURE, curves({file.stem: row["history"] for file, row in rows.items()}))


def _table(folder: Path, rows: Mapping[Path, Mapping[str, Any]]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- " + "| ---: " * (len(HEADINGS) - 1) + "|"]
    for file, row in rows.items():
        link = os.path.relpath(file, folder)
        lines.append("| " + " | ".join([f"[{file.stem}]({link})", *_cells(row)]) + " |")
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> list[str]:
    scores, errors = row["scores"], row["errors"]
    is_likelihood = row["settings"]["model"]["head"]["kind"] != "mse"
    return [
        f"{row['seconds'] / 60:.2f}",
        f"{row['steps']:,.0f}",
        f"{row['weights'] / 1e6:.2f} M",
        _number(row["steps_per_second"], 1),
        f"{row['steps_per_second'] * _samples(row['settings']) / 1e3:,.0f} k",
        f"{row['memory'] / 1e9:.1f}",
        *(_number(errors[part]["nmse"], 3) for part in ("training", "validation", "test")),
        _number(errors["validation"]["loss"], 2) if is_likelihood else "–",
        *(f"{level:+.0f}" for level in row["levels"]),
        *(_number(scores.get(key), decimals) for key, decimals in SCORES.items()),
    ]


def _samples(tree: Mapping[str, Any]) -> int:
    """Of the song, that one training step learns from."""
    settings = parse_settings(tree, where="a row")
    return settings.data.batch_size * settings.data.sequence_length * settings.frames.step_length


def _number(value: float | None, decimals: int) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{decimals}f}"


def curves(histories: Mapping[str, list[Mapping[str, float]]]) -> Figure:
    """The learning curves of all rows: a panel for the rows whose names begin alike, training dotted and thin.

    In each panel the row that all build on is drawn in grey, where its losses are of the same kind.
    """
    groups: dict[str, list[str]] = {}
    for name in histories:
        groups.setdefault(name.split("-")[0], []).append(name)
    alone = [name for group, names in groups.items() if len(names) == 1 for name in names]
    groups = {group: names for group, names in groups.items() if len(names) > 1}
    if alone:
        groups["others"] = alone
    count = -(-len(groups) // COLUMNS)
    figure = Figure(figsize=(14, 3.2 * count), facecolor="white", layout="constrained")
    for place, (group, names) in enumerate(groups.items()):
        axes = figure.add_subplot(count, COLUMNS, place + 1)
        if "base" in histories and "base" not in names:
            axes.plot(*_curve(histories["base"], "validation_loss"), color="#AAAAAA", linewidth=3, label="base")
        for number, name in enumerate(names):
            colour, style = COLOURS[number % len(COLOURS)], STYLES[number // len(COLOURS)]
            label = name.removeprefix(f"{group}-")
            axes.plot(
                *_curve(histories[name], "validation_loss"), color=colour, linestyle=style, marker=".", label=label
            )
            axes.plot(*_curve(histories[name], "loss"), color=colour, linestyle=":", linewidth=0.9)
        _dress(axes, group)
    return figure


def _curve(history: list[Mapping[str, float]], name: str) -> tuple[list[float], list[float]]:
    return [row["seconds"] for row in history], [row[name] for row in history]


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("seconds of training", fontsize=8)
    axes.set_ylabel("loss", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.6)
    axes.legend(fontsize=7, frameon=False)
