"""How fast is a training step of the recurrent layers, beside plain Keras and PyTorch? (prints Markdown)

    python -m benchmarks.recurrent              all rows; those of 1000 steps by a batch of 128 take minutes
    python -m benchmarks.recurrent --rows 40x100x128 --kinds gru --threads 1

A step is forward, backward, the clipping of the gradients' norm and Adam, for two layers (GRU: 199 and 256 units wide,
LSTM: 200 and 200) and a Dense layer back to the frame, squared error. All stand in one process and take turns, A B C A
B C, after a step each that does not count; a figure is the median of the turns. Where state is carried, a batch begins
where the one before it ended and no gradient goes back over the border. The share of the peak is what the matrix
products of our step come to, backward counted twice, over what the best of some large products of this machine, in
TensorFlow with the same threads, comes to. Memory is what a process alone with one peer holds at most beyond what it
held before the model was made; each in a process of its own, after the row is timed.

PyTorch is the extra `bench` (`pip install '.[bench]'`); without it the other columns are measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonicrnn.errors import UserError, run_command

WIDTHS = {"gru": (199, 256), "lstm": (200, 200)}
GATES = {"gru": 3, "lstm": 4}
CARRIED = ("40x100x128",)
ROWS = ("40x1000x16", "40x100x128", "1000x50x128", "40x1000x128")
RATE, CLIP = 1e-3, 1.0
HEADINGS = (
    "training step",
    "ours, s",
    "Keras, s",
    "PyTorch, s",
    "Keras ÷ ours",
    "PyTorch ÷ ours",
    "share of the peak",
    "memory: ours, Keras, PyTorch, MB",
)
Step = Callable[[], float]  # one training step; its loss


@dataclass(frozen=True)
class Row:
    """What is trained on: frame [samples], sequence [steps], batch."""

    kind: str
    frame: int
    sequence: int
    batch: int
    carried: bool

    @property
    def name(self) -> str:
        """As the table says it."""
        widths = "/".join(map(str, WIDTHS[self.kind]))
        state = ", state carried" if self.carried else ""
        return f"{self.kind.upper()} {widths}, {self.frame} × {self.sequence} × {self.batch}{state}"

    @property
    def products(self) -> float:
        """Floating point operations of a step's matrix products."""
        first, second = WIDTHS[self.kind]
        layers = GATES[self.kind] * (first * (self.frame + first) + second * (first + second))
        return 3 * 2.0 * self.sequence * self.batch * (layers + second * self.frame)

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets [batch, sequence, frame] float32."""
        random = np.random.default_rng(1)
        shape = (2, self.batch, self.sequence, self.frame)
        inputs, targets = random.standard_normal(shape, np.float32)
        return inputs, targets


def keras_step(row: Row, ours: bool) -> Step:
    """Of our layers or of plain Keras'."""
    import keras
    import tensorflow as tf

    from sonicrnn import recurrent

    source = recurrent if ours else keras.layers
    layer = source.GRU if row.kind == "gru" else source.LSTM
    first, second = WIDTHS[row.kind]
    layers = [layer(width, return_sequences=True, return_state=True) for width in (first, second)]
    dense = keras.layers.Dense(row.frame)
    for made, width in zip([*layers, dense], [row.frame, first, second], strict=True):
        made.build((row.batch, row.sequence, width))
    weights = [weight for made in [*layers, dense] for weight in made.trainable_variables]
    optimizer = keras.optimizers.Adam(RATE, global_clipnorm=CLIP)
    optimizer.build(weights)
    inputs, targets = (tf.constant(some) for some in row.data())
    count = 1 if row.kind == "gru" else 2
    states = [[tf.Variable(tf.zeros([row.batch, made.units])) for _ in range(count)] for made in layers]

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            made, ends = inputs, []
            for one, state in zip(layers, states, strict=True):
                made, *end = one(made, initial_state=[tf.convert_to_tensor(value) for value in state], training=True)
                ends.append(end)
            loss = tf.reduce_mean(tf.square(dense(made) - targets))
        optimizer.apply(tape.gradient(loss, weights), weights)
        if row.carried:
            for state, end in zip(states, ends, strict=True):
                for variable, value in zip(state, end, strict=True):
                    variable.assign(value)
        return loss

    return lambda: float(step())


