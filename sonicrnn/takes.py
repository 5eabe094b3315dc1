"""Takes: several continuations are drawn, and the one most like the song goes on.

How a free run turns out is a matter of chance: of two pieces of one model, one keeps the song's pulsation and the other
loses it. So each section, a minute, is drawn several times from where the piece stands, the takes are measured, and the
piece goes on from the best. Shorter sections would not do: it takes a minute to tell a slow pulsation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn.levels import Samples
from sonicrnn.portrait import WINDOW_SECONDS
from sonicrnn.stream import State, Stream

Unlike = Callable[[Samples], float]

SECTION_SECONDS = WINDOW_SECONDS


def sections(
    graphs: Stream, state: State, temperatures: tf.Tensor, block: int, blocks: int, takes: int, unlike: Unlike
) -> Iterator[Samples]:
    """The sections of pieces without end, [pieces, samples] each.

    Args:
        graphs, state: where the pieces stand.
        temperatures: [pieces].
        block, blocks: steps that are made at once, and how often, for a section.
        takes: of each section; the first has the piece's own seed.
        unlike: how unlike the song a section is, [samples].
    """
    seeds = state.seed
    rows = np.repeat(np.arange(len(seeds)), takes)
    others = tf.constant([_seed(int(seed), take) for seed in seeds for take in range(takes)], tf.int32)
    each = tf.gather(temperatures, rows)
    while True:
        state, made = _rows_of(state, rows)._replace(seed=others), []
        for _ in range(blocks):
            samples, state = graphs.go_on(state, tf.constant(block), each)
            made.append(samples.numpy())
        section = np.concatenate(made, 1)
        found = np.reshape([unlike(one) for one in section], [len(seeds), takes])
        best = np.arange(len(seeds)) * takes + found.argmin(1)
        state = _rows_of(state, best)._replace(seed=seeds)
        yield section[best]


def _rows_of(state: State, rows: npt.NDArray[np.int64]) -> State:
    """The state of some pieces, which may come more than once."""
    kept: State = tf.nest.map_structure(lambda values: tf.gather(values, rows), state)
    return kept


def _seed(seed: int, take: int) -> int:
    """Of a take, 0…2³¹ − 1."""
    return int(np.random.SeedSequence([seed, take]).generate_state(1)[0] >> 1) if take else seed
