"""Files that are whole or not there: each is written beside its place and renamed into it."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sonicrnn.errors import FULL, UserError


@contextlib.contextmanager
def written_beside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; rename it onto `path` when the block ends well.

    The temporary name keeps the suffix, so that writers which choose a format by suffix work. It is
    removed when the block raises, and what stood at `path` before stays as it was.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}-", suffix=target.suffix)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        os.chmod(beside, 0o666 & ~_umask())  # mkstemp makes private files; a finished one is an ordinary one
        os.replace(beside, target)
    except OSError as error:
        if error.errno in FULL:  # a write does not know of which file it is, and that may be on any disk
            error.filename = error.filename or str(target)
        raise
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. Raises ValueError for NaN or infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, Any]) -> None:
    """Write a `.npz` of arrays, or of what NumPy makes arrays of, by name.

    `numpy.savez` leaves its archive open where the disk is full, and that ends in a traceback of its own.
    """
    import numpy as np

    with written_beside(path) as beside, zipfile.ZipFile(beside, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.save(stream, values, allow_pickle=False)


@contextlib.contextmanager
def stored_arrays(file: Path, mend: str) -> Iterator[Mapping[str, Any]]:
    """Yield the arrays of a `.npz` by name.

    Raises UserError, which says how to `mend` it, for a file that is missing or spoiled, or lacks what the block takes.
    """
    import numpy as np

    try:
        with np.load(file, allow_pickle=False) as stored:
            yield stored
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} cannot be read ({error}): {mend}") from None


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
