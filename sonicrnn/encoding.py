"""What the model reads and predicts: frames of the normalised song, scaled or projected.

The scales and the projection are statistics of the training part. `fit_encoding` looks at that part alone, in blocks;
an `Encoding` is those figures and the two directions. A run folder keeps it as `statistics.json` and, where there are
arrays, `projection.npz`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import scipy.linalg
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.config import FrameSettings
from sonicrnn.errors import UserError
from sonicrnn.files import write_json, written_beside
from sonicrnn.song import Normaliser

BLOCK_SECONDS = 30
LEAST_VARIANCE = 1e-8  # of a figure that never moves
MOST_OF_A_SPECTRUM = 192  # principal components of one spectrum that a stack of spectra is made of


@dataclass(frozen=True, eq=False)
class Contrast:
    """How much further from `centre` each bin's log magnitude is to lie: both [bins] float32."""

    centre: np.ndarray
    factor: np.ndarray


@dataclass(frozen=True, eq=False)
class Encoding:
    """Both directions between samples and the model's frames.

    Attributes:
        settings: the frame kind and its sizes.
        sample_rate: Hz.
        normaliser: of the samples, from the training part.
        mean: [feature] of the raw frames; None for waveform frames.
        analysis: [feature, dimension] raw to whitened; or [feature], a scale for each.
        synthesis: [dimension, feature] whitened to raw; or [feature].
    """

    settings: FrameSettings
    sample_rate: int
    normaliser: Normaliser
    mean: np.ndarray | None = None
    analysis: np.ndarray | None = None
    synthesis: np.ndarray | None = None

    @property
    def dimension(self) -> int:
        """Figures of one frame of the model."""
        if self.analysis is not None:
            return int(self.analysis.shape[-1])
        return self.settings.frame_length

    @property
    def step(self) -> int:
        """Samples that one step of the model stands for."""
        return self.settings.step_length

    @property
    def span(self) -> int:
        """Samples that one frame of the model looks at."""
        return self.settings.frame_length + (self.spectra - 1) * self.settings.hop_length

    @property
    def spectra(self) -> int:
        """Spectra in one frame of the model: a stacked one has twice as many as it moves on by, and overlaps."""
        return 2 * self.settings.stack if self.settings.stack > 1 else 1

    @property
    def overlap(self) -> int:
        """Samples that two neighbouring frames share: so many lack a neighbour at each end of decoded audio."""
        return self.span - self.step

    def frame_count(self, samples: int) -> int:
        """Whole frames of the model in so many samples."""
        return frames.frame_count(samples, self.span, self.step)

    def encode(self, samples: tf.Tensor) -> tf.Tensor:
        """[batch, samples] at full scale 1 -> [batch, time, dimension], near zero mean and unit variance."""
        return self.whiten(self.raw(self.normalise(samples)))

    def normalise(self, samples: tf.Tensor) -> tf.Tensor:
        """By the training part's offset and scale."""
        return (samples - self.normaliser.offset) / self.normaliser.scale

    def raw(self, samples: tf.Tensor) -> tf.Tensor:
        """Frames of normalised samples, before any scaling: [batch, time, feature]."""
        made, length, hop = self.settings, self.settings.frame_length, self.settings.hop_length
        if made.kind == "waveform":
            return frames.waveform_frames(samples, length, hop)
        if made.kind == "mdct":
            return frames.mdct_frames(samples, hop)
        spectra = frames.stft_frames(samples, length, hop)
        return frames.lapped(spectra, made.stack) if made.stack > 1 else spectra

    def whiten(self, raw: tf.Tensor) -> tf.Tensor:
        """Raw frames -> the model's frames."""
        if self.mean is None or self.analysis is None:
            return raw
        centred = raw - self.mean
        return centred * self.analysis if self.analysis.ndim == 1 else tf.linalg.matmul(centred, self.analysis)

    def decode(self, encoded: tf.Tensor, known: tf.Tensor | None = None, contrast: Contrast | None = None) -> tf.Tensor:
        """[batch, time, dimension] -> [batch, samples] at full scale 1; the edges are not cut off.

        For STFT frames, whose phases have to be found, `known`, [batch, samples] at full scale 1, is audio that the
        first frames go on from, and `contrast` is applied to the log magnitudes.
        """
        made, hop = self.settings, self.settings.hop_length
        if made.kind == "waveform":
            samples = frames.waveform_samples(encoded, hop)
        elif made.kind == "mdct":
            samples = frames.mdct_samples(self.colour(encoded))
        else:
            spectra = self.spectra_of(encoded)
            if contrast is not None:
                spectra = contrast.centre + contrast.factor * (spectra - contrast.centre)
            known = None if known is None else self.normalise(known)
            samples = frames.stft_samples(spectra, made.frame_length, hop, made.phase_steps, known)
        return samples * self.normaliser.scale + self.normaliser.offset

    def spectra_of(self, encoded: tf.Tensor) -> tf.Tensor:
        """The model's STFT frames [batch, time, dimension] -> log magnitudes [batch, spectra, bins]."""
        raw = self.colour(encoded)
        return frames.unlapped(raw, self.settings.stack) if self.settings.stack > 1 else raw

    def colour(self, encoded: tf.Tensor) -> tf.Tensor:
        """The model's frames -> raw frames: the inverse of `whiten`."""
        if self.synthesis is None:
            return encoded
        if self.synthesis.ndim == 1:
            return encoded * self.synthesis + self.mean
        return tf.linalg.matmul(encoded, self.synthesis) + self.mean

    def save(self, folder: Path) -> None:
        """Write `statistics.json` and, for frames with arrays, `projection.npz`."""
        arrays = {name: getattr(self, name) for name in ("mean", "analysis", "synthesis")}
        if self.mean is not None:
            with written_beside(folder / "projection.npz") as beside, beside.open("wb") as file:
                np.savez(file, **arrays)
        facts = {
            "sample_rate": self.sample_rate,
            "frames": self.settings.model_dump(mode="json"),
            "normaliser": asdict(self.normaliser),
            "dimension": self.dimension,
        }
        write_json(folder / "statistics.json", facts)

    @classmethod
    def load(cls, folder: Path) -> Encoding:
        """Read what `save` wrote. Raises UserError for a folder that lacks it."""
        try:
            facts = json.loads((folder / "statistics.json").read_text(encoding="utf-8"))
            settings = FrameSettings(**facts["frames"])
            arrays = {} if settings.kind == "waveform" else _read_arrays(folder / "projection.npz")
            return cls(
                settings=settings,
                sample_rate=facts["sample_rate"],
                normaliser=Normaliser(**facts["normaliser"]),
                **arrays,
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{folder} is no whole run: its statistics cannot be read ({error}); train it again"
            ) from None


