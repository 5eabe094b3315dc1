"""Clicks at the borders of overlapping frames, by the way in which they are joined (prints Markdown).

    python -m benchmarks.joins runs/seeds/overlap-fade

The very same drawn frames of a run with overlapping waveform frames are put together in each of the three ways of
`frames.join`; beside them stands real audio through the same frames. Clicks are those of `evaluate`: by how many dB the
samples are rougher at the borders than between them; 0 is none.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import get_args

import numpy as np
import tensorflow as tf

from sonicrnn.errors import UserError, run_command
from sonicrnn.frames import Join
from sonicrnn.generator import RunGenerator, load_generator
from sonicrnn.rhythm import border_clicks

SECONDS, PIECES = 30.0, 4


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.joins", description="See the module's head.")
    parser.add_argument("run", help="a run folder, e.g. of configs/seeds/overlap-fade.yaml")
    generator = load_generator(parser.parse_args(arguments).run)
    encoding = generator.encoding
    if encoding.settings.kind != "waveform" or not encoding.overlap:
        raise UserError("this run's frames do not overlap: train configs/seeds/overlap-fade.yaml")
    length = round(SECONDS * encoding.sample_rate)
    real = encoding.encode(tf.constant(generator.song.part("test")[None, :length]))
    drawn = _drawn(generator, length // encoding.step)
    print("| joined by | free run, dB | real audio, dB |\n| --- | ---: | ---: |")
    for join in get_args(Join):
        joined = replace(encoding, settings=encoding.settings.model_copy(update={"join": join}))
        heard = [joined.decode(frames).numpy() for frames in (drawn, real)]
        clicks = [np.mean([border_clicks(one, encoding.sample_rate, encoding.step) for one in some]) for some in heard]
        print(f"| {join} | {clicks[0]:.1f} | {clicks[1]:.1f} |")


def _drawn(generator: RunGenerator, count: int) -> tf.Tensor:
    """Frames of some free runs, [pieces, count, dimension]."""
    free_run, seeds = generator.free_run, list(range(PIECES))
    heard = free_run.listen(free_run.encode(tf.constant(generator.primes("validation", seeds))))
    temperature = tf.fill([PIECES], tf.constant(generator.temperature, tf.float32))
    return free_run.draw(*heard, tf.constant(0), tf.constant(count), temperature, tf.constant(seeds))[0]


if __name__ == "__main__":
    run_command(main)
