"""Sound in and out: files decoded once into a cached PCM file, short files read whole, pieces written.

Samples are mono, [n] float32, full scale ±1.0, unless said otherwise.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import soundfile

from sonicrnn.decode import Decoder, blocks, choose_decoder, tensorflow_io_loads
from sonicrnn.errors import UserError, disk_message
from sonicrnn.files import written_beside
from sonicrnn.inspection import Header, UnusableFile, inspect_file
from sonicrnn.listing import find_files, printable
from sonicrnn.pcm import PcmWriter, content_hash, pcm_writer, read_facts, write_facts
from sonicrnn.resample import Resampler, make_resampler

__all__ = ["Decoded", "SourceFile", "decode", "find_files", "read_audio", "to_int16", "write_audio"]

Samples = npt.NDArray[np.float32]

SHORTEST_SECONDS = 1.0
SILENT_PEAK = 1e-4  # −80 dBFS
_LONG_SECONDS = 600.0  # of which the user is told that it takes a while
_WRITTEN_AT_ONCE = 1 << 20
_LARGEST_WAV = (1 << 32) - 4096  # bytes; a longer one is written as RF64
_FORMATS = {".wav": "WAV", ".flac": "FLAC"}


@dataclass(frozen=True)
class SourceFile:
    """A file of a song: its own rate in Hz, its channels, how long it is, and what decoded it."""

    path: Path
    sample_rate: int
    channels: int
    seconds: float
    decoder: Decoder


@dataclass(frozen=True)
class Decoded:
    """A song as one .npy file of float32 samples, mono, at `sample_rate` Hz, that `np.load(…, mmap_mode="r")` reads."""

    path_of_pcm: Path
    sample_rate: int
    samples: int
    content_hash: str
    files: list[SourceFile]


def decode(
    paths: Sequence[Path],
    sample_rate: int | None,
    cache: Path,
    decoder: Literal["auto", "tensorflow-io", "soundfile"] = "auto",
    report: Callable[[str], None] | None = None,
) -> Decoded:
    """Decode files, in order, into one mono PCM file in the folder `cache`; a second time, find it there.

    Files of one rate that follow each other are resampled as one recording, without a seam. Memory is that of a few
    blocks, whatever the length. Several processes may decode the same song at once.

    Args:
        sample_rate: Hz; None is the rate of the first file.
        decoder: "auto" takes tensorflow-io where it loads and knows the format, and soundfile otherwise. Both give the
            same samples: bit for bit without a change of rate and of loss, else to 1e-6 of full scale. What a cached
            song was decoded with matters only if one of them is asked for by name.
        report: told when there is a long song to decode.

    Raises:
        UserError: a file is missing, damaged or holds what is no number, the whole is shorter than a second or
            silent, or the disk is full. Nothing half-written stays.
    """
    if decoder == "tensorflow-io" and not tensorflow_io_loads():
        raise UserError("tensorflow-io does not load here: leave the decoder at auto, or install TensorFlow 2.17")
    headers = [_inspect(Path(path)) for path in paths]
    key = content_hash([header.path for header in headers], sample_rate)
    pcm = Path(cache) / f"{key}.npy"
    facts = read_facts(pcm)
    if facts is None or decoder not in ("auto", facts["decoder"]):
        rate = sample_rate or headers[0].sample_rate
        seconds = sum(header.seconds for header in headers)
        if report and seconds > _LONG_SECONDS:
            report(f"decoding {_label(headers)}, this once: {seconds / 60:.0f} minutes of sound …")
        facts = _decode_into(pcm, headers, rate, decoder)
    files = [SourceFile(header.path, **one) for header, one in zip(headers, facts["files"], strict=True)]
    return Decoded(pcm, facts["sample_rate"], facts["samples"], key, files)


def read_audio(path: str | os.PathLike[str], sample_rate: int) -> Samples:
    """Read a short file (a prime, a piece) whole, as mono at `sample_rate` Hz. Raises UserError for a bad one."""
    header = _inspect(Path(path).expanduser())
    resampler = make_resampler(header.sample_rate, sample_rate, in_graph=False)
    try:
        pieces = [resampler.push(block) for block in blocks(header, "soundfile")]
    except UnusableFile as error:
        raise _unusable(header.path, error) from None
    return np.concatenate([*pieces, resampler.finish()])


def to_int16(samples: npt.ArrayLike) -> npt.NDArray[np.int16]:
    """Round samples to 16 bits: float at ±1.0 to int16, any shape. What lies beyond is clipped, never wrapped.

    The inverse of reading: k/32768 becomes k. Raises ValueError for NaN and infinity, TypeError for integers.
    """
    values = np.asarray(samples)
    if not np.issubdtype(values.dtype, np.floating):
        raise TypeError(f"samples must be floating point at full scale ±1.0, not {values.dtype}")
    if not np.isfinite(values).all():
        raise ValueError("samples hold NaN or infinity")
    rounded = np.rint(values.astype(np.float64) * 32768.0)
    return np.asarray(np.clip(rounded, -32768, 32767), np.int16)


def write_audio(path: str | os.PathLike[str], samples: npt.ArrayLike, sample_rate: int) -> None:
    """Write mono samples as 16-bit WAV or FLAC, by the suffix of `path`; the file is whole or not there.

    Raises UserError for another suffix, ValueError for samples that are not [n] or not finite, OSError for a full disk.
    """
    values = np.asarray(samples)
    if values.ndim != 1:
        raise ValueError(f"samples must be [n], not {list(values.shape)}")
    with audio_writer(path, sample_rate, len(values)) as write:
        write(values)


@contextlib.contextmanager
def audio_writer(
    path: str | os.PathLike[str], sample_rate: int, samples: int, channels: int = 1
) -> Iterator[Callable[[Samples], None]]:
    """A file like that of `write_audio`, written block by block: `samples` in all, in as many calls as one likes.

    Blocks are [n], or [n, channels].

    Raises as `write_audio` does, and OSError when fewer samples than announced reached the disk.
    """
    target = Path(path)
    kind = _FORMATS.get(target.suffix.lower())
    if kind is None:
        raise UserError(f"{printable(target)} cannot be written: its name must end in {' or '.join(_FORMATS)}")
    if kind == "WAV" and 2 * channels * samples > _LARGEST_WAV:
        kind = "RF64"
    with written_beside(target) as beside:
        try:
            with soundfile.SoundFile(os.fsencode(beside), "w", sample_rate, channels, "PCM_16", format=kind) as file:

                def write(values: Samples) -> None:
                    for start in range(0, len(values), _WRITTEN_AT_ONCE):
                        file.write(to_int16(values[start : start + _WRITTEN_AT_ONCE]))

                yield write
            written = soundfile.info(os.fsencode(beside)).frames
        except soundfile.LibsndfileError as error:
            raise OSError(errno.ENOSPC, f"could not be written ({error.error_string})", str(target)) from None
        if written != samples:  # libsndfile does not say so when the last block finds the disk full
            raise OSError(errno.ENOSPC, f"only {written} of {samples} samples were written", str(target))


def _inspect(path: Path) -> Header:
    if not path.exists():
        raise UserError(f"there is no file {printable(path)}: check the path")
    try:
        return inspect_file(path)
    except UnusableFile as error:
        raise _unusable(path, error) from None


def _unusable(path: Path, error: UnusableFile) -> UserError:
    return UserError(f"{printable(path)} is unusable, {error.reason}: {error.mend}")


def _label(headers: Sequence[Header]) -> str:
    first = printable(headers[0].path)
    return first if len(headers) == 1 else f"{first} and {len(headers) - 1} more"


def _decode_into(pcm: Path, headers: Sequence[Header], rate: int, wanted: str) -> dict[str, Any]:
    """Decode into the PCM file and note its facts beside it."""
    decoders: list[Decoder] = ["soundfile" if wanted == "soundfile" else choose_decoder(header) for header in headers]
    engine: Decoder = "tensorflow-io" if "tensorflow-io" in decoders else "soundfile"
    files: list[dict[str, Any]] = []
    try:
        with pcm_writer(pcm) as writer:
            resampler: Resampler | None = None
            for header, one in zip(headers, decoders, strict=True):
                if resampler is None or resampler.rate_in != header.sample_rate:
                    if resampler is not None:
                        writer.write(resampler.finish())
                    resampler = make_resampler(header.sample_rate, rate, in_graph=engine == "tensorflow-io")
                files.append(_decode_one(header, one, resampler, writer))
            if resampler is not None:
                writer.write(resampler.finish())
            _check_audible(writer, rate, headers)
        facts = {"sample_rate": rate, "samples": writer.samples, "decoder": engine, "files": files}
        write_facts(pcm, facts)
    except OSError as error:
        message = disk_message(error)
        if message is None:
            raise
        where = f"the decoded song goes into {printable(pcm.parent)}; song.cache names another folder"
        raise UserError(f"{message} ({where})") from None
    return facts


def _decode_one(header: Header, decoder: Decoder, resampler: Resampler, writer: PcmWriter) -> dict[str, Any]:
    """Decode one file to the end of what the resampler gives at once; returns the facts of it."""
    samples = 0
    try:
        for block in blocks(header, decoder):
            samples += len(block)
            writer.write(resampler.push(block))
    except UnusableFile as error:
        raise _unusable(header.path, error) from None
    facts = asdict(SourceFile(header.path, header.sample_rate, header.channels, samples / header.sample_rate, decoder))
    facts.pop("path")  # the same content may stand elsewhere tomorrow
    return facts


def _check_audible(writer: PcmWriter, rate: int, headers: Sequence[Header]) -> None:
    seconds = writer.samples / rate
    if seconds < SHORTEST_SECONDS:
        raise UserError(f"{_label(headers)} is too short, {seconds:.2f} s: give at least {SHORTEST_SECONDS:.0f} s")
    if writer.peak < SILENT_PEAK:
        raise UserError(f"{_label(headers)} is silent, nothing in it reaches −80 dBFS: give a recording that sounds")