def _read_arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in ("mean", "analysis", "synthesis")}


def fit_encoding(part: np.ndarray, settings: FrameSettings, sample_rate: int, normaliser: Normaliser) -> Encoding:
    """The encoding of a song whose training part is `part` (float32 [samples]), read in blocks.

    STFT frames with `components` are projected on that many principal components and whitened; other STFT
    frames and MDCT frames are scaled figure by figure; waveform frames are the normalised samples.
    """
    plain = Encoding(settings, sample_rate, normaliser)
    if settings.kind == "waveform":
        return plain
    if settings.components is not None:
        arrays = _principal_components(plain, part)
    else:
        mean, variance = _moments(plain.raw, plain, part, full=False)
        if settings.kind == "mdct":  # a coefficient's sign has no preference: the power about zero counts
            mean, variance = np.zeros_like(mean), variance + np.square(mean)
        scale = np.sqrt(np.maximum(variance, LEAST_VARIANCE))
        arrays = (mean, 1 / scale, scale)
    return Encoding(settings, sample_rate, normaliser, *(array.astype(np.float32) for array in arrays))


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
            raise UserError(
                f"frames.components {components} is more than the {len(covariance)} that can be told apart"
            )
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


def encoded_blocks(
    encode: tf.types.experimental.GenericFunction, encoding: Encoding, part: np.ndarray
) -> Iterator[np.ndarray]:
    """`encode` over a part in blocks of equal length, [time, feature] each, in order; the last may be shorter."""
    total, step, span = encoding.frame_count(len(part)), encoding.step, encoding.span
    per_block = max(1, BLOCK_SECONDS * encoding.sample_rate // step)
    for start in range(0, total, per_block):
        count = min(per_block, total - start)
        block = part[start * step : start * step + (count - 1) * step + span]
        yield encode(tf.constant(np.ascontiguousarray(block)[None]))[0].numpy()


def _moments(
    make: Callable[[tf.Tensor], tf.Tensor], encoding: Encoding, part: np.ndarray, full: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and (co)variance of what `make` makes of the normalised samples of a part, summed in float64."""
    graph = tf.function(lambda samples: make(encoding.normalise(samples)), reduce_retracing=True)
    count, total, square = 0, np.zeros(1), np.zeros(1)
    for block in encoded_blocks(graph, encoding, part):
        exact = block.astype(np.float64)
        count += len(exact)
        total = total + exact.sum(0)
        square = square + (exact.T @ exact if full else np.square(exact).sum(0))
    if count < 2:
        raise UserError(f"the training part holds {count} frames of {encoding.span} samples: take a longer recording")
    mean = total / count
    return mean, square / count - (np.outer(mean, mean) if full else np.square(mean))
