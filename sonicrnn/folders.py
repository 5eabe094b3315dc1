"""Folders that a command makes its own: held by one process, and set aside for a fresh start."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sonicrnn.errors import UserError


@contextlib.contextmanager
def held(folder: Path, refusal: str) -> Iterator[None]:
    """Hold a folder, which need not exist. Raises UserError with this `refusal` while another process holds it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the folder, which a fresh start may move.
    with folder.with_name(f".{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        except OSError:
            pass  # some network folders have no locks: that is no reason not to work
        yield


def contents(folder: Path) -> list[Path]:
    """What is in a folder, but for hidden files: file managers leave those, and processes killed while they write."""
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []


def set_aside(folder: Path) -> None:
    """Rename a folder to the first free of NAME.1, NAME.2, …"""
    number = 1
    while (free := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    folder.rename(free)


@contextlib.contextmanager
def made_beside(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, where the block may move it from; it is gone when it was not moved."""
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    beside.chmod(0o755)  # mkdtemp makes private folders
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside `target`, which takes its place when the block ends well, and is gone otherwise."""
    with made_beside(target) as beside:
        yield beside
        shutil.rmtree(target, ignore_errors=True)
        beside.rename(target)
