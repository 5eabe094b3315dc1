"""What the model reads and predicts: frames of the normalised song, scaled or projected.

The scales and the projection are statistics of the training part. `fit_encoding` looks at that part alone, in blocks;
an `Encoding` is those figures and the two directions. A run folder keeps it as `statistics.json` and, where there are
arrays, `projection.npz`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import scipy.linalg
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.config import FrameSettings
from sonicrnn.devices import cores
from sonicrnn.errors import UserError
from sonicrnn.files import write_json, written_beside
from sonicrnn.graphs import graph
from sonicrnn.parts import activations, find_parts
from sonicrnn.song import Normaliser

BLOCK_SECONDS = 30
LEAST_VARIANCE = 1e-8  # of a figure that never moves
MOST_SPECTRA = 6_000  # that parts are found from, spread over the song
MOST_BLOCKS = 60  # that statistics of a long song are taken from: half an hour, spread over it
PART_FLOOR = 0.05  # of a part's root mean square, under its logarithm: 26 dB below it a part is as good as silent
RIDGE = 300.0  # frames' worth of doubt about what follows from what
FILES = ("statistics.json", "projection.npz")  # of an encoding that was saved; the second where it has arrays
ARRAYS = ("mean", "analysis", "synthesis", "parts", "part_floor", "part_ceiling", "transition")
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
        parts: [part, bins] of sum 1; None where spectra stand for themselves.
        part_floor: [part] added to the activations before their logarithm.
        part_ceiling: [part] the largest such logarithm in the song.
        transition: [dimension, dimension], `frame @ transition` is the best linear guess of the next frame.
    """

    settings: FrameSettings
    sample_rate: int
    normaliser: Normaliser
    mean: np.ndarray | None = None
    analysis: np.ndarray | None = None
    synthesis: np.ndarray | None = None
    parts: np.ndarray | None = None
    part_floor: np.ndarray | None = None
    part_ceiling: np.ndarray | None = None
    transition: np.ndarray | None = None

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

    @property
    def ceiling(self) -> np.ndarray | None:
        """[dimension]: more than this no figure of a frame ever was in the song; None where it is not known."""
        if self.part_ceiling is None or self.mean is None or self.synthesis is None or self.synthesis.ndim > 1:
            return None
        highest = np.tile(self.part_ceiling, len(self.mean) // len(self.part_ceiling))
        return (highest - self.mean) / self.synthesis if self.spectra == 1 else None

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
        spectra = self.log_magnitudes(samples)
        if self.parts is not None:
            active = activations(frames.magnitude_of(spectra), tf.constant(self.parts))
            spectra = tf.math.log(active + self.part_floor)
        return frames.lapped(spectra, made.stack) if made.stack > 1 else spectra

    def log_magnitudes(self, samples: tf.Tensor) -> tf.Tensor:
        """STFT frames alone: normalised samples [batch, samples] -> [batch, spectra, bins]."""
        return frames.stft_frames(samples, self.settings.frame_length, self.settings.hop_length)

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
        if made.kind == "stft":
            spectra = self.spectra_of(encoded)
            if contrast is not None:
                spectra = contrast.centre + contrast.factor * (spectra - contrast.centre)
            return self.sound(spectra, known)
        if made.kind == "waveform":
            samples = frames.waveform_samples(encoded, hop, made.join)
        else:
            samples = frames.mdct_samples(self.colour(encoded))
        return self.denormalise(samples)

    def sound(self, spectra: tf.Tensor, known: tf.Tensor | None = None) -> tf.Tensor:
        """Log magnitudes [batch, spectra, bins] of normalised samples -> [batch, samples] at full scale 1.

        `known`, [batch, samples] at full scale 1, is audio that the first spectra go on from.
        """
        made = self.settings
        known = None if known is None else self.normalise(known)
        return self.denormalise(
            frames.stft_samples(spectra, made.frame_length, made.hop_length, made.phase_steps, known)
        )

    def denormalise(self, samples: tf.Tensor) -> tf.Tensor:
        """The inverse of `normalise`."""
        return samples * self.normaliser.scale + self.normaliser.offset

    def spectra_of(self, encoded: tf.Tensor) -> tf.Tensor:
        """The model's STFT frames [batch, time, dimension] -> log magnitudes [batch, spectra, bins]."""
        raw = self.colour(encoded)
        spectra = frames.unlapped(raw, self.settings.stack) if self.settings.stack > 1 else raw
        if self.parts is None:
            return spectra
        active = tf.exp(tf.minimum(spectra, self.part_ceiling)) - self.part_floor
        return frames.log_magnitude(tf.linalg.matmul(tf.maximum(active, 0.0), self.parts))

    def colour(self, encoded: tf.Tensor) -> tf.Tensor:
        """The model's frames -> raw frames: the inverse of `whiten`."""
        if self.synthesis is None:
            return encoded
        if self.synthesis.ndim == 1:
            return encoded * self.synthesis + self.mean
        return tf.linalg.matmul(encoded, self.synthesis) + self.mean

    def save(self, folder: Path) -> None:
        """Write `statistics.json` and, for frames with arrays, `projection.npz`."""
        arrays = {name: getattr(self, name) for name in ARRAYS if getattr(self, name) is not None}
        if self.mean is not None:
            with written_beside(folder / FILES[1]) as beside, beside.open("wb") as file:
                np.savez(file, **arrays)
        facts = {
            "sample_rate": self.sample_rate,
            "frames": self.settings.model_dump(mode="json"),
            "normaliser": asdict(self.normaliser),
            "dimension": self.dimension,
        }
        write_json(folder / FILES[0], facts)

    @classmethod
    def load(cls, folder: Path) -> Encoding:
        """Read what `save` wrote. Raises UserError for a folder that lacks it."""
        try:
            facts = json.loads((folder / FILES[0]).read_text(encoding="utf-8"))
            settings = FrameSettings(**facts["frames"])
            arrays = {} if settings.kind == "waveform" else _read_arrays(folder / FILES[1])
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
        return {name: stored[name] for name in ARRAYS if name in stored or name in ARRAYS[:3]}


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


def encoded_blocks(
    encode: tf.types.experimental.GenericFunction, encoding: Encoding, part: np.ndarray, most: int | None = None
) -> Iterator[np.ndarray]:
    """`encode` over a part in blocks of equal length, [time, feature] each, in order; the last may be shorter.

    With `most` no more than so many blocks, spread evenly. Each core works on a block of its own.
    """
    total, step, span = encoding.frame_count(len(part)), encoding.step, encoding.span
    per_block = max(1, BLOCK_SECONDS * encoding.sample_rate // step)

    def made(start: int) -> np.ndarray:
        count = min(per_block, total - start)
        block = part[start * step : start * step + (count - 1) * step + span]
        return encode(tf.constant(np.ascontiguousarray(block)[None]))[0].numpy()

    starts = list(range(0, total, per_block))
    if most is not None and len(starts) > most:
        starts = [starts[index] for index in np.linspace(0, len(starts) - 1, most).astype(int)]
    workers = cores()
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(starts), 2 * workers):  # so many stand in memory at once
            yield from pool.map(made, starts[first : first + 2 * workers])


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
