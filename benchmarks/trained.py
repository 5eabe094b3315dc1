"""Trained models that a table compares: each is trained and measured in a process on one core, and kept in its run.

    write_rows(models, page, marks, table, picture)    # what was made with these very settings is taken as it is

Each makes two pieces of a minute as `generate` does, which are measured as `evaluate` measures them, and shorter ones
that all begin at one prime.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sonicrnn.config import Settings, load_settings, parse_settings
from sonicrnn.errors import UserError, run_command
from sonicrnn.files import write_json, write_text, written_beside
from sonicrnn.listing import find_files
from sonicrnn.run import run_name

if TYPE_CHECKING:
    import numpy as np

    from sonicrnn.generator import RunGenerator
    from sonicrnn.run import Run

Row = dict[str, Any]
Name = TypeVar("Name")

SEEDS, SECONDS, SHOWN_SECONDS = (11, 12), 60.0, 20.0
DRAWS, DRAWS_SECONDS = 10, 20.0
ROW, SPECTROGRAM = "row.json", "row.png"  # in the run folder


def options_of(
    arguments: Sequence[str] | None, name: str, minutes: float, several: bool = False
) -> argparse.Namespace:
    """`song`, or several `songs`, `minutes` and `runs` of the command `benchmarks.NAME`.

    Raises UserError where there is no such song.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description="See the module's head.")
    songs = parser.add_argument("songs" if several else "song", help="a recording of two minutes or more")
    songs.nargs = "+" if several else None
    parser.add_argument(
        "--minutes", type=float, default=minutes, help=f"of training for each model (default: {minutes:g})"
    )
    parser.add_argument("--runs", default=f"runs/{name}", help=f"folder of the models' runs (default: runs/{name})")
    options = parser.parse_args(arguments)
    for song in options.songs if several else [options.song]:
        find_files(song)
    return options


def write_rows(
    models: Mapping[Name, Settings],
    page: Path,
    marks: tuple[str, str],
    table: Callable[[Mapping[Name, Row]], str],
    picture: Path,
) -> None:
    """Make the rows that are missing; after each, the table and the picture are of all that there are so far."""
    rows: dict[Name, Row] = {}
    for name, settings in models.items():
        rows[name] = make(settings)
        put(page, marks, table(rows))
        stack([models[one] for one in rows], picture)
    print(f"table: {page}")


def settings_of(file: Path, song: str, minutes: float, runs: str, name: str, seed: int | None = None) -> Settings:
    """Those of a config, with the song and the budget that all rows of a table share. Raises UserError."""
    shared = {"song.path": json.dumps(song), "runs": json.dumps(runs), "name": name, "train.minutes": minutes}
    shared |= {"wandb.mode": "disabled", "train.audio_minutes": 1000} | ({} if seed is None else {"seed": seed})
    return load_settings(file, [f"{key}={value}" for key, value in shared.items()])


def folder_of(settings: Settings) -> Path:
    """Of the run."""
    return Path(settings.runs) / run_name(settings, "", "")


def row_of(settings: Settings) -> Row | None:
    """A row that was made with these very settings; None where there is none.

    Its keys: "settings"; "steps"; "weights"; "temperature"; "minute_seconds", what a minute of audio takes with the
    graphs made; "figures" of the two pieces, "held_out", the same of real audio, "frames", of it through the frames
    and back, and "song", the range of the song's own windows, all as in `scores.json`; "apart", how far pieces that
    begin at one prime lie apart, as a share of how far passages of the song do; "collapsed", epochs.
    """
    place = folder_of(settings) / ROW
    try:
        row: Row = json.loads(place.read_text(encoding="utf-8"))
        made = parse_settings(row["settings"], where=str(place))
    except (FileNotFoundError, UserError):
        return None
    return row if made == settings and "frames" in row else None  # those of old lack it


def make(settings: Settings) -> Row:
    """The row, made on the last core where it is missing. Raises UserError where that fails."""
    core = max(os.sched_getaffinity(0))
    if row_of(settings) is None:
        command = [sys.executable, "-m", "benchmarks.trained"]
        written = settings.model_dump_json()
        done = subprocess.run(
            command, input=written, text=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, [core])
        )
        if done.returncode:
            raise UserError(f"{settings.name} could not be made: the lines above say why; the same command goes on")
    row = row_of(settings)
    assert row is not None
    return row


def put(page: Path, marks: tuple[str, str], table: str) -> None:
    """Put a table between two lines of a page, in place of the one that is there."""
    begin, end = marks
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if not found or end not in rest:
        raise UserError(f"{page} has no place for the table: it needs the lines\n  {begin}\n  {end}")
    write_text(page, f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}")


