"""Spectra through narrow frames and back, without their phases, for `there_and_back.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from benchmarks import autoencoder
from sonicrnn import frames
from sonicrnn.config import FrameSettings
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.song import Normaliser

if TYPE_CHECKING:
    from benchmarks.there_and_back import Cut

Singles = npt.NDArray[np.float32]


def narrow_frames(song: Cut, known: Singles, own: Singles, minutes: float) -> Iterator[tuple[str, Singles]]:
    """By name the magnitudes [time, bins] that are left of the held-out part's; all kinds have as many figures.

    `known` and `own`, [time, bins], are the magnitudes of the training and of the held-out part.
    """
    figures = song.frames.parts or 96
    yield f"{figures} parts", _encoded(song, song.frames.model_copy(update={"parts": figures}))
    components = song.frames.model_copy(update={"parts": None, "components": figures})
    yield f"{figures} components", _encoded(song, components)
    code, spectra_of = autoencoder.train(frames.log_magnitude(known).numpy(), figures, minutes)
    back = frames.magnitude_of(spectra_of(code(frames.log_magnitude(own)))).numpy()
    yield f"{figures} of an autoencoder", back


def _encoded(song: Cut, settings: FrameSettings) -> Singles:
    # The samples are normalised already.
    encoding = fit_encoding(song.training, settings, song.rate, Normaliser(0.0, 1.0))
    encoded = encoding.encode(tf.constant(song.held_out[None]))
    left: Singles = frames.magnitude_of(encoding.spectra_of(encoded))[0].numpy()
    return left


def mdct(samples: Singles, frame_length: int) -> Singles:
    """[samples], whole frames of them, to MDCT frames and back."""
    back: Singles = frames.mdct_samples(frames.mdct_frames(tf.constant(samples[None]), frame_length // 2))[0].numpy()
    return back
