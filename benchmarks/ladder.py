"""The ladder from the seeds' model to the recommended one, each rung trained on your song as long as the others.

    python -m benchmarks.ladder my.ogg --minutes 3

writes the table of docs/ladder.md and docs/ladder.png, the spectrograms of the rungs' pieces. Each rung is made on one
core, see `trained.py`. A stopped command goes on where it was; a rung is kept until its settings are others.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.trained import Row, options_of, settings_of, write_rows
from sonicrnn.errors import run_command

RUNGS = (
    Path("configs/seeds/base.yaml"),
    *(
        Path(f"configs/ladder/{name}.yaml")
        for name in ("drawn", "spectra", "spectra-drawn", "parts", "untrained", "recall")
    ),
    Path("configs/gru.yaml"),
)
PAGE, PICTURE = Path("docs/ladder.md"), Path("docs/ladder.png")
MARKS = "<!-- The table is written by `python -m benchmarks.ladder`. -->", "<!-- End of the table. -->"
# And with how many decimals.
FIGURES = {"score": 0, "told": 0, "level": 1, "flatness": 2, "onsets": 2, "speed": 2, "beat": 2, "copied": 0}
HEADINGS = (
    "rung", "steps", "weights", "score", "told, %", "level, dB", "flatness, ×", "note starts, ×", "pace, ×", "beat, ×",
    "copied, s",
    "temperature", "a minute takes, s",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the rungs that are missing, the table and the picture."""
    options = options_of(arguments, "ladder", 3.0)
    rungs = {file: settings_of(file, options.song, options.minutes, options.runs, file.stem) for file in RUNGS}
    write_rows(rungs, PAGE, MARKS, table, PICTURE)


def table(rows: Mapping[Path, Row]) -> str:
    """A line for each rung; of its two pieces the mean, and of the score both."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- " + "| ---: " * (len(HEADINGS) - 1) + "|"]
    for file, row in rows.items():
        figures = {key: [value for value in row["figures"].get(key, ()) if value is not None] for key in FIGURES}
        means = {
            key: f"{statistics.mean(values):.{FIGURES[key]}f}" if values else "–" for key, values in figures.items()
        }
        means["score"] = f"**{means['score']}** ({', '.join(f'{value:.0f}' for value in figures['score'])})"
        link = f"[{file.stem}]({os.path.relpath(file, PAGE.parent)})"
        costs = [f"{row['steps']:,.0f}", f"{row['weights'] / 1e6:.2f} M"]
        ends = [f"{row['temperature']:.2f}", f"{row['minute_seconds']:.1f}"]
        lines.append("| " + " | ".join([link, *costs, *means.values(), *ends]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
