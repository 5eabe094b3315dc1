"""What else was tried beside the ladder's `parts`: other frames, heads, tiers, and ways to keep from overfitting.

    python -m benchmarks.explored one.ogg another.ogg --minutes 2

writes a table of docs/explored.md. Each model is the one of `configs/ladder/parts.yaml` with one thing changed, and its
draws are heard as they are: with a recall all would sound alike. Each is trained for as long as the others on one core,
on every song, see `trained.py`. A stopped command goes on where it was.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.ladder import FIGURES, HEADINGS
from benchmarks.trained import Row, make, options_of, put, settings_of
from sonicrnn.errors import run_command

PARTS = Path("configs/ladder/parts.yaml")
MODELS = (
    PARTS,
    *(
        Path(f"configs/explored/{name}.yaml")
        for name in (
            *("flow", "denoiser", "slow", "long", "slow-long", "speeds", "gains"),
            *("no-dropout", "no-input-noise", "weight-noise", "self-heard"),
            *("components", "bins", "short", "mdct"),
        )
    ),
)
PAGE = Path("docs/explored.md")
MARKS = "<!-- The table is written by `python -m benchmarks.explored`. -->", "<!-- End of the table of models. -->"


def main(arguments: Sequence[str] | None = None) -> None:
    """Make what is missing, and after each model the table of all that there are so far."""
    options = options_of(arguments, "explored", 2.0, several=True)
    rows: dict[Path, list[Row]] = {}
    for file in MODELS:
        names = {song: f"{file.stem}-{Path(song).stem}" for song in options.songs}
        settings = [settings_of(file, song, options.minutes, options.runs, name) for song, name in names.items()]
        rows[file] = [make(one) for one in settings]
        put(PAGE, MARKS, table(rows))
    print(f"table: {PAGE}")


def table(rows: Mapping[Path, Sequence[Row]]) -> str:
    """A line for each model, of the rows of all songs: the mean of their pieces, and of the score that of each song."""
    headings = ["model", *HEADINGS[1:-1]]  # of the ladder's all but what a minute takes
    lines = ["| " + " | ".join(headings) + " |", "| --- " + "| ---: " * (len(headings) - 1) + "|"]
    for file, of_songs in rows.items():
        means = [_mean([value for row in of_songs for value in _values(row, key)], key) for key in FIGURES]
        each = ", ".join(_mean(_values(row, "score"), "score") for row in of_songs)
        means[0] = f"**{means[0]}** ({each})" if len(of_songs) > 1 else f"**{means[0]}**"
        costs = [f"{statistics.mean(row['steps'] for row in of_songs):,.0f}", f"{of_songs[0]['weights'] / 1e6:.2f} M"]
        warm = ", ".join(f"{row['temperature']:.2f}" for row in of_songs)
        link = f"[{file.stem}]({os.path.relpath(file, PAGE.parent)})"
        lines.append("| " + " | ".join([link, *costs, *means, warm]) + " |")
    return "\n".join(lines)


def _values(row: Row, key: str) -> list[float]:
    """Of both pieces; without those that have no such figure."""
    return [value for value in row["figures"].get(key, ()) if value is not None]


def _mean(values: Sequence[float], key: str) -> str:
    return f"{statistics.mean(values):.{FIGURES[key]}f}" if values else "–"


if __name__ == "__main__":
    run_command(main)
