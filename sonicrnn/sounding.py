"""Drawn frames to samples, block by block and without a seam.

Each block is decoded together with the frames before it that it overlaps with. Where phases have to be found, it also
goes on from those of the frames before, and the first one from the prime's: the piece begins in its very phases. The
state goes in and out, so that any process can make the next block.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from sonicrnn.free_run import FreeRun

LIMIT, CEILING = 0.85, 0.98  # of full scale: samples over the limit are bent to stay under the ceiling: nothing clips
KEPT_SPANS = 4  # spans of a frame whose phases a block goes on from


class Sounded(NamedTuple):
    """What was decoded so far, of each piece.

    frames: [pieces, time, ...], the last ones, as of `FreeRun.heard`.
    known: [pieces, samples], the audio of those that is finished; empty where frames alone tell how it goes on.
    tail: [pieces, samples], what the last block thought would come next: the next is cross-faded from it.
    begun: [pieces] int32, 0 until there is such a tail.
    """

    frames: tf.Tensor
    known: tf.Tensor
    tail: tf.Tensor
    begun: tf.Tensor


class Sounding:
    """Blocks of frames in, as many steps' samples out.

    Attributes:
        lead: frames that have to be drawn before the first sample can be finished.
        held: samples at the end of a block that wait for the frames after them.
        kept: frames that are remembered, of which at first `lead` are drawn and the others the prime's.
    """

    def __init__(self, run: FreeRun):
        self.run, encoding = run, run.encoding
        self.step, self.dimension = encoding.step, encoding.dimension
        self.goes_on = encoding.settings.kind == "stft"  # from audio that is known, not from frames alone
        least = self.fade = context = 0
        if run.recall:  # passages are cross-faded, so what comes next is to be known
            least, context = run.recall.passages.reach * self.step, run.recall.passages.context
        elif self.goes_on:  # phases have to be found
            least, self.fade = encoding.settings.frame_length, encoding.settings.frame_length // 4
            context = -(-KEPT_SPANS * encoding.span // self.step)
        self.lead = -(-(encoding.overlap + least) // self.step)
        self.held = self.lead * self.step - encoding.overlap
        self.kept = self.lead + context

    @property
    def context(self) -> int:
        """Frames of the prime that a piece goes on from; a shorter prime gives fewer."""
        return self.kept - self.lead

    def begin(self, prime: tf.Tensor, samples: tf.Tensor, lead: tf.Tensor) -> Sounded:
        """From the prime, [pieces, time, ...] and [pieces, samples], and the first `lead` frames drawn after it.

        The prime's last frame ends with its last sample.
        """
        prime = prime[:, tf.maximum(0, tf.shape(prime)[1] - self.context) :]
        reach = tf.shape(prime)[1] * self.step + self.run.encoding.overlap if self.goes_on else 0
        return Sounded(
            frames=tf.concat([prime, lead], 1),
            known=samples[:, tf.shape(samples)[1] - reach :],
            tail=tf.zeros([tf.shape(prime)[0], self.fade]),
            begun=tf.zeros([tf.shape(prime)[0]], tf.int32),
        )

    def add(self, frames: tf.Tensor, before: Sounded) -> tuple[tf.Tensor, Sounded]:
        """[pieces, time, ...] -> samples [pieces, time * step], and the state to go on from."""
        together = tf.concat([before.frames, frames], 1)
        samples = self.run.sound(together, before.known if self.goes_on else None)
        count = tf.shape(together)[1]
        first, last = tf.shape(before.frames)[1] * self.step - self.held, count * self.step - self.held
        forgotten = tf.maximum(0, count - self.kept)
        return self._faded(before, samples[:, first:last]), Sounded(
            frames=together[:, forgotten:],
            # What lies after `last` waits for frames to come: it is no ground to go on from.
            known=samples[:, forgotten * self.step : last] if self.goes_on else before.known,
            tail=samples[:, last : last + self.fade],
            begun=tf.ones_like(before.begun),
        )

    def _faded(self, before: Sounded, after: tf.Tensor) -> tf.Tensor:
        """Cross-faded from the tail of the block before it, if there is one."""
        length = tf.minimum(self.fade, tf.shape(after)[1])
        rise = (tf.range(length, dtype=tf.float32) + 0.5) / tf.cast(tf.maximum(1, length), tf.float32)
        rise = tf.maximum(rise, tf.cast(1 - before.begun, tf.float32)[:, None])
        mixed = before.tail[:, :length] * (1 - rise) + after[:, :length] * rise
        return tf.concat([mixed, after[:, length:]], 1)


def limited(samples: tf.Tensor) -> tf.Tensor:
    """Bend what lies beyond `LIMIT` smoothly towards `CEILING`; everything under it stays as it is."""
    over, room = tf.abs(samples) - LIMIT, CEILING - LIMIT
    return tf.where(over > 0, tf.sign(samples) * (LIMIT + room * tf.tanh(over / room)), samples)
