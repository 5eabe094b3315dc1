"""`python -m sonicrnn.generate runs/my --seconds 60`: new audio from a trained run."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonicrnn.config import PARTS, Settings
from sonicrnn.errors import UserError, run_command
from sonicrnn.options import out_of_range, refuse
from sonicrnn.remote import local_folder
from sonicrnn.run import Run

if TYPE_CHECKING:
    import numpy as np

    from sonicrnn.pieces import RunPieces


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the options, load the run, write one file for each piece."""
    options = _parser().parse_args(arguments)
    _check(options)
    with local_folder(options.run) as folder:
        _generate(options, folder)


def _generate(options: argparse.Namespace, folder: Path) -> None:
    settings = Run(folder).trained()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if options.fill:
        from sonicrnn.gap import fill_gap
        from sonicrnn.generator import load_generator

        fill_gap(load_generator(folder), options)
        return
    generator = _pieces(Run(folder), settings, options)
    seconds = options.seconds if options.seconds is not None else settings.generate.seconds
    seeds = [options.seed + index for index in range(options.count)]
    for seed, prime in zip(seeds, _primes(generator, options, seeds), strict=True):
        _write_piece(generator, options, seconds, seed, prime)


def _pieces(run: Run, settings: Settings, options: argparse.Namespace) -> RunPieces:
    """What makes the pieces: the graphs that the run kept, or its model where a reviser goes over them."""
    from sonicrnn.kept_generator import load_kept
    from sonicrnn.pieces import passes_of

    revised = passes_of(run, settings) if options.revise is None else options.revise
    kept = None if revised else load_kept(run)
    if kept:
        return kept
    from sonicrnn.generator import load_generator

    return load_generator(run.folder)


def _write_piece(
    generator: RunPieces, options: argparse.Namespace, seconds: float, seed: int, prime: np.ndarray
) -> None:
    """One piece, written block by block, so that hours need no more memory than seconds."""
    from sonicrnn.audio import audio_writer

    temperature = generator.temperature if options.temperature is None else options.temperature
    folder = Path(options.out) if options.out else generator.run.audio
    name = f"{'continued' if options.continue_ else 'piece'}-seed{seed}-t{temperature:.2f}.{options.format}"
    master = None if options.mono else generator.plays(options.revise)
    if master:
        rate, channels = master.sample_rate, master.channels
        blocks = generator.stream_master(prime, seconds, temperature, seed, takes=options.takes)
    else:
        rate, channels = generator.sample_rate, 1
        made = {"takes": options.takes, "revise": options.revise}
        pieces = generator.stream(prime[None], seconds, temperature, [seed], **made)
        blocks = (block[0] for block in pieces)
    with audio_writer(folder / name, rate, round(seconds * rate), channels) as write:
        for block in blocks:
            write(block)
    print(f"{folder / name}  {seconds:g} s, temperature {temperature:g}, seed {seed}")


def _primes(generator: RunPieces, options: argparse.Namespace, seeds: Sequence[int]) -> np.ndarray:
    """[pieces, samples]: of the user's recording, or of a part of the song."""
    import numpy as np

    from sonicrnn.audio import read_audio

    file = options.continue_ or (options.prime if options.prime not in PARTS else None)
    if file is None:
        return generator.primes(options.prime, seeds, options.prime_at)
    rate = generator.sample_rate
    samples = read_audio(Path(file), rate)
    length = min(len(samples), round(generator.settings.generate.prime_seconds * rate))
    if length < generator.engine.span:
        needed = generator.engine.span / rate
        raise UserError(
            f"{file} is too short for a prime: it has {len(samples) / rate:.2f} s, one frame needs {needed:.2f} s"
        )
    end = len(samples)
    if options.prime_at is not None:
        end = round(options.prime_at * rate) + length
        if options.prime_at < 0 or end > len(samples):
            raise UserError(
                f"--prime-at {options.prime_at:g} s: {file} has room for a prime "
                f"up to {(len(samples) - length) / rate:.1f} s"
            )
    return np.repeat(samples[None, end - length : end], len(seeds), 0)


def _check(options: argparse.Namespace) -> None:
    """Raises UserError that lists every option out of its range."""
    wrong = []
    if options.seconds is not None and not 0 < options.seconds <= 86_400:
        wrong.append(f"--seconds {options.seconds:g} must lie above 0 and be at most 86400 (a day)")
    bounds = {"temperature": (0, 5), "count": (1, 1000), "takes": (1, 64), "revise": (0, 64), "seed": (0, 2**31 - 1001)}
    wrong += out_of_range(options, bounds)
    if options.continue_ and options.prime_at is not None:
        wrong.append("--continue goes on from the end of the recording: leave --prime-at out, or use --prime FILE")
    refuse([*wrong, *_wrong_with_gap(options)])


def _wrong_with_gap(options: argparse.Namespace) -> list[str]:
    """A line for each option that does not go with --fill, or not without it."""
    begin, end = options.from_, options.to
    if not options.fill:
        return ["--from and --to are for --fill FILE"] if begin is not None or end is not None else []
    if begin is None or end is None:
        return ["--fill needs --from and --to, in seconds of the recording"]
    wrong = [] if 0 <= begin < end else [f"--from {begin:g} must be 0 or more, and less than --to {end:g}"]
    others = {"--continue": options.continue_, "--prime-at": options.prime_at, "--seconds": options.seconds}
    others |= {"--takes": options.takes, "--temperature": options.temperature}
    others |= {"--prime": options.prime if options.prime != "validation" else None}
    given = [name for name, value in others.items() if value is not None]
    return wrong + ([f"{', '.join(given)}: not with --fill, which fills a gap from both sides"] if given else [])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.generate", description="New audio from a trained run; the prime is never part of it."
    )
    parser.add_argument("run", help="a run folder, e.g. runs/my")
    parser.add_argument("--seconds", type=float, help="length of each piece (default: the run's generate.seconds)")
    parser.add_argument(
        "--temperature", type=float, help="0 is the likeliest, 1 the model's own chance (default: found after training)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="same seed, same audio; piece N of --count takes seed + N - 1"
    )
    parser.add_argument("--count", type=int, default=1, help="pieces")
    parser.add_argument(
        "--takes", type=int, help="of each minute, of which the one most like the song is kept (default: the run's)"
    )
    parser.add_argument(
        "--prime", default="validation", help="training, validation, test or an audio file (default: validation)"
    )
    parser.add_argument(
        "--prime-at", type=float, metavar="SECONDS", help="where the prime begins (default: the seed draws it)"
    )
    parser.add_argument(
        "--continue", dest="continue_", metavar="FILE", help="go on from the end of this recording, without a seam"
    )
    parser.add_argument(
        "--revise",
        type=int,
        metavar="PASSES",
        help="of the run's reviser over each piece (default: the run's own) or over a gap (default: 1)",
    )
    parser.add_argument("--fill", metavar="FILE", help="instead of a piece: this recording with a gap in it filled")
    parser.add_argument("--from", dest="from_", type=float, metavar="SECONDS", help="where the gap of --fill begins")
    parser.add_argument("--to", type=float, metavar="SECONDS", help="where it ends")
    parser.add_argument("--out", help="folder for the pieces (default: RUN/audio)")
    parser.add_argument(
        "--mono", action="store_true", help="as the model hears it, also where the run has the recording's own sound"
    )
    parser.add_argument("--format", choices=("wav", "flac"), default="wav")
    return parser


if __name__ == "__main__":
    run_command(main)
