"""Random numbers of a training: every sequence of a batch has its own.

They depend on the model's seed, the training step, what they are for, and the sequence's place in the batch, and on
nothing else. So a batch that is shared out to cores, devices or machines is the batch that one of them would have had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

MOST_ROWS = 65_536  # of a batch; `data.batch_size` has the same bound


@dataclass(frozen=True, eq=False)
class Chance:
    """Draws for the sequences of a batch, or of a share of it.

    Attributes:
        seed: of the model, 0 to 2³¹ − 1.
        step: training steps done, a scalar of any integer type.
        rows: int64 [batch], the sequences' places in the whole batch.
    """

    seed: int
    step: tf.Tensor
    rows: tf.Tensor

    def normal(self, purpose: int, shape: Any) -> tf.Tensor:
        """Standard normal numbers, [batch, *shape]; another `purpose` gives others."""
        return self._each(purpose, lambda seed: tf.random.stateless_normal(shape, seed))

    def uniform(self, purpose: int, shape: Any) -> tf.Tensor:
        """Numbers from 0 to 1, [batch, *shape]."""
        return self._each(purpose, lambda seed: tf.random.stateless_uniform(shape, seed))

    def alike(self, purpose: int, most: int | tf.Tensor) -> tf.Tensor:
        """A whole number from 0 to `most`, the same for all sequences of the step: scalar int32."""
        seed = tf.stack([self._first(purpose), tf.cast(self.step, tf.int64)])
        return tf.random.stateless_uniform([], seed, 0, most + 1, tf.int32)

    def dropped(self, purpose: int, values: tf.Tensor, rate: float) -> tf.Tensor:
        """Values [batch, ...] of which a share `rate` is 0 and the others are larger, so that the mean stays."""
        if not rate:
            return values
        kept = self.uniform(purpose, tf.shape(values)[1:]) >= rate
        return tf.where(kept, values / (1 - rate), 0.0)

    def shared_out(self, shares: int) -> list[Chance]:
        """That of each of so many equal shares of the batch."""
        return [Chance(self.seed, self.step, rows) for rows in tf.split(self.rows, shares)]

    def _each(self, purpose: int, draw: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
        first = self._first(purpose)
        seconds = tf.cast(self.step, tf.int64) * MOST_ROWS + self.rows
        return tf.map_fn(lambda second: draw(tf.stack([first, second])), seconds, fn_output_signature=tf.float32)

    def _first(self, purpose: int) -> tf.Tensor:
        """Of the two numbers of a seed."""
        return tf.constant(self.seed + (purpose << 31), tf.int64)
