"""What the model reads and predicts: frames of the normalised song, scaled or projected.

The scales and the projection are statistics of the training part, which `fit_encoding` finds; an `Encoding` is those
figures and the two directions. A run folder keeps it as `statistics.json` and, where there are arrays,
`projection.npz`.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.config import FrameSettings
from sonicrnn.devices import cores
from sonicrnn.errors import UserError
from sonicrnn.files import write_arrays, write_json
from sonicrnn.parts import activations
from sonicrnn.song import Normaliser

BLOCK_SECONDS = 30
FILES = ("statistics.json", "projection.npz")  # of an encoding that was saved; the second where it has arrays
ARRAYS = ("mean", "analysis", "synthesis", "parts", "part_floor", "part_ceiling", "transition")


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
            write_arrays(folder / FILES[1], arrays)
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
