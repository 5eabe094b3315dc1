"""A stream of audio as graphs: prime samples in, finished samples out, block by block.

All that lies between the model's frames and what is heard is here: decoding, the song's offset, gain, level and limit.
Python and the export run these same graphs. What a stream has come to is in its state, which goes in and out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import tensorflow as tf

from sonicrnn.engine import Made, steps
from sonicrnn.free_run import FreeRun
from sonicrnn.graphs import graph
from sonicrnn.leveller import Level, Leveller
from sonicrnn.sounding import Sounded, Sounding, limited


class Heard(NamedTuple):
    """A prime that the model has listened to, of each piece.

    parameters: [pieces, parameter] of the next frame.
    states: of the model and of the recall.
    frames: [pieces, time, ...], the prime's last ones, as of `FreeRun.heard`.
    samples: [pieces, samples], the prime's last ones, that those frames were made of.
    """

    parameters: tf.Tensor
    states: Any
    frames: tf.Tensor
    samples: tf.Tensor


class State(NamedTuple):
    """Where a stream stands.

    parameters, states: as of the last drawn frame.
    drawn: [pieces] int32, frames drawn so far.
    seed: [pieces] int32.
    sounded: what was decoded.
    level: how loud it was; empty without a leveller.
    """

    parameters: tf.Tensor
    states: Any
    drawn: tf.Tensor
    seed: tf.Tensor
    sounded: Sounded
    level: Level | tuple[()]


class Stream(tf.Module):
    """Streams of one model.

    Args:
        run: the model's free run.
        gain: factor of the samples.
        level: that the song usually has, dB re full scale; None leaves the level as it is.
    """

    def __init__(self, run: FreeRun, gain: float, level: float | None):
        super().__init__()
        self.run, self.gain = run, gain
        self.sounding = Sounding(run)
        self.leveller = None if level is None else Leveller(level, run.encoding.sample_rate)

    def steps(self, seconds: float) -> int:
        """The fewest steps of the model that last so long."""
        return steps(seconds, self.run.encoding.sample_rate, self.run.encoding.step)

    @property
    def least_prime(self) -> int:
        """Samples of the shortest prime that fills all the context that a block is decoded in."""
        encoding = self.run.encoding
        return max(1, self.sounding.context) * encoding.step + encoding.overlap

    @graph
    def hear(self, primes: tf.Tensor) -> Heard:
        """[pieces, samples] at full scale 1, at least a frame -> what the model makes of them."""
        encoding, sounding = self.run.encoding, self.sounding
        # Whole steps that end with the prime's very last sample, so that the piece begins right after it.
        primes = primes[:, tf.maximum(0, tf.shape(primes)[1] - encoding.overlap) % encoding.step :]
        frames = self.run.encode(primes)
        parameters, states = self.run.listen(frames)
        frames = frames[:, tf.maximum(0, tf.shape(frames)[1] - sounding.context) :]
        reach = tf.shape(frames)[1] * encoding.step + encoding.overlap
        return Heard(parameters, states, self.run.heard(frames), primes[:, tf.shape(primes)[1] - reach :])

    @graph
    def begin(self, heard: Heard, temperature: tf.Tensor, seed: tf.Tensor) -> State:
        """Draw the frames that the first samples wait for.

        Args:
            heard: of `hear`.
            temperature: float32 [pieces].
            seed: int32 [pieces].
        """
        pieces, lead = tf.shape(seed)[0], self.sounding.lead
        drawn, parameters, states = heard.frames[:, :0], heard.parameters, heard.states
        if lead:
            drawn, parameters, states = self.run.draw(
                parameters, states, tf.zeros_like(seed), tf.constant(lead), temperature, seed
            )
        sounded = self.sounding.begin(heard.frames, heard.samples, drawn)
        level = self.leveller.begin(pieces) if self.leveller else ()
        return State(parameters, states, tf.fill([pieces], lead), seed, sounded, level)

    @graph
    def go_on(self, state: State, count: tf.Tensor, temperature: tf.Tensor) -> tuple[Made, State]:
        """The next `count` steps, count * step samples, and the state after them.

        Args:
            state: of `begin` or the last `go_on`; pieces may stand at different places.
            count: int32, at least 1.
            temperature: float32 [pieces]; may change from block to block.
        """
        frames, parameters, states = self.run.draw(
            state.parameters, state.states, state.drawn, count, temperature, state.seed
        )
        samples, sounded = self.sounding.add(frames, state.sounded)
        samples, level, factors = self.heard_as(samples), state.level, tf.constant(1.0)
        if self.leveller and isinstance(level, Level):
            factors, level = self.leveller.factors(samples, level)
        made = Made(limited(samples * factors), self._units(frames), self.gain * factors * tf.ones_like(samples))
        return made, State(parameters, states, state.drawn + count, state.seed, sounded, level)

    @graph
    def lead(self, state: State) -> tf.Tensor:
        """The units drawn of which no sample is finished yet: [pieces, lead] int32; empty without a recall."""
        frames = state.sounded.frames
        return self._units(frames[:, tf.shape(frames)[1] - self.sounding.lead :])

    def _units(self, frames: tf.Tensor) -> tf.Tensor:
        return frames if self.run.recall else tf.zeros([tf.shape(frames)[0], 0], tf.int32)

    def heard_as(self, samples: tf.Tensor) -> tf.Tensor:
        """With the run's gain, and without the song's constant offset.

        That is no sound, and phases that were found anew do not have it.
        """
        return (samples - self.run.encoding.normaliser.offset) * self.gain
