"""The recording as it was made: its own channels at its own rate, of which only what is asked for is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import soxr

from sonicrnn.audio import SourceFile
from sonicrnn.errors import UserError
from sonicrnn.inspection import UnusableFile, open_audio, read_quietly
from sonicrnn.listing import printable
from sonicrnn.song import Song

Samples = npt.NDArray[np.float32]

_MARGIN_SECONDS = 0.1  # read on either side of what is resampled, so that its ends are clean


def own_rate(song: Song) -> int:
    """Hz, the highest of its files."""
    return max(file.sample_rate for file in song.files)


def own_channels(song: Song) -> int:
    """2 where a file has two; else 1: more than two are heard as their mean, as the model hears them."""
    return 2 if any(file.channels == 2 for file in song.files) else 1


def read_original(song: Song, start: int, stop: int, rate: int) -> Samples:
    """Samples `start` to `stop` of the song, as they were recorded.

    Args:
        start, stop: in samples of `song.samples`.
        rate: Hz, of what is returned.

    Returns:
        [(stop - start) * rate / song.sample_rate, channels] float32, about ±1.0.

    Raises UserError for a file that cannot be read any more.
    """
    first, last = (round((song.left_out + at) * rate / song.sample_rate) for at in (start, stop))
    found = np.zeros([last - first, own_channels(song)], np.float32)
    begins = 0.0  # seconds
    for file in song.files:
        offset, length = round(begins * rate), round(file.seconds * rate)
        low, high = max(first, offset), min(last, offset + length)
        if low < high:
            found[low - first : high - first] = _read(file, low - offset, high - offset, rate, found.shape[1])
        begins += file.seconds
    return found


def _read(file: SourceFile, start: int, stop: int, rate: int, channels: int) -> Samples:
    """Samples of one file at another rate, [stop - start, channels]; silence where it has come to its end."""
    common = np.gcd(file.sample_rate, rate)
    step_in, step_out = file.sample_rate // common, rate // common
    # Both rates have a sample at the start of what is read.
    margin = -(-round(_MARGIN_SECONDS * rate) // step_out)
    steps = max(0, start // step_out - margin)
    before, count = steps * step_in, -(-(stop - steps * step_out) * step_in // step_out) + margin * step_in
    try:
        with open_audio(file.path) as audio:
            audio.seek(min(before, audio.frames))
            read = read_quietly(audio, count)
    except (UnusableFile, OSError) as error:
        raise UserError(f"{printable(file.path)} cannot be read any more: {error}") from None
    if file.sample_rate != rate:
        read = np.asarray(soxr.resample(read, file.sample_rate, rate, quality="VHQ"))
    cut = _with_channels(read[start - steps * step_out : stop - steps * step_out], channels)
    return np.pad(cut, [(0, stop - start - len(cut)), (0, 0)])


def _with_channels(samples: Samples, channels: int) -> Samples:
    if samples.shape[1] == channels:
        return samples
    mean = samples.mean(1, dtype=np.float64, keepdims=True).astype(np.float32)
    return np.repeat(mean, channels, 1)
