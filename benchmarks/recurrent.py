"""How fast is a training step of the recurrent layers, beside plain Keras and PyTorch? (prints Markdown)

    python -m benchmarks.recurrent              all rows; those of 1000 steps by a batch of 128 take minutes
    python -m benchmarks.recurrent --rows 40x100x128 --kinds gru --threads 1

A step is forward, backward, the clipping of the gradients' norm and Adam, for two layers (GRU: 199 and 256 units wide,
LSTM: 200 and 200) and a Dense layer back to the frame, half of the squared error. Ours is the step of this project's
training: a share of the batch for each core. Keras' and PyTorch's are their own layers as their users call them, with
all threads for each product. Each has a process of its own, so that nobody's threads wait in another's way; they take
turns, A B C A B C, after a step each that does not count, and a figure is the median of the turns. Where state is
carried, a batch begins where the one before it ended and no gradient goes back over the border. The share of the peak
is what the matrix products of our step come to over what the best of some large products of this machine, in TensorFlow
with as many threads, comes to. The least is what our step would take if nothing but products took time: those that wait
for one another as TensorFlow makes them in a loop by themselves, all others at the peak. Memory is what a process holds
at most beyond what it held before its model was made.

PyTorch is the extra `bench` (`pip install '.[bench]'`); without it the other columns are measured.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sonicrnn.errors import UserError, run_command

if TYPE_CHECKING:
    import keras

WIDTHS = {"gru": (199, 256), "lstm": (200, 200)}
GATES = {"gru": 3, "lstm": 4}
CARRIED = ("40x100x128",)
ROWS = ("40x1000x16", "40x100x128", "1000x50x128", "40x1000x128")
RATE, CLIP = 1e-3, 1.0
SHORT = 16  # steps of a sequence that stays in the cache
HEADINGS = (
    "training step",
    "ours, s",
    "Keras, s",
    "PyTorch, s",
    "Keras ÷ ours",
    "PyTorch ÷ ours",
    "share of the peak",
    "the least, s",
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
        """Floating point operations of a step's matrix products; nobody wants the gradient of the frames."""
        first, second = WIDTHS[self.kind]
        layers = GATES[self.kind] * (first * first + second * (first + second))
        frames = GATES[self.kind] * first * self.frame
        return 2.0 * self.sequence * self.batch * (3 * (layers + second * self.frame) + 2 * frames)

    @property
    def waiting(self) -> float:
        """Those of them that wait for one another: of a state, and of what its gates hand back."""
        return 4.0 * self.sequence * self.batch * GATES[self.kind] * sum(width**2 for width in WIDTHS[self.kind])

    def data(self) -> np.ndarray:
        """Frames [batch, sequence + 1, frame] float32: the input is all but the last, the target all but the first."""
        random = np.random.default_rng(1)
        return random.standard_normal((self.batch, self.sequence + 1, self.frame), np.float32)


def our_step(row: Row, threads: int) -> Step:
    """Of the project's model, as it is trained. Shares have their cores where TensorFlow has not worked before."""
    from sonicrnn.config import ModelSettings
    from sonicrnn.devices import give_each_share_a_core
    from sonicrnn.graphs import graph
    from sonicrnn.models import SongModel
    from sonicrnn.strategy import Adam

    shares = _shares(row, threads)
    give_each_share_a_core(shares)
    import tensorflow as tf

    made = {"cell": row.kind, "front": [], "widths": WIDTHS[row.kind], "head": {"kind": "mse"}}
    model = SongModel(row.frame, ModelSettings.model_validate(made))
    model.build((None, None, row.frame))
    _begin(model.trainable_variables)
    optimizer = Adam(RATE, global_clipnorm=CLIP)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False)
    model.shares = shares
    if row.carried:
        model.carry_state(row.batch)
    batch = (tf.constant(row.data()), *([tf.ones([row.batch])] if row.carried else []))
    step = graph(lambda: model.train_step(batch)["loss"])
    return lambda: float(step())


