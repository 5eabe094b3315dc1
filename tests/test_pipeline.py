"""The pipeline: how many examples there are, what stands in them, and that none is lost, doubled or out of bounds.

Most songs here are 0, 1, 2, …: so a sample says where it stood.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sonicrnn import pipeline
from sonicrnn.config import DataSettings, FrameSettings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.pipeline import (
    Table,
    check_length,
    fitting,
    make_table,
    shuffled_starts,
    stream_starts,
    training_data,
    validation_data,
)
from sonicrnn.song import Normaliser
from tests.full_disk import run_on_full_disk

RATE = 1000
PLAIN = Normaliser(0, 1)
few = settings(deadline=None, max_examples=15)


def data_settings(
    sequence: int, shift: int | None = None, batch: int = 4, order: Literal["shuffled", "streams"] = "shuffled"
) -> DataSettings:
    return DataSettings(sequence_length=sequence, shift=shift, batch_size=batch, order=order)


def counting_table(samples: int, data: DataSettings, frame_length: int = 16, hop: int | None = None) -> Table:
    """Waveform frames of 0, 1, 2, …, a part of a longer song whose other samples are no numbers."""
    song = np.full(samples + 2000, np.nan, np.float32)
    song[1000 : 1000 + samples] = np.arange(samples)
    made = FrameSettings(kind="waveform", frame_length=frame_length, hop=hop)
    return Table(song[1000 : 1000 + samples], Encoding(made, RATE, PLAIN), data)


def naive_starts(rows: int, example: int, shift: int) -> list[int]:
    """Where an example may start, found by trying every place."""
    return [start for start in range(0, rows, shift) if start + example <= rows]


def batches(table: Table, steps: int, seed: int = 1, first_step: int = 0) -> list[tuple[npt.NDArray[Any], ...]]:
    return list(training_data(table, seed, first_step).take(steps).as_numpy_iterator())


def starts_of(batch: tuple[npt.NDArray[Any], ...]) -> list[int]:
    return [int(start) for start in batch[0][:, 0, 0]]


sizes = st.fixed_dictionaries(
    {
        "samples": st.integers(60, 1500),
        "frame_length": st.integers(16, 40),
        "overlap": st.floats(0, 0.5),
        "sequence": st.integers(1, 6),
        "shift": st.none() | st.integers(1, 300),
        "batch": st.integers(1, 9),
    }
)


def drawn_table(size: dict[str, Any], order: Literal["shuffled", "streams"] = "shuffled") -> Table:
    frame_length = size["frame_length"]
    hop = max(-(-frame_length // 2), frame_length - int(size["overlap"] * frame_length))
    return counting_table(
        size["samples"], data_settings(size["sequence"], size["shift"], size["batch"], order), frame_length, hop
    )


# Shuffled examples ------------------------------------------------------------------------------------------------


@given(sizes)
@settings(deadline=None)
def test_there_are_exactly_as_many_examples_as_fit(size: dict[str, Any]) -> None:
    table = drawn_table(size)
    step, span = table.encoding.step, size["frame_length"]
    shift = size["shift"] or max(1, size["sequence"] // 4) * step
    expected = naive_starts(size["samples"], size["sequence"] * step + span, shift)
    assert table.example_count == len(expected)


@given(sizes, st.integers(0, 2**31 - 1))
@few
def test_every_example_is_seen_once_a_pass_whole_and_within_the_part(size: dict[str, Any], seed: int) -> None:
    table = drawn_table(size)
    expected = naive_starts(len(table.rows), table.example_rows, table.shift_rows)
    assume(expected)
    assume(table.steps_per_pass <= 25)
    seen = batches(table, 2 * table.steps_per_pass, seed)
    step, length, sequence = table.encoding.step, size["frame_length"], size["sequence"]
    for (sequences,) in seen:
        assert sequences.shape == (size["batch"], sequence + 1, length)
        places = sequences[:, :1, :1] + step * np.arange(sequence + 1)[:, None] + np.arange(length)
        np.testing.assert_array_equal(sequences, places)  # no sample of another part, none left out
    order = list(itertools.chain.from_iterable(starts_of(batch) for batch in seen))
    for turn in range(2):  # the last batch of a pass is filled from the next
        assert sorted(order[turn * len(expected) : (turn + 1) * len(expected)]) == expected


@given(sizes)
@few
def test_nothing_of_the_end_is_lost(size: dict[str, Any]) -> None:
    """The last example ends less than one shift before the end of the part."""
    table = drawn_table(size)
    assume(table.example_count)
    assume(table.steps_per_pass <= 25)
    last = max(max(starts_of(batch)) for batch in batches(table, table.steps_per_pass))
    assert 0 <= len(table.rows) - (last + table.example_rows) < table.shift_rows


def test_the_seeds_cut_of_the_end_would_be_noticed() -> None:
    """Their two bugs: whole examples cut off the end, and examples without overlap. The tests above fail on both."""
    table = counting_table(16 * 10 * 9 + 16 + 100, data_settings(10, shift=16), 16)
    example = table.example_rows
    cut = table.rows[: -(len(table.rows) % example) - example]  # "something cute with negative indices and mod"
    assert len(table.rows) - len(cut) > example > table.shift_rows
    not_overlapping = len(table.rows) // example
    assert table.example_count > 9 * not_overlapping
    assert table.example_count == len(naive_starts(len(table.rows), example, 16))


def test_the_seeds_song_has_as_many_examples_as_they_wrote() -> None:
    """Three hours at 16 kHz, 80 % of it, a shift of 1000: "about 140 000 training examples"."""
    samples = round(3 * 3600 * 16_000 * 0.8)
    rows = np.broadcast_to(np.float32(0), samples)  # takes no memory
    made = FrameSettings(kind="waveform", frame_length=1000)
    table = Table(rows, Encoding(made, 16_000, PLAIN), data_settings(50, shift=1000))
    assert table.example_count == (samples - 51_000) // 1000 + 1 == 138_190


def test_the_order_is_that_of_the_seed_and_new_in_each_pass() -> None:
    table = counting_table(2000, data_settings(2, shift=10, batch=8))
    steps = table.steps_per_pass
    first, again, other = batches(table, 2 * steps), batches(table, 2 * steps), batches(table, 2 * steps, seed=2)
    order, other_order = ([start for batch in run for start in starts_of(batch)] for run in (first, other))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one[0], two[0])
    count = table.example_count
    assert order[:count] != sorted(order[:count])
    assert order[:count] != order[count : 2 * count]
    assert order[:count] != other_order[:count]
    # Neighbours in the order are no neighbours in the song: on average they lie a third of the part apart.
    assert np.mean(np.abs(np.diff(order[:count]))) == pytest.approx(2000 / 3, rel=0.15)


@pytest.mark.parametrize("order", ["shuffled", "streams"])
@pytest.mark.parametrize("first_step", [1, 3, 7, 26])
def test_a_run_that_goes_on_sees_what_an_uninterrupted_one_would(
    order: Literal["shuffled", "streams"], first_step: int
) -> None:
    table = counting_table(1200, data_settings(3, shift=30, batch=4, order=order))
    whole = batches(table, first_step + 12)
    for one, two in zip(whole[first_step:], batches(table, 12, first_step=first_step), strict=True):
        for left, right in zip(one, two, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("order", ["shuffled", "streams"])
def test_the_parts_of_several_replicas_are_together_the_batch(order: Literal["shuffled", "streams"]) -> None:
    table = counting_table(2000, data_settings(5, 20, batch=12, order=order))
    whole = batches(table, 3, first_step=4)
    for process, replica in ((0, 0), (0, 1), (1, 0), (1, 1)):
        mine = [2 * process, 2 * process + 1]
        parts = list(training_data(table, 1, 4, replicas=4, mine=mine).take(6).as_numpy_iterator())
        for step in range(3):
            first = 3 * mine[replica]
            for part, of_all in zip(parts[2 * step + replica], whole[step], strict=True):
                np.testing.assert_array_equal(part, of_all[first : first + 3])


def test_steps_far_into_a_training_cost_and_work_like_the_first() -> None:
    starts = shuffled_starts(counting_table(1200, data_settings(3, shift=1, batch=4)), seed=2**31 - 1)
    made, _ = starts(tf.constant(10**12, tf.int64))
    assert np.all((made.numpy() >= 0) & (made.numpy() <= 1200 - 64))


def test_samples_are_normalised_once_whatever_the_frames(tmp_path: Path) -> None:
    table = counting_table(1200, data_settings(3, shift=30))
    by, (plain,) = Normaliser(100.0, 50.0), batches(table, 1)
    for length, hop in ((16, None), (32, None), (16, 8)):
        made = FrameSettings(kind="waveform", frame_length=length, hop=hop)
        scaled = make_table(table.rows, Encoding(made, RATE, by), table.data, tmp_path, "song a")
        assert isinstance(scaled.rows, np.memmap)
        np.testing.assert_allclose(scaled.rows, (table.rows - 100) / 50, rtol=1e-6)
        if (length, hop) == (16, None):
            for one, other in zip(batches(scaled, 1)[0], plain, strict=True):
                np.testing.assert_allclose(one, (other - 100) / 50, rtol=1e-6)
    assert len(list(tmp_path.rglob("*.npy"))) == 1


def test_a_single_example_is_seen_in_every_place_of_every_batch() -> None:
    table = counting_table(64, data_settings(3, batch=5))
    assert table.example_count == 1
    assert starts_of(batches(table, 1)[0]) == [0] * 5


# Streams ----------------------------------------------------------------------------------------------------------


@given(sizes)
@few
def test_streams_go_on_where_they_were_and_say_when_they_start_afresh(size: dict[str, Any]) -> None:
    table = drawn_table(size, "streams")
    assume(0 < table.stream_steps <= 20)
    steps, batch = table.stream_steps, size["batch"]
    seen = batches(table, 2 * steps + 1)
    for index, (sequences, carry) in enumerate(seen):
        assert np.all(np.isfinite(sequences))
        np.testing.assert_array_equal(carry, np.full(batch, float(index % steps > 0)))
        np.testing.assert_array_equal(sequences[:, 1:], sequences[:, :-1] + table.encoding.step)
        if index % steps:  # the very frame that was to be predicted last is the first input now
            np.testing.assert_array_equal(sequences[:, 0], seen[index - 1][0][:, -1])
    # No two streams ever share a frame that either has to predict.
    for turn in range(2):
        first, last = seen[turn * steps][0][:, 0, 0], seen[turn * steps + steps - 1][0][:, -1, -1]
        assert np.all(first[1:] > last[:-1])


def test_a_pass_takes_as_many_steps_as_fit_into_a_lane() -> None:
    for samples in range(100, 700, 13):
        table = counting_table(samples, data_settings(3, batch=2, order="streams"), 16, 10)
        lane, steps = samples // 2, 0
        while (steps + 1) * 30 + 16 <= lane:  # one more sequence and its target
            steps += 1
        assert table.stream_steps == table.steps_per_pass == steps


@pytest.mark.parametrize("kind", ["waveform", "encoded"])
def test_from_pass_to_pass_streams_reach_all_of_the_part(kind: str) -> None:
    """What does not fill a sequence at the end of a lane is not the same in every pass."""
    data = data_settings(6, batch=3, order="streams")
    table = counting_table(500, data)
    if kind == "encoded":
        encoding = Encoding(FrameSettings(kind="stft", frame_length=64), RATE, PLAIN)
        table = Table(np.zeros([95, 33], np.float32), encoding, data)
    starts, seen = stream_starts(table, seed=1), np.zeros(len(table.rows), bool)
    for step in range(150 * table.stream_steps):
        for start in starts(tf.constant(step, tf.int64))[0].numpy():
            seen[start : start + table.example_rows] = True
    assert np.sum(~seen) < data.batch_size
    assert seen[-1]


# Validation -------------------------------------------------------------------------------------------------------


@given(sizes)
@few
def test_validation_is_every_example_once_in_order_and_the_same_each_time(size: dict[str, Any]) -> None:
    table = drawn_table(size)
    assume(0 < table.example_count <= 200)
    seen = list(validation_data(table).as_numpy_iterator())
    assert [start for batch in seen for start in starts_of(batch)] == naive_starts(
        len(table.rows), table.example_rows, table.shift_rows
    )
    np.testing.assert_array_equal(seen[0][0][:, 1:], seen[0][0][:, :-1] + table.encoding.step)
    for one, two in zip(seen, validation_data(table).as_numpy_iterator(), strict=True):
        np.testing.assert_array_equal(one[0], two[0])


def test_validation_of_a_long_part_is_a_few_hundred_examples_spread_over_all_of_it() -> None:
    table = counting_table(20_000, data_settings(2, shift=3, batch=100, order="streams"))
    seen = list(validation_data(table).as_numpy_iterator())
    assert all(len(batch) == 1 for batch in seen)  # no carry: each example starts at rest
    starts = [start for batch in seen for start in starts_of(batch)]
    assert len(starts) == pipeline.MOST_VALIDATION_EXAMPLES
    assert starts == sorted(set(starts))
    assert (starts[0], starts[-1]) == (0, 3 * (table.example_count - 1))
    assert max(np.diff(starts)) - min(np.diff(starts)) <= 3


# Encoded frames ---------------------------------------------------------------------------------------------------


@pytest.fixture
def song_part(small_song: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return small_song[: 4 * 16_000]


@pytest.fixture
def stft(song_part: npt.NDArray[np.float32]) -> Encoding:
    made = FrameSettings(kind="stft", frame_length=256, components=20, stack=2)
    return fit_encoding(song_part, made, 16_000, Normaliser(0, float(song_part.std())))


def test_encoded_frames_are_made_once_and_mapped(
    song_part: npt.NDArray[np.float32], stft: Encoding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_settings(5, shift=2 * 128)
    table = make_table(song_part, stft, data, tmp_path, "song a, training")
    assert isinstance(table.rows, np.memmap)
    np.testing.assert_allclose(table.rows, stft.encode(tf.constant(song_part[None]))[0], atol=1e-4)
    (file,) = tmp_path.rglob("*.npy")

    def again(*arguments: object) -> None:
        raise AssertionError("encoded a second time")

    monkeypatch.setattr(pipeline, "encoded_blocks", again)
    np.testing.assert_array_equal(make_table(song_part, stft, data, tmp_path, "song a, training").rows, table.rows)
    with pytest.raises(AssertionError, match="second time"):
        make_table(song_part, stft, data, tmp_path, "song b, training")
    assert list(tmp_path.rglob("*.npy")) == [file]  # and nothing half-made stays behind


ROWS_OF_NOISE = """
import sys
from pathlib import Path
import numpy as np
from sonicrnn.config import DataSettings, FrameSettings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import run_command
from sonicrnn.pipeline import make_table
from sonicrnn.song import Normaliser

