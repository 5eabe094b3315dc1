"""Revising a finished piece, and filling a gap in a recording, with the reviser.

A pass over a piece: its figures are brought nearer to what is usual in the song, its frames are mixed with noise, and
the reviser takes the noise away, turn by turn (as in Meng et al., "SDEdit", 2022). In each turn it looks at overlapping
windows, whose answers are cross-faded, so that the piece has no seam. What a pass leaves is what the next one begins
with. In the end phases are found anew, beginning from those that were there.

A gap is filled by passes over frames that lie on lines between those of its two sides. What is around it has no noise:
it is believed, and stays.

Samples go in and samples come out: what frames the model of the run has is of no concern here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.encoding import Encoding, encoded_blocks
from sonicrnn.errors import UserError
from sonicrnn.files import written_beside
from sonicrnn.graphs import graph
from sonicrnn.reviser import QUARTER, Reviser
from sonicrnn.sounding import limited
from sonicrnn.usual import Usual

Samples = npt.NDArray[np.float32]

MODEL, USUAL = "reviser.keras", "usual.npz"  # in its folder, beside the files of the encoding
TURNS = 16  # in which the noise of a pass is taken away
WINDOW_SECONDS, WINDOWS_AT_ONCE = 4.0, 64  # that the network looks at as one; in one batch
BLOCK_SECONDS = 20.0  # whose phases are found at once
HELD_SECONDS = 1.0  # of the last block, that they go on from
CONTEXT_SECONDS = 8.0  # on either side of a gap, that it is filled by
FADE_SECONDS = 0.005
MOST_GAIN = 30.0  # by which a recording is brought to the song's level before a gap in it is filled
FILL_STRENGTH, FILL_TEMPERATURE = 0.7, 0.5  # of the noise that a pass over a gap begins with, and a factor of it
NOISE_SEED = 11  # of what stands in a gap before it is filled


@dataclass(frozen=True, eq=False)
class Revising:
    """A trained reviser.

    Attributes:
        model: the network.
        encoding: the frames that it reads.
        usual: what is usual of them in the song.
        strength: of the noise that a pass over a piece begins with, above 0; 1 leaves nothing of the piece.
    """

    model: Reviser
    encoding: Encoding
    usual: Usual
    strength: float = 0.5

    def save(self, folder: Path) -> None:
        """Write what `load` reads; the network last."""
        folder.mkdir(parents=True, exist_ok=True)
        self.encoding.save(folder)
        self.usual.save(folder / USUAL)
        with written_beside(folder / MODEL) as beside:
            self.model.save(beside)

    @classmethod
    def load(cls, folder: Path, strength: float = 0.5) -> Revising:
        """Raises UserError for files that are missing or spoiled."""
        try:
            model = keras.saving.load_model(folder / MODEL, compile=False, safe_mode=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{folder / MODEL} cannot be read ({error}): train the reviser again") from None
        return cls(model, Encoding.load(folder), Usual.load(folder / USUAL), strength)

    # A piece ----------------------------------------------------------------------------------------------------------

    def revise(self, samples: Samples, passes: int, seed: int = 1) -> Samples:
        """So many passes over a piece, [n] about 0 at full scale 1: as many samples. The same seed gives the same."""
        if not passes:
            return samples
        padded, edge = self._padded(samples), self.encoding.overlap
        rows = self._encoded(padded)
        angle = np.full([len(rows), 1], QUARTER * self.strength, np.float32)
        for number in range(passes):
            rows = self.denoised(self.usual.balanced(rows), angle, _noise(rows.shape, seed, number))
        sounded = self._sounded(rows, padded)[edge : edge + len(samples)]
        return limited(sounded - self.encoding.normaliser.offset).numpy()

    def _padded(self, samples: Samples) -> Samples:
        """With the song's offset, and silence at both ends: whole frames, and each sample in as many of them."""
        edge, span, step = self.encoding.overlap, self.encoding.span, self.encoding.step
        missing = -(len(samples) + 2 * edge - span) % step
        offset = np.float32(self.encoding.normaliser.offset)
        return np.pad(samples + offset, (edge, edge + missing), constant_values=offset)

    def _encoded(self, padded: Samples) -> Samples:
        """[time, dimension]"""
        return np.concatenate(list(encoded_blocks(self._encode, self.encoding, padded)))

    @cached_property
    def _encode(self) -> tf.types.experimental.GenericFunction:
        return graph(self.encoding.encode)

    def _sounded(self, rows: Samples, like: Samples) -> Samples:
        """Frames [time, dimension] -> samples with phases near those of `like`, block by block."""
        step, span, rate = self.encoding.step, self.encoding.span, self.encoding.sample_rate
        block, held = round(BLOCK_SECONDS * rate / step), -(-max(span, round(HELD_SECONDS * rate)) // step)
        made, done = like.copy(), 0
        for first in range(0, len(rows), block):
            begin, end = max(0, first - held), min(len(rows), first + block)
            place = slice(begin * step, (end - 1) * step + span)
            known = np.arange(place.start, place.stop) < done
            spectra = self.encoding.spectra_of(tf.constant(rows[begin:end][None]))
            made[place] = self._rephased(spectra, made[place], known)
            done = end * step  # what lies after that lacks frames that are still to come
        return made

    def _rephased(self, spectra: tf.Tensor, like: Samples, known: npt.NDArray[np.bool_]) -> Samples:
        """Log magnitudes [1, time, bins] -> [samples], of which those that are `known` are as they were."""
        made = _rephase(self.encoding, spectra, tf.constant(like[None]), tf.constant(known))[0].numpy()
        return joined(made, like, known, round(FADE_SECONDS * self.encoding.sample_rate))

    # A gap ------------------------------------------------------------------------------------------------------------

    def fill(self, samples: Samples, begin: int, end: int, passes: int = 1, seed: int = 1) -> Samples:
        """What is to stand in `samples[begin:end]` of a recording, [end - begin] at its level.

        Args:
            samples: [n]; those in the gap do not matter.
            passes: over the gap, in which frames that lie on lines between those of both sides stand at first.

        Raises UserError where less than a frame is left around the gap.
        """
        rate, scale = self.encoding.sample_rate, self.encoding.normaliser.scale
        around = slice(max(0, begin - round(CONTEXT_SECONDS * rate)), end + round(CONTEXT_SECONDS * rate))
        heard = np.concatenate([samples[:begin], samples[end:]])
        if max(begin, len(samples) - end) < self.encoding.span:
            raise UserError(
                f"around the gap there must be {self.encoding.span / rate:.2f} s of recording, before it or after it"
            )
        gain = float(np.clip(scale / max(1e-9, float(heard.std())), 1 / MOST_GAIN, MOST_GAIN))
        gap = slice(begin - around.start, end - around.start)
        cut = gain * samples[around]
        loud = float(np.delete(cut, np.r_[gap]).std())
        cut[gap] = loud * np.random.default_rng([seed, NOISE_SEED]).standard_normal(end - begin)
        filled = self._filled(cut.astype(np.float32), gap, passes, seed)
        return limited(filled / gain).numpy()

    def _filled(self, cut: Samples, gap: slice, passes: int, seed: int) -> Samples:
        """A recording with noise in its gap -> what is to stand there."""
        padded, edge, step, span = self._padded(cut), self.encoding.overlap, self.encoding.step, self.encoding.span
        first, last = gap.start + edge, gap.stop + edge
        starts = np.arange(self.encoding.frame_count(len(padded))) * step
        missing = (starts < last) & (starts + span > first)
        rows = interpolated(self._encoded(padded), missing)
        angle = np.float32(QUARTER * FILL_STRENGTH) * missing[:, None]
        for number in range(passes):
            rows = self.denoised(rows, angle, FILL_TEMPERATURE * _noise(rows.shape, seed, number))
        known = np.ones(len(padded), bool)
        known[first:last] = False
        own = self.encoding.log_magnitudes(self.encoding.normalise(tf.constant(padded[None])))
        spectra = tf.where(missing[:, None], self.encoding.spectra_of(tf.constant(rows[None])), own)
        return self._rephased(spectra, padded, known)[first:last] - np.float32(self.encoding.normaliser.offset)

    # Frames -----------------------------------------------------------------------------------------------------------

    def denoised(self, rows: Samples, angle: Samples, noise: Samples) -> Samples:
        """Frames [time, dimension] mixed with noise, [time, dimension], by angles [time, 1] -> frames without it."""
        rows = np.cos(angle) * rows + np.sin(angle) * noise
        by = angle / TURNS
        for turn in range(TURNS):
            rows = np.cos(by) * rows + np.sin(by) * self.turned(rows, angle - turn * by)
        return rows

    def turned(self, rows: Samples, angle: Samples) -> Samples:
        """As `Reviser.turned`, of [time, dimension]: over windows that overlap by half, cross-faded."""
        window = min(len(rows), max(2, round(WINDOW_SECONDS * self.encoding.sample_rate / self.encoding.step)))
        starts = range(0, len(rows) - window + 1, max(1, window // 2))
        places = np.array([*starts, len(rows) - window])[:, None] + np.arange(window)  # [windows, window]
        rise = np.minimum(np.arange(window), np.arange(window)[::-1]).astype(np.float32)[:, None] + 1
        total, weight = np.zeros_like(rows), np.zeros_like(angle)
        for some in np.array_split(places, -(-len(places) // WINDOWS_AT_ONCE)):
            made = _turned(self.model, tf.constant(rows[some]), tf.constant(angle[some])).numpy()
            for place, one in zip(some, made, strict=True):
                total[place] += rise * one
                weight[place] += rise
        return total / weight


@graph
def _turned(model: Reviser, rows: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    return model.turned(rows, angle)


@graph
def _rephase(encoding: Encoding, spectra: tf.Tensor, like: tf.Tensor, known: tf.Tensor) -> tf.Tensor:
    made = encoding.settings
    like = encoding.normalise(like)
    return encoding.denormalise(
        frames.rephased_samples(spectra, made.frame_length, made.hop_length, made.phase_steps, like, known)
    )


def interpolated(rows: Samples, missing: npt.NDArray[np.bool_]) -> Samples:
    """Frames [time, dimension] of which those that are `missing`, [time], lie on lines between the others."""
    place = np.arange(len(rows))
    known = place[~missing]
    return np.stack([np.interp(place, known, figure[known]) for figure in rows.T], 1).astype(np.float32)


def _noise(shape: Sequence[int], seed: int, number: int) -> Samples:
    return tf.random.stateless_normal(shape, [seed, number]).numpy()


def joined(made: Samples, like: Samples, known: npt.NDArray[np.bool_], fade: int) -> Samples:
    """`like` where it is known and `made` elsewhere, [n] all, without a step where these meet.

    What `made` lacks at the last known sample fades out over as many samples as `fade` says.
    """
    mixed, lacking = np.where(known, like, made), like - made
    falling = 1 - np.arange(1, fade + 1, dtype=np.float32) / (fade + 1)
    for border in np.flatnonzero(known[1:] != known[:-1]):  # between this sample and the next
        if known[border]:
            place = slice(border + 1, min(len(made), border + 1 + fade))
            mixed[place] += np.where(known[place], 0, lacking[border] * falling[: place.stop - place.start])
        else:
            place = slice(max(0, border + 1 - fade), border + 1)
            fall = falling[::-1][fade - (place.stop - place.start) :]
            mixed[place] += np.where(known[place], 0, lacking[border + 1] * fall)
    return mixed
