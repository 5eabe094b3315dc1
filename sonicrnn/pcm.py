"""The cache of decoded songs: one file of float32 samples for each content, whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sonicrnn.files import write_json, written_beside

# Part of each content hash: another number, and everything is decoded anew. To be raised whenever the samples that
# come out of the decoders or resamplers change.
_ALGORITHM = 1
_HEADER_BYTES = 128
_HASHED_AT_ONCE = 1 << 20
_ABANDONED_SECONDS = 3600.0


def content_hash(paths: Sequence[Path], sample_rate: int | None) -> str:
    """32 hexadecimal digits that stand for the bytes of the files in order, the rate asked for, and how we decode."""
    whole = hashlib.blake2b(f"{_ALGORITHM} {sample_rate} {len(paths)}".encode(), digest_size=16)
    buffer = bytearray(_HASHED_AT_ONCE)
    for path in paths:
        one = hashlib.blake2b()
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                one.update(memoryview(buffer)[:count])
        whole.update(one.digest())
    return whole.hexdigest()


@dataclass
class PcmWriter:
    """Appends float32 samples, or rows of figures, to an open file; knows how many and how loud the loudest is."""

    file: BinaryIO
    samples: int = 0
    peak: float = 0.0

    def write(self, block: npt.NDArray[np.float32]) -> None:
        if len(block):
            self.file.write(np.ascontiguousarray(block, "<f4").data)
            self.samples += len(block)
            self.peak = max(self.peak, float(np.abs(block).max()))


@contextlib.contextmanager
def pcm_writer(path: Path, dimension: int | None = None) -> Iterator[PcmWriter]:
    """Write a .npy file of samples, or of rows of `dimension` figures, whose number is known at the end only.

    It appears at `path` when the block ends well; otherwise nothing stays. What killed processes left behind in the
    same folder is removed.
    """
    _remove_abandoned(path.parent)
    with written_beside(path) as beside, beside.open("wb") as file:
        file.write(_npy_header(0, dimension))
        writer = PcmWriter(file)
        yield writer
        file.seek(0)
        file.write(_npy_header(writer.samples, dimension))


def read_facts(path: Path) -> dict[str, Any] | None:
    """What was noted of a cached PCM file, or None if it or its note is missing or not whole."""
    try:
        facts = json.loads(_note(path).read_text(encoding="utf-8"))
        whole = path.stat().st_size == _HEADER_BYTES + 4 * facts["samples"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return facts if whole else None


def write_facts(path: Path, facts: dict[str, Any]) -> None:
    """Note the facts of a cached PCM file beside it. Only with its note does it count as there."""
    write_json(_note(path), facts)


def _note(path: Path) -> Path:
    return path.with_suffix(".json")


def _npy_header(samples: int, dimension: int | None) -> bytes:
    """The header of a NumPy file, format 1.0, of `samples` float32 numbers or rows; equally long for any number."""
    shape = (samples,) if dimension is None else (samples, dimension)
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    length = _HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + length.to_bytes(2, "little") + text.ljust(length - 1).encode("ascii") + b"\n"


def _remove_abandoned(cache: Path) -> None:
    """Remove unfinished PCM files that nobody has written to for an hour."""
    for path in cache.glob(".*-*.npy"):
        with contextlib.suppress(OSError):
            old = time.time() - os.stat(path).st_mtime > _ABANDONED_SECONDS
            if old and re.match(r"\.[0-9a-f]{32}-", path.name):
                path.unlink()
