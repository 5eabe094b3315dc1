"""Pieces of audio: primes in, blocks of finished samples out, whatever runs the model's graphs."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from sonicrnn.beside import Beside
from sonicrnn.calibration import Calibration
from sonicrnn.config import Settings
from sonicrnn.engine import Engine, Made, Recording, Samples, Units, joined, steps
from sonicrnn.errors import UserError
from sonicrnn.files import written_beside
from sonicrnn.rendering import rendered
from sonicrnn.run import Run
from sonicrnn.song import Song, open_song
from sonicrnn.takes import SECTION_SECONDS, Unlike, sections

KEPT_PRIMES = 16  # in a run folder, so that it generates without the song
BLOCK_SECONDS = 5.0  # of audio made at once: what a piece of any length needs in memory


class Pieces(ABC):
    """What makes pieces of a trained model; with a master, as wide and as bright as the recording, too."""

    calibration: Calibration
    master: Recording | None

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """What runs the model's graphs."""

    @property
    @abstractmethod
    def cuts(self) -> Sequence[Samples]:
        """The song's samples where they are at hand, as they are to a recall: those of each passage."""

    @property
    def temperature(self) -> float:
        """The run's own."""
        return self.calibration.temperature

    @property
    def takes(self) -> int:
        """Of each section of a piece, the run's own."""
        return 1

    @property
    def passes(self) -> int:
        """Of the reviser over each piece, the run's own."""
        return 0

    @property
    def sample_rate(self) -> int:
        """Hz, of what the model hears and draws."""
        return self.engine.sample_rate

    @cached_property
    def unlike(self) -> Unlike | None:
        """How unlike the song some audio is, see `portrait`; None while that is not known.

        What is copied, and what is told from the song, can be found where its samples are at hand.
        """
        looks, rate = self.calibration.portrait, self.sample_rate
        if looks is None:
            return None
        if self.cuts:
            return Beside(looks, self.cuts, rate).unlike
        return lambda samples, best: looks.unlike(samples, rate, best)

    def generate(
        self,
        primes: Samples,
        seconds: float,
        temperature: Sequence[float] | float | None = None,
        seeds: Sequence[int] = (1,),
        *,
        takes: int | None = None,
        revise: int | None = None,
    ) -> Samples:
        """Pieces of exactly `round(seconds * sample_rate)` samples, float32 [pieces, samples] within full scale.

        Args:
            primes: [pieces, samples] at full scale 1; long enough for one frame.
            seconds: length of each piece.
            temperature: one for all or one for each; None takes the run's own.
            seeds: one for each piece.
            takes: of which the best is kept, section by section, see `takes.py`; None takes the run's own.
            revise: passes of the reviser over the finished pieces; None takes the run's own.
        """
        blocks = self.stream(primes, seconds, temperature, seeds, takes=takes, revise=revise)
        return np.concatenate(list(blocks), 1)

    def stream(
        self,
        primes: Samples,
        seconds: float,
        temperature: Sequence[float] | float | None = None,
        seeds: Sequence[int] = (1,),
        *,
        takes: int | None = None,
        revise: int | None = None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> Iterator[Samples]:
        """The same pieces in blocks as they are made, [pieces, some samples] each; of revised ones there is one.

        Raises UserError for passes of a reviser that there is none of, and as `drawn` does.
        """
        blocks = self.drawn(primes, seconds, temperature, seeds, takes=takes, block_seconds=block_seconds)
        passes = self.passes if revise is None else revise
        if not passes:
            yield from blocks
            return
        revise_one = self.reviser()
        whole = np.concatenate(list(blocks), 1)
        yield np.stack([revise_one(one, passes, seed) for one, seed in zip(whole, seeds, strict=True)])

    @abstractmethod
    def reviser(self) -> Callable[[Samples, int, int], Samples]:
        """What revises a piece, in so many passes, by a seed. Raises UserError where there is none."""

    def drawn(
        self,
        primes: Samples,
        seconds: float,
        temperature: Sequence[float] | float | None = None,
        seeds: Sequence[int] = (1,),
        *,
        takes: int | None = None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> Iterator[Samples]:
        """The pieces as the model draws them, block by block.

        All blocks are of one length and the last is cut, so that a short piece is the beginning of a long one; of more
        takes than one that holds for pieces of a minute and more.

        Raises UserError for a prime under one frame, and for more takes than one of a model that is still in training.
        """
        _, blocks = self._begin(primes, seconds, temperature, seeds, takes, block_seconds)
        left = round(seconds * self.sample_rate)
        for made in blocks:
            yield made.samples[:, :left]
            left -= made.samples.shape[1]

    def plays(self, revise: int | None = None) -> Recording | None:
        """The master that pieces are played from; None where they are revised, and so no longer frames of the song.

        Args:
            revise: passes of the reviser; None takes the run's own.
        """
        return None if (self.passes if revise is None else revise) else self.master

    def piece(self, prime: Samples, seconds: float, temperature: float, seed: int) -> tuple[Samples, Samples]:
        """One piece that `generate` makes, [samples], and the same as the recording sounds, as of `stream_master`.

        Without a master the second is the first.
        """
        master = self.plays()
        if not master:
            mono = self.generate(prime[None], seconds, temperature, [seed])[0]
            return mono, mono
        lead, blocks = self._begin(prime[None], seconds, temperature, [seed], None)
        kept = list(blocks)
        mono = joined(kept, 1).samples[0, : round(seconds * self.sample_rate)]
        wanted = round(seconds * master.sample_rate)
        return mono, np.concatenate(list(rendered(master, lead[0], kept)))[:wanted]

    def stream_master(
        self,
        prime: Samples,
        seconds: float,
        temperature: float | None = None,
        seed: int = 1,
        *,
        takes: int | None = None,
    ) -> Iterator[Samples]:
        """The piece that `stream` makes, as the recording sounds: [some samples, channels] at the master's rate."""
        assert self.master, "made by a training with frames.master"
        lead, blocks = self._begin(prime[None], seconds, temperature, [seed], takes)
        left = round(seconds * self.master.sample_rate)
        for block in rendered(self.master, lead[0], blocks):
            yield block[: max(0, left)]
            left -= len(block)

    def _begin(
        self,
        primes: Samples,
        seconds: float,
        temperature: Sequence[float] | float | None,
        seeds: Sequence[int],
        takes: int | None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> tuple[Units, Iterator[Made]]:
        """The units that lead the first samples, [pieces, time], and as many blocks as the seconds need."""
        engine, primes = self.engine, np.asarray(primes, np.float32)
        count = steps(block_seconds, engine.sample_rate, engine.step)
        if primes.shape[1] < engine.span:
            raise UserError(f"the prime is shorter than one frame of {engine.span} samples: take a longer one")
        own = self.temperature if temperature is None else temperature
        temperatures = np.broadcast_to(np.asarray(own, np.float32), [len(primes)])
        state, lead = engine.begin(primes, temperatures, np.asarray(seeds, np.int32))
        if takes and takes > 1 and not self.calibration.portrait:
            raise UserError("takes are chosen by what the song is like, which is told at the end of a training: take 1")
        takes = takes or self.takes
        if takes > 1 and self.unlike and engine.draws:
            longest = math.ceil(min(seconds, SECTION_SECONDS) / block_seconds)
            blocks = sections(engine, state, temperatures, count, longest, takes, self.unlike)
        else:
            blocks = _blocks(engine, state, temperatures, count)
        return lead, _enough(blocks, round(seconds * engine.sample_rate))


def _blocks(engine: Engine, state: Any, temperatures: Samples, count: int) -> Iterator[Made]:
    """Blocks of `count` steps without end."""
    while True:
        made, state = engine.go_on(state, count, temperatures)
        yield made


def _enough(blocks: Iterable[Made], wanted: int) -> Iterator[Made]:
    """The first blocks, so many samples or a few more."""
    for block in blocks:
        yield block
        wanted -= block.samples.shape[1]
        if wanted <= 0:
            return


class RunPieces(Pieces):
    """Those of a run folder, with the song that it learned at hand."""

    run: Run
    settings: Settings

    @property
    def takes(self) -> int:
        return self.settings.generate.takes

    @property
    def passes(self) -> int:
        return passes_of(self.run, self.settings)

    @cached_property
    def song(self) -> Song:
        """The song of the run, from the cache where it is there. Raises UserError when its files are gone or others."""
        song = open_song(self.settings.song, report=lambda line: None)
        known = json.loads(self.run.song.read_text(encoding="utf-8"))
        if song.content_hash != known["content_hash"]:
            raise UserError(
                f"the song of {self.run.folder} has changed since the training: {', '.join(known['files'])}"
            )
        return song

    def primes(self, part: str, seeds: Sequence[int], at: float | None = None) -> Samples:
        """One prime for each seed, [pieces, samples]: `prime_seconds` of a part, at a place that the seed draws.

        Those of the validation part are in the run folder: the song's own files are not asked for. Raises UserError
        when `at`, in seconds from the start of the part, lies outside of it.
        """
        if part == "validation" and at is None and self.run.primes.is_file():
            kept: Samples = np.load(self.run.primes, allow_pickle=False)
            return kept[[seed % len(kept) for seed in seeds]]
        samples, rate = self.song.part(part), self.song.sample_rate
        length = min(len(samples), round(self.settings.generate.prime_seconds * rate))
        if at is None:
            starts = [int(np.random.default_rng([seed, 5]).integers(0, len(samples) - length + 1)) for seed in seeds]
        elif 0 <= at <= (len(samples) - length) / rate:
            starts = [round(at * rate)] * len(seeds)
        else:
            raise UserError(
                f"--prime-at {at:g} s: the {part} part has room for a prime "
                f"from 0 to {(len(samples) - length) / rate:.1f} s"
            )
        return np.stack([samples[start : start + length] for start in starts])


def calibration_of(run: Run, settings: Settings) -> Calibration:
    """A run's, with the temperature that its settings fix, if they do."""
    found = Calibration.load(run.calibration)
    fixed = settings.generate.temperature
    return found if fixed == "auto" else replace(found, temperature=fixed)


def passes_of(run: Run, settings: Settings) -> int:
    """Of the reviser over each piece of a run."""
    return settings.reviser.passes if run.has_reviser else 0


def keep_primes(run: Run, song: Song, settings: Settings) -> None:
    """Keep primes of the validation part, spread evenly over it, in the run folder."""
    part = song.part("validation")
    length = min(len(part), round(settings.generate.prime_seconds * song.sample_rate))
    starts = np.unique(np.linspace(0, len(part) - length, KEPT_PRIMES).astype(int))
    with written_beside(run.primes) as beside, beside.open("wb") as file:
        np.save(file, np.stack([part[start : start + length] for start in starts]).astype(np.float32))