def torch_step(row: Row) -> Step:
    """Of PyTorch's layers, as its users call them."""
    import torch

    layer = torch.nn.GRU if row.kind == "gru" else torch.nn.LSTM
    first, second = WIDTHS[row.kind]
    layers = [layer(row.frame, first, batch_first=True), layer(first, second, batch_first=True)]
    dense = torch.nn.Linear(second, row.frame)
    weights = [weight for made in [*layers, dense] for weight in made.parameters()]
    optimizer = torch.optim.Adam(weights, RATE)
    inputs, targets = (torch.from_numpy(some) for some in row.data())
    states = [None, None]

    def step() -> float:
        made = inputs
        for index, one in enumerate(layers):
            made, end = one(made, states[index])
            if row.carried:
                states[index] = end.detach() if row.kind == "gru" else tuple(value.detach() for value in end)
        loss = torch.nn.functional.mse_loss(dense(made), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        return loss.item()

    return step


PEERS: dict[str, Callable[[Row], Step]] = {
    "ours": lambda row: keras_step(row, ours=True),
    "Keras": lambda row: keras_step(row, ours=False),
    "PyTorch": torch_step,
}


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description="See the module's head.")
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS, help="frame x sequence x batch")
    parser.add_argument("--kinds", nargs="+", default=list(WIDTHS), choices=list(WIDTHS), help="default: both")
    parser.add_argument("--threads", type=int, help="default: one a core")
    parser.add_argument("--turns", type=int, default=5, help="timed steps of each (default: 5)")
    parser.add_argument("--memory-of", choices=list(PEERS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.turns < 1 or (options.threads is not None and options.threads < 1):
        raise UserError("--threads and --turns are 1 or more")
    threads = options.threads or _cores()
    peers = [peer for peer in PEERS if peer != "PyTorch" or importlib.util.find_spec("torch")]
    _take_threads(threads, with_torch="PyTorch" in peers and options.memory_of in (None, "PyTorch"))
    rows = [_row(kind, shape) for kind in options.kinds for shape in options.rows]
    if options.memory_of:
        print(_memory(rows[0], options.memory_of))
        return
    if "PyTorch" not in peers:
        print("PyTorch is missing, so its columns are empty: `pip install '.[bench]'` adds it.\n")
    peak = _peak()
    print(f"{threads} thread(s), sgemm peak {peak / 1e9:.0f} GFLOP/s.\n")
    print(f"| {' | '.join(HEADINGS)} |\n| --- " + "| ---: " * (len(HEADINGS) - 1) + "|")
    for row in rows:
        medians = _medians(row, peers, options.turns)
        memory = [_memory_in_a_process(row, peer, threads) for peer in peers]
        print(_line(row, medians, memory, peak), flush=True)


def _row(kind: str, shape: str) -> Row:
    return Row(kind, *map(int, shape.split("x")), carried=shape in CARRIED)


def _cores() -> int:
    from sonicrnn.devices import cores  # imports TensorFlow

    return cores()


def _take_threads(count: int, with_torch: bool) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(count)
    tf.config.threading.set_inter_op_parallelism_threads(count)
    if with_torch:
        import torch

        torch.set_num_threads(count)


def _medians(row: Row, peers: list[str], turns: int) -> dict[str, float]:
    """Seconds of a step, by peer."""
    steps = {peer: PEERS[peer](row) for peer in peers}
    for step in steps.values():
        step()
    seconds: dict[str, list[float]] = {peer: [] for peer in peers}
    for _ in range(turns):
        for peer, step in steps.items():
            begin = time.perf_counter()
            step()
            seconds[peer].append(time.perf_counter() - begin)
    return {peer: statistics.median(some) for peer, some in seconds.items()}


def _peak() -> float:
    """Floating point operations a second of the best large product."""
    import tensorflow as tf

    size = 2048
    one = tf.random.normal([size, size], seed=1)
    seconds = []
    for _ in range(8):
        begin = time.perf_counter()
        tf.linalg.matmul(one, one).numpy()
        seconds.append(time.perf_counter() - begin)
    return 2.0 * size**3 / min(seconds)


def _memory_in_a_process(row: Row, peer: str, threads: int) -> float:
    shape = f"{row.frame}x{row.sequence}x{row.batch}"
    command = [sys.executable, "-m", "benchmarks.recurrent", "--memory-of", peer, "--rows", shape, "--kinds", row.kind]
    made = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    return float(made.stdout.split()[-1])


def _memory(row: Row, peer: str) -> float:
    """MB at most beyond what the libraries hold, over two steps."""
    before = _highest()
    step = PEERS[peer](row)
    for _ in range(2):
        step()
    return _highest() - before


def _highest() -> float:
    """MB. (Not `getrusage`: its highest begins with that of the process that started this one.)"""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _line(row: Row, medians: dict[str, float], memory: list[float], peak: float) -> str:
    seconds = [f"{medians[peer]:.3f}" if peer in medians else "–" for peer in PEERS]
    ratios = [f"{medians[peer] / medians['ours']:.2f} ×" if peer in medians else "–" for peer in ("Keras", "PyTorch")]
    share = f"{row.products / medians['ours'] / peak:.0%}"
    return "| " + " | ".join([row.name, *seconds, *ratios, share, ", ".join(f"{one:.0f}" for one in memory)]) + " |"


if __name__ == "__main__":
    run_command(main)
