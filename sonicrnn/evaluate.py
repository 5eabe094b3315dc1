"""`python -m sonicrnn.evaluate runs/my`: how like the song new pieces of a run are, beside real audio and noise."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonicrnn.errors import UserError, run_command
from sonicrnn.options import out_of_range, refuse
from sonicrnn.remote import local_folder
from sonicrnn.run import Run

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from sonicrnn.generator import RunGenerator

    Samples = npt.NDArray[np.float32]

SECONDS, COUNT, SEED = 60.0, 2, 1
LEAST_SECONDS, MOST_SECONDS, MOST_PIECES = 3.0, 3600.0, 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the options, make or read the pieces, measure them, print the table and write `scores.json`."""
    options = _parser().parse_args(arguments)
    _check(options)
    with local_folder(options.run) as folder:
        _evaluate(options, Run(folder))


def _evaluate(options: argparse.Namespace, run: Run) -> None:
    run.trained()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from sonicrnn.files import write_json
    from sonicrnn.generator import load_generator
    from sonicrnn.listening import draw_form, score
    from sonicrnn.scores import as_json, table

    generator = load_generator(run.folder)
    _check_song(generator)
    pieces = _read(options.audio, generator) if options.audio else _generate(options, generator)
    scores = score(generator, pieces)
    print(table(scores))
    write_json(run.scores, as_json(scores))
    print(f"\nwritten to {run.scores}")
    if draw_form(run.form, generator.song, pieces):
        print(f"form over the minutes: {run.form}")


def _generate(options: argparse.Namespace, generator: RunGenerator) -> Mapping[str, Samples]:
    seconds = SECONDS if options.seconds is None else options.seconds
    temperature = generator.temperature if options.temperature is None else options.temperature
    first = SEED if options.seed is None else options.seed
    seeds = [first + index for index in range(COUNT if options.count is None else options.count)]
    print(f"generating {len(seeds)} × {seconds:g} s at temperature {temperature:g}")
    primes = generator.primes("validation", seeds)
    made = generator.generate(primes, seconds, temperature, seeds, takes=options.takes, revise=options.revise)
    return {f"seed {seed}": samples for seed, samples in zip(seeds, made, strict=True)}


def _read(files: Sequence[str], generator: RunGenerator) -> Mapping[str, Samples]:
    from sonicrnn.audio import read_audio

    rate = generator.encoding.sample_rate
    stems = [Path(file).stem for file in files]
    names = stems if len(set(stems)) == len(stems) else list(files)
    pieces = {name: read_audio(file, rate) for name, file in zip(names, files, strict=True)}
    for name, samples in pieces.items():
        if len(samples) < LEAST_SECONDS * rate:
            raise UserError(
                f"{name}: {len(samples) / rate:.1f} s are too short to judge, give {LEAST_SECONDS:g} s or more"
            )
    return pieces


def _check(options: argparse.Namespace) -> None:
    """Raises UserError that lists all that is wrong with the options."""
    made = {name: getattr(options, name) for name in ("seconds", "count", "takes", "revise", "temperature", "seed")}
    given = [f"--{name}" for name, value in made.items() if value is not None]
    wrong = []
    if options.audio and given:
        wrong.append(f"{', '.join(given)}: for pieces that are generated, not for files given with --audio")
    wrong += [f"there is no file {file}" for file in options.audio or [] if not Path(file).is_file()]
    bounds = {"seconds": (LEAST_SECONDS, MOST_SECONDS), "count": (1, MOST_PIECES), "takes": (1, 64), "revise": (0, 64)}
    bounds |= {"temperature": (0, 5), "seed": (0, 2**31 - 1 - MOST_PIECES)}
    refuse([*wrong, *out_of_range(options, bounds)])


def _check_song(generator: RunGenerator) -> None:
    song = generator.song
    held_out = len(song.part("validation")) + len(song.part("test"))
    for name, samples in (("training part", len(song.part("training"))), ("validation and test parts", held_out)):
        if samples < LEAST_SECONDS * song.sample_rate:
            raise UserError(
                f"the song's {name} of {samples / song.sample_rate:.1f} s cannot be compared with: "
                f"train on a longer song, or give {name.split()[0]} a larger share in song.split ({LEAST_SECONDS:g} s)"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.evaluate",
        description="Measure new pieces of a trained run, or given files, beside held-out real audio, the frames' own "
        "reconstruction, noises, silence and a copy; print a table and write scores.json into the run folder.",
    )
    parser.add_argument("run", help="a run folder, e.g. runs/my")
    parser.add_argument("--seconds", type=float, help=f"length of each new piece (default: {SECONDS:g})")
    parser.add_argument("--count", type=int, help=f"new pieces (default: {COUNT})")
    parser.add_argument("--takes", type=int, help="of each minute of them, see generate (default: the run's own)")
    parser.add_argument("--revise", type=int, help="passes of the run's reviser over them (default: the run's own)")
    parser.add_argument("--temperature", type=float, help="of the new pieces (default: the run's own)")
    parser.add_argument("--seed", type=int, help=f"of the first new piece, the others count on (default: {SEED})")
    parser.add_argument("--audio", nargs="+", metavar="FILE", help="measure these files instead of new pieces")
    return parser


if __name__ == "__main__":
    run_command(main)