def stack(rows: Sequence[Settings], target: Path) -> None:
    """The rows' spectrograms, one under the other, as one picture."""
    from PIL import Image

    pictures = [Image.open(folder_of(settings) / SPECTROGRAM).convert("RGB") for settings in rows]
    whole = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), "white")
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    buffer = io.BytesIO()
    whole.quantize(128).save(buffer, "PNG", optimize=True)
    with written_beside(target) as beside:
        beside.write_bytes(buffer.getvalue())


# In a process of its own ----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the row of the settings on standard input."""
    settings = parse_settings(json.load(sys.stdin), where="standard input")
    from sonicrnn.drawing import save_figure
    from sonicrnn.generator import load_generator
    from sonicrnn.listening import score
    from sonicrnn.pictures import spectrogram
    from sonicrnn.scores import FRAMES, HELD_OUT, as_json
    from sonicrnn.training import fit

    known = folder_of(settings) / "config.yaml"
    run = fit(settings, fresh=known.is_file() and load_settings(known) != settings, then=lambda run: None)
    assert run is not None, "one process is the chief"
    generator = load_generator(run.folder)
    pieces, minute_seconds = _pieces(generator)
    figures = as_json(score(generator, pieces))["figures"]
    rate, history = generator.encoding.sample_rate, history_of(run)
    shown = next(iter(pieces.values()))[: round(SHOWN_SECONDS * rate)]
    save_figure(run.folder / SPECTROGRAM, spectrogram(shown, rate, title=str(settings.name)), dots_per_inch=60)
    row = {
        "settings": settings.model_dump(mode="json"),
        "steps": history[-1]["step"],
        "weights": generator.free_run.model.count_params(),
        "temperature": generator.temperature,
        "minute_seconds": minute_seconds,
        "figures": {key: list(figure["pieces"].values()) for key, figure in figures.items()},
        "held_out": {key: figure["references"][HELD_OUT] for key, figure in figures.items()},
        "frames": {key: figure["references"][FRAMES] for key, figure in figures.items()},
        "song": {key: figure["song"] for key, figure in figures.items()},
        "apart": _apart(generator),
        "collapsed": _collapsed(history),
    }
    write_json(run.folder / ROW, row)


def _pieces(generator: RunGenerator) -> tuple[dict[str, np.ndarray], float]:
    """The pieces by name, and the seconds that a minute of them takes."""
    primes = generator.primes("validation", SEEDS)
    generator.generate(primes[:1], 1.0, seeds=SEEDS[:1], takes=1)  # makes the graphs
    made, begin = {}, time.perf_counter()
    for prime, seed in zip(primes, SEEDS, strict=True):
        made[f"seed {seed}"] = generator.generate(prime[None], SECONDS, seeds=[seed])[0]
    return made, (time.perf_counter() - begin) / len(SEEDS) * 60 / SECONDS


def _apart(generator: RunGenerator) -> float:
    """How far apart pieces from one prime lie, as a share of how far passages of the song do, moment by moment."""
    import numpy as np

    from sonicrnn.windows import spread

    prime = generator.primes("validation", [SEEDS[0]])
    seeds = [SEEDS[0] + number for number in range(DRAWS)]
    pieces = generator.generate(np.repeat(prime, DRAWS, 0), DRAWS_SECONDS, seeds=seeds, takes=1)
    training, rate = generator.song.part("training"), generator.encoding.sample_rate
    passages = spread(training, min(len(training), round(DRAWS_SECONDS * rate)), DRAWS)
    return _between(list(pieces), passages, rate) / _between(passages, passages, rate)


def _between(sounds: Sequence[np.ndarray], song: Sequence[np.ndarray], rate: int) -> float:
    """The mean distance of two of the sounds in dB, at one level, by 64 log-mel bands, moment by moment."""
    import numpy as np

    from sonicrnn.distances import at_level, log_mel_floor
    from sonicrnn.levels import level
    from sonicrnn.views import log_mel_rows

    dbfs, floor_db = level(np.concatenate(song), rate), log_mel_floor(song, rate)
    rows = [log_mel_rows(at_level(one, rate, dbfs, 40.0), rate, floor_db) for one in sounds]
    return float(np.mean([np.abs(one - other).mean() for one, other in itertools.combinations(rows, 2)]))


def _collapsed(history: Sequence[Mapping[str, float]]) -> int:
    """In how many epochs a GAN had collapsed."""
    from sonicrnn.gan import collapse

    return sum(collapse(row) is not None for row in history if "told_frame" in row)


def history_of(run: Run) -> list[dict[str, float]]:
    """Its epochs, each with its figures."""
    import csv

    with run.history.open(newline="", encoding="utf-8") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


if __name__ == "__main__":
    run_command(main)
