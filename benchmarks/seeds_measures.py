"""What `benchmarks.seeds` measures of a trained model, besides what `evaluate` does."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from sonicrnn.calibration import Calibration
from sonicrnn.generator import Generator, RunGenerator
from sonicrnn.graphs import graph
from sonicrnn.levels import Samples

PART_SECONDS = 20.0
LEVEL_SECONDS = (1.0, 5.0, 30.0)
LEVEL_WINDOW_SECONDS = 1.0  # about each of these moments
RUNS = 4  # free runs whose levels are averaged
HUM_SECONDS, HUM_HERTZ = 10.0, 5.0


def errors_of(generator: RunGenerator, part: str) -> dict[str, float]:
    """Of the next frame, in the model's own figures, over the middle of a part.

    `nmse`: the squared error of the expected frame against the frames' power; `loss`: the head's own.
    """
    model, encoding = generator.free_run.model, generator.encoding
    follow = graph(lambda frames: model.follow(frames, None)[0])
    samples = generator.song.part(part)
    length = min(len(samples), round(PART_SECONDS * encoding.sample_rate))
    begin = (len(samples) - length) // 2
    frames = encoding.encode(tf.constant(np.ascontiguousarray(samples[begin : begin + length])[None]))
    parameters, target = follow(frames[:, :-1]), frames[:, 1:]
    missed = tf.reduce_sum(tf.square(model.head.mean(parameters) - target)) / tf.reduce_sum(tf.square(target))
    return {"nmse": float(missed), "loss": float(tf.reduce_mean(model.head.loss(parameters, target)))}


def levels_of(generator: RunGenerator) -> list[float]:
    """dB of free runs against their primes at each of `LEVEL_SECONDS`: the mean of some, not under −60 dB each.

    Of both the deviation in windows of a second: an offset, even one that wanders, is no sound.
    """
    plain, seeds = Generator(generator.free_run, Calibration(generator.temperature)), list(range(RUNS))
    rate = generator.encoding.sample_rate
    window = round(LEVEL_WINDOW_SECONDS * rate)
    primes = generator.primes("validation", seeds).astype(np.float64)
    made = plain.generate(primes, LEVEL_SECONDS[-1] + LEVEL_WINDOW_SECONDS, generator.temperature, seeds, takes=1)
    starts = range(0, primes.shape[1] - window + 1, window)
    wanted = np.mean([primes[:, start : start + window].var(1) for start in starts], 0)
    levels = []
    for seconds in LEVEL_SECONDS:
        start = round(seconds * rate) - window // 2
        power = made[:, start : start + window].astype(np.float64).var(1)
        levels.append(float(np.mean(10 * np.log10(np.maximum(power / wanted, 1e-6)))))
    return levels


def hum(samples: Samples, rate: int) -> float:
    """The share, 0 to 1, that the loudest 5 Hz of the spectrum have of the energy of the last ten seconds.

    A spectrum of bins of 0.1 Hz: a chord that does not move has nearly all of its energy in a few of them.
    """
    last = samples[-round(HUM_SECONDS * rate) :].astype(np.float64)
    power = np.square(np.abs(np.fft.rfft((last - last.mean()) * np.hanning(len(last)))))
    loudest = np.sort(power)[-round(HUM_HERTZ * HUM_SECONDS) :]
    return float(loudest.sum() / max(1e-30, power.sum()))
