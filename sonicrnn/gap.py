"""`python -m sonicrnn.generate RUN --fill my.wav --from 12 --to 14.5`: a gap in a recording, filled by the reviser."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sonicrnn.audio import read_audio, write_audio
from sonicrnn.errors import UserError
from sonicrnn.generator import NO_REVISER, RunGenerator
from sonicrnn.revising import Revising

Samples = npt.NDArray[np.float32]

LONGEST_SECONDS = 10.0  # what is longer hears too little of either side: it would be a piece of its own


def fill_gap(generator: RunGenerator, options: argparse.Namespace) -> None:
    """Write a copy of the recording, at the run's rate, for each seed; only what is in the gap is new."""
    if generator.revising is None:
        raise UserError(NO_REVISER)
    rate = generator.encoding.sample_rate
    samples = read_audio(options.fill, rate)
    gap = gap_of(generator.revising, samples, options.from_, options.to, options.fill)
    folder = Path(options.out) if options.out else generator.run.audio
    passes = 1 if options.revise is None else options.revise
    for seed in range(options.seed, options.seed + options.count):
        filled = samples.copy()
        filled[gap] = generator.revising.fill(samples, gap.start, gap.stop, passes, seed)
        file = folder / f"{Path(options.fill).stem}-filled-seed{seed}.{options.format}"
        write_audio(file, filled, rate)
        print(f"{file}  from {options.from_:g} s to {options.to:g} s, seed {seed}")


def gap_of(revising: Revising, samples: Samples, begin: float, end: float, file: str) -> slice:
    """The samples of a gap that is told in seconds. Raises UserError where it is not in the recording, or too long."""
    rate, step = revising.encoding.sample_rate, revising.encoding.step
    seconds = len(samples) / rate
    if end > seconds:
        raise UserError(f"--to {end:g} s lies behind the end of {file}, which has {seconds:.2f} s")
    if end - begin > LONGEST_SECONDS:
        raise UserError(f"a gap of {end - begin:g} s is too long, {LONGEST_SECONDS:g} s are the most: use --continue")
    if end - begin < step / rate:
        raise UserError(f"a gap of {end - begin:g} s is too short: one frame stands for {step / rate:.3f} s")
    return slice(round(begin * rate), round(end * rate))
