"""A run folder that is somewhere else: its likeness on this machine, and how both are kept alike.

The likeness, a folder in the cache, is what all commands work in. `pull` fetches what the far folder has; `push` writes
what has changed here, each file whole, the settings first and the checkpoint last: whenever a machine is lost, the far
folder holds a run that can go on elsewhere. What both sides had when they were last alike is noted in a hidden file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sonicrnn.errors import UserError
from sonicrnn.files import write_json
from sonicrnn.remote import Place, place_of, reached
from sonicrnn.song import user_cache

NOTES = ".mirror.json"
PUSH_SECONDS = 15.0
LAST, FIRST = ("checkpoint.npz",), ("config.yaml",)
SELDOM = "wandb/"  # grows all the time: only at the end


class Mirror:
    """The likeness of a far folder.

    Attributes:
        place: the far one.
        folder: the one on this machine.
    """

    def __init__(self, place: Place, cache: Path):
        self.place = place
        name = place.path.rstrip("/").rpartition("/")[2]
        self.folder = cache / "mirrors" / hashlib.sha256(place.address.rstrip("/").encode()).hexdigest()[:24] / name
        self._notes: dict[str, dict[str, Any]] = {}

    def pull(self) -> None:
        """Make the likeness one of the far folder, unless that is as it was left here: then what is here is newer.

        Raises UserError where the far folder cannot be reached.
        """
        self._notes = self._read_notes()
        with reached(self.place.address):
            there = {name: version for name, version in self.place.listed().items() if not _is_hidden(name)}
            other = there != {name: note["there"] for name, note in self._notes.items()}
            for name, version in there.items():
                note, here = self._notes.get(name), _stamp(self.folder / name)
                if here is None or (other and note != {"there": version, "here": here}):
                    self.place.inside(name).fetch(self.folder / name)
                    self._notes[name] = {"there": version, "here": _stamp(self.folder / name)}
        if not other:
            return
        for name in self._names():
            if name not in there:
                (self.folder / name).unlink()
        self._write_notes({name: note for name, note in self._notes.items() if name in there})

    def push(self, everything: bool = True) -> None:
        """Write to the far folder what has changed here; `everything`: the W&B files, too.

        Raises UserError where it cannot be reached, or another machine has written there since.
        """
        with reached(self.place.address):
            for name in sorted(self._names(), key=lambda name: (name in LAST, name not in FIRST, name)):
                note, here = self._notes.get(name), _stamp(self.folder / name)
                unchanged = here is None or (note is not None and note["here"] == here)  # or gone since it was listed
                if unchanged or (name.startswith(SELDOM) and not everything):
                    continue
                far = self.place.inside(name)
                if far.version() != (note["there"] if note else None):
                    raise UserError(
                        f"{far.address} was written by another machine: only one can train a run. What was done "
                        f"here is in {self.folder}; choose another name= to go on with it"
                    )
                read = far.write(self.folder / name)
                self._notes[name] = {"there": far.version(), "here": [read.st_mtime_ns, read.st_size]}
                self._write_notes(self._notes)

    def set_aside(self) -> None:
        """Rename the far folder to the first free of NAME.1, NAME.2, …, file by file: most stores know no folders."""
        with reached(self.place.address):
            names, number = self.place.listed(), 1
            while names and self.place.beside(f".{number}").listed():
                number += 1
            for name in names:
                self.place.inside(name).move(self.place.beside(f".{number}").inside(name))
        self._notes = {}

    @contextlib.contextmanager
    def kept_up(self, report: Callable[[str], None]) -> Iterator[None]:
        """Inside the block a thread pushes every quarter of a minute; the end pushes the rest.

        While the far folder cannot be reached the work goes on. Raises UserError at the end where it still cannot.
        """
        stop = threading.Event()

        def push_until_told() -> None:
            trouble = ""
            while not stop.wait(PUSH_SECONDS):
                try:
                    self.push(everything=False)
                    trouble = ""
                except UserError as error:
                    if str(error) != trouble:
                        report(f"{error} (the training goes on in {self.folder})")
                    trouble = str(error)

        thread = threading.Thread(target=push_until_told, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            self.push()

    def _names(self) -> list[str]:
        """Files of the likeness, with slashes, without hidden ones and what is in hidden folders."""
        names = [file.relative_to(self.folder).as_posix() for file in self.folder.rglob("*") if file.is_file()]
        return [name for name in names if not _is_hidden(name)]

    def _read_notes(self) -> dict[str, dict[str, Any]]:
        file = self.folder / NOTES
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def _write_notes(self, notes: dict[str, dict[str, Any]]) -> None:
        self._notes = notes
        write_json(self.folder / NOTES, notes)


def mirror_of(path: str) -> Mirror:
    """Raises UserError where there is no file system for the path."""
    return Mirror(place_of(path), user_cache())


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _stamp(file: Path) -> list[int] | None:
    """What tells whether a local file has changed."""
    return [file.stat().st_mtime_ns, file.stat().st_size] if file.exists() else None
