"""A trained model, ready to generate: loaded from its run folder, given a prime, asked for seconds of audio."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.calibration import Calibration
from sonicrnn.config import Settings
from sonicrnn.devices import be_quiet
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.files import written_beside
from sonicrnn.free_run import FreeRun
from sonicrnn.gan import DenoisingGan
from sonicrnn.master import Master, rendered, through
from sonicrnn.models import SongModel
from sonicrnn.portrait import known
from sonicrnn.recall import Recall
from sonicrnn.revising import Revising
from sonicrnn.run import Run
from sonicrnn.song import Song, open_song
from sonicrnn.sounding import limited
from sonicrnn.stream import Made, State, Stream, as_arrays, joined
from sonicrnn.takes import SECTION_SECONDS, Unlike, sections

KEPT_PRIMES = 16  # in a run folder, so that it generates without the song
BLOCK_SECONDS = 5.0  # of audio made at once: what a piece of any length needs in memory

NO_REVISER = (
    "the run has no reviser: give the command that trained it once more, with reviser.minutes=3 "
    "(the model stays as it is)"
)


def load_generator(folder: str | Path) -> RunGenerator:
    """The generator of a run folder. Raises UserError when the folder holds no trained run."""
    be_quiet()
    run = Run(Path(folder))
    settings = run.trained()
    try:
        model = keras.saving.load_model(run.model, compile=False, safe_mode=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{run.model} cannot be read ({error}); train the run again with --fresh") from None
    assert isinstance(model, SongModel | DenoisingGan)  # either is known to Keras once it is imported
    calibration = Calibration.load(run.calibration)
    if settings.generate.temperature != "auto":
        calibration = replace(calibration, temperature=settings.generate.temperature)
    recall = Recall.load(run.recall) if settings.frames.recall else None
    free_run = FreeRun(model, Encoding.load(run.folder), calibration.spectral(), recall)
    master = Master.load(run.master) if run.master.is_file() else None
    return RunGenerator(free_run, calibration, master, run=run, settings=settings)


@dataclass(frozen=True, eq=False)
class Generator:
    """A trained model, ready to run free; with a master, as wide and as bright as the recording, too."""

    free_run: FreeRun
    calibration: Calibration
    master: Master | None = None

    @property
    def temperature(self) -> float:
        """The run's own."""
        return self.calibration.temperature

    @property
    def takes(self) -> int:
        """Of each section of a piece, the run's own."""
        return 1

    @property
    def revising(self) -> Revising | None:
        """The run's reviser; None where there is none."""
        return None

    @property
    def passes(self) -> int:
        """Of the reviser over each piece, the run's own."""
        return 0

    @property
    def encoding(self) -> Encoding:
        return self.free_run.encoding

    @cached_property
    def graphs(self) -> Stream:
        """What it runs."""
        return Stream(self.free_run, self.calibration.gain, self.calibration.level)

    @cached_property
    def unlike(self) -> Unlike | None:
        """How unlike the song some audio is, see `portrait`; None while that is not known.

        What is copied can be told where the song's samples are at hand, as they are to a recall.
        """
        looks, rate, recall = self.calibration.portrait, self.encoding.sample_rate, self.free_run.recall
        if looks is None:
            return None
        copied = known(looks, recall.passages.cuts(), rate) if recall else lambda samples: 0.0
        return lambda samples: looks.unlike(samples, rate, copied(samples))

    def generate(
        self,
        primes: np.ndarray,
        seconds: float,
        temperature: Sequence[float] | float | None = None,
        seeds: Sequence[int] = (1,),
        *,
        takes: int | None = None,
        revise: int | None = None,
    ) -> np.ndarray:
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
        primes: np.ndarray,
        seconds: float,
        temperature: Sequence[float] | float | None = None,
        seeds: Sequence[int] = (1,),
        *,
        takes: int | None = None,
        revise: int | None = None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> Iterator[np.ndarray]:
        """The same pieces in blocks as they are made, [pieces, some samples] each; of revised ones there is one.

        Raises UserError for passes of a reviser that there is none of, and as `drawn` does.
        """
        blocks = self.drawn(primes, seconds, temperature, seeds, takes=takes, block_seconds=block_seconds)
        passes = self.passes if revise is None else revise
        if not passes:
            yield from blocks
            return
        if self.revising is None:
            raise UserError(NO_REVISER)
        whole = np.concatenate(list(blocks), 1)
        yield np.stack([self.revising.revise(one, passes, seed) for one, seed in zip(whole, seeds, strict=True)])

    def drawn(
        self,
        primes: np.ndarray,
        seconds: float,
        temperature: Sequence[float] | float | None = None,
        seeds: Sequence[int] = (1,),
        *,
        takes: int | None = None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> Iterator[np.ndarray]:
        """The pieces as the model draws them, block by block.

        All blocks are of one length and the last is cut, so that a short piece is the beginning of a long one; of more
        takes than one that holds for pieces of a minute and more.

        Raises UserError for a prime under one frame, and for more takes than one of a model that is still in training.
        """
        _, blocks = self._begin(primes, seconds, temperature, seeds, takes, block_seconds)
        left = round(seconds * self.encoding.sample_rate)
        for made in blocks:
            yield made.samples[:, :left]
            left -= made.samples.shape[1]

    def plays(self, revise: int | None = None) -> Master | None:
        """The master that pieces are played from; None where they are revised, and so no longer frames of the song.

        Args:
            revise: passes of the reviser; None takes the run's own.
        """
        return None if (self.passes if revise is None else revise) else self.master

    def piece(self, prime: np.ndarray, seconds: float, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """One piece that `generate` makes, [samples], and the same as the recording sounds, as of `stream_master`.

        Without a master the second is the first.
        """
        master = self.plays()
        if not master:
            mono = self.generate(prime[None], seconds, temperature, [seed])[0]
            return mono, mono
        lead, blocks = self._begin(prime[None], seconds, temperature, [seed], None)
        kept = list(blocks)
        mono = joined(kept, 1).samples[0, : round(seconds * self.encoding.sample_rate)]
        wanted = round(seconds * master.sample_rate)
        return mono, np.concatenate(list(rendered(master, lead[0], kept)))[:wanted]

    def stream_master(
        self,
        prime: np.ndarray,
        seconds: float,
        temperature: float | None = None,
        seed: int = 1,
        *,
        takes: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The piece that `stream` makes, as the recording sounds: [some samples, channels] at the master's rate."""
        assert self.master, "made by a training with frames.master"
        lead, blocks = self._begin(prime[None], seconds, temperature, [seed], takes)
        left = round(seconds * self.master.sample_rate)
        for block in rendered(self.master, lead[0], blocks):
            yield block[: max(0, left)]
            left -= len(block)

    def _begin(
        self,
        primes: np.ndarray,
        seconds: float,
        temperature: Sequence[float] | float | None,
        seeds: Sequence[int],
        takes: int | None,
        block_seconds: float = BLOCK_SECONDS,
    ) -> tuple[np.ndarray, Iterator[Made]]:
        """The units that lead the first samples, [pieces, time], and as many blocks as the seconds need."""
        encoding, graphs = self.encoding, self.graphs
        count, primes = graphs.steps(block_seconds), np.asarray(primes, np.float32)
        if primes.shape[1] < encoding.span:
            raise UserError(f"the prime is shorter than one frame of {encoding.span} samples: take a longer one")
        temperatures = np.broadcast_to(self.temperature if temperature is None else temperature, [len(primes)])
        temperatures = tf.constant(temperatures, tf.float32)
        state = graphs.begin(graphs.hear(tf.constant(primes)), temperatures, tf.constant(seeds, tf.int32))
        if takes and takes > 1 and not self.calibration.portrait:
            raise UserError("takes are chosen by what the song is like, which is told at the end of a training: take 1")
        takes = takes or self.takes
        lead = graphs.lead(state).numpy()
        if takes > 1 and self.unlike and self.free_run.model.head.noise_size:
            longest = math.ceil(min(seconds, SECTION_SECONDS) / block_seconds)
            blocks = sections(graphs, state, temperatures, count, longest, takes, self.unlike)
        else:
            blocks = _blocks(graphs, state, temperatures, count)
        return lead, _enough(blocks, round(seconds * encoding.sample_rate))

    def reconstruct(self, samples: np.ndarray) -> np.ndarray:
        """[samples] through the frames and back, without the edges: the best that this kind of frame can do."""
        edge, offset = self.encoding.overlap, self.encoding.normaliser.offset
        whole = self.free_run.reconstruct(tf.constant(samples[None], tf.float32))[0]
        return limited(whole[edge : len(whole) - edge] - offset).numpy()

    def reconstruct_master(self, samples: np.ndarray) -> np.ndarray:
        """[samples] through the frames and back, as the recording sounds: [samples, channels] at the master's rate."""
        assert self.master, "made by a training with frames.master"
        assert self.free_run.recall
        units = self.free_run.recall.told(self.free_run.encode(tf.constant(samples[None], tf.float32)))
        return through(self.master, units[0].numpy())


def _blocks(graphs: Stream, state: State, temperatures: tf.Tensor, count: int) -> Iterator[Made]:
    """Blocks of `count` steps without end."""
    while True:
        made, state = graphs.go_on(state, tf.constant(count), temperatures)
        yield as_arrays(made)


def _enough(blocks: Iterable[Made], wanted: int) -> Iterator[Made]:
    """The first blocks, so many samples or a few more."""
    for block in blocks:
        yield block
        wanted -= block.samples.shape[1]
        if wanted <= 0:
            return


@dataclass(frozen=True, eq=False)
class RunGenerator(Generator):
    """The generator of a run folder, with the song that it learned at hand."""

    run: Run = field(kw_only=True)
    settings: Settings = field(kw_only=True)

    @property
    def takes(self) -> int:
        return self.settings.generate.takes

    @property
    def passes(self) -> int:
        return self.settings.reviser.passes if self.run.has_reviser else 0

    @cached_property
    def revising(self) -> Revising | None:
        if not self.run.has_reviser:
            return None
        return Revising.load(self.run.reviser, self.settings.reviser.strength)

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

    def primes(self, part: str, seeds: Sequence[int], at: float | None = None) -> np.ndarray:
        """One prime for each seed, [pieces, samples]: `prime_seconds` of a part, at a place that the seed draws.

        Those of the validation part are in the run folder: the song's own files are not asked for. Raises UserError
        when `at`, in seconds from the start of the part, lies outside of it.
        """
        if part == "validation" and at is None and self.run.primes.is_file():
            kept = np.load(self.run.primes, allow_pickle=False)
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


def keep_primes(run: Run, song: Song, settings: Settings) -> None:
    """Keep primes of the validation part, spread evenly over it, in the run folder."""
    part = song.part("validation")
    length = min(len(part), round(settings.generate.prime_seconds * song.sample_rate))
    starts = np.unique(np.linspace(0, len(part) - length, KEPT_PRIMES).astype(int))
    with written_beside(run.primes) as beside, beside.open("wb") as file:
        np.save(file, np.stack([part[start : start + length] for start in starts]).astype(np.float32))
