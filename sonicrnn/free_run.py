"""The free run: a prime in, new audio out, the whole loop in one graph.

The prime is read in one pass, then the model's own draws are its inputs; the recurrent state is carried, so every step
costs the same, and so does every block of steps. The prime is never part of the output.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from sonicrnn.encoding import Contrast, Encoding
from sonicrnn.graphs import graph
from sonicrnn.models import SongModel
from sonicrnn.noise import uniform_of
from sonicrnn.recall import RANDOM, Recall

# A figure of a drawn frame lies at most this many standard deviations out: one wild draw could otherwise throw the free
# run where no training frame ever was.
DRAW_LIMIT = 6.0
NOISE_BLOCK = 64  # steps whose noise is made at once
LAGS = 24  # steps before that the noise of a step can be made of
# Share of what the mean of the last draws lies off the song's, which encoded is 0, that the next draw is moved back by.
BALANCES = 0.3
BALANCE_SECONDS = 5.0  # over which that mean is taken


class FreeRun(tf.Module):
    """The free run of one model as graphs.

    With `recall` every draw is heard through the nearest frame of the song. Spectra that are heard as they are drawn
    are balanced: a model that hears its own draws for minutes drifts, louder or quieter or into a corner of the song,
    so what was drawn too much of lately is made up for. Their noise can be made to persist: what a model is not sure of
    is for the most part what sounds on, and drawn anew for each frame it is heard as jitter, and as note starts.

    Attributes:
        persistence: how alike, 0 up to but not 1, the noise of neighbouring draws is; 0: each has its own.
    """

    def __init__(
        self, model: SongModel, encoding: Encoding, contrast: Contrast | None = None, recall: Recall | None = None
    ):
        super().__init__()
        self.model = model
        self.encoding = encoding
        self.contrast = contrast
        self.recall = recall
        self._share = min(1.0, encoding.step / encoding.sample_rate / BALANCE_SECONDS)  # of a step in that mean
        self.is_balanced = encoding.settings.kind == "stft" and recall is None
        self.persistence = tf.Variable(0.0, trainable=False)
        highest = encoding.ceiling
        self.ceiling = np.minimum(DRAW_LIMIT, np.float32(DRAW_LIMIT) if highest is None else highest)

    @graph
    def listen(self, prime: tf.Tensor):
        """Encoded prime [pieces, time, dimension] -> parameters of the next frame [pieces, parameter] and the state."""
        parameters, states = self.model.follow(prime, None)
        return parameters[:, -1], (states, self._nothing_drawn(tf.shape(prime)[0]))

    def _nothing_drawn(self, pieces):
        """What a recall or the balance knows of earlier draws, before there were any."""
        if self.recall:
            return self.recall.begin(pieces)
        return tf.zeros([pieces, self.model.dimension]) if self.is_balanced else ()

    @graph
    def draw(self, parameters, states, first_step, count, temperature, seeds):
        """Draw `count` frames, each the next one's input.

        Args:
            parameters, states: as `listen` or the last `draw` left them.
            first_step: int32, frames drawn before; one for all or [pieces].
            count: int32.
            temperature: float32 [pieces].
            seeds: int32 [pieces]; a piece depends on its own seed alone, not on its neighbours.

        Returns:
            what is heard, as of `heard`, count frames of it, and parameters and states to go on from.
        """
        noise = self._noise(first_step, count, seeds)
        of_head = self.model.head.prepared(noise[:, :, : self.model.head.noise_size])
        of_recall = uniform_of(noise[:, :, -RANDOM:])

        def step(index, parameters, states, drawn):
            states, before = states
            if self.is_balanced:
                parameters = self.model.head.moved(parameters, -BALANCES * before)
            frame = self.model.head.draw(parameters, temperature, tf.gather(of_head, index))
            frame = tf.clip_by_value(frame, -DRAW_LIMIT, self.ceiling)
            if self.recall:
                frame, before = self.recall.choose(frame, before, tf.gather(of_recall, index))
            elif self.is_balanced:
                before += self._share * (frame - before)
            parameters, states = self.model.advance(frame, states)
            drawn = drawn.write(index, before.last if self.recall else frame)
            return index + 1, parameters, (states, before), drawn

        of_frame = [] if self.recall else [self.model.dimension]
        kind = tf.int32 if self.recall else tf.float32
        drawn = tf.TensorArray(kind, count, element_shape=[None, *of_frame])
        _, parameters, states, drawn = tf.while_loop(
            lambda index, *_: index < count, step, (0, parameters, states, drawn), parallel_iterations=1
        )
        heard = tf.transpose(drawn.stack(), [1, 0, 2][: 2 + len(of_frame)])
        heard.set_shape([None, None, *of_frame])
        return heard, parameters, states

    def _noise(self, first_step, count, seeds):
        """Standard normal noise [count, pieces, noise_size]: that of a step is the same wherever a block begins."""
        if not self.is_balanced:
            return self._new_noise(first_step, count, seeds)
        new = self._new_noise(first_step - LAGS, LAGS + count, seeds)
        shares = tf.pow(self.persistence, tf.range(LAGS + 1, dtype=tf.float32))
        shares /= tf.norm(shares)
        return tf.add_n([shares[lag] * new[LAGS - lag : LAGS - lag + count] for lag in range(LAGS + 1)])

    def _new_noise(self, first_step, count, seeds):
        """The same, each step's by itself; a step may lie before the first."""
        size = self.model.head.noise_size + (RANDOM if self.recall else 0)
        blocks = (count + 2 * NOISE_BLOCK - 2) // NOISE_BLOCK  # that so many steps may reach into

        def of_piece(piece):
            seed, first_step = piece
            first = first_step // NOISE_BLOCK
            made = tf.map_fn(
                lambda block: tf.random.stateless_normal([NOISE_BLOCK, size], tf.stack([seed, block])),
                first + tf.range(blocks),
                fn_output_signature=tf.float32,
            )
            begin = first_step - first * NOISE_BLOCK
            return tf.reshape(made, [blocks * NOISE_BLOCK, size])[begin : begin + count]

        pieces = seeds, tf.broadcast_to(first_step, tf.shape(seeds))
        return tf.transpose(tf.map_fn(of_piece, pieces, fn_output_signature=tf.float32), [1, 0, 2])

    @graph
    def encode(self, samples):
        """[pieces, samples] -> encoded frames."""
        return self.encoding.encode(samples)

    def heard(self, frames):
        """Encoded frames [pieces, time, dimension] -> what is heard of them.

        That is themselves, or, of a recall, the units that are nearest, [pieces, time] int32.
        """
        return self.recall.told(frames) if self.recall else frames

    @graph
    def decode(self, heard):
        """What is heard -> [pieces, samples], edges included."""
        return self.sound(heard)

    def sound(self, heard, known=None):
        """What is heard -> [pieces, samples], edges included.

        STFT frames go on from `known`, the audio of the first of them.
        """
        return self._decoded(heard, known, self.contrast)

    @graph
    def reconstruct(self, samples):
        """[pieces, samples] through the frames, or those of the song that are nearest, and back, edges included."""
        return self._decoded(self.heard(self.encoding.encode(samples)))

    def _decoded(self, heard, known=None, contrast=None):
        if self.recall:
            offset = self.encoding.normaliser.offset
            return self.recall.passages.sound(heard, None if known is None else known - offset) + offset
        return self.encoding.decode(heard, known, contrast)
