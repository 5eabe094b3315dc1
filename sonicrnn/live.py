"""The engine of a model that is at hand: its graphs, run by TensorFlow's Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from sonicrnn.engine import SEED, Made, Samples, State, Units
from sonicrnn.stream import State as Standing
from sonicrnn.stream import Stream


class LiveEngine:
    """See `engine.Engine`."""

    def __init__(self, stream: Stream):
        self.stream, encoding = stream, stream.run.encoding
        self.sample_rate, self.step, self.span = encoding.sample_rate, encoding.step, encoding.span
        self.draws = bool(stream.run.model.head.noise_size)
        self._like: Standing | None = None  # how a state's arrays belong together

    def begin(self, primes: Samples, temperatures: Samples, seeds: Units) -> tuple[State, Units]:
        heard = self.stream.hear(tf.constant(primes, tf.float32))
        state = self.stream.begin(heard, tf.constant(temperatures, tf.float32), tf.constant(seeds, tf.int32))
        return self._arrays(state), self.stream.lead(state).numpy()

    def go_on(self, state: State, count: int, temperatures: Samples) -> tuple[Made, State]:
        assert self._like is not None, "begun"
        before = packed(state, self._like)
        made, after = self.stream.go_on(before, tf.constant(count), tf.constant(temperatures, tf.float32))
        return Made(*(values.numpy() for values in made)), self._arrays(after)

    def _arrays(self, state: Standing) -> State:
        self._like = state
        return {name: np.asarray(value) for name, value in named(state).items()}


def named(state: Standing) -> dict[str, Any]:
    """What a state is made of, each under a name of its own."""
    others = tf.nest.flatten(state._replace(seed=()))
    return {SEED: state.seed} | {f"state_{index:02d}": value for index, value in enumerate(others)}


def packed(values: Mapping[str, Any], like: Standing) -> Standing:
    """The state that is made of what `named` gave, put together as another one is."""
    others = [tf.convert_to_tensor(value) for name, value in sorted(values.items()) if name != SEED]
    made: Standing = tf.nest.pack_sequence_as(like._replace(seed=()), others)
    return made._replace(seed=tf.convert_to_tensor(values[SEED]))
