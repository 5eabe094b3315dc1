"""Sound files as mono samples, block by block: through tensorflow-io where it works, else through libsndfile.

tensorflow-io 0.37.1 decodes WAV, FLAC, Ogg Vorbis and MP3 in the TensorFlow graph to the very samples of libsndfile
(lossy formats to 1e-6 of full scale). What it was seen to get wrong is left to libsndfile: 8-bit and 32-bit integer
WAV (read as other types), files of 2 GiB and more, WAV whose header does not say how long it is, and FLAC that says a
wrong length (it waits for the rest for ever; `inspect_file` refuses those before anything is decoded).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sonicrnn.inspection import GET_IT_AGAIN, Header, UnusableFile, open_audio, read_quietly

Samples = npt.NDArray[np.float32]
Decoder = Literal["tensorflow-io", "soundfile"]

BLOCK = 1 << 18  # samples of each channel
_IN_GRAPH = {
    *(("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT")),
    *(("WAVEX", "PCM_16"), ("WAVEX", "PCM_24"), ("WAVEX", "FLOAT")),
    *(("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS")),
    *(("MP3", "MPEG_LAYER_III"), ("MPEG", "MPEG_LAYER_III")),
}
_FULL_SCALE = {"int16": 2.0**15, "int32": 2.0**31, "float32": 1.0}
_OGG_BEYOND = 0.02  # seconds, a packet, by which the end that an Ogg file tells may lie behind its last sample
_READERS = 2  # tensorflow-io decodes on one core for each reader


def blocks(header: Header, decoder: Decoder) -> Iterator[Samples]:
    """Decode a file to mono, the mean of its channels: [n] float32 blocks, about ±1.0.

    Raises UnusableFile where the file is damaged or holds what is no number.
    """
    position = 0
    for block in _checked_in_graph(header) if decoder == "tensorflow-io" else _in_libsndfile(header):
        peak = float(np.abs(block).max(initial=0.0))
        if not peak <= 1000.0:  # not a number fails this, too
            seconds = (position + int(np.argmax(~(np.abs(block) <= 1000.0)))) / header.sample_rate
            what = "holds values that are no numbers" if not np.isfinite(peak) else f"reaches {peak:.0f} × full scale"
            raise UnusableFile(f"{what} ({seconds:.2f} s from its start)", "save it anew as 16- or 24-bit")
        position += len(block)
        yield block


def choose_decoder(header: Header) -> Decoder:
    """tensorflow-io for a file that it is known to decode rightly, else soundfile."""
    known = (header.container, header.coding) in _IN_GRAPH and header.path.stat().st_size < 1 << 31
    if not known or header.frames is None or not tensorflow_io_loads():
        return "soundfile"
    opened = _open_in_graph(header)
    if opened is None:
        return "soundfile"
    channels, frames = int(opened.shape[1]), int(opened.shape[0])
    # An MP3 without a Xing header does not say how long it is: libsndfile only guesses.
    same_length = frames == header.frames or (header.coding == "MPEG_LAYER_III" and frames > 0)
    same = same_length and (channels, int(opened.rate)) == (header.channels, header.sample_rate)
    return "tensorflow-io" if same and opened.dtype.name in _FULL_SCALE else "soundfile"


@functools.cache
def tensorflow_io_loads() -> bool:
    """Whether tensorflow-io's operations load on the TensorFlow that is installed. Imports both, the first time."""
    if importlib.util.find_spec("tensorflow_io") is None:
        return False
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its chatter at the start is for TensorFlow's own developers
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from tensorflow_io.python.ops import core_ops

            return callable(core_ops.io_audio_readable_read)
    except Exception:  # a binary made for another TensorFlow fails in many ways, and each means the same
        return False


def mono(block: npt.NDArray[Any]) -> Samples:
    """Mean over the channels, [n, channels] to [n] float32; in float64 between, so that order makes no difference."""
    if block.shape[1] == 1:
        return np.ascontiguousarray(block[:, 0], np.float32)
    return np.asarray(np.mean(block, axis=1, dtype=np.float64), np.float32)


def _in_libsndfile(header: Header, skip: int = 0) -> Iterator[Samples]:
    """Decode with libsndfile; the first `skip` samples are decoded, but left out."""
    position = 0
    with open_audio(header.path) as audio:
        while len(block := mono(read_quietly(audio, BLOCK))):
            if position + len(block) > skip:
                yield block[max(0, skip - position) :]
            position += len(block)
    # What is missing of an MP3 is found by its size: the length in its header may be a guess.
    if header.frames and header.coding != "MPEG_LAYER_III":
        beyond = round(_OGG_BEYOND * header.sample_rate) if header.container == "OGG" else 0
        if position < header.frames - beyond:
            raise _damaged(header, position)


def _checked_in_graph(header: Header) -> Iterator[Samples]:
    """Decode in the graph; where that fails, libsndfile goes through the file and has the last word."""
    import tensorflow as tf

    position = 0
    try:
        for block in _in_graph(header):
            yield block
            position += len(block)
    except tf.errors.OpError:
        yield from _in_libsndfile(header, skip=position)
    if header.container == "FLAC":  # tensorflow-io may pass over a frame whose checksum is wrong; libsndfile does not
        for _ in _in_libsndfile(header):
            pass


def _in_graph(header: Header) -> Iterator[Samples]:
    """Decode with tensorflow-io. The readers take turns, and each decodes its next block while the others are heard."""
    import tensorflow as tf

    streams = []
    for number in range(_READERS):
        reader = _open_in_graph(header)
        if reader is None:
            raise tf.errors.UnavailableError(None, None, f"{header.path} does not open twice")
        samples = int(reader.shape[0])
        starts = tf.data.Dataset.range(number * BLOCK, samples, _READERS * BLOCK)
        streams.append(iter(starts.map(functools.partial(_read_mono, reader)).prefetch(1)))
    for turn in range(-(-samples // BLOCK)):
        yield next(streams[turn % _READERS]).numpy()


def _open_in_graph(header: Header) -> Any:
    """A tensorflow-io reader; None where it cannot read the file."""
    import tensorflow as tf
    import tensorflow_io as tfio

    try:
        return tfio.audio.AudioIOTensor(os.fsencode(header.path))
    except (tf.errors.OpError, UnicodeDecodeError):  # the latter when its message quotes the file's bytes
        return None


def _read_mono(reader: Any, start: Any) -> Any:
    """The graph of one block: decode, scale to ±1.0, mean over the channels as in `mono`."""
    import tensorflow as tf

    samples = tf.cast(reader[start : start + BLOCK], tf.float64)  # [n, channels]
    total = tf.reduce_sum(samples, axis=1) / _FULL_SCALE[reader.dtype.name]
    return tf.cast(total / tf.cast(tf.shape(samples)[1], tf.float64), tf.float32)  # [n]


def _damaged(header: Header, position: int) -> UnusableFile:
    return UnusableFile(f"damaged {position / header.sample_rate:.1f} s from its start", GET_IT_AGAIN)
