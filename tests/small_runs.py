"""Run folders made on the spot: real models as they are before any training, which is enough to hear and to serve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn.bars import Bars
from sonicrnn.calibration import Calibration
from sonicrnn.config import Settings, dump_settings
from sonicrnn.files import write_text
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.models import SongModel
from sonicrnn.portrait import portrait
from sonicrnn.recall import Recall, make_recall
from sonicrnn.run import Run
from sonicrnn.song import Normaliser

RATE = 16_000
PRIME_SAMPLES = 36_000
BEAT_SECONDS = 0.5

RECALLED: dict[str, Any] = {
    "frames": {"kind": "stft", "frame_length": 512, "hop": 256, "parts": 6, "recall": True, "phase_steps": 4},
    "model": {"widths": [8, 6], "front": [8], "echo": True, "input_noise": 1.0, "head": {"kind": "mixture"}},
}
# The quickest to make a graph of, with chance in it.
QUICK: dict[str, Any] = {
    "frames": {"kind": "waveform", "frame_length": 200},
    "model": {"widths": [8], "head": {"kind": "gaussian"}},
}

# Of a training by command that takes seconds.
TINY = [
    "frames.parts=12",
    "frames.phase_steps=4",
    "data.sequence_length=16",
    "data.batch_size=4",
    "model.front=[16]",
    "model.widths=[16,12]",
    "model.head.mixtures=2",
    "train.minutes=null",
    "train.epochs=4",
    "train.epoch_steps=5",
    "train.audio_seconds=1",
    "generate.prime_seconds=1",
    "generate.temperature=0.9",
    "generate.takes=1",
    "generate.keep_graphs=false",
    "wandb.mode=disabled",
]


def make_run(folder: Path, song: npt.NDArray[np.float32], tree: dict[str, Any]) -> Run:
    """A run of settings `tree` over the song, with two primes and a level."""
    settings, run = Settings.model_validate(tree), Run(folder)
    encoding = fit_encoding(song, settings.frames, RATE, Normaliser(0.01, float(song.std())))
    model = SongModel(encoding.dimension, settings.model, seed=3)
    model.build((None, None, encoding.dimension))
    folder.mkdir(parents=True)
    write_text(run.config, dump_settings(settings))
    model.save(run.model)
    encoding.save(folder)
    looks = portrait(song[: len(song) // 2], song[len(song) // 2 :], RATE)
    Calibration(temperature=0.7, gain=0.9, level=-12.0, portrait=looks, repeats=1.0).save(run.calibration)
    np.save(run.primes, np.stack([song[start : start + PRIME_SAMPLES] for start in (0, 20_000)]))
    if settings.frames.recall:
        rows = encoding.encode(tf.constant(song[None]))[0].numpy()
        made = make_recall(rows, song, encoding)
        # A song as short as these keeps no beat that could be told; here it has one.
        step, bar = made.step_seconds, 3 * BEAT_SECONDS
        alike = np.full(made.dimension, 0.25)
        bars = Bars(step * np.arange(made.count) % bar, alike, BEAT_SECONDS, bar, step)
        Recall(made.units, made.motion, made.passages, bars).save(run.recall)
    return run
