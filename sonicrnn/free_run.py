"""The free run: a prime in, new audio out, the whole loop in one graph.

The prime is read in one pass, then the model's own draws are its inputs; the recurrent state is carried, so every step
costs the same. Long pieces are made in blocks whose frames, phases and samples join without a seam, so that memory does
not grow. The prime is never part of the output.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from sonicrnn.encoding import Contrast, Encoding
from sonicrnn.graphs import graph
from sonicrnn.heads import uniform_of
from sonicrnn.models import SongModel
from sonicrnn.recall import Recall

# A figure of a drawn frame lies at most this many standard deviations out: one wild draw could otherwise throw the free
# run where no training frame ever was.
DRAW_LIMIT = 6.0
NOISE_BLOCK = 64  # steps whose noise is made at once
LIMIT, CEILING = 0.85, 0.98  # of full scale: samples over the limit are bent to stay under the ceiling: nothing clips


class FreeRun(tf.Module):
    """The free run of one model as graphs.

    With `recall` every draw is heard through the nearest frame of the song.
    """

    def __init__(
        self, model: SongModel, encoding: Encoding, contrast: Contrast | None = None, recall: Recall | None = None
    ):
        super().__init__()
        self.model = model
        self.encoding = encoding
        self.contrast = contrast
        self.recall = recall
        highest = encoding.ceiling
        self.ceiling = np.minimum(DRAW_LIMIT, np.float32(DRAW_LIMIT) if highest is None else highest)

    @graph
    def listen(self, prime: tf.Tensor):
        """Encoded prime [pieces, time, dimension] -> parameters of the next frame [pieces, parameter] and the state."""
        parameters, states = self.model.follow(prime, None)
        recalled = self.recall.begin(tf.shape(prime)[0]) if self.recall else ()
        return parameters[:, -1], (states, recalled)

    @graph
    def draw(self, parameters, states, first_step, count, temperature, seeds):
        """Draw `count` frames, each the next one's input.

        Args:
            parameters, states: as `listen` or the last `draw` left them.
            first_step: int32, frames drawn before.
            count: int32.
            temperature: float32 [pieces].
            seeds: int32 [pieces]; a piece depends on its own seed alone, not on its neighbours.

        Returns:
            frames [pieces, count, dimension], and parameters and states to go on from.
        """
        noise = self._noise(first_step, count, seeds)

        def step(index, parameters, states, drawn):
            frame = self.model.head.draw(parameters, temperature, noise[index, :, : self.model.head.noise_size])
            frame = tf.clip_by_value(frame, -DRAW_LIMIT, self.ceiling)
            states, recalled = states
            if self.recall:
                frame, recalled = self.recall.choose(frame, recalled, uniform_of(noise[index, :, -1]))
            parameters, states = self.model.advance(frame, states)
            return index + 1, parameters, (states, recalled), drawn.write(index, frame)

        drawn = tf.TensorArray(tf.float32, count, element_shape=[None, self.model.dimension])
        _, parameters, states, drawn = tf.while_loop(
            lambda index, *_: index < count, step, (0, parameters, states, drawn), parallel_iterations=1
        )
        frames = tf.transpose(drawn.stack(), [1, 0, 2])
        frames.set_shape([None, None, self.model.dimension])
        return frames, parameters, states

    def _noise(self, first_step, count, seeds):
        """Standard normal noise [count, pieces, noise_size]: that of a step is the same wherever a block begins."""
        first, size = first_step // NOISE_BLOCK, self.model.head.noise_size + (1 if self.recall else 0)
        blocks = (first_step + count - 1) // NOISE_BLOCK - first + 1

        def of_piece(seed):
            made = tf.map_fn(
                lambda block: tf.random.stateless_normal([NOISE_BLOCK, size], tf.stack([seed, block])),
                first + tf.range(blocks),
                fn_output_signature=tf.float32,
            )
            return tf.reshape(made, [blocks * NOISE_BLOCK, size])

        noise = tf.transpose(tf.map_fn(of_piece, seeds, fn_output_signature=tf.float32), [1, 0, 2])
        begin = first_step - first * NOISE_BLOCK
        return noise[begin : begin + count]

    @graph
    def encode(self, samples):
        """[pieces, samples] -> encoded frames."""
        return self.encoding.encode(samples)

    @graph
    def decode(self, frames):
        """Encoded frames -> [pieces, samples], edges included."""
        return self._sound(frames, None, self.contrast)

    @graph
    def decode_after(self, frames, known):
        """Encoded frames -> [pieces, samples], edges included; the first go on from the audio `known`."""
        return self._sound(frames, known, self.contrast)

    def _sound(self, frames, known=None, contrast=None):
        if self.recall:
            offset = self.encoding.normaliser.offset
            return self.recall.sound(frames, None if known is None else known - offset) + offset
        return self.encoding.decode(frames, known, contrast)

    @graph
    def reconstruct(self, samples):
        """[pieces, samples] through the frames, or those of the song that are nearest, and back, edges included."""
        return self._sound(self.encoding.encode(samples))


def limited(samples: np.ndarray) -> np.ndarray:
    """Bend what lies beyond `LIMIT` smoothly towards `CEILING`; everything under it stays as it is."""
    over = np.abs(samples) - LIMIT
    if over.max(initial=-1.0) <= 0:
        return samples
    room = CEILING - LIMIT
    bent = np.sign(samples) * (LIMIT + room * np.tanh(over / room))
    return np.where(over > 0, bent, samples).astype(np.float32)


class Sounding:
    """Frames in, samples out, block by block, each decoded together with the frames before it that it overlaps with.

    For the first block those are the prime's last frames: the piece begins as it would go on from the prime, in its
    very phases. What still overlaps with the prime is cut off.

    Attributes:
        pending: how many samples fewer than `time * step` the next block gives: those that belong to the prime, and
            those that are held back until the frames after them are known; 0 after the first block.
    """

    def __init__(self, run: FreeRun, prime: tf.Tensor, prime_samples: np.ndarray):
        self.run = run
        encoding = run.encoding
        spectral = encoding.settings.kind == "stft"
        self.least_known = encoding.settings.frame_length if spectral else None  # samples that can be gone on from
        self.held = encoding.settings.frame_length if spectral and not run.recall else 0  # phases find their way
        self.begin = encoding.overlap  # of the next block's new samples, counted from the end of the frames kept
        self.pending = encoding.overlap + self.held
        self.kept = -(-4 * encoding.span // encoding.step) if self.pending else 0
        self.tail = np.zeros([len(prime_samples), 0], np.float32)
        self._keep(prime)
        self.known = prime_samples[:, -(self.frames.shape[1] * encoding.step + encoding.overlap) :]

    def add(self, frames: tf.Tensor) -> np.ndarray:
        """Encoded frames [pieces, time, dimension] -> the samples that they finish, [pieces, time * step - pending]."""
        step = self.run.encoding.step
        together = tf.concat([self.frames, frames], 1)
        if self.least_known is not None and self.known.shape[1] >= self.least_known:
            samples = self.run.decode_after(together, tf.constant(self.known)).numpy()
        else:
            samples = self.run.decode(together).numpy()
        first, last = self.frames.shape[1] * step + self.begin, together.shape[1] * step - self.held
        finished = samples[:, first:last]
        if last > first:
            finished = faded(self.tail, finished)
            self.tail = samples[:, last : last + self.held // 4]
        self.begin = max(0, first - last) - self.held
        self.pending = max(0, first - last)
        self._keep(together)
        # What lies after `last` waits for frames to come: it is no ground to go on from.
        self.known = samples[:, (together.shape[1] - self.frames.shape[1]) * step : max(first, last)]
        return finished

    def _keep(self, frames: tf.Tensor) -> None:
        """Remember the last frames, as context of the next block."""
        self.frames = frames[:, max(0, frames.shape[1] - self.kept) :]


def faded(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`after` [pieces, samples], its beginning cross-faded from `before` [pieces, some samples]."""
    length = min(before.shape[1], after.shape[1])
    rise = (np.arange(length, dtype=np.float32) + 0.5) / max(1, length)
    mixed = before[:, :length] * (1 - rise) + after[:, :length] * rise
    return np.concatenate([mixed, after[:, length:]], 1)