part = np.random.default_rng(1).standard_normal(1_000_000).astype(np.float32)
encoding = Encoding(FrameSettings(kind="waveform", frame_length=40), 16_000, Normaliser(0.0, 1.0))
run_command(lambda _: make_table(part, encoding, DataSettings(), Path(sys.argv[1]), "noise"))
"""


def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    """What is mapped into memory would end the process by a signal."""
    _, left = run_on_full_disk(tmp_path, 2, ROWS_OF_NOISE)
    assert left == []


def test_another_encoding_is_another_table(song_part: npt.NDArray[np.float32], stft: Encoding, tmp_path: Path) -> None:
    data = data_settings(5)
    others = [
        fit_encoding(song_part, stft.settings, 16_000, Normaliser(0, 0.5)),
        fit_encoding(song_part[:30_000], stft.settings, 16_000, stft.normaliser),
        fit_encoding(song_part, stft.settings.model_copy(update={"components": 19}), 16_000, stft.normaliser),
    ]
    for encoding in (stft, *others):
        table = make_table(song_part, encoding, data, tmp_path, "song a")
        np.testing.assert_allclose(table.rows[7], encoding.encode(tf.constant(song_part[None]))[0, 7], atol=1e-4)
    assert len(list(tmp_path.rglob("*.npy"))) == 4


def test_examples_of_encoded_frames_are_its_rows(
    song_part: npt.NDArray[np.float32], stft: Encoding, tmp_path: Path
) -> None:
    table = make_table(song_part, stft, data_settings(5, shift=3 * 128, batch=4), tmp_path, "song a")
    assert table.example_count == len(naive_starts(len(table.rows), 6, 3))
    place = {row.tobytes(): index for index, row in enumerate(table.rows)}
    starts = []
    for (sequences,) in batches(table, table.steps_per_pass):
        for one in sequences:
            start = place[one[0].tobytes()]
            np.testing.assert_array_equal(one, table.rows[start : start + 6])
            starts.append(start)
    assert set(starts) == set(naive_starts(len(table.rows), 6, 3))


# Too short --------------------------------------------------------------------------------------------------------

ENCODINGS = {
    "waveform": FrameSettings(kind="waveform", frame_length=100, hop=60),
    "mdct": FrameSettings(kind="mdct", frame_length=128),
    "stft": FrameSettings(kind="stft", frame_length=256, stack=2),
}


@pytest.mark.parametrize("order", ["shuffled", "streams"])
@pytest.mark.parametrize("kind", list(ENCODINGS))
def test_a_part_that_is_too_short_says_how_many_seconds_are_missing(
    kind: str, order: Literal["shuffled", "streams"]
) -> None:
    encoding = Encoding(ENCODINGS[kind], RATE, PLAIN)
    data = data_settings(20, batch=3, order=order)
    lanes = 3 if order == "streams" else 1
    enough = lanes * (20 * encoding.step + encoding.span)
    check_length(data, encoding, enough, "training")
    assert table_of(encoding, data, enough).steps_per_pass > 0
    with pytest.raises(UserError) as refused:
        check_length(data, encoding, enough - 250, "training")
    told = str(refused.value)
    assert "0.25 s are missing" in told
    assert f"training part has {(enough - 250) / RATE:.2f} s" in told
    assert ("in each of 3 streams" in told) == (order == "streams")


def table_of(encoding: Encoding, data: DataSettings, samples: int) -> Table:
    shape = [samples] if encoding.settings.kind == "waveform" else [encoding.frame_count(samples), 1]
    return Table(np.zeros(shape, np.float32), encoding, data)


@given(
    st.sampled_from(list(ENCODINGS)),
    st.sampled_from(["shuffled", "streams"]),
    st.integers(1, 60),
    st.integers(1, 4),
    st.integers(1, 20_000),
)
@settings(deadline=None)
def test_what_is_let_through_has_examples_and_the_advice_helps(
    kind: str, order: Literal["shuffled", "streams"], sequence: int, batch: int, samples: int
) -> None:
    encoding = Encoding(ENCODINGS[kind], RATE, PLAIN)
    data = data_settings(sequence, batch=batch, order=order)
    try:
        check_length(data, encoding, samples, "training")
    except UserError as error:
        told = str(error)
    else:
        assert table_of(encoding, data, samples).steps_per_pass >= 1
        return
    if "sequence_length=" not in told:
        assert "Take a longer recording" in told
        with pytest.raises(UserError):
            check_length(data_settings(1, batch=batch, order=order), encoding, samples, "training")
        return
    advised = int(told.split("sequence_length=")[1].split()[0])
    check_length(data_settings(advised, batch=batch, order=order), encoding, samples, "training")
    with pytest.raises(UserError):
        check_length(data_settings(advised + 1, batch=batch, order=order), encoding, samples, "training")


def test_the_validation_part_needs_no_streams() -> None:
    encoding = Encoding(ENCODINGS["mdct"], RATE, PLAIN)
    data = data_settings(5, batch=50, order="streams")
    check_length(data, encoding, 5 * 64 + 128, "validation")
    with pytest.raises(UserError, match="validation part"):
        check_length(data, encoding, 5 * 64 + 127, "validation")


@pytest.mark.parametrize(("shift", "near"), [(100, 128), (200, 256), (1, 128), (1000, 1024)])
def test_a_shift_between_two_encoded_frames_is_refused_with_the_nearest_that_is_not(shift: int, near: int) -> None:
    encoding = Encoding(ENCODINGS["stft"], RATE, PLAIN)
    assert math.gcd(near, encoding.step) == encoding.step
    with pytest.raises(UserError, match=rf"take data\.shift={near}$"):
        check_length(data_settings(5, shift=shift), encoding, 10_000, "training")
    check_length(data_settings(5, shift=near), encoding, 10_000, "training")


def test_state_is_carried_over_as_many_frames_as_the_settings_say_and_then_forgotten() -> None:
    data = DataSettings(sequence_length=3, batch_size=2, order="streams", carry=6)
    table = counting_table(1000, data)
    carries = [batch[1].tolist() for batch in batches(table, table.stream_steps + 2)]
    passed = [[float(step % 2)] * 2 for step in range(table.stream_steps)]
    assert carries == [*passed, [0.0, 0.0], [1.0, 1.0]]  # and afresh in the next pass


@pytest.mark.parametrize(("kind", "frame_length"), [("waveform", 40), ("stft", 128)])
@pytest.mark.parametrize("samples", [800, 700, 300])
def test_a_part_that_is_short_is_validated_by_the_longest_sequences_it_has(
    kind: Literal["waveform", "stft"], frame_length: int, samples: int
) -> None:
    encoding = Encoding(FrameSettings(kind=kind, frame_length=frame_length), RATE, PLAIN)
    data = DataSettings(sequence_length=17, shift=frame_length)
    fitted = fitting(data, encoding, samples)
    check_length(fitted, encoding, samples, "validation")
    if fitted.sequence_length < 17:
        longer = fitted.model_copy(update={"sequence_length": fitted.sequence_length + 1})
        with pytest.raises(UserError, match="are missing"):
            check_length(longer, encoding, samples, "validation")
    else:
        assert fitted == data
