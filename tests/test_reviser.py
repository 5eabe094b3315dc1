"""The reviser: what it learns, what a pass over a piece does, a gap that is filled, and how a run comes by one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import tensorflow as tf

from sonicrnn import generate, practice
from sonicrnn.chance import Chance
from sonicrnn.config import DataSettings, FrameSettings, ReviserSettings, Settings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.generator import load_generator
from sonicrnn.pipeline import Table
from sonicrnn.practice import Learner, practise
from sonicrnn.reviser import QUARTER, Reviser, angles
from sonicrnn.revising import Revising, joined
from sonicrnn.run import Run
from sonicrnn.song import Normaliser, Song, open_song
from sonicrnn.usual import usual_of
from tests.small_runs import QUICK, RATE, make_run

Samples = npt.NDArray[np.float32]

DIMENSION, PERIOD = 6, 9
PLAIN = Encoding(FrameSettings(kind="stft", frame_length=1024), RATE, Normaliser(0.0, 1.0))
TINY_REVISER: dict[str, Any] = {
    "steps": 6,
    "widths": [8],
    "frames": {"kind": "stft", "frame_length": 512, "parts": 6, "phase_steps": 4},
    "sequence_length": 16,
    "batch_size": 2,
}


def periodic(time: int, seed: int = 0) -> Samples:
    """[time, DIMENSION] of unit variance: a wave whose place the first frame draws, and a breath of noise."""
    random = np.random.default_rng(seed)
    place = 2 * np.pi * (np.arange(time)[:, None] / PERIOD + np.arange(DIMENSION) / 7 + random.random())
    return np.asarray(np.sqrt(2) * np.sin(place) + 0.05 * random.standard_normal((time, DIMENSION)), np.float32)


@pytest.fixture(scope="module")
def trained() -> Revising:
    """A reviser of periodic frames."""
    made = ReviserSettings(steps=200, widths=[24], sequence_length=32, learning_rate=0.01)
    table = Table(periodic(600), PLAIN, DataSettings(sequence_length=32, batch_size=8))
    learner = Learner(Reviser(DIMENSION, made.widths, 1), made, "")
    learner.learn(table, Settings(), Path("nowhere"), lambda line: None)
    learner.use_average()
    return Revising(learner.model, PLAIN, usual_of(periodic(600)))


def test_missing_frames_are_told_from_both_sides(trained: Revising) -> None:
    rows, gap = periodic(60, seed=5), slice(27, 35)
    angle = np.zeros([60, 1], np.float32)
    angle[gap] = QUARTER
    spoiled = rows.copy()
    spoiled[gap] = 99.0  # what is missing does not matter
    made = trained.denoised(spoiled, angle, np.zeros_like(rows))
    np.testing.assert_allclose(np.delete(made, np.r_[gap], 0), np.delete(rows, np.r_[gap], 0), atol=1e-5)
    assert np.mean(np.square(made[gap] - rows[gap])) < 0.15  # the mean of all frames is wrong by 1


def test_draws_have_the_spread_of_the_song_and_noise_is_taken_away(trained: Revising) -> None:
    rows, noise = periodic(100, seed=6), np.random.default_rng(1).standard_normal([100, DIMENSION]).astype(np.float32)
    drawn = trained.denoised(rows, np.full([100, 1], QUARTER, np.float32), noise)
    assert 0.7 < drawn.std() < 1.3  # nothing is known, and yet it is no mean
    angle = np.full([100, 1], 0.5 * QUARTER, np.float32)
    made = trained.denoised(rows, angle, noise)
    assert np.mean(np.square(made - rows)) < 0.3  # the noise alone is as strong as the frames


def test_a_training_has_doubts_of_all_kinds() -> None:
    draw = tf.function(lambda: angles(tf.constant(64), Chance(1, tf.constant(3), tf.range(400, dtype=tf.int64))))
    drawn = draw().numpy()[..., 0]
    assert drawn.shape == (400, 64)
    assert drawn.min() == 0.0
    assert drawn.max() == pytest.approx(QUARTER)
    evenly = np.ptp(drawn, 1) < 1e-6
    missing = (drawn.max(1) > QUARTER - 1e-6) & (drawn.min(1) == 0)
    assert 0.35 < evenly.mean() < 0.75
    assert 0.05 < missing.mean() < 0.3


class Answers:
    """In place of a network: what it says at each place of a window."""

    def __init__(self, rising: bool):
        self.rising = rising

    def turned(self, rows: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
        place = tf.range(tf.shape(rows)[1], dtype=tf.float32)[None, :, None] if self.rising else 1.0
        return place + tf.zeros_like(rows)


@pytest.mark.parametrize("time", [1, 2, 15, 16, 250, 251, 700])
def test_windows_reach_everywhere_and_leave_no_seam(time: int) -> None:
    rows, angle = np.zeros([time, 2], np.float32), np.zeros([time, 1], np.float32)
    even = Revising(Answers(rising=False), PLAIN, usual_of(periodic(100)))  # type: ignore[arg-type]
    np.testing.assert_allclose(even.turned(rows, angle), 1.0, atol=1e-6)
    rising = Revising(Answers(rising=True), PLAIN, usual_of(periodic(100)))  # type: ignore[arg-type]
    assert np.abs(np.diff(rising.turned(rows, angle), axis=0)).max(initial=0) < 4.1  # half a window would be 125


def test_what_is_joined_has_no_step_and_stays_what_was_known() -> None:
    like, made = np.zeros(100, np.float32), np.full(100, 0.5, np.float32)
    known = np.ones(100, bool)
    known[40:70] = False
    mixed = joined(made, like, known, 10)
    assert np.array_equal(mixed[known], like[known])
    assert np.abs(np.diff(mixed)).max() < 0.06
    np.testing.assert_allclose(mixed[52:58], 0.5)
    short = np.ones(100, bool)
    short[50:53] = False
    assert np.isfinite(joined(made, like, short, 10)).all()


def test_what_is_usual_stays_and_what_is_not_is_brought_near() -> None:
    random = np.random.default_rng(2)
    song = random.standard_normal([4000, 3]).astype(np.float32)
    usual = usual_of(song)
    stretch = song[500:1000]
    np.testing.assert_allclose(usual.balanced(stretch), stretch, atol=0.2)
    faint = usual.balanced(0.3 * stretch - 2.0)
    assert np.abs(faint.mean(0)).max() < 0.1
    np.testing.assert_allclose(faint.std(0), 1.0, atol=0.15)
    assert np.isfinite(usual.balanced(np.zeros([5, 3], np.float32))).all()


# A run that has one -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Song:
    file = tmp_path_factory.mktemp("song") / "tune.wav"
    soundfile.write(file, small_song, RATE, subtype="PCM_16")
    folder = str(tmp_path_factory.mktemp("cache"))
    return open_song(Settings.model_validate({"song": {"path": str(file), "cache": folder}}).song, lambda line: None)


@pytest.fixture(scope="module")
def revised_run(tmp_path_factory: pytest.TempPathFactory, song: Song, small_song: Samples) -> Run:
    run = make_run(tmp_path_factory.mktemp("runs") / "my", small_song, {**QUICK, "reviser": TINY_REVISER})
    return with_reviser(run, song, tmp_path_factory.mktemp("cache"))


def with_reviser(run: Run, song: Song, cache: Path, **more: Any) -> Run:
    tree = {"reviser": {**TINY_REVISER, **more}, "train": {"checkpoint_seconds": 0}, "song": {"cache": str(cache)}}
    practise(run, Settings.model_validate(tree), song, Normaliser(0.01, float(song.samples.std())), lambda line: None)
    return run


def weights(run: Run) -> list[Samples]:
    return [np.asarray(value) for value in Revising.load(run.reviser).model.get_weights()]


@pytest.mark.slow
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    revised_run: Run, song: Song, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, step = Run(tmp_path / "other"), practice._train_step

    def stopped(learner: Learner, frames: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        if int(number) == 4:
            raise KeyboardInterrupt
        return step(learner, frames, number)

    monkeypatch.setattr(practice, "_train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        with_reviser(run, song, tmp_path)
    assert not run.has_reviser
    monkeypatch.setattr(practice, "_train_step", step)
    with_reviser(run, song, tmp_path)
    assert run.has_reviser
    assert all(np.array_equal(one, other) for one, other in zip(weights(revised_run), weights(run), strict=True))
    assert {file.name for file in run.reviser.iterdir()} == {file.name for file in revised_run.reviser.iterdir()}


@pytest.mark.slow
def test_it_is_trained_once_and_anew_for_other_settings(revised_run: Run, song: Song, tmp_path: Path) -> None:
    run = with_reviser(Run(tmp_path / "again"), song, tmp_path)
    made = (run.reviser / "reviser.keras").stat().st_mtime_ns
    with_reviser(run, song, tmp_path, passes=7)  # says nothing of its training
    assert (run.reviser / "reviser.keras").stat().st_mtime_ns == made
    with_reviser(run, song, tmp_path, steps=3)
    assert not all(np.array_equal(one, other) for one, other in zip(weights(revised_run), weights(run), strict=True))


def test_pieces_are_revised_as_often_as_is_asked(revised_run: Run) -> None:
    generator = load_generator(revised_run.folder)
    primes = generator.primes("validation", [3])
    plain, none, once, own = (
        generator.generate(primes, 1.3, seeds=[3], revise=passes)[0] for passes in (0, 0, 1, None)
    )
    assert generator.revising is not None
    assert plain.shape == once.shape == own.shape == (round(1.3 * RATE),)
    assert np.array_equal(plain, none)
    assert np.array_equal(generator.revising.revise(plain, 0), plain)
    assert not np.array_equal(once, plain)
    assert np.array_equal(own, generator.revising.revise(plain, 2, 3))  # two are the setting's default
    assert not np.array_equal(own, generator.revising.revise(plain, 2, 4))
    assert np.abs(own).max() < 1.0
    assert own.std() > 0.01


@pytest.fixture
def recording(tmp_path: Path, small_song: Samples) -> Path:
    file = tmp_path / "take.wav"
    soundfile.write(file, 0.25 * small_song[: 8 * RATE], RATE, subtype="PCM_16")
    return file


def test_a_gap_is_filled_and_nothing_else_is_changed(revised_run: Run, recording: Path, tmp_path: Path) -> None:
    options = ["--fill", str(recording), "--from", "3.0", "--to", "4.5", "--seed", "2"]
    generate.main([str(revised_run.folder), *options, "--out", str(tmp_path / "a")])
    generate.main([str(revised_run.folder), *options, "--out", str(tmp_path / "b")])
    (file,), (again,) = sorted((tmp_path / "a").iterdir()), sorted((tmp_path / "b").iterdir())
    assert file.read_bytes() == again.read_bytes()
    before, after = (soundfile.read(one, dtype="int16")[0] for one in (recording, file))
    gap = slice(3 * RATE, round(4.5 * RATE))
    assert len(after) == len(before)
    assert np.array_equal(np.delete(after, np.r_[gap]), np.delete(before, np.r_[gap]))
    inside, around = after[gap].astype(float), before.astype(float)
    assert not np.array_equal(after[gap], before[gap])
    assert abs(20 * np.log10(inside.std() / around.std())) < 8  # though the recording is 12 dB under the song
    steps = np.abs(np.diff(after.astype(float)))
    borders = np.r_[gap.start - 2 : gap.start + 2, gap.stop - 2 : gap.stop + 2]
    assert steps[borders].max() <= 1.5 * np.abs(np.diff(around)).max()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--from", "3"], "--fill needs --from and --to"),
        (["--from", "3", "--to", "2"], "--from 3 must be 0 or more, and less than --to 2"),
        (["--from", "-1", "--to", "2"], "--from -1 must be 0 or more"),
        (["--from", "7", "--to", "9"], "which has 8.00 s"),
        (["--from", "1", "--to", "1.001"], "too short"),
        (["--from", "0", "--to", "8"], "there must be 0.03 s of recording"),
        (["--from", "1", "--to", "2", "--seconds", "5"], "--seconds: not with --fill"),
    ],
)
def test_a_gap_that_cannot_be_filled_is_told_why(
    options: list[str], told: str, revised_run: Run, recording: Path
) -> None:
    with pytest.raises(UserError, match=told):
        generate.main([str(revised_run.folder), "--fill", str(recording), *options])


def test_a_long_gap_and_a_run_without_a_reviser_say_what_to_do(
    revised_run: Run, recording: Path, tmp_path: Path, small_song: Samples
) -> None:
    long = tmp_path / "long.wav"
    soundfile.write(long, small_song, RATE)
    with pytest.raises(UserError, match="use --continue"):
        generate.main([str(revised_run.folder), "--fill", str(long), "--from", "2", "--to", "15"])
    plain = make_run(tmp_path / "plain", small_song, QUICK)
    with pytest.raises(UserError, match=r"reviser\.minutes=3"):
        generate.main([str(plain.folder), "--fill", str(recording), "--from", "1", "--to", "2"])
    with pytest.raises(UserError, match=r"reviser\.minutes=3"):
        generate.main([str(plain.folder), "--seconds", "1", "--revise", "2"])
    with pytest.raises(UserError, match="--from and --to are for --fill"):
        generate.main([str(plain.folder), "--from", "2"])
