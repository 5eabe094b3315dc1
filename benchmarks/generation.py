"""How fast does a model generate, on one core? (prints Markdown)

    python -m benchmarks.generation            trains a run of the built-in song for a moment first: some minutes
    python -m benchmarks.generation runs/my    a run of configs/gru.yaml

The first table is of that run, audio included: one piece and sixteen at once, taking turns; the first audio of a
stream, its prime read in one pass; the whole command for 30 s, in a process of its own. One piece is bound by reading
the weights and the song's units at every step: the share of the memory's limit is how fast it reads them, over how fast
this core reads as much in one product. The second is of the seeds' waveform model (configs/seeds/base.yaml, weights as
before any training), beside what anyone would write first: a loop in which the model reads the last `sequence_length`
frames again for each new one.

Times are medians of turns, of this process's own work where it does all of it, else by the clock. PyTorch is the extra
`bench` (`pip install '.[bench]'`); without it the other loops are measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.one_core import take_one_core
from sonicrnn.errors import UserError, run_command

if TYPE_CHECKING:
    from sonicrnn.config import Settings
    from sonicrnn.generator import Generator

PIECES = (1, 16)
BLOCK_SECONDS, STREAM_SECONDS, COMMAND_SECONDS = 5.0, 0.5, 30.0
TRAIN_MINUTES = 0.2
SEEDS_CONFIG = "configs/seeds/base.yaml"
LOOP_FRAMES, OUR_FRAMES = 10, 800  # that are timed: of the loops, and of ours
Loop = Callable[[np.ndarray, int], np.ndarray]  # [time, frame], how many frames -> so many new ones, [count, frame]


def main(arguments: list[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generation", description="See the module's head.")
    parser.add_argument("run", nargs="?", help="a run folder (default: one is trained for a moment)")
    parser.add_argument("--turns", type=int, default=5, help="timed turns of each (default: 5)")
    options = parser.parse_args(arguments)
    if options.turns < 1:
        raise UserError("--turns is 1 or more")
    take_one_core()
    with tempfile.TemporaryDirectory() as folder:
        run = options.run or _trained(folder)
        print("| configs/gru.yaml, one core | measured | asked |\n| --- | ---: | ---: |")
        for name, measured, asked in _of_run(run, options.turns):
            print(f"| {name} | {measured} | {asked} |")
    print()
    loops = ["`model.predict`", "PyTorch"] if importlib.util.find_spec("torch") else ["`model.predict`"]
    if len(loops) < 2:
        print("PyTorch is missing, so its row is, too: `pip install '.[bench]'` adds it.\n")
    print(_seeds_table(_seeds_seconds(loops, options.turns)))


def _trained(folder: str) -> str:
    given = [f"train.minutes={TRAIN_MINUTES}", f"runs={folder}", "name=run", "wandb.mode=disabled"]
    command = [sys.executable, "-m", "sonicrnn.fit", "configs/gru.yaml", *given]
    subprocess.run(command, check=True, capture_output=True)
    return f"{folder}/run"


# A run ------------------------------------------------------------------------------------------------------------


def _of_run(run: str, turns: int) -> list[tuple[str, str, str]]:
    """(what, measured, asked) of each row."""
    from sonicrnn.generator import load_generator

    generator = load_generator(run)
    speeds = _speeds(generator, turns)
    steps = speeds[1] * generator.encoding.sample_rate / generator.encoding.step  # a second, of one piece
    read = _read_bytes(generator)
    share = read * steps / _bandwidth(read)
    first = statistics.median(_first_audio(generator, seed) for seed in range(turns + 1))
    whole, one_take, helped = (_command_seconds(run, *given) for given in ((), ("--takes", "1"), ("--help",)))
    return [
        ("one piece", f"{speeds[1]:.0f} × real time", "60 ×"),
        (f"{PIECES[1]} pieces at once", f"{speeds[PIECES[1]]:.0f} × real time", "400 ×"),
        ("one piece: share of the memory's limit", f"{share:.0%} of {read / 1e6:.1f} MB a step", ""),
        ("first audio of a stream", f"{1e3 * first:.0f} ms", "150 ms"),
        (f"`generate`, {COMMAND_SECONDS:g} s, all in", f"{whole:.1f} s", "6 s"),
        ("the same with `--takes 1`", f"{one_take:.1f} s", ""),
        ("`generate --help`", f"{helped:.2f} s", "0.5 s"),
    ]


def _speeds(generator: Generator, turns: int) -> dict[int, float]:
    """Seconds of audio made in a second, by the number of pieces."""
    blocks = {pieces: _blocks(generator, pieces) for pieces in PIECES}
    for block in blocks.values():
        block()
    seconds: dict[int, list[float]] = {pieces: [] for pieces in PIECES}
    for _ in range(turns):
        for pieces, block in blocks.items():
            begin = time.process_time()
            made = block()
            seconds[pieces].append((time.process_time() - begin) / made)
    return {pieces: 1 / statistics.median(some) for pieces, some in seconds.items()}


def _blocks(generator: Generator, pieces: int) -> Callable[[], float]:
    """A function that makes the next block of some pieces, and says how many seconds of audio it holds in all."""
    import tensorflow as tf

    graphs, seeds = generator.graphs, list(range(pieces))
    temperature = tf.fill([pieces], tf.constant(generator.temperature, tf.float32))
    heard = graphs.hear(tf.constant(_primes(generator, seeds)))
    state = graphs.begin(heard, temperature, tf.constant(seeds))
    count = tf.constant(graphs.steps(BLOCK_SECONDS))

    def block() -> float:
        nonlocal state
        made, state = graphs.go_on(state, count, temperature)
        return made.samples.numpy().size / generator.encoding.sample_rate

    return block


def _primes(generator: Generator, seeds: list[int]) -> np.ndarray:
    from sonicrnn.generator import RunGenerator

    assert isinstance(generator, RunGenerator)
    return generator.primes("validation", seeds)


def _read_bytes(generator: Generator) -> int:
    """What a step of one piece has to read: the model's weights, and where the song's units lie."""
    read, recall = 4 * generator.free_run.model.count_params(), generator.free_run.recall
    if recall:
        shapes = [places.points.shape for places in (recall.units, recall.motion)]
        read += sum(4 * units * (dimension + 2) for units, dimension in shapes)
        read += 4 * recall.bars.on_beat.shape.num_elements()
    return read


def _bandwidth(size: int) -> float:
    """Bytes a second that this core reads of so many, again and again, in a product of numbers with themselves."""
    numbers = np.ones(size // 4, np.float32)
    seconds = []
    for _ in range(20):
        begin = time.perf_counter()
        np.dot(numbers, numbers)
        seconds.append(time.perf_counter() - begin)
    return size / min(seconds)


def _first_audio(generator: Generator, seed: int) -> float:
    """Seconds until a stream's first block is there, with the prime read in one pass."""
    prime = _primes(generator, [seed])
    stream = generator.stream(prime, 60.0, None, [seed], takes=1, block_seconds=STREAM_SECONDS)
    begin = time.process_time()
    next(stream)
    return time.process_time() - begin


