"""The denoising GAN beside squared error and a mixture over the same trunk, each trained on your song as long.

    python -m benchmarks.gan my.ogg --minutes 5

writes the table of configs/seeds/README.md and configs/seeds/gan.png, the spectrograms of the models' pieces, and the
page that `python -m sonicrnn.compare` makes of them. Each is made on one core, see `trained.py`, the GAN with three
seeds. A stopped command goes on where it was; a model is kept until its settings are others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.trained import Row, folder_of, options_of, settings_of, write_rows
from sonicrnn.errors import run_command

CONFIGS = Path("configs/heads")
MADE = {"mse": (1,), "mixture": (1,), "gan": (1, 2, 3)}  # the seeds of each head
PAGE, PICTURE = Path("configs/seeds/README.md"), Path("configs/seeds/gan.png")
MARKS = "<!-- The table is written by `python -m benchmarks.gan`. -->", "<!-- End of the table of the GAN. -->"
# Figures of `evaluate`: how they are called here, and with how many decimals.
FIGURES = {
    "score": ("score", 0), "network_sound": ("network: sound", 3), "network_movement": ("network: movement", 3),
    "frechet": ("Fréchet", 2), "log_mel_sound": ("log-mel: sound", 3), "log_mel_movement": ("log-mel: movement", 3),
    "told": ("told, %", 0), "spectrum": ("mean spectrum, dB", 2), "frames": ("all frames, dB", 2),
    "patches": ("half seconds", 2), "movement": ("movement, dB", 2), "modulation": ("modulation, dB", 1),
    "level": ("level, dB", 1), "trend": ("trend, dB/min", 1), "flatness": ("flatness, ×", 2),
    "onsets": ("note starts, ×", 2), "speed": ("pace, ×", 2), "beat": ("beat, ×", 2), "copied": ("copied, s", 0),
}  # fmt: skip
# What is best: of a distance nothing, of a figure in units of the song's what the whole song has.
BEST = {"score": 100.0, "told": 50.0, "flatness": 1.0, "onsets": 1.0, "speed": 1.0, "beat": 1.0}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the models that are missing, the table, the picture and the page."""
    options = options_of(arguments, "gan", 5.0)
    models = {
        f"{head}-{seed}": settings_of(
            CONFIGS / f"{head}.yaml", options.song, options.minutes, options.runs, f"{head}-{seed}", seed
        )
        for head, seeds in MADE.items()
        for seed in seeds
    }
    write_rows(models, PAGE, MARKS, table, PICTURE)
    from sonicrnn import compare

    compare.main([str(folder_of(settings)) for settings in models.values()])


def table(rows: Mapping[str, Row]) -> str:
    """A line for each figure, the mean of two pieces; in bold where it is nearer to the best than squared error's."""
    peer, first = next(iter(rows.items()))  # squared error
    lines = ["| | " + " | ".join([*rows, "held-out"]) + " |", "| --- |" + " ---: |" * (len(rows) + 1)]
    for key, (title, decimals) in FIGURES.items():
        if key in first["held_out"]:
            values = {name: _mean(row["figures"][key]) for name, row in rows.items()}
            real = _known(first["held_out"][key])
            cells = [
                f"**{_text(value, decimals)}**"
                if off(key, value) < off(key, values[peer])
                else _text(value, decimals)
                for name, value in values.items()
            ]
            lines.append(f"| {title} | {' | '.join([*cells, _text(real, decimals)])} |")
    others = {"draws apart, ×": ("apart", ".2f", "1"), "epochs collapsed": ("collapsed", "d", "–")}
    others |= {"steps": ("steps", ",.0f", "–"), "temperature": ("temperature", ".2f", "–")}
    for title, (key, form, real_audio) in others.items():
        lines.append(f"| {title} | " + " | ".join(f"{row[key]:{form}}" for row in rows.values()) + f" | {real_audio} |")
    return "\n".join(lines)


def off(key: str, value: float) -> float:
    """How far a figure is from where it is best; infinity for one that says nothing."""
    return math.inf if math.isnan(value) else abs(value - BEST.get(key, 0.0))


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else math.nan


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _text(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


if __name__ == "__main__":
    run_command(main)
