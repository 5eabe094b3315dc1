"""How noisy is the gradient of a binary stochastic unit, by its probability p? (prints Markdown)

    python -m benchmarks.binary runs/seeds/units-binary

The seeds supposed that drawing 0 or 1 "amounts to adding noise to the gradient" and wondered if that has a specific
form. Backward the draw is taken for p, so dC/dp is dC/dh at the h that was drawn: C'(1) with chance p, else C'(0). Its
variance is therefore (C'(1) - C'(0))² p (1 - p): none for a cost that is linear in h, else highest at p = 1/2. The
gradient of the logit is p (1 - p) times that of p, and so is its noise.

Measured on a run of `configs/seeds/units-binary.yaml`, on sequences of its training part: the noise by a unit's own
draw, from C' at both of its values with all other draws held; and by the draws of all units, over `DRAWS` of them.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
import tensorflow as tf

from sonicrnn.binary import drawn
from sonicrnn.errors import UserError, run_command
from sonicrnn.generator import load_generator
from sonicrnn.graphs import graph
from sonicrnn.models import SongModel

DRAWS = 60
SEQUENCES, FRAMES = 8, 20
PLACES = 400  # (unit, frame) whose own draw is turned over, each in all sequences
HEADINGS = ("p", "of all units", "gradient", "noise, all draws", "own draw", "own ÷ √(p (1 − p))", "own, of the logit")
BORDERS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 1.0)


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.binary", description="See the module's head.")
    parser.add_argument("run", help="a run folder of configs/seeds/units-binary.yaml")
    generator = load_generator(parser.parse_args(arguments).run)
    model, encoding = generator.free_run.model, generator.encoding
    if model.settings.front_units != "binary" or len(model.front) != 1:
        raise UserError("this run has no layer of binary units: train configs/seeds/units-binary.yaml")
    song, step = generator.song.part("training"), encoding.step
    starts = np.linspace(0, len(song) - (FRAMES + 1) * step, SEQUENCES).astype(int)
    frames = encoding.encode(tf.constant(np.stack([song[at : at + (FRAMES + 1) * step] for at in starts])))
    probability = model.front[0](frames[:, :-1])  # [sequences, frames, units]
    own, everyones, mean = _noise(model, probability, frames[:, 1:])
    p = probability.numpy()
    print(f"| {' | '.join(HEADINGS)} |")
    print("| --- " + "| ---: " * (len(HEADINGS) - 1) + "|")
    unit = np.sqrt(np.mean(np.square(mean)))
    for low, high in itertools.pairwise(BORDERS):
        inside = (p >= low) & ((p < high) | (high == 1))
        some = inside & np.isfinite(own) & (p * (1 - p) > 0)  # rounding makes some of them sure
        if not some.any():
            continue
        middle = p[some]
        figures = [
            np.sqrt(np.mean(np.square(mean[inside]))),
            np.sqrt(np.mean(everyones[inside])),
            np.sqrt(np.mean(own[some])),
            np.sqrt(np.mean(own[some] / (middle * (1 - middle)))),
            np.sqrt(np.mean(own[some] * np.square(middle * (1 - middle)))),
        ]
        cells = " | ".join(f"{figure / unit:.3f}" for figure in figures)
        print(f"| {low:g} – {high:g} | {100 * inside.mean():.0f} % | {cells} |")


def _noise(model: SongModel, probability: tf.Tensor, target: tf.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance of dC/dp by a unit's own draw (nan where it was not measured), by all draws, and the mean of dC/dp.

    All [sequences, frames, units].
    """

    @graph
    def slope(said: tf.Tensor) -> tf.Tensor:
        """dC/dh at h, for the summed cost of the sequences, which have nothing to do with one another."""
        with tf.GradientTape() as tape:
            tape.watch(said)
            hidden = said
            for layer in model.stack:
                hidden = layer(hidden)[0]
            cost = tf.reduce_sum(model.head.loss(model.head(hidden), target))
        return tape.gradient(cost, said)

    random = np.random.default_rng(1)

    def draw() -> np.ndarray:
        uniform = random.random(probability.shape, np.float32)
        return drawn(probability, tf.constant(uniform)).numpy()

    slopes = np.stack([slope(tf.constant(draw())).numpy() for _ in range(DRAWS)])
    held, own = draw(), np.full(probability.shape, np.nan)
    for _ in range(PLACES):
        frame, unit = random.integers(probability.shape[1]), random.integers(probability.shape[2])
        at = []
        for value in (0.0, 1.0):
            said = held.copy()
            said[:, frame, unit] = value
            at.append(slope(tf.constant(said)).numpy()[:, frame, unit])
        p = probability.numpy()[:, frame, unit]
        own[:, frame, unit] = np.square(at[1] - at[0]) * p * (1 - p)
    return own, slopes.var(0), slopes.mean(0)


if __name__ == "__main__":
    run_command(main)
