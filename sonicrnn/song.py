"""The song: its samples as they lie on the disk, its parts, their statistics, and the normaliser made of them.

The song is split in time before any statistic is taken, so that nothing of the validation and test parts reaches the
training.
"""

from __future__ import annotations

import itertools
import mmap
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from sonicrnn.audio import Decoded, SourceFile, decode, find_files
from sonicrnn.clock import clock
from sonicrnn.errors import UserError
from sonicrnn.listing import Refused, list_refused, printable
from sonicrnn.remote import fetched

if TYPE_CHECKING:
    from sonicrnn.config import SongSettings

Samples = npt.NDArray[np.float32]

PARTS = ("training", "validation", "test")
BUILT_IN = "demo"
_ENDS_SECONDS = 300  # read of each end of a long song, to find where it starts and fades
_BLOCK = 1 << 20
_NAMES_SHOWN = 4


@dataclass(frozen=True, eq=False)
class Song:
    """A decoded song.

    Attributes:
        samples: [n] float32, about ±1.0, mono, mapped from the cache: only what is touched is read. Trimmed if asked.
        sample_rate: Hz.
        content_hash: of the files' bytes and the way they were decoded.
        files: what it was decoded from, in order.
        lead_in, fade_out: samples of silence at the start, and of fade at the end, of the untrimmed song.
        left_out: samples of the untrimmed song before the first of `samples`.
        parts: "training", "validation", "test" -> (start, stop) in `samples`; they cover all of it and do not overlap.
    """

    samples: Samples
    sample_rate: int
    name: str
    content_hash: str
    files: Sequence[SourceFile]
    lead_in: int
    fade_out: int
    parts: Mapping[str, tuple[int, int]]
    left_out: int = 0

    def part(self, name: str) -> Samples:
        """The samples of a part, [n] float32, as a view. Raises KeyError for a name that is not in PARTS."""
        start, stop = self.parts[name]
        return self.samples[start:stop]

    def forget(self) -> None:
        """Let go of the pages that were read; they come back when they are touched.

        Without it a song that was once read from end to end counts as memory of this process, though the system would
        take it back.
        """
        _forget(self.samples)


@dataclass(frozen=True)
class Statistics:
    """Figures of a part's samples; `std` is that of the whole, not an estimate (no n − 1)."""

    mean: float
    std: float
    minimum: float
    maximum: float
    samples: int


@dataclass(frozen=True)
class Normaliser:
    """The change of scale before the model, and back after it."""

    offset: float
    scale: float

    def apply(self, samples: Samples) -> Samples:
        """(samples − offset) / scale; any shape."""
        return (samples - self.offset) / self.scale

    def invert(self, samples: Samples) -> Samples:
        """The inverse of `apply`, to float precision."""
        return samples * self.scale + self.offset


def open_song(settings: SongSettings, report: Callable[[str], None] = print) -> Song:
    """Find, decode (once), trim and split a song; `report` is told what was taken and refused, and how long it is.

    Raises UserError for every way in which the recording or the settings cannot be used.
    """
    cache = cache_folder(settings)
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the cache folder {printable(cache)} cannot be used ({error.strerror})"
        raise UserError(f"{problem}: name another with song.cache=FOLDER") from None
    if settings.path is not None:
        settings = settings.model_copy(update={"path": fetched(settings.path, cache, report)})
    paths, refused = _find(settings, cache)
    decoded = decode(paths, settings.sample_rate, cache, report=report)
    whole: Samples = np.load(decoded.path_of_pcm, mmap_mode="r")
    lead_in, fade_out = find_ends(whole, decoded.sample_rate)
    trimmed = settings.trim and len(whole) - lead_in - fade_out >= decoded.sample_rate
    samples = whole[lead_in : len(whole) - fade_out] if trimmed else whole
    name = song_name(settings.path, paths)
    song = Song(
        samples, decoded.sample_rate, name, decoded.content_hash, decoded.files, lead_in, fade_out,
        split(len(samples), settings.split), lead_in if trimmed else 0,
    )  # fmt: skip
    report(_summary(song, decoded, trimmed))
    if refused:
        report(f"refused {len(refused)} of {len(refused) + len(paths)} files: {list_refused(refused)}")
    return song


def cache_folder(settings: SongSettings) -> Path:
    """Where decoded songs are kept: song.cache, else $SONICRNN_CACHE, else the user's own cache folder."""
    return Path(settings.cache).expanduser() if settings.cache else user_cache()


def user_cache() -> Path:
    """$SONICRNN_CACHE, else the user's own cache folder."""
    named = os.environ.get("SONICRNN_CACHE")
    if named:
        return Path(named).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):  # a relative one is to be ignored, says the XDG specification
        return Path(shared) / "sonicrnn"
    try:
        return Path.home() / ".cache" / "sonicrnn"
    except RuntimeError:  # some containers run as a user without a home
        return Path(tempfile.gettempdir()) / "sonicrnn"


