"""What does a training step exchange between machines, and how far does adding machines help?

    python -m benchmarks.scaling                      about two minutes on two idle cores (prints Markdown)
    python -m benchmarks.scaling --plot docs/scaling.png

Measured, each process on one core: a step of `configs/gru.yaml` in one process with its whole batch and with parts of
it, and in two processes on this machine with half of it each; and the bytes that these two really sent each other (the
kernel's count of the loopback interface). Predicted: n machines add up their gradients in a ring, in which each sends
2 (n − 1) / n times the gradients' size, in 2 (n − 1) messages one after the other:

    step(n) = compute(rows of one machine) + 2 (n − 1) / n × bytes × (1 / bandwidth + handling) + 2 (n − 1) × latency

Handling is what the two measured processes took for each byte though their network costs nothing: packing, copying,
adding, waiting for the slower one. Nothing is hidden behind the computation: gradients are exchanged when all of them
are there.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CONFIG = "configs/gru.yaml"
STEPS, WARM_UP = 12, 3
PROCESSES = (1, 2, 4, 8, 16, 32, 64)
# Bytes a second, and seconds from one machine's message to the next one's answer.
NETWORKS = {"1 Gbit/s": (1e9 / 8, 2e-4), "10 Gbit/s": (1e10 / 8, 5e-5), "100 Gbit/s": (1e11 / 8, 1e-5)}


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description="See the module's head.")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="write the picture of the prediction here")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process is not None:
        print(json.dumps(_measure_here(options.process, options.batch)))
        return
    whole = _measure(1, None)
    batch, size = int(whole["batch"]), int(whole["bytes"])
    compute = {batch: whole["seconds"]} | {rows: _measure(1, rows)["seconds"] for rows in _parts(batch)}
    two = _measure(2, None)
    print(f"`{CONFIG}`: {size / 4:,.0f} figures are added up in a step, {size / 1e6:.1f} MB\n")
    print("| sequences of a process | a step's computation, one core, s |\n| --- | --- |")
    for rows, seconds in sorted(compute.items()):
        print(f"| {rows} | {seconds:.3f} |")
    gain, sent = whole["seconds"] / two["seconds"], two["sent"] / 1e6
    print(
        f"\nTwo processes, {batch // 2} sequences each: {two['seconds']:.3f} s a step, {gain:.2f} times as fast as one;"
    )
    print(f"{sent:.1f} MB a step over the loopback interface; a ring of two should send {2 * size / 1e6:.1f} MB\n")
    found = Found(batch, size, compute, two["seconds"])
    _print_prediction(found)
    if options.plot:
        _plot(options.plot, found)


def _parts(batch: int) -> Sequence[int]:
    """Smaller batches, halved again and again."""
    return [batch // count for count in (2, 4, 8, 16) if batch % count == 0]


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        batch: sequences of the config's step.
        size: bytes of the gradients.
        compute: sequences -> seconds of a step of one process.
        two: seconds of a step of two processes that share the batch.
    """

    batch: int
    size: int
    compute: Mapping[int, float]
    two: float

    @property
    def handling(self) -> float:
        """Seconds a byte that do not depend on the network."""
        return max(0.0, self.two - self.compute[self.batch // 2]) / self.size

    def step(self, rows: int, processes: int, bandwidth: float, latency: float) -> float:
        """Seconds, by the formula of the module's head."""
        rounds = 2 * (processes - 1)
        exchange = rounds / processes * self.size * (1 / bandwidth + self.handling) + rounds * latency
        return self.compute[rows] + exchange

    def gains(self, network: str) -> dict[str, dict[int, float]]:
        """How many times as many sequences a second, by processes: with the same batch, and with one that grows."""
        batch, alone = self.batch, self.compute[self.batch]
        shared = [count for count in PROCESSES if batch % count == 0 and batch // count in self.compute]
        return {
            "same batch": {count: alone / self.step(batch // count, count, *NETWORKS[network]) for count in shared},
            f"{batch} sequences each": {
                count: count * alone / self.step(batch, count, *NETWORKS[network]) for count in PROCESSES
            },
        }


def _print_prediction(found: Found) -> None:
    print("| predicted gain | " + " | ".join(map(str, PROCESSES)) + " |\n|" + " --- |" * (len(PROCESSES) + 1))
    for network in NETWORKS:
        for name, gains in found.gains(network).items():
            figures = " | ".join(f"{gains[count]:.1f}" if count in gains else "" for count in PROCESSES)
            print(f"| {name}, {network} | {figures} |")


def _plot(file: Path, found: Found) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.4), dpi=90, layout="constrained")
    axes.plot(PROCESSES, PROCESSES, color="0.8", label="ideal")
    for color, network in zip(("tab:red", "tab:orange", "tab:green"), NETWORKS, strict=True):
        for style, (name, gains) in zip(("--", "-"), found.gains(network).items(), strict=True):
            axes.plot(list(gains), list(gains.values()), style, color=color, marker=".", label=f"{network}, {name}")
    gain = found.compute[found.batch] / found.two
    axes.plot([2], [gain], "k*", markersize=11, label="measured: two processes of one machine, same batch")
    axes.set(
        xscale="log", yscale="log", xlabel="machines, one core each", ylabel="sequences a second, times those of one",
        title=f"Predicted gain of {CONFIG}: {found.size / 1e6:.1f} MB of gradients a step",
    )  # fmt: skip
    axes.set_xticks(PROCESSES, map(str, PROCESSES))
    axes.set_yticks(PROCESSES, map(str, PROCESSES))
    axes.minorticks_off()
    axes.legend(fontsize=8)
    figure.savefig(file)
    print(f"\n{file}: {file.stat().st_size / 1000:.0f} kB")


def _measure(processes: int, batch: int | None) -> dict[str, float]:
    """The chief's figures, of so many processes that work on one batch; None: that of the config."""
    with socket.socket() as one, socket.socket() as other:
        for probe in (one, other):
            probe.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in (one, other)][:processes]
    command = [sys.executable, "-m", "benchmarks.scaling", *(["--batch", str(batch)] if batch else [])]
    running = []
    for index in range(processes):
        told = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}} if processes > 1 else {}
        process = [*command, "--process", str(index)]
        variables = {**os.environ, "TF_CONFIG": json.dumps(told)}
        running.append(
            subprocess.Popen(process, env=variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        )
    said = [one.communicate()[0] for one in running]
    return dict(json.loads(said[0].strip().splitlines()[-1]))


def _measure_here(index: int, batch: int | None) -> dict[str, float]:
    """Seconds of a step in this process, on a core of its own, and what is exchanged in it."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[index % len(cores)]})
    import tensorflow as tf

    from sonicrnn.cluster import read_cluster
    from sonicrnn.config import load_settings
    from sonicrnn.devices import give_each_share_a_core
    from sonicrnn.models import SongModel
    from sonicrnn.strategy import Adam, make_spread

    settings = load_settings(CONFIG)
    batch = batch or settings.data.batch_size
    give_each_share_a_core(1)
    spread = make_spread("auto", batch, read_cluster(os.environ))
    dimension = settings.frames.parts or 1
    with spread.scope():
        model = SongModel(dimension, settings.model)
        model.build((None, None, dimension))
        optimizer = Adam(1e-3, global_clipnorm=1.0)
        optimizer.build(model.trainable_variables)
        model.compile(optimizer=optimizer, jit_compile=False)
        model.keep_average(0.98)
    shape = [batch // spread.replicas, settings.data.sequence_length + 1, dimension]
    frames = np.random.default_rng(index).standard_normal(shape).astype(np.float32)
    data = spread.batches(lambda replicas, mine: tf.data.Dataset.from_tensors((frames,)).repeat())
    model.make_train_function()
    batches, seconds, sent = iter(data), [], _loopback_bytes()
    for step in range(WARM_UP + STEPS):
        if step == WARM_UP:
            sent = _loopback_bytes()
        begin = time.perf_counter()
        float(model.train_function(batches)["loss"])
        seconds.append(time.perf_counter() - begin)
    sent = (_loopback_bytes() - sent) / STEPS
    size = 4 * (1 + sum(int(np.prod(variable.shape)) for variable in model.trainable_variables))
    return {"seconds": float(np.median(seconds[WARM_UP:])), "sent": sent, "bytes": size, "batch": batch}


def _loopback_bytes() -> int:
    """Sent over the loopback interface since the machine started, by anyone."""
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split(":")[1].split()[8]) for line in lines if line.strip().startswith("lo:"))


if __name__ == "__main__":
    main()
