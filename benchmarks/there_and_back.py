"""What do the frames, and what does the phase, cost? A song's held-out audio, taken apart and put together again.

    python -m benchmarks.there_and_back my.ogg [other.ogg …] --minutes 3

writes the tables of docs/explored.md, one for each song: some twelve minutes a song, on one core. Sample rate and
frames are those of configs/gru.yaml. The magnitudes of its spectra, and what narrower frames keep of these, are made
sound by several ways to find phases; what has to be learnt is learnt from the training part alone, `--minutes` each.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.back_measures import Measured, Measures
from benchmarks.one_core import take_one_core
from benchmarks.trained import put
from sonicrnn.config import FrameSettings, Settings, load_settings
from sonicrnn.errors import UserError, run_command
from sonicrnn.listing import find_files
from sonicrnn.song import Normaliser, Song, normaliser, open_song, part_statistics

CONFIG, PAGE = Path("configs/gru.yaml"), Path("docs/explored.md")
MARKS = "<!-- The tables are written by `python -m benchmarks.there_and_back`. -->", "<!-- End of the tables. -->"
HEADINGS = (
    "sound", "from asked, dB", "from held-out, dB", "log spectra, dB", "score", "place", "told, %",
    "told from held-out, %", "note starts, ×", "a minute takes, s",
)  # fmt: skip
# Of narrow frames.
SHOWN_WAYS = ("fast Griffin-Lim, 64 steps", "phase gradients, 16 fast steps", "learned vocoder, 16 fast steps")
Singles = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cut:
    """A song's audio, all by its training part's normaliser `by`; `held_out` holds whole frames and nothing else."""

    training: Singles
    held_out: Singles
    by: Normaliser
    rate: int
    frames: FrameSettings

    @property
    def size(self) -> tuple[int, int]:
        """Window and hop."""
        return self.frames.frame_length, self.frames.hop_length


@dataclass(frozen=True)
class Sound:
    """A row before it is measured: normalised samples, the magnitudes that were asked for, what it took."""

    name: str
    samples: Singles
    asked: Singles | None = None
    seconds: float = math.nan


def main(arguments: Sequence[str] | None = None) -> None:
    """Make all rows of each song; the page has the tables of all songs that are done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.there_and_back", description="See the module's head.")
    parser.add_argument("songs", nargs="+", metavar="SONG", help="recordings of two minutes or more")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training for each network (default: 3)")
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        raise UserError("--minutes is more than 0")
    for song in options.songs:
        find_files(song)
    take_one_core()
    tables = []
    for path in options.songs:
        settings = load_settings(CONFIG, [f"song.path={json.dumps(path)}"])
        song = open_song(settings.song)
        rows = made(cut(song, settings), options.minutes)
        tables.append(f"### {song.name}\n\n{table(rows)}")
        put(PAGE, MARKS, "\n\n".join(tables))
    print(f"tables: {PAGE}")


def cut(song: Song, settings: Settings) -> Cut:
    """The training part, and what follows it up to the last whole frame."""
    by = normaliser(part_statistics(song), settings.song.normalise, "training")
    frames = settings.frames.model_copy(update={"recall": False, "master": False})
    held_out = song.samples[song.parts["validation"][0] :]
    held_out = held_out[: len(held_out) // frames.frame_length * frames.frame_length]
    training, held_out = (by.apply(np.array(one)).astype(np.float32) for one in (song.part("training"), held_out))
    return Cut(training, held_out, by, song.sample_rate, frames)


def made(song: Cut, minutes: float) -> dict[str, Measured]:
    """All rows by name, each told as soon as it is measured."""
    training, held_out = song.by.invert(song.training), song.by.invert(song.held_out)
    measures = Measures(training, held_out, song.rate, song.size, song.by)
    rows = {}
    for sound in sounds(song, minutes):
        rows[sound.name] = measures(song.by.invert(sound.samples), sound.asked, sound.seconds)
        print(line(sound.name, rows[sound.name]))
    return rows


def sounds(song: Cut, minutes: float) -> Iterator[Sound]:
    """The held-out audio, as it is and by every way there and back."""
    from benchmarks import learned_gradient, vocoder
    from benchmarks.narrow import mdct, narrow_frames
    from benchmarks.ways_back import angles_of, griffin_lim, magnitudes_of, ways

    own, angles = magnitudes_of(song.held_out, *song.size), angles_of(song.held_out, *song.size)

    def with_own_phases(magnitude: Singles) -> Singles:
        return griffin_lim(magnitude, angles, *song.size, 0, 0.0)

    yield Sound("held-out audio, untouched", song.held_out)
    yield Sound("white noise", np.random.default_rng(7).standard_normal(len(song.held_out)).astype(np.float32), own)
    yield _timed("the song's own phases", with_own_phases, own)
    known = magnitudes_of(song.training, *song.size)
    gradient = learned_gradient.train(known, angles_of(song.training, *song.size), *song.size, minutes)
    found = ways(gradient, vocoder.train(song.training, *song.size, minutes), *song.size)
    for name, way in found.items():
        yield _timed(name, way, own)
    yield _timed("MDCT, 1,024 figures every 64 ms", lambda _: mdct(song.held_out, song.size[0]), own)
    for name, magnitude in narrow_frames(song, known, own, minutes):
        yield _timed(f"{name}: the song's own phases", with_own_phases, magnitude)
        for shown in SHOWN_WAYS:
            yield _timed(f"{name}: {shown}", found[shown], magnitude)


def _timed(name: str, way: Callable[[Singles], Singles], asked: Singles) -> Sound:
    begin = time.process_time()
    samples = way(asked)
    return Sound(name, samples, asked, time.process_time() - begin)


def table(rows: dict[str, Measured]) -> str:
    """A line for each row."""
    head = ["| " + " | ".join(HEADINGS) + " |", "| --- " + "| ---: " * (len(HEADINGS) - 1) + "|"]
    return "\n".join([*head, *(line(name, row) for name, row in rows.items())])


def line(name: str, row: Measured) -> str:
    """Of the table."""
    values = [(row.convergence, 1), (row.off, 1), (row.distance, 1), (row.score, 0), (row.place, 2)]
    values += [(100 * row.told, 0), (100 * row.apart, 0), (row.onsets, 2), (row.seconds, 1)]
    cells = ["–" if math.isnan(value) else f"{value:.{decimals}f}" for value, decimals in values]
    cells[3] = f"**{cells[3]}**"
    return "| " + " | ".join([name, *cells]) + " |"


if __name__ == "__main__":
    run_command(main)
