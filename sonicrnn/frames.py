"""Samples to frames and back: waveform, MDCT and log-magnitude STFT frames.

Pure TensorFlow functions, each beside its inverse, so that the same code runs over a song in blocks, inside
the free run's graph and inside an export. Samples are float32 [batch, samples]; frames float32
[batch, time, feature]. Frame `k` starts at sample `k * hop`; `n` samples make `1 + (n - frame_length) // hop`
frames, and `time` frames make `(time - 1) * hop + frame_length` samples, of which the first and last
`frame_length - hop` lack the neighbours they overlap with.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import tensorflow as tf

Join = Literal["fade", "average", "last"]

# Floor of a magnitude before its logarithm. Samples come normalised to a standard deviation near 1, where a
# bin of white noise under the unit-energy window below has magnitude near 1: this is 60 dB below it.
MAGNITUDE_FLOOR = 1e-3
LEAST_POWER = 1e-24  # of a bin that has a phase


def frame_count(samples: int, frame_length: int, hop: int) -> int:
    """How many whole frames `samples` samples hold."""
    return 1 + (samples - frame_length) // hop if samples >= frame_length else 0


def samples_of(frames: int, frame_length: int, hop: int) -> int:
    """How many samples `frames` frames cover."""
    return (frames - 1) * hop + frame_length if frames else 0


def halves(sequences: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """[batch, time + 1, …] -> [batch, time, …], what a model reads, and the same one frame later, what it learns."""
    return sequences[:, :-1], sequences[:, 1:]


# Waveform -----------------------------------------------------------------------------------------------------


def waveform_frames(samples: tf.Tensor, frame_length: int, hop: int) -> tf.Tensor:
    """[batch, samples] -> [batch, time, frame_length]: the samples themselves."""
    if hop == frame_length:  # a view, not a copy
        time = tf.shape(samples)[1] // frame_length
        return tf.reshape(samples[:, : time * frame_length], [tf.shape(samples)[0], time, frame_length])
    return tf.signal.frame(samples, frame_length, hop)


def waveform_samples(frames: tf.Tensor, hop: int, join: Join = "fade") -> tf.Tensor:
    """[batch, time, frame_length] -> [batch, samples].

    Where two neighbours overlap, `join` says what is heard: a linear fade from the one to the other, their average, or
    the last `hop` samples of each frame alone. The weights add up to 1, so that frames cut from one waveform give it
    back exactly.
    """
    frame_length = frames.shape[-1]
    batch, time = tf.shape(frames)[0], tf.shape(frames)[1]
    overlap = frame_length - hop
    if overlap == 0:
        return tf.reshape(frames, [batch, time * frame_length])
    shares = {"fade": (tf.range(overlap, dtype=tf.float32) + 0.5) / overlap}
    shares |= {"average": tf.fill([overlap], 0.5), "last": tf.zeros([overlap])}
    rise = shares[join]  # what the later of two neighbours has
    level = tf.ones([frame_length - 2 * overlap])
    inner = tf.concat([rise, level, 1 - rise], 0)
    fade_in = tf.concat([rise, tf.ones([hop])], 0)
    first = tf.where(tf.range(time) == 0, 1.0, 0.0)[:, None]  # nothing to fade from
    last = tf.where(tf.range(time) == time - 1, 1.0, 0.0)[:, None]  # nor to fade into
    window = tf.where(last > 0, fade_in, inner)
    window = tf.where(first > 0, window + tf.concat([1 - rise, tf.zeros([hop])], 0), window)
    return tf.signal.overlap_and_add(frames * window, hop)


# MDCT ---------------------------------------------------------------------------------------------------------


def mdct_frames(samples: tf.Tensor, hop: int) -> tf.Tensor:
    """[batch, samples] -> [batch, time, hop]: the lapped cosine transform of Princen and Bradley (1986).

    Orthonormal, under the Vorbis window: as many figures as samples, and white noise stays white.
    """
    return tf.signal.mdct(samples, 2 * hop, window_fn=tf.signal.vorbis_window, norm="ortho")


def mdct_samples(frames: tf.Tensor) -> tf.Tensor:
    """[batch, time, hop] -> [batch, (time + 1) * hop]; exact but for the first and last `hop` samples."""
    return tf.signal.inverse_mdct(frames, window_fn=tf.signal.vorbis_window, norm="ortho")


# STFT ---------------------------------------------------------------------------------------------------------


def stft_frames(samples: tf.Tensor, frame_length: int, hop: int) -> tf.Tensor:
    """[batch, samples] -> [batch, time, frame_length // 2 + 1]: natural logarithm of the magnitudes."""
    return log_magnitude(tf.abs(spectra(samples, frame_length, hop)))


def stft_samples(
    frames: tf.Tensor, frame_length: int, hop: int, steps: int, known: tf.Tensor | None = None
) -> tf.Tensor:
    """[batch, time, frame_length // 2 + 1] log magnitudes -> [batch, samples], phases by Griffin and Lim.

    The fast variant of Perraudin, Balazs and Søndergaard (WASPAA 2013) with momentum 0.99. It starts from fixed random
    phases, or from those of `known`, [batch, some samples] that the first frames are to go on from: so audio made in
    blocks joins.
    """
    magnitude = magnitude_of(frames)
    angle = tf.random.stateless_uniform(tf.shape(magnitude)[1:], [frame_length, hop], 0.0, 2 * math.pi)
    fixed = None if known is None else spectra(known, frame_length, hop)[:, : tf.shape(magnitude)[1]]

    def with_known(current: tf.Tensor) -> tf.Tensor:
        return current if fixed is None else tf.concat([fixed, current[:, tf.shape(fixed)[1] :]], 1)

    def consistent(current: tf.Tensor) -> tf.Tensor:
        return spectra(spectra_samples(current, frame_length, hop), frame_length, hop)

    start = with_known(_polar(magnitude, angle))
    return spectra_samples(_phased(magnitude, start, consistent, with_known, steps), frame_length, hop)


def rephased_samples(
    frames: tf.Tensor, frame_length: int, hop: int, steps: int, like: tf.Tensor, known: tf.Tensor
) -> tf.Tensor:
    """As `stft_samples`, but the phases are at first those of other samples, some of which are the wanted ones already.

    Args:
        like: [batch, samples], as many as the frames cover.
        known: bool [samples], which of `like` are wanted; where they are, what comes back is near to them.
    """
    own, magnitude = spectra(like, frame_length, hop), magnitude_of(frames)

    def consistent(current: tf.Tensor) -> tf.Tensor:
        samples = spectra_samples(current, frame_length, hop)
        return spectra(tf.where(known, like, samples), frame_length, hop)

    final = _phased(magnitude, _with_phases_of(magnitude, own), consistent, lambda current: current, steps)
    return spectra_samples(final, frame_length, hop)


def _phased(
    magnitude: tf.Tensor,
    start: tf.Tensor,
    consistent: Callable[[tf.Tensor], tf.Tensor],
    with_known: Callable[[tf.Tensor], tf.Tensor],
    steps: int,
) -> tf.Tensor:
    """Spectra of these magnitudes after fast Griffin-Lim steps from `start`; `consistent` finds the nearest of samples.

    Each step ends with `with_known`.
    """
    momentum = 0.99

    def improve(step: tf.Tensor, current: tf.Tensor, before: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        projected = consistent(current)
        accelerated = projected + momentum * (projected - before)
        return step + 1, with_known(_with_phases_of(magnitude, accelerated)), projected

    _, final, _ = tf.while_loop(
        lambda step, *_: step < steps, improve, (0, start, start), maximum_iterations=steps, parallel_iterations=1
    )
    return final


def _with_phases_of(magnitude: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """Spectra of these magnitudes with the phases of others; where those are silent, silent."""
    factor = magnitude * tf.math.rsqrt(tf.maximum(power_of(others), LEAST_POWER))
    return tf.complex(factor * tf.math.real(others), factor * tf.math.imag(others))


def lapped(spectra: tf.Tensor, stack: int) -> tf.Tensor:
    """[batch, time, bins] -> [batch, time // stack - 1, 2 * stack * bins]: blocks that overlap by half, under a sine.

    The window's square adds up to 1 over neighbouring blocks, so what differs from block to block is cross-faded.
    """
    bins = spectra.shape[-1]
    blocks = tf.signal.frame(spectra, 2 * stack, stack, axis=1)  # [batch, blocks, 2 * stack, bins]
    blocks *= _sine_window(2 * stack)[:, None]
    return tf.reshape(blocks, [tf.shape(blocks)[0], tf.shape(blocks)[1], 2 * stack * bins])


def unlapped(blocks: tf.Tensor, stack: int) -> tf.Tensor:
    """[batch, blocks, 2 * stack * bins] -> [batch, (blocks + 1) * stack, bins]: the inverse of `lapped`.

    The first and last `stack` spectra stand in one block alone.
    """
    batch, count, bins = tf.shape(blocks)[0], tf.shape(blocks)[1], blocks.shape[-1] // (2 * stack)
    window = _sine_window(2 * stack)
    parts = tf.reshape(blocks, [batch, count, 2 * stack, bins]) * window[:, None]
    added = tf.signal.overlap_and_add(tf.transpose(parts, [0, 3, 1, 2]), stack)  # [batch, bins, spectra]
    weight = tf.signal.overlap_and_add(tf.repeat(tf.square(window)[None], count, 0), stack)
    return tf.transpose(added / weight, [0, 2, 1])


def _sine_window(length: int) -> tf.Tensor:
    return tf.sin(math.pi * (tf.range(length, dtype=tf.float32) + 0.5) / length)


def log_magnitude(magnitude: tf.Tensor) -> tf.Tensor:
    """Natural logarithm with a smooth floor; `magnitude_of` is its inverse above the floor."""
    return 0.5 * tf.math.log(tf.square(magnitude) + MAGNITUDE_FLOOR**2)


def power_of(complex_numbers: tf.Tensor) -> tf.Tensor:
    """Their magnitudes squared; `tf.abs`, which takes care of numbers too large for that, takes longer."""
    return tf.square(tf.math.real(complex_numbers)) + tf.square(tf.math.imag(complex_numbers))


def magnitude_of(logarithm: tf.Tensor) -> tf.Tensor:
    """The magnitude whose `log_magnitude` is given; 0 under the floor."""
    return tf.sqrt(tf.maximum(tf.exp(2 * logarithm) - MAGNITUDE_FLOOR**2, 0.0))


def spectra(samples: tf.Tensor, frame_length: int, hop: int) -> tf.Tensor:
    """[batch, samples] -> complex64 [batch, time, bins], under a Hann window of unit energy."""
    return tf.signal.rfft(windowed(tf.signal.frame(samples, frame_length, hop)))


def spectra_samples(complex_frames: tf.Tensor, frame_length: int, hop: int) -> tf.Tensor:
    """The least-squares inverse of `spectra`: [batch, samples] (Griffin and Lim, 1984)."""
    return overlapped(tf.signal.irfft(complex_frames, [frame_length]), hop)


def windowed(frames: tf.Tensor) -> tf.Tensor:
    """[..., frame_length] under the window of `spectra`."""
    return frames * _window(frames.shape[-1])


def overlapped(frames: tf.Tensor, hop: int) -> tf.Tensor:
    """What `windowed` frames [batch, time, frame_length] are likeliest to be of, by least squares: [batch, samples]."""
    batch, time, length = tf.shape(frames)[0], tf.shape(frames)[1], frames.shape[-1]
    window, across = _window(length), -(-length // hop)
    parts = tf.pad(frames * window, [[0, 0], [0, 0], [0, across * hop - length]])
    squares = tf.reshape(tf.pad(tf.square(window), [[0, across * hop - length]]), [across, hop])
    # A row of `hop` samples is the sum of the parts of frames that lie in it, part `k` of frame `row - k`: a product
    # with a sparse matrix of ones, which takes a fraction of the time of `tf.signal.overlap_and_add`.
    rows = time + across - 1
    row, part = tf.meshgrid(tf.range(rows), tf.range(across), indexing="ij")
    there = (row >= part) & (row - part < time)
    weight = tf.reshape(tf.linalg.matmul(tf.cast(there, tf.float32), squares), [rows * hop])
    row, part = tf.boolean_mask(row, there), tf.boolean_mask(part, there)
    piece = tf.range(batch)[:, None]
    places = tf.stack([piece * rows + row, (piece * time + row - part) * across + part], 2)
    places = tf.cast(tf.reshape(places, [-1, 2]), tf.int64)
    shape = tf.cast([batch * rows, batch * time * across], tf.int64)
    ones = tf.SparseTensor(places, tf.ones([tf.shape(places)[0]]), shape)
    samples = tf.reshape(tf.sparse.sparse_dense_matmul(ones, tf.reshape(parts, [-1, hop])), [batch, rows * hop])
    return (samples / tf.maximum(weight, 1e-3 / length))[:, : (time - 1) * hop + length]


def _window(frame_length: int) -> tf.Tensor:
    window = tf.signal.hann_window(frame_length, periodic=True)
    return window / tf.sqrt(tf.reduce_sum(tf.square(window)))


def _polar(magnitude: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    return tf.complex(magnitude * tf.cos(angle), magnitude * tf.sin(angle))
