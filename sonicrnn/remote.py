"""Files that are on no disk of this machine: `s3://…`, `gs://…`, and whatever else fsspec has a file system for.

All else in this project works on local files: a remote song is fetched into the cache, once for each of its versions,
and a remote run folder has a likeness there, see `mirror`.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from sonicrnn.errors import UserError
from sonicrnn.files import write_text, written_beside

BLOCK = 8 << 20  # bytes
# What file systems call the entity tag of a file's content, and its times.
TAGS = ("ETag", "etag", "md5Hash", "content_md5", "generation")
TIMES = ("mtime", "LastModified", "last_modified", "updated", "created")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: C:\ is a disk
_MAGIC = re.compile(r"[*?\[]")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a place that is not on a disk of this machine."""
    scheme = _SCHEME.match(os.fspath(path))
    return scheme is not None and scheme[1].lower() != "file"


@dataclass(frozen=True, eq=False)
class Place:
    """A file or folder at an address; `files` is fsspec's file system, `path` where it stands there."""

    address: str
    files: Any
    path: str

    def inside(self, name: str) -> Place:
        """What is called `name`, with slashes, in this folder."""
        return Place(f"{self.address.rstrip('/')}/{name}", self.files, f"{self.path.rstrip('/')}/{name}")

    def beside(self, ending: str) -> Place:
        """The folder whose name has this ending besides."""
        return Place(f"{self.address.rstrip('/')}{ending}", self.files, f"{self.path.rstrip('/')}{ending}")

    def listed(self) -> dict[str, str]:
        """Name -> version of every file in this folder and the folders in it; empty where there is none.

        A version is another text whenever the content is other, as far as the file system knows.
        """
        self.files.invalidate_cache()
        start = len(self.path.rstrip("/")) + 1
        return {name[start:]: _version(facts) for name, facts in self.files.find(self.path, detail=True).items()}

    def version(self) -> str | None:
        """That of this file; None where there is none."""
        self.files.invalidate_cache()
        try:
            return _version(self.files.info(self.path))
        except FileNotFoundError:
            return None

    def fetch(self, target: Path) -> None:
        """Copy this file to `target`, whole or not at all."""
        with written_beside(target) as beside, self.files.open(self.path, "rb") as source, beside.open("wb") as file:
            shutil.copyfileobj(source, file, BLOCK)

    def move(self, target: Place) -> None:
        """Rename this file."""
        self.files.makedirs(str(PurePosixPath(target.path).parent), exist_ok=True)
        self.files.mv(self.path, target.path)

    def write(self, source: Path) -> os.stat_result:
        """Copy a local file here; it is seen when it is whole. Returns what the file was when it was read."""
        self.files.makedirs(str(PurePosixPath(self.path).parent), exist_ok=True)
        with source.open("rb") as file, self.files.transaction, self.files.open(self.path, "wb") as target:
            facts = os.fstat(file.fileno())
            shutil.copyfileobj(file, target, BLOCK)
        return facts


def place_of(address: str) -> Place:
    """Raises UserError, naming the package that is missing, where there is no file system for it."""
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UserError(f"{address} needs fsspec and its file system: pip install 'sonicrnn[remote]'") from None
    try:
        files, path = url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise UserError(f"{address} cannot be used here: {error}{_package(address)}") from None
    return Place(address, files, path)


@contextlib.contextmanager
def reached(address: str) -> Iterator[None]:
    """Raises UserError for whatever a file system raises when it cannot be reached or refuses."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each file system has its own kinds
        what = " ".join(str(error).split())[:240] or type(error).__name__
        raise UserError(
            f"{address} cannot be reached: {what}; check the address, the network and the rights"
        ) from error


@contextlib.contextmanager
def local_folder(path: str) -> Iterator[Path]:
    """A run folder on this machine: of a remote one its likeness, from which what was written goes back at the end."""
    if not is_remote(path):
        yield Path(path)
        return
    from sonicrnn.mirror import mirror_of

    mirror = mirror_of(path)
    mirror.pull()
    yield mirror.folder
    mirror.push()


def fetched(path: str | Sequence[str], cache: Path, report: Callable[[str], None]) -> str | list[str]:
    """`song.path` with local copies in place of what is remote. Raises UserError where that cannot be had."""
    if isinstance(path, str):
        return str(_fetch(path, cache, report)) if is_remote(path) else path
    return [str(_fetch(one, cache, report)) if is_remote(one) else one for one in path]


def _fetch(address: str, cache: Path, report: Callable[[str], None]) -> Path:
    """The local copy of a file, or the folder with those of a remote folder or glob: just what is there now."""
    place = place_of(address)
    base = _base(place)
    folder = cache / "fetched" / hashlib.sha256(address.encode()).hexdigest()[:24] / PurePosixPath(base.path).name
    with reached(address):
        single = place.version() if place.files.isfile(place.path) else None
        versions = {PurePosixPath(place.path).name: single} if single else _audio_of(place, base)
        if not versions:
            raise UserError(f"there is no audio at {address}: check the address")
        for name, version in versions.items():
            file, note = folder / name, (folder / name).with_name(f".{PurePosixPath(name).name}.version")
            if not (file.exists() and note.exists() and note.read_text(encoding="utf-8") == version):
                report(f"fetching {base.inside(name).address}")
                base.inside(name).fetch(file)
                write_text(note, version)
    for file in [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".")]:
        if file.relative_to(folder).as_posix() not in versions:
            file.unlink()  # it is no longer there
    return folder / next(iter(versions)) if single else folder


def _base(place: Place) -> Place:
    """The folder that a file is in, or that a glob begins at; a folder itself."""
    magic = _MAGIC.search(place.path)
    if magic is None and not place.files.isfile(place.path):
        return place
    path = place.path[: magic.start()] if magic else place.path
    parent = path.rpartition("/")[0]
    return Place(place.address[: len(place.address) - len(place.path)] + parent, place.files, parent)


def _audio_of(place: Place, base: Place) -> dict[str, str]:
    """Name in `base` -> version, of the audio in a folder or of a glob."""
    found = base.listed()
    if _MAGIC.search(place.path):
        start = len(base.path.rstrip("/")) + 1
        matches = {name[start:] for name in place.files.glob(place.path)}
        found = {
            name: version for name, version in found.items() if any(part in matches for part in _with_folders(name))
        }
    return {name: found[name] for name in found if _is_audio(PurePosixPath(name))}


def _with_folders(name: str) -> list[str]:
    """A file's name, and those of the folders that it is in: a glob may name one."""
    return [name, *(str(folder) for folder in PurePosixPath(name).parents)]


def _is_audio(name: PurePosixPath) -> bool:
    from sonicrnn.inspection import AUDIO_SUFFIXES  # only now: it imports what no --help should wait for

    return name.suffix.lower() in AUDIO_SUFFIXES and not any(part.startswith(".") for part in name.parts)


def _version(facts: Mapping[str, Any]) -> str:
    """What tells versions of a file apart: its size, and its entity tag or else its times."""
    tags = [str(facts[name]) for name in TAGS if facts.get(name)]
    times = [_seconds(facts[name]) for name in TIMES if facts.get(name)]
    return hashlib.sha256(repr([facts.get("size"), tags or times]).encode()).hexdigest()


def _seconds(time: Any) -> str:
    """A time, which some file systems give in one kind here and in another there."""
    return str(time.timestamp() if isinstance(time, datetime) else time)


def _package(address: str) -> str:
    """How to install what a well-known scheme needs."""
    scheme = address.partition("://")[0].lower()
    package = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}.get(scheme)
    return f" (pip install {package})" if package else ""
