"""How does cost grow with the song's length, the sequence, the frame, the batch and the width? (prints Markdown)

    python -m benchmarks.curves                           about a quarter of an hour on two idle cores
    python -m benchmarks.curves --plot docs/curves.png
    python -m benchmarks.curves --of batch width          some of them

Each point has a process of its own, and is a median. Of the song's length: what a training does before its first step
(decoding, framing, writing the cache, which is empty), and a batch out of the pipeline, on noise that swells and fades,
as a WAV file of 16 bits. Of the others: a training step. All on `configs/gru.yaml`, but of the frame: seconds of sound
in waveform frames of so many samples, on the seeds' model. Growth is the exponent between neighbours: twice as much
costs 2 ** growth times as much; 1 is linear, less is better. Width is counted in weights, which a step has to go
through.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.prepared import prepared
from sonicrnn.errors import UserError, run_command

RATE = 16_000
STEPS, BATCHES = 5, 40  # that are timed
FRAMES = [
    "model={widths: [199, 256], head: {kind: mse}}", "data={sequence_length: 50, shift: 8000, batch_size: 128}",
    "train.average=0",
]  # fmt: skip
Point = dict[str, float]  # what was measured, by its name


@dataclass(frozen=True)
class Curve:
    """What is varied.

    Attributes:
        name, unit: of the values.
        values: that are measured.
        settings: of `configs/gru.yaml` at a value, which stands for `{0}`.
    """

    name: str
    unit: str
    values: Sequence[int]
    settings: Sequence[str] = ()

    def overrides(self, value: int) -> list[str]:
        """Of the command line, at a value."""
        return [text.replace("{0}", str(value)) for text in self.settings]


CURVES = {
    curve.name: curve
    for curve in (
        Curve("song", "minutes", (10, 30, 60, 180, 600)),
        Curve("sequence", "frames", (24, 48, 96, 192, 384, 768), ["data.sequence_length={0}"]),
        Curve("frame", "samples", (16, 64, 256, 1024, 2048), ["frames={kind: waveform, frame_length: {0}}", *FRAMES]),
        Curve("batch", "sequences", (2, 4, 8, 16, 32, 64, 128), ["data.batch_size={0}"]),
        Curve("width", "units", (48, 96, 192, 384, 768, 1536), ["model.front=[{0}]", "model.widths=[{0}, {0}]"]),
    )
}
COSTS = {
    "preparing": "song: all before the first step, s",
    "delivered": "song: a batch out of the pipeline, s",
    "step": "a training step, s",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.curves", description="See the module's head.")
    parser.add_argument("--of", nargs="+", choices=list(CURVES), default=list(CURVES), help="default: all")
    parser.add_argument("--most", type=int, help="leave out larger values: for a first look")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write the picture of all curves here")
    parser.add_argument("--point", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point is not None:
        print(json.dumps(_measure_here(CURVES[options.of[0]], options.point)))
        return
    found = {}
    for name in options.of:
        values = [value for value in CURVES[name].values if options.most is None or value <= options.most]
        if len(values) < 2:
            raise UserError(f"--most {options.most} leaves no two values of {name}: take {CURVES[name].values[1]}")
        found[name] = {value: _measure(name, value) for value in values}
        print(table(CURVES[name], found[name]) + "\n")
    if options.plot:
        _plot(options.plot, found)


def growth(amounts: Sequence[float], costs: Sequence[float]) -> list[float]:
    """The exponents by which costs grow between neighbouring amounts."""
    pairs = list(zip(amounts, costs, strict=True))
    return [
        math.log(cost / before) / math.log(amount / less)
        for (less, before), (amount, cost) in itertools.pairwise(pairs)
    ]


def table(curve: Curve, points: dict[int, Point]) -> str:
    """Of one curve, in Markdown: its values, costs and their growth."""
    costs = [cost for cost in COSTS if cost in next(iter(points.values()))]
    lines = [f"| {curve.name}, {curve.unit} | {' | '.join(f'{COSTS[cost]} | growth' for cost in costs)} |"]
    lines.append("| ---: |" + " ---: |" * 2 * len(costs))
    grown = {cost: ["", *(f"{one:.2f}" for one in growth(*_axes(points, cost)))] for cost in costs}
    for index, (value, point) in enumerate(points.items()):
        cells = [f"{point[cost]:.3g} | {grown[cost][index]}" for cost in costs]
        lines.append(f"| {value} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _axes(points: dict[int, Point], cost: str) -> tuple[list[float], list[float]]:
    """How much there is to do, and what it costs."""
    return [point["amount"] for point in points.values()], [point[cost] for point in points.values()]


def _plot(file: Path, found: dict[str, dict[int, Point]]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found), figsize=(3.2 * len(found), 3.4), dpi=90, layout="constrained")
    for panel, (name, points) in zip(np.atleast_1d(panels), found.items(), strict=True):
        curve = CURVES[name]
        for cost in COSTS:
            if cost in next(iter(points.values())):
                amounts, costs = _axes(points, cost)
                panel.plot(amounts, costs, "o-", markersize=4, label=COSTS[cost])
                straight = [costs[-1] * amount / amounts[-1] for amount in amounts]
                panel.plot(amounts, straight, color="0.75", linewidth=1, zorder=0)
        label = f"{name}, {curve.unit}" + " (apart as their weights)" * (name == "width")
        panel.set(xscale="log", yscale="log", xlabel=label)
        panel.set_xticks([point["amount"] for point in points.values()], list(map(str, points)))
        panel.minorticks_off()
        panel.tick_params(labelsize=8)
        panel.legend(fontsize=7)
    figure.suptitle("What more of it costs; grey is linear", fontsize=10)
    figure.savefig(file)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")


def _measure(name: str, value: int) -> Point:
    """One point, in a process of its own. Raises UserError where it ends before its time."""
    command = [sys.executable, "-m", "benchmarks.curves", "--of", name, "--point", str(value)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        raise UserError(f"{name} {value} could not be measured:\n{made.stderr[-2000:]}")
    return dict(json.loads(made.stdout.strip().splitlines()[-1]))


def _measure_here(curve: Curve, value: int) -> Point:
    with tempfile.TemporaryDirectory() as folder:
        if curve.name == "song":
            return _song(Path(folder), value)
        return _step(Path(folder), curve, value)


def _song(folder: Path, minutes: int) -> Point:
    """All before the first step, and batches."""
    from sonicrnn.config import load_settings
    from sonicrnn.devices import be_quiet
    from sonicrnn.pipeline import training_data

    be_quiet()
    _write_noise(folder / "song.wav", minutes)
    settings = load_settings("configs/gru.yaml", [f"song.path={folder / 'song.wav'}", f"song.cache={folder / 'cache'}"])
    begin = time.perf_counter()
    made = prepared(settings, folder)
    preparing = time.perf_counter() - begin
    batches = iter(training_data(made.training, settings.seed))
    next(batches)
    delivered = median(_seconds(lambda: [next(batches) for _ in range(BATCHES)]) for _ in range(STEPS))
    return {"amount": float(minutes), "preparing": preparing, "delivered": delivered / BATCHES}


def _write_noise(file: Path, minutes: int) -> None:
    import soundfile

    random, swell = np.random.default_rng(1), 0.1 + 0.08 * np.sin(2 * np.pi * np.arange(60 * RATE) / (7 * RATE))
    with soundfile.SoundFile(file, "w", RATE, 1, "PCM_16") as sound:
        for _ in range(minutes):
            sound.write(swell * random.standard_normal(60 * RATE, np.float32))


def _step(folder: Path, curve: Curve, value: int) -> Point:
    """A training step on the built-in song."""
    from sonicrnn.config import load_settings
    from sonicrnn.devices import batch_shares, be_quiet, give_each_share_a_core
    from sonicrnn.graphs import graph
    from sonicrnn.pipeline import training_data

    be_quiet()
    settings = load_settings("configs/gru.yaml", curve.overrides(value))
    give_each_share_a_core(batch_shares(settings.data.batch_size))
    made = prepared(settings, folder)
    batch = next(iter(training_data(made.training, settings.seed)))
    step = graph(lambda: made.model.train_step(batch)["loss"])
    step()
    seconds = median(_seconds(lambda: float(step())) for _ in range(STEPS))
    weights = made.model.count_params()
    return {"amount": float(weights if curve.name == "width" else value), "step": seconds}


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


if __name__ == "__main__":
    run_command(main)
