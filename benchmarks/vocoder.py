"""A small vocoder with an inverse STFT that has learnt one song: log magnitudes to phases, frame by frame.

    net = train(samples, frame_length, hop, minutes)     # of the training part, normalised
    samples = sound(net, magnitude, frame_length, hop)   # of other audio

As iSTFTNet (Kaneko et al. 2022) and Vocos (Siuzdak 2023), convolutions over time predict of each bin a phase and a
correction of the magnitude, and an inverse STFT makes samples of them. It learns by spectral distances at three
resolutions, that of the frames among them. There is no discriminator: minutes on one core are too few for one. What is
predicted is how far a phase is from that of the bin's centre, which goes on from frame to frame.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks.learning import excerpts, learn, lowest_bin
from sonicrnn import frames

Singles = npt.NDArray[np.float32]

WIDTH, BLOCKS, SIZE = 256, 4, 5  # of the convolutions, frames
LENGTH, BATCH = 32, 6  # frames of an excerpt, and how many
RESOLUTIONS = ((2048, 512), (1024, 256), (512, 128))  # of the loss: window and hop
MOST_CORRECTION = 1.0  # nepers: 9 dB


def make_net(mean: npt.ArrayLike, scale: npt.ArrayLike, seed: int = 1) -> keras.Model:
    """[batch, time, bins] log magnitudes -> [batch, time, 3 bins]: cosines, sines, corrections."""
    keras.utils.set_random_seed(seed)
    centre = np.asarray(mean, np.float32)
    given = keras.Input([None, len(centre)])
    hidden = keras.layers.Conv1D(WIDTH, 3, padding="same")((given - centre) / np.asarray(scale, np.float32))
    for _ in range(BLOCKS):
        inner = keras.layers.LayerNormalization()(hidden)
        inner = keras.layers.Conv1D(WIDTH, SIZE, padding="same", activation="gelu")(inner)
        hidden = hidden + keras.layers.Dense(WIDTH)(inner)
    made = keras.layers.Dense(3 * len(centre))(keras.layers.LayerNormalization()(hidden))
    return keras.Model(given, made)


def train(samples: Singles, frame_length: int, hop: int, minutes: float) -> keras.Model:
    """A net that has learnt from samples [n] of standard deviation 1."""
    cut = np.lib.stride_tricks.sliding_window_view(samples, frame_length)[::hop].astype(np.float32)  # [time, length]
    known = np.concatenate([frames.stft_frames(one[None], frame_length, hop)[0] for one in _parts(samples, hop)])
    net = make_net(known.mean(0), known.std(0) + 0.1)
    edge = frame_length - hop  # samples that lack a neighbour

    def loss(frame: tf.Tensor) -> tf.Tensor:
        spectra = tf.signal.rfft(frames.windowed(frame))
        real = frames.spectra_samples(spectra, frame_length, hop)[:, edge:-edge]
        made = vocoded(net, frames.log_magnitude(tf.abs(spectra)), frame_length, hop)[:, edge:-edge]
        return sum(spectral_distance(real, made, *size) for size in RESOLUTIONS) / len(RESOLUTIONS)

    learn(net.trainable_variables, loss, excerpts((cut,), min(LENGTH, len(cut)), BATCH), minutes)
    return net


def sound(net: keras.Model, magnitude: Singles, frame_length: int, hop: int) -> Singles:
    """[time, bins] magnitudes -> [samples]."""
    made: Singles = vocoded(net, frames.log_magnitude(tf.constant(magnitude[None])), frame_length, hop)[0].numpy()
    return made


def vocoded(net: keras.Model, logarithm: tf.Tensor, frame_length: int, hop: int) -> tf.Tensor:
    """[batch, time, bins] log magnitudes -> [batch, samples]."""
    cosine, sine, correction = tf.split(net(logarithm), 3, -1)
    magnitude = frames.magnitude_of(logarithm) * tf.exp(MOST_CORRECTION * tf.tanh(correction))
    magnitude /= tf.sqrt(tf.square(cosine) + tf.square(sine) + 1e-6)
    time, bins = tf.shape(logarithm)[1], logarithm.shape[-1]
    # A sound in the middle of the window turns by half a circle from bin to bin.
    turns = tf.cast(tf.range(time)[:, None] * hop % frame_length, tf.float32) / frame_length - 0.5
    angle = 2 * np.pi * tf.math.floormod(turns * tf.range(bins, dtype=tf.float32), 1.0)
    spectra = tf.complex(magnitude * cosine, magnitude * sine) * tf.complex(tf.cos(angle), tf.sin(angle))
    return frames.spectra_samples(spectra, frame_length, hop)


def spectral_distance(real: tf.Tensor, made: tf.Tensor, frame_length: int, hop: int) -> tf.Tensor:
    """Of [batch, samples]: the spectral convergence, and the mean distance of the log magnitudes in nepers."""
    both = (frames.spectra(some, frame_length, hop)[..., lowest_bin(frame_length) :] for some in (real, made))
    one, other = (tf.sqrt(tf.square(tf.abs(some)) + 1e-4) for some in both)  # a root has no slope at 0
    apart = tf.norm(one - other, axis=[1, 2]) / tf.norm(one, axis=[1, 2])
    return tf.reduce_mean(apart) + tf.reduce_mean(tf.abs(tf.math.log(one) - tf.math.log(other)))


def _parts(samples: Singles, hop: int, count: int = 1024) -> list[Any]:
    """Stretches of samples: the spectra of a whole song at once would take too much memory."""
    whole = samples.astype(np.float32)
    return [whole[start : start + count * hop] for start in range(0, len(whole) - count * hop + 1, count * hop)] or [
        whole
    ]
