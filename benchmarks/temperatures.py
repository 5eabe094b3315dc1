"""Temperatures that change within a piece, beside those that stay.

    python -m benchmarks.temperatures RUN ANOTHER

writes a table of docs/explored.md: of each run four pieces of a minute for each schedule, one take, all from the same
primes and seeds, measured as `evaluate` measures them.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.trained import put
from sonicrnn.errors import run_command

if TYPE_CHECKING:
    from sonicrnn.generator import RunGenerator
    from sonicrnn.levels import Samples

PIECES, SECONDS, SEED = 4, 60.0, 11
BLOCK_SECONDS = 0.5  # for which a temperature stays
LOW, HIGH = 0.5, 1.3
PHRASE_SECONDS = 10.0


def _staying(temperature: float) -> Callable[[float], float]:
    return lambda seconds: temperature


def _to_and_fro(seconds: float) -> float:
    return (LOW + HIGH) / 2 - (HIGH - LOW) / 2 * math.cos(2 * math.pi * seconds / PHRASE_SECONDS)


# Each says the temperature of every moment of a piece, in seconds.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    **{f"{temperature:g} throughout": _staying(temperature) for temperature in (0.5, 0.7, 0.85, 1.0, 1.15, 1.3)},
    "rising": lambda seconds: LOW + (HIGH - LOW) * seconds / SECONDS,
    "falling": lambda seconds: HIGH - (HIGH - LOW) * seconds / SECONDS,
    "to and fro within 10 s": _to_and_fro,
    "hot every 10 s, then cooling": lambda seconds: LOW + (HIGH - LOW) * math.exp(-(seconds % PHRASE_SECONDS) / 2.0),
    "cold, hot for half a second in 5": lambda seconds: HIGH if seconds % 5.0 < BLOCK_SECONDS else LOW,
}
PAGE = Path("docs/explored.md")
MARKS = "<!-- The table is written by `python -m benchmarks.temperatures`. -->", "<!-- End of the temperatures. -->"
FIGURES = {"score": 0, "told": 0, "flatness": 2, "onsets": 2, "beat": 2, "copied": 1}
HEADINGS = ("score", "told, %", "flatness, ×", "note starts, ×", "beat, ×", "copied, s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the pieces of all schedules, and the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.temperatures", description="See the module's head.")
    parser.add_argument("runs", nargs="+", help="run folders")
    from sonicrnn.generator import load_generator

    found = {}
    for run in parser.parse_args(arguments).runs:
        generator = load_generator(run)
        found[generator.run.folder.name] = {name: measured(generator, at) for name, at in SCHEDULES.items()}
    put(PAGE, MARKS, table(found))


def table(found: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    """A row for each schedule of each run."""
    lines = ["| run | temperature | " + " | ".join(HEADINGS) + " |", "| --- | --- " + "| ---: " * len(HEADINGS) + "|"]
    for run, schedules in found.items():
        for name, figures in schedules.items():
            told = [
                "–" if (value := figures[key]) is None else f"{value:.{decimals}f}" for key, decimals in FIGURES.items()
            ]
            lines.append(f"| {run} | {name} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def measured(generator: RunGenerator, temperature_at: Callable[[float], float]) -> dict[str, float | None]:
    """Of each of `FIGURES` the mean over the pieces; None where none has it."""
    from sonicrnn.listening import score
    from sonicrnn.scores import as_json

    pieces = {f"piece {index}": piece for index, piece in enumerate(made(generator, temperature_at))}
    figures = as_json(score(generator, pieces))["figures"]
    values = {key: [one for one in figures[key]["pieces"].values() if one is not None] for key in FIGURES}
    return {key: statistics.mean(some) if some else None for key, some in values.items()}


def made(generator: RunGenerator, temperature_at: Callable[[float], float]) -> Samples:
    """[pieces, samples], each block of them drawn at the temperature that its beginning has."""
    import tensorflow as tf

    from sonicrnn.trial_runs import audio_of

    free_run, seeds = generator.free_run, [SEED + index for index in range(PIECES)]
    encoding = generator.encoding
    parameters, states = free_run.listen(free_run.encode(tf.constant(generator.primes("validation", seeds))))
    block = round(BLOCK_SECONDS * encoding.sample_rate / encoding.step)
    total = -(-(round(SECONDS * encoding.sample_rate) + encoding.overlap) // encoding.step)
    drawn = []
    for first in range(0, total, block):
        temperature = temperature_at(first * encoding.step / encoding.sample_rate)
        heard, parameters, states = free_run.draw(
            parameters,
            states,
            tf.constant(first),
            tf.constant(min(block, total - first)),
            tf.fill([PIECES], tf.constant(temperature, tf.float32)),
            tf.constant(seeds, tf.int32),
        )
        drawn.append(heard)
    contrast = None if free_run.recall else generator.calibration.spectral()
    return audio_of(free_run, tf.concat(drawn, 1), contrast)


if __name__ == "__main__":
    run_command(main)
