"""The training part at other speeds and levels: what is in the rows, which examples there are, and what stays as it is.

Many parts here are 0, 1, 2, …, and the next variant 10 000, 10 001, …: so a sample says where it stood.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sonicrnn import pipeline, variants
from sonicrnn.checkpoint import every_variable
from sonicrnn.config import DataSettings, FrameSettings, parse_settings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.pipeline import Table, make_table, shuffled_starts, training_data, validation_data
from sonicrnn.preparation import Prepared, prepare
from sonicrnn.run import Run, enter
from sonicrnn.song import Normaliser, open_song
from sonicrnn.training import make_free_run, reached, train
from sonicrnn.variants import AS_IT_IS, Variant, other_variants, varied, varied_blocks, varied_length

RATE, APART = 16_000, 10_000
WAVEFORM = FrameSettings(kind="waveform", frame_length=16)
few = settings(deadline=None, max_examples=15)

Samples = npt.NDArray[np.float32]


def noise(samples: int) -> Samples:
    return (0.2 * np.random.default_rng(3).standard_normal(samples)).astype(np.float32)


def tone(hertz: float, seconds: float = 3.0) -> Samples:
    return (0.2 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def made(part: Samples, variant: Variant) -> Samples:
    return np.concatenate(list(varied_blocks(part, variant)))


# The samples ------------------------------------------------------------------------------------------------------


def test_every_speed_is_had_at_every_gain_but_for_the_song_as_it_is() -> None:
    found = other_variants([0.97, 1.0, 1.03], [0.0, -4.0])
    assert found == [Variant(0.97, 0), Variant(0.97, -4), Variant(1, -4), Variant(1.03, 0), Variant(1.03, -4)]
    assert other_variants([1.0], [0.0]) == []
    assert len({variant.name for variant in found}) == 5


@given(st.integers(1, 5000), st.floats(0.5, 2))
@settings(deadline=None, max_examples=50)
def test_a_variant_is_as_long_as_its_speed_says(samples: int, speed: float) -> None:
    variant = Variant(speed)
    assert float(variant.ratio) == pytest.approx(speed, abs=5.1e-5)
    assert abs(varied_length(samples, variant) - samples / speed) <= 0.5 + 1e-4 * samples / speed
    assert len(made(noise(samples), variant)) == varied_length(samples, variant)


@pytest.mark.parametrize("speed", [0.5, 0.97, 1.03, 2 ** (1 / 12), 2.0])
def test_a_tone_is_higher_and_shorter_by_the_speed_and_as_loud(speed: float) -> None:
    got = made(tone(500.0), Variant(speed))
    wanted = 0.2 * np.sin(2 * np.pi * 500.0 * float(Variant(speed).ratio) * np.arange(len(got)) / RATE)
    assert np.abs(got - wanted)[500:-500].max() < 1e-4


def test_a_gain_is_in_decibels_and_does_not_clip() -> None:
    part = 4 * noise(1000)
    np.testing.assert_allclose(made(part, Variant(gain=20)), 10 * part, rtol=1e-6)
    np.testing.assert_allclose(made(part, Variant(gain=-6)), 0.501187 * part, rtol=1e-5)


@pytest.mark.parametrize("variant", [Variant(0.97), Variant(1.03, -4), Variant(1, 4)])
def test_blocks_leave_no_seam(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(noise(10_000), variant)
    monkeypatch.setattr(variants, "_BLOCK", 777)
    assert len(list(varied_blocks(noise(10_000), variant))) == 14
    np.testing.assert_array_equal(made(noise(10_000), variant), whole)


def test_a_variant_is_mapped_from_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    np.save(tmp_path / "part.npy", noise(5000))
    part = np.load(tmp_path / "part.npy", mmap_mode="r")  # as songs are
    with varied(part, Variant(0.97), tmp_path / "cache") as samples:
        assert isinstance(samples, np.memmap)
        np.testing.assert_array_equal(samples, made(noise(5000), Variant(0.97)))
    assert list((tmp_path / "cache").iterdir()) == []
    with varied(part, AS_IT_IS, tmp_path / "none") as samples:
        assert samples is part
    assert not (tmp_path / "none").exists()


# The examples -----------------------------------------------------------------------------------------------------


def counting_table(lengths: Sequence[int], data: DataSettings, frame_length: int = 16) -> Table:
    """Waveform frames of variants that count on from 0, 10 000, 20 000, …"""
    rows = [APART * index + np.arange(length, dtype=np.float32) for index, length in enumerate(lengths)]
    by = FrameSettings(kind="waveform", frame_length=frame_length)
    return Table(rows[0], Encoding(by, RATE, Normaliser(0, 1)), data, tuple(rows[1:]))


def batches(table: Table, steps: int, first_step: int = 0) -> list[tuple[npt.NDArray[Any], ...]]:
    return list(training_data(table, 1, first_step).take(steps).as_numpy_iterator())


@given(
    st.lists(st.integers(100, 700), min_size=1, max_size=5),
    st.integers(16, 40),
    st.integers(1, 4),
    st.integers(5, 200),
    st.integers(1, 9),
)
@few
def test_every_example_of_every_variant_is_seen_once_a_pass_and_none_crosses_a_border(
    lengths: list[int], frame_length: int, sequence: int, shift: int, batch: int
) -> None:
    table = counting_table(lengths, DataSettings(sequence_length=sequence, shift=shift, batch_size=batch), frame_length)
    example = (sequence + 1) * frame_length
    expected = [
        APART * index + start
        for index, length in enumerate(lengths)
        for start in range(0, length, shift)
        if start + example <= length
    ]
    assert table.example_count == len(expected)
    assume(expected)
    assume(table.steps_per_pass <= 40)
    seen = batches(table, 2 * table.steps_per_pass)
    for (sequences,) in seen:
        places = sequences[:, :1, :1] + frame_length * np.arange(sequence + 1)[:, None] + np.arange(frame_length)
        np.testing.assert_array_equal(sequences, places)
    order = [int(start) for (sequences,) in seen for start in sequences[:, 0, 0]]
    for turn in range(2):
        assert sorted(order[turn * len(expected) : (turn + 1) * len(expected)]) == expected


def test_encoded_frames_are_of_one_variant_each() -> None:
    lengths = (30, 29, 41)
    rows = [APART * index + np.arange(length, dtype=np.float32)[:, None] for index, length in enumerate(lengths)]
    encoding = Encoding(FrameSettings(kind="stft", frame_length=64), RATE, Normaliser(0, 1))
    table = Table(rows[0], encoding, DataSettings(sequence_length=8, batch_size=4), tuple(rows[1:]))
    seen = batches(table, table.steps_per_pass)
    for (sequences,) in seen:
        np.testing.assert_array_equal(sequences, sequences[:, :1] + np.arange(9)[:, None])
    starts = {int(sequence[0, 0]) for (batch,) in seen for sequence in batch}
    counted = [range(0, length - 8, 2) for length in lengths]
    assert starts == {APART * index + start for index, some in enumerate(counted) for start in some}


def test_examples_of_all_variants_are_mixed_and_go_on_where_a_run_was() -> None:
    table = counting_table([2000, 1900, 2100], DataSettings(sequence_length=2, shift=10, batch_size=8))
    whole = batches(table, 30)
    assert all(len({int(start) // APART for start in sequences[:, 0, 0]}) > 1 for (sequences,) in whole)
    for one, two in zip(whole[7:], batches(table, 23, first_step=7), strict=True):
        np.testing.assert_array_equal(one[0], two[0])
    halves = training_data(table, 1, 7, replicas=2, mine=(0, 1)).take(2).as_numpy_iterator()
    np.testing.assert_array_equal(np.concatenate([one for (one,) in halves]), whole[7][0])


def test_validation_is_of_the_song_as_it_is() -> None:
    table = counting_table([2000, 1900], DataSettings(sequence_length=2, shift=10, batch_size=8))
    plain = counting_table([2000], table.data)
    pairs = zip(validation_data(table).as_numpy_iterator(), validation_data(plain).as_numpy_iterator(), strict=True)
    for one, two in pairs:
        np.testing.assert_array_equal(one[0], two[0])


# The rows ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoding() -> Encoding:
    """Of every bin by itself, 4 Hz apart."""
    part = tone(1000.0) + 0.01 * noise(3 * RATE)
    return fit_encoding(part, FrameSettings(kind="stft", frame_length=4096), RATE, Normaliser(0, float(part.std())))


def table_of(cache: Path, encoding: Encoding, *others: Variant) -> Table:
    part = tone(1000.0) + 0.01 * noise(3 * RATE)
    return make_table(part, encoding, DataSettings(sequence_length=5), cache, "song a", others)


def test_a_tone_is_heard_three_percent_higher_in_the_rows_at_that_speed(tmp_path: Path, encoding: Encoding) -> None:
    table = table_of(tmp_path, encoding, Variant(1.03))
    plain, faster = (encoding.colour(tf.constant(rows)).numpy().mean(0).argmax() for rows in table.variants)
    assert plain == 256
    assert faster == 264  # 1030 Hz are 263.7 bins
    assert len(table.others[0]) < len(table.rows)


def test_a_gain_moves_the_log_magnitudes_of_a_tone(tmp_path: Path, encoding: Encoding) -> None:
    table = table_of(tmp_path, encoding, Variant(gain=6.0))
    plain, louder = (encoding.colour(tf.constant(rows)).numpy() for rows in table.variants)
    np.testing.assert_allclose((louder - plain)[:, 255:258], 6.0 * np.log(10) / 20, atol=0.001)


def test_rows_of_each_variant_are_made_once_by_themselves_and_mapped(
    tmp_path: Path, encoding: Encoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = table_of(tmp_path / "one", encoding)
    (own,) = (tmp_path / "one" / "frames").iterdir()
    table = table_of(tmp_path / "one", encoding, Variant(0.97), Variant(0.97, -4))
    assert own in (files := set((tmp_path / "one" / "frames").iterdir()))
    assert len(files) == 3
    assert all(isinstance(rows, np.memmap) for rows in table.variants)
    np.testing.assert_array_equal(table.rows, plain.rows)
    again = table_of(tmp_path / "two", encoding, Variant(0.97, -4), Variant(0.97))
    assert {file.name for file in files} == {file.name for file in (tmp_path / "two" / "frames").iterdir()}
    for one, two in zip(table.others, again.others[::-1], strict=True):
        np.testing.assert_array_equal(one, two)

    def anew(*arguments: object) -> None:
        raise AssertionError("made a second time")

    monkeypatch.setattr(pipeline, "varied", anew)
    table_of(tmp_path / "one", encoding, Variant(0.97), Variant(0.97, -4))
    with pytest.raises(AssertionError, match="second time"):
        table_of(tmp_path / "one", encoding, Variant(0.97), Variant(0.97, -3))


# Without variants -------------------------------------------------------------------------------------------------


def test_without_variants_rows_have_the_name_and_examples_the_order_that_they_always_had(tmp_path: Path) -> None:
    """Runs that were begun before there were variants go on with the examples that they would have seen."""
    data = DataSettings(sequence_length=3, shift=30, batch_size=4)
    part, by = np.arange(1200, dtype=np.float32), Normaliser(100.0, 50.0)
    table = make_table(part, Encoding(WAVEFORM, 1000, by), data, tmp_path, "song a")
    assert [file.name for file in tmp_path.rglob("*.npy")] == ["a5f76d6a8cf80736fdbc8cae69b64349.npy"]
    starts = shuffled_starts(table, seed=1)
    assert starts(tf.constant(0, tf.int64))[0].numpy().tolist() == [450, 870, 60, 630]
    assert starts(tf.constant(9, tf.int64))[0].numpy().tolist() == [30, 660, 480, 420]  # and into the next pass
    assert starts(tf.constant(12_345, tf.int64))[0].numpy().tolist() == [480, 450, 30, 840]


# A training -------------------------------------------------------------------------------------------------------

TINY: dict[str, Any] = {
    "frames": {"kind": "stft", "frame_length": 512, "hop": 256, "parts": 8, "recall": True, "phase_steps": 4},
    "data": {"sequence_length": 12, "batch_size": 4},
    "model": {"widths": [12], "echo": True, "head": {"kind": "mixture", "mixtures": 2}},
    "train": {"epochs": 2, "epoch_steps": 4},
    "wandb": {"mode": "disabled"},
}
VARIED = {**TINY["data"], "speeds": [1.0, 0.97, 1.03], "gains": [0, -4]}


def begun(folder: Path, song: Path, data: dict[str, Any]) -> tuple[Prepared, bool]:
    """A training that is about to start, and whether it goes on with an earlier one."""
    made = parse_settings({**TINY, "song": {"path": str(song)}, "data": data}, "test")
    run = Run(folder)
    resumed = enter(run, made, fresh=False)
    return prepare(run, made, open_song(made.song, lambda line: None)), resumed


def trained(folder: Path, song: Path, until: int | None = None) -> tuple[list[npt.NDArray[Any]], list[str]]:
    """The variables at the end, and what was said."""
    prepared, resumed = begun(folder, song, VARIED)
    said: list[str] = []
    train(prepared, None, reached(prepared, resumed), said.append, until)
    return [np.asarray(variable) for variable in every_variable(prepared.model)], said


@pytest.mark.slow
def test_a_training_with_variants_goes_on_as_if_it_had_not_been_stopped(tmp_path: Path, small_song_file: Path) -> None:
    whole, said = trained(tmp_path / "whole", small_song_file)
    assert "training examples of 6 variants" in said[0]
    trained(tmp_path / "stopped", small_song_file, until=1)
    resumed, said = trained(tmp_path / "stopped", small_song_file)
    assert "goes on at epoch 2" in said[0]
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(one, other)


def test_only_what_is_trained_on_has_variants(tmp_path: Path, small_song_file: Path) -> None:
    (plain, _), (varied_, _) = (
        begun(tmp_path / name, small_song_file, data) for name, data in (("plain", TINY["data"]), ("varied", VARIED))
    )
    assert len(varied_.training.others) == 5
    assert varied_.training.example_counts[0] == plain.training.example_count
    assert plain.training.others == plain.validation.others == varied_.validation.others == ()
    np.testing.assert_array_equal(varied_.validation.rows, plain.validation.rows)
    for name in ("statistics.json", "projection.npz"):
        assert (tmp_path / "varied" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    for prepared in (plain, varied_):
        recall = make_free_run(prepared).recall
        assert recall is not None
        recall.save(prepared.run.recall)
    with np.load(plain.run.recall) as one, np.load(varied_.run.recall) as other:
        assert set(one.files) == set(other.files)
        for name in one.files:
            np.testing.assert_array_equal(one[name], other[name])


def test_a_part_that_is_too_short_when_it_is_sped_up_is_told(tmp_path: Path, small_song_file: Path) -> None:
    data = {"sequence_length": 600, "batch_size": 4}  # 9.6 s of 16
    begun(tmp_path / "plain", small_song_file, data)
    with pytest.raises(UserError, match=r"the sped-up training part has 8\.00 s"):
        begun(tmp_path / "varied", small_song_file, {**data, "speeds": [1.0, 2.0]})
