"""Does the pipeline keep ahead of the training step, and does its memory stay flat however long the song is?

    python -m benchmarks.pipeline            all tables, about four minutes on two cores
    python -m benchmarks.pipeline --hours 1  a shorter longest song (ten hours need 4.6 GB on the disk for a while)

Delivered: frames a second that the tf.data pipeline hands out when nobody works on them. Consumed: frames a second that
the training step takes when its batch is already there. Both are medians of blocks of steps, taken in turn. Beside
them, also in turn, stand those who have the whole song as an array of normalised frames in memory and cut the same
windows from it in random order: Keras' `timeseries_dataset_from_array` and PyTorch's `DataLoader`, the latter with no
process of its own or with one a core, whichever is faster, and once more cut into inputs and targets, as it is mostly
used. PyTorch is the extra `bench`. The last column is the memory: as many bytes, written by all cores from what their
caches hold, with no song to read. Memory in the last table is what
the process holds of its own (RssAnon) beside the song, which is mapped from the disk: the highest of two stretches of
batches, one after the other. It moves up and down with the batches that happen to be under way.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.prepared import prepared

ROUNDS = 5
RATE = 16_000
PEERS = ("ours", "Keras", "PyTorch", "PyTorch, pairs")
WRITING, UNDER_WAY = "writing alone", 4  # batches that are in memory at once
MEMORY_MINUTES = (10, 60)  # and the longest song
MEMORY_STEPS = 400  # of each stretch
MODELS = {
    "gru.yaml": ["configs/gru.yaml"],
    "seeds: waveform 1000 × 50": [
        "configs/gru.yaml",
        "frames={kind: waveform, frame_length: 1000}",
        "data={sequence_length: 50, shift: 1000, batch_size: 128}",
        "model={widths: [199, 256], head: {kind: mse}}",
    ],
    "seeds: waveform 40 × 100": [
        "configs/gru.yaml",
        "frames={kind: waveform, frame_length: 40}",
        "data={sequence_length: 100, shift: 1000, batch_size: 128}",
        "model={widths: [199, 256], head: {kind: mse}}",
    ],
}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description="See the module's head.")
    parser.add_argument("--hours", type=float, default=10.0, help="length of the longest song (default: 10)")
    parser.add_argument("--memory-of", metavar="FILE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(_memory(Path(options.memory_of))))
        return
    print("| model | delivered, frames/s | consumed, frames/s | ratio |\n| --- | --- | --- | --- |")
    for name, arguments in MODELS.items():
        delivered, consumed = _speeds(arguments)
        print(f"| {name} | {delivered:,.0f} | {consumed:,.0f} | {delivered / consumed:.0f} × |", flush=True)
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        print("\nPyTorch is missing, so its column is empty: `pip install '.[bench]'` adds it.")
    named = [*PEERS, *(f"ours ÷ {peer}" for peer in PEERS[1:])]
    print(f"\n| the same windows, frames/s | {' | '.join(named)} | {WRITING} |\n| ---{' | ---:' * (len(named) + 1)} |")
    for name, arguments in MODELS.items():
        if "waveform" in name:
            print(_peers_line(name, _peers(arguments, torch)), flush=True)
    print(f"\n| song | memory, first {MEMORY_STEPS} batches, MB | next {MEMORY_STEPS}, MB |\n| --- | --- | --- |")
    for minutes in (*MEMORY_MINUTES, 60 * options.hours):
        first, then = _memory_in_a_process(minutes)
        print(f"| {minutes:g} min | {first:.0f} | {then:.0f} |", flush=True)


def _speeds(arguments: list[str]) -> tuple[float, float]:
    """Frames a second delivered and consumed."""
    import tensorflow as tf

    from sonicrnn.config import load_settings
    from sonicrnn.devices import batch_shares, be_quiet, give_each_share_a_core
    from sonicrnn.pipeline import training_data

    be_quiet()
    settings = load_settings(arguments[0], [*arguments[1:], "model.input_noise=0"])
    give_each_share_a_core(batch_shares(settings.data.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        made = prepared(settings, Path(folder))
        frames = settings.data.batch_size * settings.data.sequence_length
        batches = iter(training_data(made.training, settings.seed))
        fixed = next(batches)
        train_step = tf.function(made.model.train_step)
        train_step(fixed)
        speeds: dict[str, list[float]] = {"delivered": [], "consumed": []}
        for _ in range(ROUNDS):
            speeds["delivered"].append(frames * _steps_a_second(lambda: next(batches), 40))
            speeds["consumed"].append(frames * _steps_a_second(lambda: train_step(fixed)["loss"].numpy(), 4))
    return float(np.median(speeds["delivered"])), float(np.median(speeds["consumed"]))


def _peers(arguments: list[str], torch: bool) -> dict[str, float]:
    """Frames a second that each hands out of the built-in song's training part."""
    from sonicrnn.config import load_settings
    from sonicrnn.devices import cores
    from sonicrnn.pipeline import training_data

    settings = load_settings(arguments[0], arguments[1:])
    data, size = settings.data, settings.frames.frame_length
    with tempfile.TemporaryDirectory() as folder:
        made = prepared(settings, Path(folder))
        table = made.training
        frames = np.array(table.rows[: len(table.rows) // size * size]).reshape(-1, size)
        stride = table.shift_rows // size
        peers = {"ours": iter(training_data(table, settings.seed))}
        peers["Keras"] = iter(keras_windows(frames, data.sequence_length, stride, data.batch_size))
        if torch:
            for processes, name in itertools.product((0, cores()), PEERS[2:]):
                made_of = (frames, data.sequence_length, stride, data.batch_size, processes)
                peers[f"{name} {processes}"] = iter(torch_windows(*made_of, pairs=name.endswith("pairs")))
        peers[WRITING] = written(data.batch_size, (data.sequence_length + 1) * size, cores())
        speeds: dict[str, list[float]] = {peer: [] for peer in peers}
        for batches in peers.values():
            next(batches)
        for _ in range(ROUNDS):
            for peer, batches in peers.items():
                heard = data.batch_size * data.sequence_length
                speeds[peer].append(heard * _steps_a_second(lambda batches=batches: next(batches), 40))
    found = {peer: float(np.median(some)) for peer, some in speeds.items()}
    theirs = PEERS[2:] if torch else ()
    best = {name: max(found[f"{name} {processes}"] for processes in (0, cores())) for name in theirs}
    return {peer: found[peer] for peer in ("ours", "Keras", WRITING)} | best


def keras_windows(frames: np.ndarray, length: int, stride: int, batch: int) -> Iterable[object]:
    """Endless batches of sequences [batch, length + 1, size] from frames [time, size], in random order."""
    import keras

    windows = keras.utils.timeseries_dataset_from_array(
        frames, None, length + 1, sequence_stride=stride, batch_size=batch, shuffle=True, seed=1
    )
    return windows.repeat().prefetch(4)


def torch_windows(
    frames: np.ndarray, length: int, stride: int, batch: int, processes: int, *, pairs: bool = False
) -> Iterable[object]:
    """The same of PyTorch; in pairs, inputs and targets [batch, length, size]."""
    import torch

    song = torch.from_numpy(frames)

    class Windows(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1 + (len(song) - length - 1) // stride

        def __getitem__(self, index: int) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
            window = song[index * stride : index * stride + length + 1]
            return (window[:-1], window[1:]) if pairs else window

    loader = torch.utils.data.DataLoader(
        Windows(), batch, shuffle=True, num_workers=processes, persistent_workers=processes > 0
    )
    return itertools.chain.from_iterable(itertools.repeat(loader))


def written(batch: int, samples: int, threads: int) -> Iterator[object]:
    """Endless arrays [batch, samples], written by so many threads from one window that stays in the cache."""
    window = np.ones(samples, np.float32)
    arrays = [np.ones((batch, samples), np.float32) for _ in range(UNDER_WAY)]

    def write(rows: np.ndarray) -> None:
        for row in rows:
            row[:] = window

    with ThreadPoolExecutor(threads) as pool:
        for array in itertools.cycle(arrays):
            yield list(pool.map(write, np.array_split(array, threads)))


def _peers_line(name: str, speeds: dict[str, float]) -> str:
    cells = [f"{speeds[peer]:,.0f}" if peer in speeds else "–" for peer in PEERS]
    cells += [f"{speeds['ours'] / speeds[peer]:.1f} ×" if peer in speeds else "–" for peer in PEERS[1:]]
    cells.append(f"{speeds[WRITING]:,.0f}")
    return f"| {name} | {' | '.join(cells)} |"


def _steps_a_second(step: Callable[[], object], count: int) -> float:
    begin = time.perf_counter()
    for _ in range(count):
        step()
    return count / (time.perf_counter() - begin)


def _memory_in_a_process(minutes: float) -> tuple[float, float]:
    """MB at most in each of two stretches, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "song.f32"
        with file.open("wb") as stream:
            for block in _noise(round(60 * minutes * RATE)):
                block.tofile(stream)
        command = [sys.executable, "-m", "benchmarks.pipeline", "--memory-of", str(file)]
        made = subprocess.run(command, check=True, capture_output=True, text=True)
    first, then = json.loads(made.stdout.strip().splitlines()[-1])
    return first, then


def _noise(samples: int, block: int = 1 << 22) -> Iterator[np.ndarray]:
    random = np.random.default_rng(1)
    for start in range(0, samples, block):
        yield random.standard_normal(min(block, samples - start), np.float32)


def _memory(file: Path) -> tuple[float, float]:
    """Of this process in two stretches of batches of a song that is mapped from the disk."""
    from sonicrnn.config import DataSettings, FrameSettings
    from sonicrnn.encoding import Encoding
    from sonicrnn.pipeline import make_table, training_data
    from sonicrnn.song import Normaliser

    part = np.memmap(file, np.float32, "r")
    data = DataSettings(sequence_length=50, shift=1000, batch_size=128)
    encoding = Encoding(FrameSettings(kind="waveform", frame_length=1000), RATE, Normaliser(0.0, 1.0))
    batches = iter(training_data(make_table(part, encoding, data, file.parent, "noise"), 1))
    return _highest(batches), _highest(batches)


def _highest(batches: Iterator[object]) -> float:
    """MB at most, seen ten batches apart."""
    highest = 0.0
    for step in range(MEMORY_STEPS):
        next(batches)
        if step % 10 == 0:
            highest = max(highest, _own_megabytes())
    return highest


def _own_megabytes() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


if __name__ == "__main__":
    main()