def waiting_step(row: Row, threads: int) -> Step:
    """Of those products of our step alone that wait for one another, in the same loops."""
    from sonicrnn.devices import give_each_share_a_core
    from sonicrnn.graphs import graph
    from sonicrnn.recurrent import AT_ONCE, loop

    shares = _shares(row, threads)
    give_each_share_a_core(shares)
    import tensorflow as tf

    random, rows = tf.random.Generator.from_seed(1), row.batch // shares
    sizes = [(width, GATES[row.kind] * width) for width in WIDTHS[row.kind]]
    there = [(random.normal([given, made]), random.normal([SHORT, rows, given])) for given, made in sizes]
    back = [(random.normal([made, given]), random.normal([SHORT, rows, made])) for given, made in reversed(sizes)]

    def in_turn(matrix: tf.Tensor, rows: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
        def again(step: tf.Tensor, last: tf.Tensor, arrays: tuple[()]) -> tuple[tf.Tensor, tuple[()]]:
            # A sum, for TensorFlow leaves out what nobody needs.
            return last + tf.linalg.matmul(tf.gather(rows, step % SHORT), matrix), arrays

        with tf.control_dependencies([before]):
            begin = tf.zeros([rows.shape[1], matrix.shape[1]])
        return loop(tf.constant(row.sequence), again, begin, (), AT_ONCE)[0]

    @graph
    def step() -> tf.Tensor:
        ends = []
        for share in range(shares):
            end = tf.fill([], float(share))  # nobody takes two shares for the same work
            for matrix, given in (*there, *back):
                end = tf.reduce_sum(in_turn(matrix, given + share, end))
            ends.append(end)
        return tf.add_n(ends)

    return lambda: float(step())


def _shares(row: Row, threads: int) -> int:
    return max(count for count in range(1, threads + 1) if row.batch % count == 0)


def keras_step(row: Row, threads: int) -> Step:
    """Of plain Keras' layers."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):  # too late, in a process that has worked before
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    import keras

    layer = keras.layers.GRU if row.kind == "gru" else keras.layers.LSTM
    first, second = WIDTHS[row.kind]
    layers = [layer(width, return_sequences=True, return_state=True) for width in (first, second)]
    dense = keras.layers.Dense(row.frame)
    for made, width in zip([*layers, dense], [row.frame, first, second], strict=True):
        made.build((row.batch, row.sequence, width))
    weights = [weight for made in [*layers, dense] for weight in made.trainable_variables]
    _begin(weights)
    optimizer = keras.optimizers.Adam(RATE, global_clipnorm=CLIP)
    optimizer.build(weights)
    frames = row.data()
    inputs, targets = tf.constant(frames[:, :-1]), tf.constant(frames[:, 1:])
    count = 1 if row.kind == "gru" else 2
    states = [[tf.Variable(tf.zeros([row.batch, made.units])) for _ in range(count)] for made in layers]

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            made, ends = inputs, []
            for one, state in zip(layers, states, strict=True):
                made, *end = one(made, initial_state=[tf.convert_to_tensor(value) for value in state], training=True)
                ends.append(end)
            loss = 0.5 * tf.reduce_mean(tf.square(dense(made) - targets))
        optimizer.apply(tape.gradient(loss, weights), weights)
        if row.carried:
            for state, end in zip(states, ends, strict=True):
                for variable, value in zip(state, end, strict=True):
                    variable.assign(value)
        return loss

    return lambda: float(step())


def _begin(weights: Sequence[keras.Variable]) -> None:
    """The same numbers for all who have the same weights."""
    random = np.random.default_rng(2)
    for weight in weights:
        weight.assign(random.uniform(-0.07, 0.07, weight.shape))


def torch_step(row: Row, threads: int) -> Step:
    """Of PyTorch's layers, as its users call them."""
    import torch

    torch.set_num_threads(threads)
    layer = torch.nn.GRU if row.kind == "gru" else torch.nn.LSTM
    first, second = WIDTHS[row.kind]
    layers = [layer(row.frame, first, batch_first=True), layer(first, second, batch_first=True)]
    dense = torch.nn.Linear(second, row.frame)
    weights = [weight for made in [*layers, dense] for weight in made.parameters()]
    optimizer = torch.optim.Adam(weights, RATE)
    frames = torch.from_numpy(row.data())
    inputs, targets = frames[:, :-1].contiguous(), frames[:, 1:].contiguous()
    states = [None, None]

    def step() -> float:
        made = inputs
        for index, one in enumerate(layers):
            made, end = one(made, states[index])
            if row.carried:
                states[index] = end.detach() if row.kind == "gru" else tuple(value.detach() for value in end)
        loss = 0.5 * torch.nn.functional.mse_loss(dense(made), targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()
        return loss.item()

    return step


PEERS: dict[str, Callable[[Row, int], Step]] = {"ours": our_step, "Keras": keras_step, "PyTorch": torch_step}
WAITING = "waiting"
STEPS = {**PEERS, WAITING: waiting_step}


class Peer:
    """One of `STEPS` in a process of its own, which makes a step whenever it is asked to."""

    def __init__(self, row: Row, name: str, threads: int):
        shape = f"{row.frame}x{row.sequence}x{row.batch}"
        command = [sys.executable, "-m", "benchmarks.recurrent", "--be", name, "--rows", shape, "--kinds", row.kind]
        self.process = subprocess.Popen(
            [*command, "--threads", str(threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def step(self) -> tuple[float, float]:
        """Seconds that the step took, and MB that the process has held at most. Raises UserError where it ended."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(file=self.process.stdin, flush=True)
            seconds, memory = map(float, self.process.stdout.readline().split())
        except (OSError, ValueError):
            raise UserError("a process that was to be measured has ended: the lines above say why") from None
        return seconds, memory

    def end(self) -> None:
        """Let it go."""
        self.process.kill()
        self.process.communicate()


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description="See the module's head.")
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS, help="frame x sequence x batch")
    parser.add_argument("--kinds", nargs="+", default=list(WIDTHS), choices=list(WIDTHS), help="default: both")
    parser.add_argument("--threads", type=int, help="default: one a core")
    parser.add_argument("--turns", type=int, default=5, help="timed steps of each (default: 5)")
    parser.add_argument("--be", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.turns < 1 or (options.threads is not None and options.threads < 1):
        raise UserError("--threads and --turns are 1 or more")
    rows = [_row(kind, shape) for kind in options.kinds for shape in options.rows]
    if options.be:
        _work(rows[0], options.be, options.threads)
        return
    threads = options.threads or _cores()
    peers = [peer for peer in STEPS if peer != "PyTorch" or importlib.util.find_spec("torch")]
    if "PyTorch" not in peers:
        print("PyTorch is missing, so its columns are empty: `pip install '.[bench]'` adds it.\n")
    peak = _peak(threads)
    print(f"{threads} thread(s), sgemm peak {peak / 1e9:.0f} GFLOP/s.\n")
    print(f"| {' | '.join(HEADINGS)} |\n| --- " + "| ---: " * (len(HEADINGS) - 1) + "|")
    for row in rows:
        print(_line(row, *_measured(row, peers, threads, options.turns), peak))


def _row(kind: str, shape: str) -> Row:
    return Row(kind, *map(int, shape.split("x")), carried=shape in CARRIED)


def _cores() -> int:
    from sonicrnn.devices import cores  # imports TensorFlow

    return cores()


def _work(row: Row, peer: str, threads: int) -> None:
    """Make a step for each line that comes in; see `Peer.step` for what goes out."""
    import tensorflow  # noqa: F401, what libraries hold is none of the model's

    if peer == "PyTorch":
        import torch  # noqa: F401
    before = _highest()
    step = STEPS[peer](row, threads)
    for _ in sys.stdin:
        begin = time.perf_counter()
        step()
        print(time.perf_counter() - begin, _highest() - before)


def _measured(row: Row, peers: list[str], threads: int, turns: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a step, and MB, by peer."""
    at_work: dict[str, Peer] = {}
    try:
        for name in peers:
            at_work[name] = Peer(row, name, threads)
            at_work[name].step()
        told: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
        for _ in range(turns):
            for name, peer in at_work.items():
                told[name].append(peer.step())
    finally:
        for peer in at_work.values():
            peer.end()
    seconds = {name: statistics.median(took for took, _ in some) for name, some in told.items()}
    return seconds, {name: some[-1][1] for name, some in told.items()}


def _peak(threads: int) -> float:
    """Floating point operations a second of the best large product."""
    import tensorflow as tf

    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    size = 2048
    one = tf.random.normal([size, size], seed=1)
    seconds = []
    for _ in range(8):
        begin = time.perf_counter()
        tf.linalg.matmul(one, one).numpy()
        seconds.append(time.perf_counter() - begin)
    return 2.0 * size**3 / min(seconds)


def _highest() -> float:
    """MB. (Not `getrusage`: its highest begins with that of the process that started this one.)"""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _line(row: Row, medians: dict[str, float], memory: dict[str, float], peak: float) -> str:
    seconds = [f"{medians[peer]:.3f}" if peer in medians else "–" for peer in PEERS]
    ratios = [f"{medians[peer] / medians['ours']:.2f} ×" if peer in medians else "–" for peer in ("Keras", "PyTorch")]
    share = f"{row.products / medians['ours'] / peak:.0%}"
    least = f"{medians[WAITING] + (row.products - row.waiting) / peak:.3f}"
    held = ", ".join(f"{memory[peer]:.0f}" for peer in PEERS if peer in memory)
    return f"| {' | '.join([row.name, *seconds, *ratios, share, least, held])} |"


if __name__ == "__main__":
    run_command(main)
