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
    """A line for each figure, the mean of two pieces, beside what it is for real audio.

    That is the range of the song's own windows, held-out audio, and that through the frames and back. In bold is what
    beats squared error's, and with a dagger what that beats, see `off`.
    """
    peer, first = next(iter(rows.items()))  # squared error
    lines = ["| | " + " | ".join([*rows, "song", "held-out", "frames"]) + " |", "| --- |" + " ---: |" * (len(rows) + 3)]
    for key, (title, decimals) in FIGURES.items():
        if key in first["held_out"]:
            values = {name: _mean(row["figures"][key]) for name, row in rows.items()}
            song, real = first["song"][key], [_known(first[kind][key]) for kind in ("held_out", "frames")]
            # Whatever is heard through the frames is told as often as real audio through them, at the least.
            bounds = [real[1]] if key == "told" else song
            cells = [_cell(off(key, value, bounds), off(key, values[peer], bounds), _text(value, decimals))
                     for value in values.values()]  # fmt: skip
            windows = "–" if None in song else "…".join(_text(bound, decimals) for bound in song)
            lines.append(f"| {title} | {' | '.join([*cells, windows, *(_text(one, decimals) for one in real)])} |")
    others = {"draws apart, ×": ("apart", ".2f", "1"), "epochs collapsed": ("collapsed", "d", "–")}
    others |= {"steps": ("steps", ",.0f", "–"), "temperature": ("temperature", ".2f", "–")}
    for title, (key, form, real_audio) in others.items():
        shown = " | ".join(f"{row[key]:{form}}" for row in rows.values())
        lines.append(f"| {title} | {shown} | – | {real_audio} | – |")
    return "\n".join(lines)


def off(key: str, value: float, song: Sequence[float | None]) -> float:
    """How much farther a figure is from where it is best than real audio is: the song's own windows, [low, high].

    Bounds may be unknown. What lies within has nothing left to beat: 0. Infinity for a figure that says nothing.
    """
    best = BEST.get(key, 0.0)
    allowed = max(0.0 if bound is None else abs(bound - best) for bound in song)
    return math.inf if math.isnan(value) else max(0.0, abs(value - best) - allowed)


def _cell(own: float, peers: float, text: str) -> str:
    return f"**{text}**" if own < peers else f"{text} †" if own > peers else text


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else math.nan


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _text(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{decimals}f}"


if __name__ == "__main__":
    run_command(main)