def _command_seconds(run: str, *given: str) -> float:
    """By the clock, with all that it imports and loads."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "sonicrnn.generate", run, "--seconds", str(COMMAND_SECONDS), "--out", folder]
        begin = time.perf_counter()
        subprocess.run([*command, *given], check=True, capture_output=True)
        return time.perf_counter() - begin


# The seeds' model -------------------------------------------------------------------------------------------------


def seeds_generator(settings: Settings) -> Generator:
    """The model of a config as it is before any training."""
    from sonicrnn.calibration import Calibration
    from sonicrnn.encoding import Encoding
    from sonicrnn.free_run import FreeRun
    from sonicrnn.generator import Generator
    from sonicrnn.models import SongModel
    from sonicrnn.song import Normaliser

    encoding = Encoding(settings.frames, settings.song.sample_rate, Normaliser(0.0, 1.0))
    model = SongModel(encoding.dimension, settings.model, 1)
    model.build((None, None, encoding.dimension))
    return Generator(FreeRun(model, encoding), Calibration())


def keras_loop(generator: Generator) -> Loop:
    """The same layers in plain Keras, with the same weights."""
    import keras

    model = generator.free_run.model
    widths, dimension = model.settings.widths, model.dimension
    layers = [keras.layers.GRU(width, return_sequences=True) for width in widths]
    plain = keras.Sequential([keras.Input((None, dimension)), *layers, keras.layers.Dense(dimension)])
    for layer, own in zip(plain.layers, [*model.stack, model.head.dense], strict=True):
        layer.set_weights(own.get_weights())
    return lambda window, count: _slide(lambda frames: plain.predict(frames, verbose=0), window, count)


def torch_loop(generator: Generator) -> Loop:
    """Layers of the same widths in PyTorch, with one thread."""
    import torch

    torch.set_num_threads(1)
    model = generator.free_run.model
    sizes = [model.dimension, *model.settings.widths]
    layers = [torch.nn.GRU(one, other, batch_first=True) for one, other in itertools.pairwise(sizes)]
    dense = torch.nn.Linear(sizes[-1], model.dimension)

    @torch.no_grad()
    def predict(frames: np.ndarray) -> np.ndarray:
        hidden = torch.from_numpy(frames)
        for layer in layers:
            hidden, _ = layer(hidden)
        return dense(hidden).numpy()

    return lambda window, count: _slide(predict, window, count)


def _slide(predict: Callable[[np.ndarray], np.ndarray], window: np.ndarray, count: int) -> np.ndarray:
    """Read the whole window, put the last prediction at its end, drop its first frame, and so on: [count, frame]."""
    made = []
    for _ in range(count):
        made.append(predict(window[None])[0, -1])
        window = np.concatenate([window[1:], made[-1][None]])
    return np.stack(made)


def our_loop(generator: Generator) -> Loop:
    """The free run in one graph, samples included."""
    step = generator.encoding.step

    def loop(window: np.ndarray, count: int) -> np.ndarray:
        seconds = count * step / generator.encoding.sample_rate
        return generator.generate(window.reshape(1, -1), seconds, seeds=[1]).reshape(count, step)

    return loop


def _seeds_seconds(loops: list[str], turns: int) -> dict[str, float]:
    """Seconds of each new frame, by loop, ours being "ours"; and the frames that a loop reads, "frames"."""
    from sonicrnn.config import load_settings

    settings = load_settings(SEEDS_CONFIG, [])
    generator, length = seeds_generator(settings), settings.data.sequence_length
    made = {"ours": (our_loop(generator), OUR_FRAMES), "`model.predict`": (keras_loop(generator), LOOP_FRAMES)}
    if "PyTorch" in loops:
        made["PyTorch"] = (torch_loop(generator), LOOP_FRAMES)
    window = np.random.default_rng(1).uniform(-0.5, 0.5, [length, generator.encoding.step]).astype(np.float32)
    for loop, count in made.values():
        loop(window, count)
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(turns):
        for name, (loop, count) in made.items():
            begin = time.process_time()
            loop(window, count)
            seconds[name].append((time.process_time() - begin) / count)
    return {name: statistics.median(some) for name, some in seconds.items()} | {"frames": length}


def _seeds_table(seconds: Mapping[str, float]) -> str:
    names = [name for name in seconds if name not in ("ours", "frames")]
    lines = [f"| {SEEDS_CONFIG}, one core | a frame, ms | ÷ ours | asked |", "| --- | ---: | ---: | ---: |"]
    lines.append(f"| ours | {1e3 * seconds['ours']:.3f} | | |")
    asked = {"`model.predict`": f"{seconds['frames']:.0f} ×", "PyTorch": "over 1 ×"}
    for name in names:
        ratio = seconds[name] / seconds["ours"]
        lines.append(f"| a loop of {name} | {1e3 * seconds[name]:.2f} | {ratio:.0f} × | {asked[name]} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run_command(main)
