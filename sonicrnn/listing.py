"""Which files make a song: a file, several, a folder or a glob, in the order in which a person would count them."""

from __future__ import annotations

import difflib
import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonicrnn.errors import UserError
from sonicrnn.inspection import AUDIO_SUFFIXES, FOREIGN_SUFFIXES, FORMATS, UnusableFile, inspect_file

Refused = tuple[Path, str]
_NAMES_SHOWN = 4


def find_files(path: str | os.PathLike[str] | Sequence[str]) -> tuple[list[Path], list[Refused]]:
    """Find the audio files of a song.

    Args:
        path: a file, a folder (with all folders in it), a glob (`**` reaches into folders), or several of these.
            The files of a folder or glob come in natural order (2 before 10), several paths in the order given.

    Returns:
        The files taken, in order, and those refused, each with the reason.

    Raises:
        UserError: something named does not exist, a file named by the user is unusable, or nothing usable was found.
    """
    wanted = [path] if isinstance(path, str | os.PathLike) else list(path)
    if not wanted:
        raise UserError("song.path names no file: name a recording, a folder or a glob")
    taken: list[Path] = []
    refused: list[Refused] = []
    unusable: list[str] = []
    for one in wanted:
        place = Path(one).expanduser()
        if place.is_file() or not (place.is_dir() or _is_glob(str(place), place)):
            unusable += _take_named(place, taken)
        else:
            _take_found(place, taken, refused)
    if unusable:
        raise UserError("\n  ".join(unusable))
    return taken, refused


def list_refused(refused: Sequence[Refused]) -> str:
    """`cover.jpg, notes.txt (not audio), take 3.wav (empty)`: by reason, the first few names of each."""
    reasons: dict[str, list[str]] = {}
    for path, reason in refused:
        reasons.setdefault(reason, []).append(printable(path.name))
    return ", ".join(f"{_some(names)} ({reason})" for reason, names in reasons.items())


def printable(path: str | os.PathLike[str]) -> str:
    """A path for a message: bytes that are no text become question marks."""
    return os.fspath(path).encode("utf-8", "replace").decode("utf-8")


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names) if rest <= 1 else ", ".join(names[:_NAMES_SHOWN]) + f" and {rest} more"


def _is_glob(pattern: str, place: Path) -> bool:
    return glob.has_magic(pattern) and not place.exists()


def _take_named(place: Path, taken: list[Path]) -> list[str]:
    """Take a file that the user named; returns what is wrong with it."""
    if not place.exists():
        return [f"there is no file or folder {printable(place)}{_instead(place)}"]
    try:
        inspect_file(place)
    except UnusableFile as error:
        return [f"{printable(place)} is unusable, {error.reason}: {error.mend}"]
    taken.append(place)
    return []


def _take_found(place: Path, taken: list[Path], refused: list[Refused]) -> None:
    """Take what is usable of a folder or glob. Raises UserError when nothing is."""
    good: list[Path] = []
    bad: list[Refused] = []
    for path in sorted(_matches(place), key=_natural):
        reason = _why_not(path)
        if reason is None:
            good.append(path)
        else:
            bad.append((path, reason))
    if not good:
        seen = f"found only {list_refused(bad)}" if bad else "it matches nothing"
        if place.is_dir() and not bad:
            seen = "it holds no files"
        raise UserError(f"no audio in {printable(place)}: {seen}; name a recording or a folder of {FORMATS} files")
    taken += good
    refused += bad


def _matches(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from _inside(place)
        return
    for name in glob.iglob(str(place), recursive=True):
        if os.path.isdir(name):
            if "**" not in place.parts:  # `**` names what is inside folders by itself
                yield from _inside(Path(name))
        else:
            yield Path(name)


def _inside(folder: Path) -> Iterator[Path]:
    """Every file under a folder. Hidden folders and links to folders come as themselves, and are not entered."""
    for place, folders, files in os.walk(folder):
        skipped = [name for name in folders if name.startswith(".") or os.path.islink(os.path.join(place, name))]
        folders[:] = [name for name in folders if name not in skipped]
        yield from (Path(place, name) for name in [*files, *skipped])


def _why_not(path: Path) -> str | None:
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "a link to a folder"
    if path.suffix.lower() not in AUDIO_SUFFIXES | FOREIGN_SUFFIXES:
        return "not audio"
    try:
        inspect_file(path)
    except UnusableFile as error:
        return error.reason
    return None


def _natural(path: Path) -> tuple[list[list[str | int]], str]:
    """A sort key in which `take 2` comes before `take 10`, whatever the case of the letters."""
    # Splitting at the digits leaves words at the even places and numbers at the odd ones, so like meets like.
    pieces = [re.split(r"([0-9]+)", part.casefold()) for part in path.parts]
    return [[int(piece) if place % 2 else piece for place, piece in enumerate(part)] for part in pieces], str(path)


def _instead(place: Path) -> str:
    """What the user may have meant by a path that is not there."""
    if not place.parent.is_dir():
        return f": there is not even a folder {printable(place.parent)}; check the spelling"
    there = sorted((path for path in place.parent.iterdir() if _may_be_meant(path)), key=_natural)
    close = difflib.get_close_matches(place.name, [path.name for path in there], n=1)
    if close:
        return f": did you mean {printable(place.parent / close[0])}?"
    if there:
        return f": {printable(place.parent)} holds {_some([printable(path.name) for path in there])}"
    return f": {printable(place.parent)} holds no audio; check the path"


def _may_be_meant(path: Path) -> bool:
    return not path.name.startswith(".") and (path.suffix.lower() in AUDIO_SUFFIXES or path.is_dir())
