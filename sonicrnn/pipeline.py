"""The song as tf.data: overlapping sequences in seeded order, or contiguous streams.

A part of the song is a row table, made once and kept in the cache: the normalised samples for waveform frames, the
encoded frames for the others (one row a frame). An example is `sequence_length + 1` frames, written once: the model
cuts them into inputs and targets (`frames.halves`). Example `i` starts at sample `i * shift`; there are `example_count`
of them, and no example crosses the border of a part. Variants of a part have tables of their own, whose examples come
after the part's.

Which rows a training step sees is a pure function of the seed and the step's number, so a resumed run continues with
the very examples an uninterrupted one would have seen, and nothing of the order stands in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from sonicrnn import frames
from sonicrnn.config import DataSettings
from sonicrnn.encoding import BLOCK_SECONDS, Encoding, encoded_blocks
from sonicrnn.errors import UserError
from sonicrnn.graphs import graph
from sonicrnn.pcm import pcm_writer
from sonicrnn.rooms import Rooms
from sonicrnn.variants import AS_IT_IS, Variant, varied

# Examples of the validation part that one look at it takes; spread evenly, always the same ones.
MOST_VALIDATION_EXAMPLES = 512


@dataclass(frozen=True, eq=False)
class Table:
    """One part of the song, ready to be cut into examples.

    Attributes:
        rows: [samples] float32, normalised, for waveform frames, else [frames, dimension].
        encoding: what the rows are made with.
        data: sequence length, shift, batch size, order.
        others: the rows of the part's other variants, which shuffled training examples are of, too.
    """

    rows: np.ndarray
    encoding: Encoding
    data: DataSettings
    others: tuple[np.ndarray, ...] = ()

    @property
    def variants(self) -> tuple[np.ndarray, ...]:
        """The rows of the song as it is, and those of the others."""
        return (self.rows, *self.others)

    @property
    def is_waveform(self) -> bool:
        return self.rows.ndim == 1

    @property
    def example_rows(self) -> int:
        """Rows of one example."""
        length = self.data.sequence_length + 1
        if self.is_waveform:
            return frames.samples_of(length, self.encoding.settings.frame_length, self.encoding.step)
        return length

    @property
    def shift_rows(self) -> int:
        """Rows between the starts of two neighbouring examples."""
        samples = self.data.shift or max(1, self.data.sequence_length // 4) * self.encoding.step
        return samples if self.is_waveform else samples // self.encoding.step

    @property
    def example_counts(self) -> list[int]:
        """Of each variant every example that fits: `1 + (rows - example_rows) // shift_rows`."""
        return [frames.frame_count(len(rows), self.example_rows, self.shift_rows) for rows in self.variants]

    @property
    def example_count(self) -> int:
        """Examples of all variants."""
        return sum(self.example_counts)

    @property
    def first_rows(self) -> np.ndarray:
        """[variants] int64: where each begins when all their rows stand one after the other."""
        return _begins([len(rows) for rows in self.variants])

    @property
    def stream_rows(self) -> int:
        """Rows by which a stream moves on from one step to the next: a whole sequence."""
        return self.data.sequence_length * (self.encoding.step if self.is_waveform else 1)

    @property
    def stream_steps(self) -> int:
        """Steps that each of the `batch_size` contiguous streams lasts in one pass over the part."""
        lane = len(self.rows) // self.data.batch_size
        overhang = self.example_rows - self.stream_rows
        return max(0, (lane - overhang) // self.stream_rows)

    @property
    def steps_per_pass(self) -> int:
        """Training steps of one pass over the part; the last batch of a pass is filled from the next."""
        if self.data.order == "streams":
            return self.stream_steps
        return -(-self.example_count // self.data.batch_size)


def check_length(settings: DataSettings, encoding: Encoding, samples: int, part: str) -> None:
    """Raises UserError, saying how many seconds are missing, when a part is shorter than one example."""
    rate, step = encoding.sample_rate, encoding.step
    if encoding.settings.kind != "waveform" and settings.shift and settings.shift % step:
        near = max(1, round(settings.shift / step)) * step
        raise UserError(
            f"data.shift {settings.shift} must be a multiple of the {step} samples "
            f"of one {encoding.settings.kind} step: take data.shift={near}"
        )
    needed = frames.samples_of(settings.sequence_length + 1, encoding.span, step)
    lanes = settings.batch_size if settings.order == "streams" and part == "training" else 1
    if samples < needed * lanes:
        missing = (needed * lanes - samples) / rate
        streams = f" in each of {lanes} streams" if lanes > 1 else ""
        longest = (samples // lanes - encoding.span) // step
        raise UserError(
            f"a sequence of {settings.sequence_length} frames and its target need {needed / rate:.2f} s{streams}, "
            f"but the {part} part has {samples / rate:.2f} s: {missing:.2f} s are missing. "
            + (
                f"Take data.sequence_length={longest} or less, or a longer recording"
                if longest > 0
                else "Take a longer recording"
            )
        )


def fitting(settings: DataSettings, encoding: Encoding, samples: int) -> DataSettings:
    """Settings by which a part of so many samples has an example: its sequences may have to be shorter ones.

    So that a tenth of a song is enough to validate by, however long the sequences that are learnt from.
    """
    longest = max(1, (samples - encoding.span) // encoding.step)
    if longest >= settings.sequence_length:
        return settings
    return settings.model_copy(update={"sequence_length": longest, "carry": None})


def make_table(
    part: np.ndarray,
    encoding: Encoding,
    data: DataSettings,
    cache: Path,
    content: str,
    others: Sequence[Variant] = (),
) -> Table:
    """The table of one part; `content` names the part's samples (hash of the song and the part's borders).

    Rows, those of each variant by themselves, are written to the cache once and mapped into memory, so that a song of
    any length costs none.
    """

    def rows_of(variant: Variant) -> np.ndarray:
        file = cache / "frames" / f"{_key(encoding, content + variant.name)}.npy"
        if not file.exists():
            with varied(part, variant, file.parent) as samples:
                _write_rows(file, samples, encoding)
        return np.load(file, mmap_mode="r")

    return Table(rows_of(AS_IT_IS), encoding, data, tuple(rows_of(variant) for variant in others))


def training_data(
    table: Table, seed: int, first_step: int = 0, replicas: int = 1, mine: Sequence[int] = (0,)
) -> tf.data.Dataset:
    """Endless batches from step `first_step` on: tuples with the sequences, float32 [batch, time + 1, dimension].

    With `order: streams` there is a second element, float32 [batch]: 0 where a stream starts afresh, else 1. Of several
    replicas each has its own equal part of every batch: what comes out is that of each of `mine`, one after the other.
    """
    starts = stream_starts(table, seed) if table.data.order == "streams" else shuffled_starts(table, seed)
    return (
        tf.data.Dataset.counter(first_step)
        .map(starts)  # first rows: cheap, and the last place where order is decided
        .map(_parts(replicas, mine))  # still cheap: a process reads no rows but its own
        .unbatch()
        .map(_cut(table))  # copies rows out of the mapped file; one core writes as fast as the memory takes them
        .prefetch(2)  # the step never waits for the disk
    )


def validation_data(table: Table) -> tf.data.Dataset:
    """The same few hundred examples every time, without order or chance, in batches (the last may be smaller).

    They are of the song as it is; what comes out is as of `training_data`, without streams.
    """
    count = table.example_counts[0]
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_VALIDATION_EXAMPLES)).astype(np.int64))
    return (
        tf.data.Dataset.from_tensor_slices(chosen * table.shift_rows)
        .batch(min(table.data.batch_size, len(chosen)))
        .map(lambda starts: (starts, tf.ones_like(starts, tf.float32)))
        .map(_cut(table, with_carry=False))
        .prefetch(2)
    )


def shuffled_starts(table: Table, seed: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Step number -> the first rows of its examples: each pass is a new order of all examples of the whole song.

    Rows are counted from the first of all variants on, as in `Table.first_rows`.
    """
    count, batch, shift = table.example_count, table.data.batch_size, table.shift_rows
    first_rows, first_examples = table.first_rows, _begins(table.example_counts)

    def starts(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = step * batch + tf.range(batch, dtype=tf.int64)
        turn, index = place // count, place % count
        # The public wrapper takes one seed for all; an example's seed is its pass, and a batch may touch two.
        seeds = tf.stack([tf.fill([batch], tf.constant(seed, tf.int64)), turn, tf.zeros_like(turn)], 1)
        last = tf.constant(count - 1, tf.int64)
        shuffled = tf.raw_ops.RandomIndexShuffle(index=index, seed=seeds, max_index=last, rounds=4)
        if not table.others:
            return shuffled * shift, tf.ones([batch])
        variant = tf.searchsorted(first_examples, shuffled, side="right") - 1
        own = shuffled - tf.gather(first_examples, variant)
        return tf.gather(first_rows, variant) + own * shift, tf.ones([batch])

    return starts


def stream_starts(table: Table, seed: int) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """Step number -> the first rows of the next sequence of every stream, and where streams start afresh.

    The part is cut into `batch_size` equal lanes, read side by side. What a lane has left over moves its start from
    pass to pass.
    """
    batch, steps = table.data.batch_size, table.stream_steps
    used = table.example_rows + (steps - 1) * table.stream_rows
    spare = len(table.rows) // batch - used
    carried = table.data.carry // table.data.sequence_length if table.data.carry else steps  # steps

    def starts(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        turn, place = step // steps, step % steps
        jitter = tf.random.stateless_uniform([], [seed, turn], 0, spare + 1, tf.int64)
        # Spread so that the first lane starts with the part and the last one ends with it.
        lanes = (tf.range(batch, dtype=tf.int64) * len(table.rows) + batch - 1) // batch
        carry = tf.fill([batch], tf.cast(place % carried > 0, tf.float32))
        return lanes + jitter + place * table.stream_rows, carry

    return starts


def _parts(replicas: int, mine: Sequence[int]) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """First rows and carries [batch] -> those of the parts `mine` of so many, [len(mine), batch / replicas]."""

    def parts(starts: tf.Tensor, carry: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        cut = (tf.reshape(whole, [replicas, starts.shape[0] // replicas]) for whole in (starts, carry))
        starts, carry = (tf.gather(whole, list(mine)) for whole in cut)
        return starts, carry

    return parts


def _cut(table: Table, with_carry: bool = True) -> Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, ...]]:
    """First rows [batch] -> sequences [batch, time + 1, dimension].

    Written once, from the mapped files to where TensorFlow reads them.
    """
    length, step, first_rows = table.data.sequence_length + 1, 1, table.first_rows
    variants = [np.asarray(rows) for rows in table.variants]
    if table.is_waveform:  # views, in which each sample begins a frame
        variants = [np.lib.stride_tricks.sliding_window_view(rows, table.encoding.dimension) for rows in variants]
        step = table.encoding.step
    size = variants[0].shape[1]
    rooms = Rooms((length, size))

    def copy(starts: np.ndarray) -> np.ndarray:
        sequences = rooms.take(len(starts))
        for index, start in enumerate(starts.tolist()):
            rows, first = rows_at(start)
            sequences[index] = rows[first : first + (length - 1) * step + 1 : step]
        return sequences

    def rows_at(start: int) -> tuple[np.ndarray, int]:
        if not table.others:
            return variants[0], start
        which = int(np.searchsorted(first_rows, start, side="right")) - 1
        return variants[which], start - int(first_rows[which])

    def cut(starts: tf.Tensor, carry: tf.Tensor) -> tuple[tf.Tensor, ...]:
        sequences = tf.numpy_function(copy, [starts], tf.float32, stateful=False)
        sequences.set_shape([starts.shape[0], length, size])
        return (sequences, carry) if with_carry and table.data.order == "streams" else (sequences,)

    return cut


def _begins(lengths: Sequence[int]) -> np.ndarray:
    """[n] int64: where each of n things of these lengths begins when they stand one after the other."""
    return np.cumsum([0, *lengths[:-1]], dtype=np.int64)


def _write_rows(file: Path, part: np.ndarray, encoding: Encoding) -> None:
    """Not through a map: a full disk would end the process instead of a write."""
    waveform = encoding.settings.kind == "waveform"
    blocks = _normalised_blocks(part, encoding) if waveform else encoded_blocks(graph(encoding.encode), encoding, part)
    with pcm_writer(file, None if waveform else encoding.dimension) as writer:
        for block in blocks:
            writer.write(block)


def _normalised_blocks(part: np.ndarray, encoding: Encoding) -> Iterator[np.ndarray]:
    size = BLOCK_SECONDS * encoding.sample_rate
    for start in range(0, len(part), size):
        yield encoding.normalise(tf.constant(part[start : start + size])).numpy()


def _key(encoding: Encoding, content: str) -> str:
    """A name for the rows of one part: equal where the samples and every figure that makes the rows are."""
    waveform = encoding.settings.kind == "waveform"  # whose rows are the same for frames of any length
    made = "waveform" if waveform else encoding.settings.model_dump(mode="json")
    facts = [content, made, encoding.normaliser.offset, encoding.normaliser.scale]
    key = hashlib.sha256(json.dumps(facts).encode())
    for array in (encoding.mean, encoding.analysis):
        if array is not None:
            key.update(array.tobytes())
    return key.hexdigest()[:32]
