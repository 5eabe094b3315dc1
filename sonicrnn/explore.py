"""`python -m sonicrnn.explore my.ogg`: pictures and facts of a song, before a model learns it.

Writes a folder with `explore.html` and the same pictures as PNG files, and prints the facts.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonicrnn.errors import UserError, run_command

if TYPE_CHECKING:  # these load numpy and more, which --help and a wrong argument need not wait for
    from sonicrnn.explore_facts import Facts
    from sonicrnn.explore_page import Shown
    from sonicrnn.song import Song


def main(arguments: Sequence[str] | None = None) -> None:
    """The command. Raises UserError for what a user can mend."""
    options = _parser().parse_args(arguments)
    folder = Path(options.out) if options.out else None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file: name a folder, which may be new")
    song = _open(options.song, options.sample_rate)
    folder = folder or Path("explore") / (re.sub(r"[^\w.-]+", "-", song.name).strip("-.") or "song")

    from sonicrnn.explore_facts import gather
    from sonicrnn.explore_page import page
    from sonicrnn.explore_suggest import suggest
    from sonicrnn.explore_words import observations, table
    from sonicrnn.files import write_text

    print("measuring")
    facts = gather(song.samples, song.sample_rate)
    rows, seen, suggestions = table(song, facts), observations(facts), suggest(facts)
    command = _training_command(options.song, options.sample_rate)
    _print(rows, seen, [" ".join([command, *one.overrides]) for one in suggestions])
    print("drawing")
    shown = _draw(song, facts, folder)
    summary = f"{rows[1][1]}. A look at the song before a model learns it."
    write_text(folder / "explore.html", page(song.name, summary, rows, seen, suggestions, command, shown))
    print(f"{folder / 'explore.html'} and {len(shown)} pictures beside it")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.explore",
        description="Look at a song: waveforms, spectrogram, pulsation, self-similarity, and lengths to train with.",
    )
    parser.add_argument(
        "song", nargs="*", help="audio files, folders or globs: one song, in order (none: the built-in song)"
    )
    parser.add_argument("--out", metavar="FOLDER", help="where the page goes (default: explore/NAME)")
    parser.add_argument(
        "--sample-rate",
        metavar="N",
        default="16000",
        help='Hz, or "own" for the rate of the first file (default: 16000)',
    )
    return parser


def _open(paths: list[str], sample_rate: str) -> Song:
    from sonicrnn.config import parse_settings

    rate: str | int | None = None if sample_rate == "own" else sample_rate
    if sample_rate.isdecimal():
        rate = int(sample_rate)
    path = None if not paths else paths[0] if len(paths) == 1 else paths
    # The whole song is looked at, its silent ends too.
    settings = parse_settings({"song": {"path": path, "sample_rate": rate, "trim": False}}, "the command line").song

    from sonicrnn.song import open_song

    return open_song(settings)


def _training_command(paths: list[str], sample_rate: str) -> str:
    import yaml

    words = ["python", "-m", "sonicrnn.fit", "configs/gru.yaml"]
    if paths:
        # Overrides are read as YAML, which a file's name may look like.
        value = yaml.safe_dump(paths[0] if len(paths) == 1 else paths, default_flow_style=True, width=10**6)
        words.append("song.path=" + value.removesuffix("...\n").strip())
    if sample_rate != "16000":
        words.append(f"song.sample_rate={'null' if sample_rate == 'own' else sample_rate}")
    return shlex.join(words)


def _draw(song: Song, facts: Facts, folder: Path) -> list[Shown]:
    from sonicrnn.drawing import png_bytes
    from sonicrnn.explore_page import Shown
    from sonicrnn.explore_pictures import pictures_of
    from sonicrnn.files import written_beside

    shown = []
    for one in pictures_of(song.samples, song.sample_rate, facts):
        png = png_bytes(one.figure)
        with written_beside(folder / f"{one.name}.png") as beside:
            beside.write_bytes(png)
        width, height = (int(size) for size in one.figure.bbox.size)
        shown.append(Shown(one.section, one.name, png, width, height, one.alt, one.caption))
    return shown


def _print(rows: list[tuple[str, str]], seen: list[str], commands: list[str]) -> None:
    width = max(len(key) for key, _ in rows) + 2
    print("\n".join(f"{key:<{width}}{value}" for key, value in rows))
    print("\n" + "\n".join(f"- {line}" for line in seen))
    print("\ntry:\n" + "\n".join(f"  {line}" for line in commands))


if __name__ == "__main__":
    run_command(main)
