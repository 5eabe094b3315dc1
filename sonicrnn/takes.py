"""Takes: several continuations are drawn, and the one most like the song goes on.

How a free run turns out is a matter of chance: of two pieces of one model, one keeps the song's pulsation and the other
loses it. So each section, a minute, is drawn several times from where the piece stands, the takes are measured, and the
piece goes on from the best; where none is good, as many again are drawn, and again. Shorter sections would not do: it
takes a minute to tell a slow pulsation.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sonicrnn.engine import SEED, Engine, Made, Samples, State, joined
from sonicrnn.levels import Floats
from sonicrnn.portrait import WINDOW_SECONDS

Unlike = Callable[[Samples, float], float]
Rows = npt.NDArray[np.int64]

SECTION_SECONDS = WINDOW_SECONDS
ROUNDS = 3  # of takes, at most
GOOD = 1.0  # unlike the song by so much a take may be and be the last: no pulsation is lost by that
MOST_AT_ONCE = 16  # takes, and more only where more were asked for: they are no quicker, and their audio takes memory


class Best(NamedTuple):
    """The best takes of some pieces.

    pieces: [some], which pieces they are of.
    unlike: [some], the song.
    made: of them.
    state: after them.
    """

    pieces: Rows
    unlike: Floats
    made: Made
    state: State


def sections(
    engine: Engine, state: State, temperatures: Samples, block: int, blocks: int, takes: int, unlike: Unlike
) -> Iterator[Made]:
    """The sections of pieces without end.

    Args:
        engine, state: where the pieces stand.
        temperatures: [pieces].
        block, blocks: steps that are made at once, and how often, for a section.
        takes: of each section in a round; the very first has the piece's own seed.
        unlike: how unlike the song a section is, [samples]; any figure will do that is no less than the one given, that
            of the best take so far.
    """
    seeds = state[SEED]

    def best_of_round(number: int, pieces: Rows, known: Floats) -> Best:
        """Of some pieces; what is `known` of all, how unlike the song their best takes are, is kept."""
        rows = np.repeat(pieces, takes)
        numbers = np.tile(number * takes + np.arange(takes), len(pieces))
        own = [_seed(int(seeds[row]), take) for row, take in zip(rows, numbers, strict=True)]
        drawn: State = {**_rows_of(state, rows), SEED: np.array(own, np.int32)}
        made = []
        for _ in range(blocks):
            new, drawn = engine.go_on(drawn, block, temperatures[rows])
            made.append(new)
        section = joined(made, 1)
        found = np.empty(len(rows))
        for index, row in enumerate(rows):
            found[index] = unlike(section.samples[index], known[row])
            known[row] = min(known[row], found[index])
        found = found.reshape(len(pieces), takes)
        best = np.arange(len(pieces)) * takes + found.argmin(1)
        return Best(pieces, found.min(1), _made_of(section, best), _rows_of(drawn, best))

    while True:
        left, best = np.arange(len(seeds)), list[Best]()
        known = np.full(len(seeds), np.inf)
        for number in range(ROUNDS):
            few = np.array_split(left, math.ceil(len(left) * takes / max(takes, MOST_AT_ONCE)))
            best = [functools.reduce(_better, [*best, *(best_of_round(number, pieces, known) for pieces in few)])]
            left = best[0].pieces[best[0].unlike > GOOD]
            if not len(left):
                break
        state = {**best[0].state, SEED: seeds}
        yield best[0].made


def _better(one: Best, other: Best) -> Best:
    """For each piece of either the take that is less unlike the song."""
    pieces, unlike = np.concatenate([one.pieces, other.pieces]), np.concatenate([one.unlike, other.unlike])
    order = np.lexsort([unlike, pieces])
    rows = order[np.unique(pieces[order], return_index=True)[1]]
    states = {name: np.concatenate([values, other.state[name]]) for name, values in one.state.items()}
    made = _made_of(joined([one.made, other.made], 0), rows)
    return Best(pieces[rows], unlike[rows], made, _rows_of(states, rows))


def _made_of(made: Made, rows: Rows) -> Made:
    return Made(*(values[rows] for values in made))


def _rows_of(state: State, rows: Rows) -> State:
    """The state of some pieces, which may come more than once."""
    return {name: values[rows] for name, values in state.items()}


def _seed(seed: int, take: int) -> int:
    """Of a take, 0…2³¹ − 1."""
    return int(np.random.SeedSequence([seed, take]).generate_state(1)[0] >> 1) if take else seed