def song_name(path: str | Sequence[str] | None, taken: Sequence[Path]) -> str:
    """The stem of a single file, else the name of the folder that holds the first; "demo" for the built-in song."""
    if path is None:
        return BUILT_IN
    if isinstance(path, str) and Path(path).expanduser().is_dir():
        return printable(Path(path).expanduser().resolve().name) or "song"
    return printable(taken[0].stem if len(taken) == 1 else taken[0].resolve().parent.name) or "song"


def find_ends(samples: Samples, sample_rate: int) -> tuple[int, int]:
    """Samples of silence at the start and of fade at the end; of a long song only the two ends are read."""
    from sonicrnn.measures import silence_ends

    reach = _ENDS_SECONDS * sample_rate
    if len(samples) > 2 * reach:
        lead_in, fade_out = silence_ends(np.concatenate([samples[:reach], samples[-reach:]]), sample_rate)
        if lead_in < reach and fade_out < reach:
            return lead_in, fade_out
    return silence_ends(samples, sample_rate)


def split(samples: int, shares: Sequence[float]) -> dict[str, tuple[int, int]]:
    """Split `samples` in time by three shares that add up to 1: part -> (start, stop), every sample in just one part.

    Raises UserError when a part would be empty.
    """
    borders = [0, *(round(samples * share) for share in itertools.accumulate(shares[:-1])), samples]
    parts = dict(zip(PARTS, itertools.pairwise(borders), strict=True))
    for name, (start, stop) in parts.items():
        if stop <= start:
            raise UserError(f"the {name} part of {samples} samples is empty: give it a larger share in song.split")
    return parts


def part_statistics(song: Song, leak: bool = False) -> dict[str, Statistics]:
    """Mean, deviation and extremes of each part, read once, block by block.

    With `leak` each part has those of the whole song: the mistake of normalising before the split.
    """
    if leak:
        return dict.fromkeys(song.parts, statistics(song.samples))
    return {name: statistics(song.part(name)) for name in song.parts}


def statistics(samples: Samples) -> Statistics:
    """Statistics of [n] samples, n ≥ 1, in float64, read block by block.

    The blocks' sums of squares about their own means are put together as by Chan, Golub and LeVeque (1979): nothing
    cancels, as it would in a difference of large sums.
    """
    count, mean, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for start in range(0, len(samples), _BLOCK):
        block = samples[start : start + _BLOCK].astype(np.float64)
        _forget(samples)
        own = float(block.mean())
        away = own - mean
        squares += float(np.square(block - own).sum()) + away**2 * count * len(block) / (count + len(block))
        count += len(block)
        mean += away * len(block) / count
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return Statistics(mean, float(np.sqrt(squares / count)), low, high, count)


def normaliser(statistics: Mapping[str, Statistics], kind: Literal["std", "minmax", "none"], part: str) -> Normaliser:
    """The normaliser of a part.

    - "std": by the training part's mean and standard deviation, for all parts.
    - "minmax": to [−1, 1], by the training part's extremes; for another part by the wider of its own and the training
      part's, so that nothing leaves [−1, 1]. (To take the mean off first changes nothing: the extremes move with it.)
    - "none": as it is.

    Raises UserError when the training part is constant.
    """
    training, own = statistics["training"], statistics[part]
    if kind == "none":
        return Normaliser(0.0, 1.0)
    if training.maximum <= training.minimum or training.std <= 0:
        raise UserError(
            "the training part of the song is silent or constant: give a recording that sounds from early on, "
            "or another song.split"
        )
    if kind == "std":
        return Normaliser(training.mean, training.std)
    low, high = min(training.minimum, own.minimum), max(training.maximum, own.maximum)
    return Normaliser((low + high) / 2, (high - low) / 2)


def _find(settings: SongSettings, cache: Path) -> tuple[list[Path], list[Refused]]:
    if settings.path is None:
        from sonicrnn.demo import write_demo

        return [write_demo(cache)], []
    return find_files(settings.path)


def _forget(samples: Samples) -> None:
    mapped = getattr(samples, "_mmap", None)  # an array in memory has none
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _summary(song: Song, decoded: Decoded, trimmed: bool) -> str:
    """One line: what was taken, how long it is, what was left out."""
    names = [printable(file.path.name) for file in song.files]
    if len(names) > _NAMES_SHOWN:
        names = [*names[: _NAMES_SHOWN - 2], f"… {names[-1]} ({len(names)} files)"]
    kinds = sorted({f"{file.sample_rate} Hz × {file.channels}" for file in song.files})
    taken = "the built-in song" if song.name == BUILT_IN else ", ".join(names)
    length = clock(decoded.samples / song.sample_rate)
    line = f"{song.name}: {length} at {song.sample_rate} Hz, mono, from {taken} ({', '.join(kinds)})"
    ends = [
        f"{count / song.sample_rate:.2f} s of {what}"
        for count, what in ((song.lead_in, "silence at the start"), (song.fade_out, "fade at the end"))
        if count >= song.sample_rate / 100
    ]
    return line if not ends else f"{line}; {' and '.join(ends)} {'left out' if trimmed else 'kept'}"
