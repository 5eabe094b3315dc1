"""The statistics of an encoding, found in the training part alone, block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import scipy.linalg
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.config import FrameSettings
from sonicrnn.encoding import BLOCK_SECONDS, Encoding, encoded_blocks
from sonicrnn.errors import UserError
from sonicrnn.graphs import graph
from sonicrnn.parts import activations, find_parts
from sonicrnn.song import Normaliser

LEAST_VARIANCE = 1e-8  # of a figure that never moves
MOST_SPECTRA = 6_000  # that parts are found from, spread over the song
MOST_BLOCKS = 60  # that statistics of a long song are taken from: half an hour, spread over it
PART_FLOOR = 0.05  # of a part's root mean square, under its logarithm: 26 dB below it a part is as good as silent
RIDGE = 300.0  # frames' worth of doubt about what follows from what
MOST_OF_A_SPECTRUM = 192  # principal components of one spectrum that a stack of spectra is made of


def fit_encoding(part: np.ndarray, settings: FrameSettings, sample_rate: int, normaliser: Normaliser) -> Encoding:
    """The encoding of a song whose training part is `part` (float32 [samples]), read in blocks.

    STFT frames with `parts` are logarithms of how loud each part is, scaled part by part.

    STFT frames with `components` are projected on that many principal components and whitened; other STFT
    frames and MDCT frames are scaled figure by figure; waveform frames are the normalised samples.
    """
    plain = Encoding(settings, sample_rate, normaliser)
    if settings.kind == "waveform":
        return plain
    if settings.parts is not None:
        plain = _with_parts(plain, part)
    if settings.components is not None:
        return _with_arrays(plain, *_principal_components(plain, part))
    mean, variance = _moments(plain.raw, plain, part, full=False)
    if settings.kind == "mdct":  # a coefficient's sign has no preference: the power about zero counts
        mean, variance = np.zeros_like(mean), variance + np.square(mean)
    scale = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
    made = _with_arrays(plain, mean, 1 / scale, scale)
    return replace(made, transition=_transition(made, part)) if settings.parts is not None else made


def _with_arrays(plain: Encoding, mean: np.ndarray, analysis: np.ndarray, synthesis: np.ndarray) -> Encoding:
    mean, analysis, synthesis = (array.astype(np.float32) for array in (mean, analysis, synthesis))
    return replace(plain, mean=mean, analysis=analysis, synthesis=synthesis)


def _with_parts(plain: Encoding, part: np.ndarray) -> Encoding:
    """The parts of the song's spectra, and between which levels they move."""
    single = replace(plain, settings=plain.settings.model_copy(update={"stack": 1}))
    magnitudes_of = graph(lambda samples: frames.magnitude_of(single.raw(single.normalise(samples))))
    count, wanted = single.frame_count(len(part)), plain.settings.parts or 0
    if count < wanted:
        raise UserError(
            f"frames.parts {wanted} needs as many spectra, and the training part holds {count}: take a longer "
            "recording or fewer parts"
        )
    looked_at = min(count, MOST_BLOCKS * BLOCK_SECONDS * single.sample_rate // single.step)
    every = max(1, looked_at // MOST_SPECTRA)
    magnitudes = np.concatenate([block[::every] for block in encoded_blocks(magnitudes_of, single, part, MOST_BLOCKS)])
    parts = find_parts(magnitudes, wanted)
    active = np.concatenate([activations(tf.constant(some), tf.constant(parts)).numpy() for some in _cut(magnitudes)])
    floor = PART_FLOOR * np.sqrt(np.mean(np.square(active), 0)) + 1e-6
    ceiling = np.log(active + floor).max(0)
    return replace(plain, parts=parts, part_floor=floor.astype(np.float32), part_ceiling=ceiling.astype(np.float32))


def _cut(spectra: np.ndarray, length: int = 4096) -> list[np.ndarray]:
    return [spectra[start : start + length] for start in range(0, len(spectra), length)]


def _transition(encoding: Encoding, part: np.ndarray) -> np.ndarray:
    """[dimension, dimension]: next frames from the frames before them, by least squares with a ridge."""
    encode = graph(encoding.encode)
    size = encoding.dimension
    lagged, square = np.zeros([size, size]), np.zeros([size, size])
    for block in encoded_blocks(encode, encoding, part, MOST_BLOCKS):
        exact = block.astype(np.float64)
        lagged += exact[:-1].T @ exact[1:]
        square += exact[:-1].T @ exact[:-1]
    return np.linalg.solve(square + RIDGE * np.eye(size), lagged).astype(np.float32)


def _principal_components(plain: Encoding, part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, analysis and synthesis of the frames' principal components, brought to unit variance.

    Stacked frames have thousands of figures; they are found from those of single spectra, whose own minor components
    are left out first.
    """
    made = plain.settings
    single = replace(plain, settings=made.model_copy(update={"stack": 1}))
    mean, covariance = _moments(single.raw, single, part, full=True)
    components = made.components or len(mean)
    kept = min(len(mean), components)
    values, axes = _largest(covariance, kept if made.stack == 1 else min(kept, MOST_OF_A_SPECTRUM))
    if made.stack > 1:

        def narrow(samples: tf.Tensor) -> tf.Tensor:
            spectra = tf.linalg.matmul(
                single.raw(samples) - tf.constant(mean, tf.float32), tf.constant(axes, tf.float32)
            )
            return frames.lapped(spectra, made.stack)

        offset, covariance = _moments(narrow, plain, part, full=True)
        if components > len(covariance):
            raise UserError(f"frames.components {components} is more than the {len(covariance)} that can be told apart")
        values, outer = _largest(covariance, components)
        # [spectra, inner, component] -> [spectra * bins, component]
        outer = outer.reshape(plain.spectra, -1, components)
        mean = frames.lapped(tf.constant(np.tile(mean, (1, plain.spectra, 1)), tf.float32), made.stack)[0, 0].numpy()
        mean = mean + (offset.reshape(plain.spectra, -1) @ axes.T).ravel()
        axes = np.einsum("bi,sic->sbc", axes, outer).reshape(-1, components)
    scale = np.sqrt(np.maximum(values, LEAST_VARIANCE))
    return mean, axes / scale, (axes * scale).T


def _largest(covariance: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` largest eigenvalues, falling, and their vectors as columns."""
    size = len(covariance)
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=(size - count, size - 1))
    return values[::-1], vectors[:, ::-1]


def _moments(
    make: Callable[[tf.Tensor], tf.Tensor], encoding: Encoding, part: np.ndarray, full: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (co)variance of what `make` makes of the normalised samples of a part, summed in float64."""
    feature = graph(lambda samples: make(encoding.normalise(samples)))
    count, total, square = 0, np.zeros(1), np.zeros(1)
    for block in encoded_blocks(feature, encoding, part, MOST_BLOCKS):
        exact = block.astype(np.float64)
        count += len(exact)
        total = total + exact.sum(0)
        square = square + (exact.T @ exact if full else np.square(exact).sum(0))
    if count < 2:
        raise UserError(f"the training part holds {count} frames of {encoding.span} samples: take a longer recording")
    mean = total / count
    return mean, square / count - (np.outer(mean, mean) if full else np.square(mean))
