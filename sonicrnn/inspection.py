"""What a file is, told from its ends before anything is decoded: audio or not, whole or cut off."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile

FORMATS = "WAV, FLAC, Ogg, MP3 and AIFF"
AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au"}
)
FOREIGN_SUFFIXES = frozenset({".m4a", ".aac", ".mp4", ".wma", ".webm", ".mka", ".ape", ".wv", ".ac3", ".mov", ".mkv"})

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000  # Hz; anything else is a damaged header
_UNKNOWN_FRAMES = 1 << 60  # libsndfile's answer for a stream that does not say how long it is is larger
_UNKNOWN_BYTES = 0x7FFFF000  # programs that write into a pipe promise this many bytes or more, or none
GET_IT_AGAIN = "copy or download it again, or save what can be read of it anew, as WAV or FLAC"
_STDERR = threading.Lock()  # the process has one standard error


class UnusableFile(Exception):
    """A file that cannot be (part of) a song: `reason` in a few words, and how to `mend` it."""

    def __init__(self, reason: str, mend: str) -> None:
        super().__init__(f"{reason}: {mend}")
        self.reason, self.mend = reason, mend


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `frames` is the samples of each channel; None where it does not say."""

    path: Path
    container: str  # as libsndfile names it: WAV, WAVEX, FLAC, OGG, MP3, AIFF, …
    coding: str  # PCM_16, VORBIS, …
    sample_rate: int
    channels: int
    frames: int | None

    @property
    def seconds(self) -> float:
        return (self.frames or 0) / self.sample_rate


def inspect_file(path: Path) -> Header:
    """Read the header of an audio file. Raises UnusableFile for one that is not audio, empty, damaged or cut off."""
    _check_ordinary(path)
    try:
        with path.open("rb") as file:
            cut_off = _is_cut_off(file, path.stat().st_size)
    except OSError as error:
        raise UnusableFile(f"cannot be read ({error.strerror})", "change its permissions or copy it again") from None
    if cut_off:
        raise UnusableFile("cut off before its end", GET_IT_AGAIN)
    with open_audio(path) as audio:
        frames = audio.frames if audio.frames < _UNKNOWN_FRAMES else None
        header = Header(path, audio.format, audio.subtype, audio.samplerate, audio.channels, frames)
        if frames == 0:
            raise UnusableFile("holds no samples", "choose another file")
        if not LOWEST_RATE <= header.sample_rate <= HIGHEST_RATE:
            raise UnusableFile(f"damaged: its header says {header.sample_rate} Hz", GET_IT_AGAIN)
        if header.container == "FLAC" and frames and not _has_last_sample(audio):
            raise UnusableFile("cut off before its end", GET_IT_AGAIN)
    return header


class _Stream(soundfile.SoundFile):  # type: ignore[misc]
    """A sound file that is read from its start to its end. (soundfile seeks after each read of a seekable one, which
    libsndfile cannot do in a FLAC stream that does not say how long it is.)"""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def open_audio(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open an audio file with libsndfile. Raises UnusableFile for what it cannot read, now or in the block."""
    mp3 = path.suffix.lower() == ".mp3"
    try:
        # Bytes, because a file's name need not be valid in any encoding.
        with _hushed() if mp3 else contextlib.nullcontext():
            audio = _Stream(os.fsencode(path))
        with audio:
            yield audio
    except soundfile.LibsndfileError as error:
        raise _explained(path, str(error.error_string)) from None


def read_quietly(audio: soundfile.SoundFile, frames: int) -> npt.NDArray[np.float32]:
    """The next `frames` samples, [n, channels] float32, fewer at the end.

    libmpg123 writes a line on the terminal for each oddity of an MP3; what matters of them comes back as an error.
    """
    with _hushed() if audio.format in ("MP3", "MPEG") else contextlib.nullcontext():
        return np.asarray(audio.read(frames, dtype="float32", always_2d=True))


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Nothing that C code writes on standard error meanwhile is seen."""
    with _STDERR, contextlib.ExitStack() as undo:
        with contextlib.suppress(OSError):  # a process may have no standard error at all
            kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, 2)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        yield


def _check_ordinary(path: Path) -> None:
    if path.is_dir():
        raise UnusableFile("a folder", "name the files in it, or the folder alone")
    if not path.is_file():
        raise UnusableFile("no ordinary file", "copy what it stands for into one")
    if path.stat().st_size == 0:
        raise UnusableFile("empty (0 bytes)", "copy or download it again")


def _explained(path: Path, message: str) -> UnusableFile:
    suffix = path.suffix.lower()
    if suffix in FOREIGN_SUFFIXES:
        convert = f'ffmpeg -i "{path.name}" "{path.stem}.flac"'
        return UnusableFile(f"{suffix[1:].upper()} is not read here", f"convert it first, e.g. {convert}")
    if suffix in AUDIO_SUFFIXES:
        return UnusableFile(f"cannot be decoded ({message.strip().rstrip('.').lower()})", GET_IT_AGAIN)
    return UnusableFile("not audio", f"{FORMATS} are read; convert another kind, e.g. with ffmpeg")


def _has_last_sample(audio: soundfile.SoundFile) -> bool:
    try:
        audio.seek(audio.frames - 1)
        return len(audio.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def _is_cut_off(file: BinaryIO, size: int) -> bool:
    """Whether the file ends before what its own header promises."""
    start = file.read(12)
    if start[:4] == b"RIFF":
        return _lacks(size, 8 + struct.unpack("<I", start[4:8].ljust(4, b"\0"))[0])
    if start[:4] == b"FORM":
        return _lacks(size, 8 + struct.unpack(">I", start[4:8].ljust(4, b"\0"))[0])
    if start[:4] == b"OggS":
        return _last_ogg_page_is_cut(file, size)
    if start[:3] == b"ID3" or start[:1] == b"\xff":
        return _mp3_is_cut(file, start, size)
    return False


def _lacks(size: int, promised: int) -> bool:
    # The last chunk may lack its byte of padding.
    return 8 < promised < _UNKNOWN_BYTES and size < promised - 1


def _last_ogg_page_is_cut(file: BinaryIO, size: int) -> bool:
    """Whether the last page of an Ogg stream (RFC 3533) reaches beyond the end of the file."""
    longest_page = 27 + 255 + 255 * 255
    file.seek(max(0, size - 2 * longest_page))
    end = file.read()
    page = end[end.rfind(b"OggS") :]
    if page[:4] != b"OggS":
        return True
    segments = page[26] if len(page) > 26 else 255
    table = page[27 : 27 + segments]
    return len(table) < segments or len(page) < 27 + segments + sum(table)


def _mp3_is_cut(file: BinaryIO, start: bytes, size: int) -> bool:
    """Whether the file is more than 1 % shorter than its Xing (or Info) header says; False where it has none."""
    tag = 0
    if start[:3] == b"ID3":  # the length is four bytes of seven bits
        tag = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=False))
    file.seek(tag)
    frame = file.read(256)
    place = max(frame.find(b"Xing"), frame.find(b"Info"))
    if place < 0 or len(frame) < place + 16:
        return False
    flags = struct.unpack(">I", frame[place + 4 : place + 8])[0]
    if not flags & 2:
        return False
    after = place + 8 + 4 * (flags & 1)
    (promised,) = struct.unpack(">I", frame[after : after + 4])
    return bool(100 * (size - tag) < 99 * promised)
