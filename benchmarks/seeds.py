"""Every experiment of the seeds, each trained on your song for as long as the others (writes configs/seeds/README.md).

    python -m benchmarks.seeds my.ogg --minutes 5
    python -m benchmarks.seeds my.ogg --minutes 5 --only base cell-lstm --side-by-side 2

Each row is a process of its own, on one core of its own: it trains, then measures. A stopped command goes on where it
was; a row that is finished is kept until its config, the song or the minutes are others. The table and the picture are
made anew after each row, from all rows that are there.

Measured are, of every model: the error of the next frame on 20 s of each part of the song, read as one sequence; the
level of free runs, without the gain and the levelling that `generate` adds, after 1, 5 and 30 s against that of their
prime; and what `evaluate` measures in another, made as `generate` makes it: of all new rows together, in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from benchmarks.seeds_table import write_table
from benchmarks.trained import history_of
from sonicrnn.config import Settings, load_settings, parse_settings
from sonicrnn.errors import UserError, run_command
from sonicrnn.files import write_json
from sonicrnn.listing import find_files
from sonicrnn.remote import is_remote

if TYPE_CHECKING:
    from sonicrnn.run import Run

CONFIGS = Path("configs/seeds")
ALSO = (Path("configs/gru.yaml"),)  # what the table is compared with
SCORED_SECONDS = 30.0
SHORTEST_FRAME = 8  # samples, to look for clicks at its border
MEASURED, PIECE, ROW = "measured.json", "piece.npy", "row.json"  # in the run folder


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the rows that are missing, and the table."""
    options = _parser().parse_args(arguments)
    if options.row:
        _make_row(Path(options.row), options)
        return
    if options.scores:
        _score(_rows(options))
        return
    files = _chosen(options.only)
    cores = sorted(os.sched_getaffinity(0))
    if not 1 <= options.side_by_side <= len(cores):
        raise UserError(f"--side-by-side {options.side_by_side} must lie between 1 and {len(cores)}: a core for each")
    if not is_remote(options.song):
        find_files(options.song)  # now, and not in each of fifty processes
    missing = [file for file in files if _finished(file, options) is None]
    free: SimpleQueue[int] = SimpleQueue()
    for core in cores[: options.side_by_side]:
        free.put(core)
    with ThreadPoolExecutor(options.side_by_side) as pool:
        for line in pool.map(lambda file: _row_in_a_process(file, options, free), missing):
            print(line)
            if rows := _rows(options):
                write_table(CONFIGS, rows)
    if not _rows(options):
        raise UserError("no row could be made, the lines above say why: the table is as it was")
    if not all(row["scores"] for row in _rows(options).values()):
        subprocess.run([*_command(options), "--scores"], check=True)
    write_table(CONFIGS, _rows(options))
    print(f"table: {CONFIGS / 'README.md'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description="See the module's head.")
    parser.add_argument("song", help="a recording of two minutes or more")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training for each row (default: 5)")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="configs by name (default: all)")
    parser.add_argument("--side-by-side", type=int, default=1, help="rows at once, each on one core (default: 1)")
    parser.add_argument("--runs", default="runs/seeds", help="folder of the rows' runs (default: runs/seeds)")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--scores", action="store_true", help=argparse.SUPPRESS)
    return parser


def _chosen(names: Sequence[str] | None) -> list[Path]:
    files = {file.stem: file for file in [*sorted(CONFIGS.glob("*.yaml")), *ALSO]}
    unknown = [name for name in names or () if name not in files]
    if unknown:
        raise UserError(f"there is no {', '.join(unknown)}; there are: {', '.join(files)}")
    return [files[name] for name in names or files]


def _settings(file: Path, options: argparse.Namespace) -> Settings:
    """Those of a row: the config's, with the song and the budget that all rows share."""
    shared = {"song.path": json.dumps(options.song), "runs": json.dumps(options.runs), "name": file.stem}
    shared |= {"train.minutes": options.minutes, "wandb.mode": "disabled"}
    return load_settings(file, [f"{name}={value}" for name, value in shared.items()])


def _finished(file: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """A row that was made with these very settings; None where there is none."""
    place = Path(options.runs) / file.stem / ROW
    try:
        row: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        made = parse_settings(row["settings"], where=str(place))  # settings that are newer have their defaults
    except (FileNotFoundError, UserError):
        return None
    return row if made == _settings(file, options) else None


def _rows(options: argparse.Namespace) -> dict[Path, dict[str, Any]]:
    """All finished rows, by config."""
    made = {file: _finished(file, options) for file in _chosen(None)}
    return {file: row for file, row in made.items() if row is not None}


def _row_in_a_process(file: Path, options: argparse.Namespace, free: SimpleQueue[int]) -> str:
    """Make one row on one core; a line about it."""
    command = [*_command(options), "--row", str(file)]
    core, begin = free.get(), time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, preexec_fn=lambda: os.sched_setaffinity(0, [core])
        )
    finally:
        free.put(core)
    seconds = time.monotonic() - begin
    if done.returncode:
        return f"{file.stem}: failed after {seconds:.0f} s\n{done.stderr[-2000:]}"
    return f"{file.stem}: {seconds:.0f} s"


def _command(options: argparse.Namespace) -> list[str]:
    shared = ["--minutes", str(options.minutes), "--runs", options.runs]
    return [sys.executable, "-m", "benchmarks.seeds", options.song, *shared]


# One row --------------------------------------------------------------------------------------------------------------


def _make_row(file: Path, options: argparse.Namespace) -> None:
    """Train and measure, in this process; leaves a row in the run folder."""
    import numpy as np

    from benchmarks.seeds_measures import errors_of, levels_of
    from sonicrnn.generator import load_generator

    settings = _settings(file, options)
    run = _train(settings)
    generator = load_generator(run.folder)
    history = history_of(run)
    row = {
        "settings": settings.model_dump(mode="json"),
        "song": {"name": generator.song.name, "seconds": len(generator.song.samples) / generator.song.sample_rate},
        "seconds": history[-1]["seconds"],
        "steps": history[-1]["step"],
        "epochs": len(history),
        "weights": generator.free_run.model.count_params(),
        **json.loads((run.folder / MEASURED).read_text(encoding="utf-8")),
        "errors": {part: errors_of(generator, part) for part in generator.song.parts},
        "levels": levels_of(generator),
        "temperature": generator.temperature,
        "scores": {},
        "history": history,
    }
    seed = settings.seed
    piece = generator.generate(generator.primes("validation", [seed]), SCORED_SECONDS, seeds=[seed])[0]
    np.save(run.folder / PIECE, piece)
    write_json(run.folder / ROW, row)


def _train(settings: Settings) -> Run:
    """Train as `fit` does, but for the pieces to listen to, and leave how fast that was and what memory it took.

    Steps a second are by the median step, without validation; the memory is the most that the process ever held.
    """
    import keras
    import numpy as np

    from sonicrnn.devices import be_quiet
    from sonicrnn.practice import practise
    from sonicrnn.preparation import prepare
    from sonicrnn.run import Run, enter
    from sonicrnn.song import open_song
    from sonicrnn.training import finish, make_free_run, reached, train

    class Clock(keras.callbacks.Callback):
        """How long each step takes."""

        def __init__(self) -> None:
            super().__init__()
            self.seconds: list[float] = []

        def on_train_batch_begin(self, batch, logs=None):
            self.begin = time.perf_counter()

        def on_train_batch_end(self, batch, logs=None):
            self.seconds.append(time.perf_counter() - self.begin)

    be_quiet()
    run, song, clock = Run(Path(settings.runs) / str(settings.name)), open_song(settings.song), Clock()
    with run.locked():
        resumed = enter(run, settings, fresh=run.config.exists() and run.settings() != settings)
        prepared = prepare(run, settings, song)
        progress = reached(prepared, resumed)
        if not progress.finished:
            train(prepared, None, progress, print, also=[clock])
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # bytes
            write_json(
                run.folder / MEASURED, {"steps_per_second": 1 / float(np.median(clock.seconds)), "memory": memory}
            )
            finish(prepared, make_free_run(prepared), progress, print)
        if settings.reviser.wanted:
            practise(run, settings, song, prepared.encoding.normaliser, print)
    return run


# Scores ---------------------------------------------------------------------------------------------------------------


def _score(rows: dict[Path, dict[str, Any]]) -> None:
    """What `evaluate` measures in the pieces of all rows that have no scores yet, put into these rows."""
    import numpy as np

    from benchmarks.seeds_measures import hum
    from sonicrnn.quality import evaluate
    from sonicrnn.rhythm import border_clicks
    from sonicrnn.scores import as_json
    from sonicrnn.song import open_song

    unscored = [row for row in rows.values() if not row["scores"]]
    made = [parse_settings(row["settings"], where="a row") for row in unscored]
    folders = [Path(one.runs) / str(one.name) for one in made]
    song = open_song(made[0].song)  # how it is normalised and framed changes nothing of its sound
    held_out = song.samples[song.parts["validation"][0] :]
    pieces = {one.name: np.load(folder / PIECE) for one, folder in zip(made, folders, strict=True)}
    figures = as_json(evaluate(pieces, song.part("training"), held_out, song.sample_rate))["figures"]
    for row, one, folder in zip(unscored, made, folders, strict=True):
        row["scores"] = {key: figure["pieces"][one.name] for key, figure in figures.items()}
        if one.frames.step_length >= SHORTEST_FRAME:
            row["scores"]["clicks"] = border_clicks(pieces[one.name], song.sample_rate, one.frames.step_length)
        row["scores"]["hum"] = hum(pieces[one.name], song.sample_rate)
        write_json(folder / ROW, row)


if __name__ == "__main__":
    run_command(main)
