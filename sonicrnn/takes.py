"""Takes: several continuations are drawn, and the one most like the song goes on.

How a free run turns out is a matter of chance: of two pieces of one model, one keeps the song's pulsation and the other
loses it. So each section is drawn several times from where the piece stands, the takes are measured with what was heard
before them, and the piece goes on from the best.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from sonicrnn.levels import Samples
from sonicrnn.portrait import WINDOW_SECONDS, Portrait
from sonicrnn.stream import State, Stream

SECTION_BLOCKS = 4  # blocks of a section: long enough to tell how it pulsates


def sections(
    graphs: Stream, state: State, temperatures: tf.Tensor, block: int, takes: int, portrait: Portrait
) -> Iterator[Samples]:
    """The sections of pieces without end, [pieces, samples] each.

    Args:
        graphs, state: where the pieces stand.
        temperatures: [pieces].
        block: steps that are made at once.
        takes: of each section; the first has the piece's own seed.
        portrait: of the song.
    """
    seeds, rate = state.seed, graphs.run.encoding.sample_rate
    heard = np.zeros([len(seeds), 0], np.float32)
    rows = np.repeat(np.arange(len(seeds)), takes)
    others = tf.constant([_seed(int(seed), take) for seed in seeds for take in range(takes)], tf.int32)
    each = tf.gather(temperatures, rows)
    while True:
        state, made = _rows_of(state, rows)._replace(seed=others), []
        for _ in range(SECTION_BLOCKS):
            samples, state = graphs.go_on(state, tf.constant(block), each)
            made.append(samples.numpy())
        section = np.concatenate(made, 1)
        lately = np.concatenate([heard[rows], section], 1)[:, -round(WINDOW_SECONDS * rate) :]
        unlike = [portrait.unlike(one, section.shape[1], rate) for one in lately]
        best = np.arange(len(seeds)) * takes + np.reshape(unlike, [len(seeds), takes]).argmin(1)
        state, heard = _rows_of(state, best)._replace(seed=seeds), lately[best]
        yield section[best]


def _rows_of(state: State, rows: npt.NDArray[np.int64]) -> State:
    """The state of some pieces, which may come more than once."""
    kept: State = tf.nest.map_structure(lambda values: tf.gather(values, rows), state)
    return kept


def _seed(seed: int, take: int) -> int:
    """Of a take, 0…2³¹ − 1."""
    return int(np.random.SeedSequence([seed, take]).generate_state(1)[0] >> 1) if take else seed
