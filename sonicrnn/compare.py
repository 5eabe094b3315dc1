"""`python -m sonicrnn.compare runs/one runs/other`: runs of one song side by side, measured and to be heard."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sonicrnn.config_words import differences
from sonicrnn.errors import UserError, run_command
from sonicrnn.options import out_of_range, refuse
from sonicrnn.remote import is_remote, local_folder
from sonicrnn.run import Run

if TYPE_CHECKING:
    from sonicrnn.generator import RunGenerator
    from sonicrnn.levels import Samples
    from sonicrnn.report import Piece

SECONDS, LEAST_SECONDS, MOST_SECONDS = 60.0, 3.0, 600.0
MOST_RUNS = 12
HEARD_SECONDS = 30.0  # of each piece, on the page
PAGE = "compare.html"
# Where a run is, and how it is watched, says nothing of what it learned.
ELSEWHERE = ("runs:", "name:", "wandb.", "song.cache:")


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the options, make a piece of each run, measure them, print the table and write the page."""
    options = _parser().parse_args(arguments)
    refuse(_wrong(options))
    with ExitStack() as stack:
        _compare(options, [stack.enter_context(local_folder(run)) for run in options.runs])


def _compare(options: argparse.Namespace, folders: Sequence[Path]) -> None:
    for folder in folders:
        Run(folder).trained()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from sonicrnn.generator import load_generator
    from sonicrnn.listening import score
    from sonicrnn.report import score_rows, score_verdicts, write_report
    from sonicrnn.scores import as_json, table

    generators = {folder.name: load_generator(folder) for folder in folders}
    first, *others = generators.values()
    for other in others:
        _check_song(first, other)
    mono, heard = {}, {}
    for name, generator in generators.items():
        prime = generator.primes("validation", [options.seed])[0]
        print(f"{name}: generating {options.seconds:g} s at temperature {generator.temperature:g}")
        mono[name], heard[name] = generator.piece(prime, options.seconds, generator.temperature, options.seed)
    scores = score(first, mono)
    print(table(scores))
    found = as_json(scores)
    page = Path(options.page or folders[0].parent / PAGE)
    write_report(
        page,
        " and ".join([", ".join(list(generators)[:-1]), list(generators)[-1]]),
        _facts(first, options),
        _players(generators, mono, heard),
        score_rows(found),
        None,
        _what_differs(generators),
        verdicts=score_verdicts(found),
        commands={"Compare again": f"python -m sonicrnn.compare {shlex.join(options.runs)} --seed {options.seed + 1}"},
        settings_title="What differs in the settings",
    )
    print(f"\nlisten: {page.resolve()}")


def _check_song(one: RunGenerator, other: RunGenerator) -> None:
    if (one.song.content_hash, one.song.parts) != (other.song.content_hash, other.song.parts):
        raise UserError(
            f"{one.run.folder} learned {one.song.name}, {other.run.folder} learned {other.song.name}, "
            "or other parts of it, or at another rate: only runs of one song can be compared"
        )


def _players(
    generators: Mapping[str, RunGenerator], mono: Mapping[str, Samples], heard: Mapping[str, Samples]
) -> list[Piece]:
    """The song, and what each run made of it: as the recording sounds where all of them can, in mono where not."""
    from sonicrnn.listening import as_recorded, heard_rate
    from sonicrnn.report import Piece

    first = next(iter(generators.values()))
    song, all_master = first.song, all(generator.plays() for generator in generators.values())
    rate, made = (heard_rate(first), heard) if all_master else (song.sample_rate, mono)
    start, stop = song.parts["test"]
    stop = min(stop, start + round(HEARD_SECONDS * song.sample_rate))
    real = as_recorded(first, start, stop) if all_master else song.samples[start:stop]
    pieces = [Piece("The song itself", real, rate, "From its last tenth, which no training saw.")]
    for name, samples in made.items():
        seconds, generator = len(samples) / rate, generators[name]
        words = f"Temperature {generator.temperature:.2f}; the scores are those of {seconds:g} s."
        cut = samples[: round(HEARD_SECONDS * rate)]
        pieces.append(Piece(name, cut, rate, words if len(cut) == len(samples) else f"{words} Its beginning."))
    return pieces


def _facts(generator: RunGenerator, options: argparse.Namespace) -> dict[str, str]:
    from sonicrnn.listening import song_words

    return {
        "Song": song_words(generator.song),
        "Pieces": f"{options.seconds:g} s of each run, seed {options.seed}",
    }


def _what_differs(generators: Mapping[str, RunGenerator]) -> str:
    """A line for each setting of each other run that is not as in the first."""
    (first, one), *others = generators.items()
    lines = []
    for name, other in others:
        changed = [line for line in differences(one.settings, other.settings) if not line.startswith(ELSEWHERE)]
        lines += [f"from {first} to {name}:", *(f"  {line}" for line in changed or ["nothing"])]
    return "\n".join(lines) + "\n"


def _wrong(options: argparse.Namespace) -> list[str]:
    wrong = out_of_range(options, {"seconds": (LEAST_SECONDS, MOST_SECONDS), "seed": (0, 2**31 - 2)})
    names = [run.rstrip("/").rsplit("/", 1)[-1] for run in options.runs]
    if not 2 <= len(names) <= MOST_RUNS:
        wrong.append(f"give 2 to {MOST_RUNS} run folders, not {len(names)}")
    wrong += [f"two run folders are called {name}: rename one" for name in sorted(set(names)) if names.count(name) > 1]
    if options.page is None and is_remote(options.runs[0]):
        wrong.append(f"{options.runs[0]} is on no disk of this machine: say with --page where the page is to be")
    return wrong


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.compare",
        description="Generate a piece of each of several runs of one song, print their scores side by side, and write "
        "a page to listen to them.",
    )
    parser.add_argument("runs", nargs="+", metavar="run", help="run folders, e.g. runs/gru runs/gan")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of each piece (default: {SECONDS:g})")
    parser.add_argument("--seed", type=int, default=1, help="of each piece (default: 1)")
    parser.add_argument(
        "--page", metavar="FILE", help=f"where the page is to be (default: {PAGE} beside the first run)"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
