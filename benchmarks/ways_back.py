"""Ways from magnitudes to sound: each finds phases, for `there_and_back.py`.

ways(gradient, vocoder, frame_length, hop)["phase gradients"](magnitude)    # [time, bins] -> [samples]
"""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks import learned_gradient, phase_gradient, vocoder
from sonicrnn import frames

Singles = npt.NDArray[np.float32]
Way = Callable[[Singles], Singles]

STEPS = 16, 64  # of Griffin and Lim
MOMENTUM = 0.99  # of fast Griffin-Lim, as in `frames.stft_samples`


def ways(gradient: keras.Model, net: keras.Model, frame_length: int, hop: int) -> dict[str, Way]:
    """By name, each [time, bins] magnitudes -> [samples]; `gradient` and `net` are what was learnt of the song."""
    size = frame_length, hop

    def chance(magnitude: Singles) -> Singles:
        return random_angles(magnitude, *size)

    def theory(magnitude: Singles) -> Singles:
        return phase_gradient.phases(magnitude, *size).astype(np.float32)

    def learnt(magnitude: Singles) -> Singles:
        return learned_gradient.phases(gradient, magnitude, *size).astype(np.float32)

    def vocoded(magnitude: Singles) -> Singles:
        return vocoder.sound(net, magnitude, *size)

    def stepped(start: Way, steps: int = 0, momentum: float = MOMENTUM) -> Way:
        return lambda magnitude: griffin_lim(magnitude, start(magnitude), *size, steps, momentum)

    made = {"random phases": stepped(chance)}
    made |= {f"Griffin-Lim, {steps} steps": stepped(chance, steps, 0.0) for steps in STEPS}
    made |= {f"fast Griffin-Lim, {steps} steps": stepped(chance, steps) for steps in STEPS}
    for name, start in (("phase gradients", theory), ("learned gradients", learnt)):
        made[name] = stepped(start)
        made |= {f"{name}, {steps} fast steps": stepped(start, steps) for steps in STEPS}
    made["learned vocoder"] = vocoded
    for steps in STEPS:
        made[f"learned vocoder, {steps} fast steps"] = stepped(lambda one: angles_of(vocoded(one), *size), steps)
    return made


def griffin_lim(
    magnitude: Singles, angles: Singles, frame_length: int, hop: int, steps: int, momentum: float
) -> Singles:
    """Samples of magnitudes [time, bins] after so many steps from these angles.

    Without momentum as Griffin and Lim (1984), with it the fast variant of Perraudin, Balazs and Søndergaard (2013).
    """
    wanted = tf.constant(magnitude[None])
    before = current = tf.complex(wanted * tf.cos(angles), wanted * tf.sin(angles))
    for _ in range(steps):
        near = frames.spectra(frames.spectra_samples(current, frame_length, hop), frame_length, hop)
        ahead = near + tf.cast(momentum, tf.complex64) * (near - before)
        scale = wanted / tf.maximum(tf.abs(ahead), 1e-12)
        current, before = ahead * tf.complex(scale, tf.zeros_like(scale)), near
    made: Singles = frames.spectra_samples(current, frame_length, hop)[0].numpy()
    return made


def random_angles(magnitude: Singles, frame_length: int, hop: int) -> Singles:
    """Those that `frames.stft_samples` begins with."""
    drawn: Singles = tf.random.stateless_uniform(magnitude.shape, [frame_length, hop], 0.0, 2 * np.pi).numpy()
    return drawn


def angles_of(samples: Singles, frame_length: int, hop: int) -> Singles:
    """[samples] -> [time, bins], radians."""
    found: Singles = tf.math.angle(frames.spectra(tf.constant(samples[None]), frame_length, hop))[0].numpy()
    return found


def magnitudes_of(samples: Singles, frame_length: int, hop: int) -> Singles:
    """[samples] -> [time, bins]."""
    found: Singles = tf.abs(frames.spectra(tf.constant(samples[None]), frame_length, hop))[0].numpy()
    return found
