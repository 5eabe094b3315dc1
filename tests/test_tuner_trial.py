"""One trial in this process: the project's own training under KerasTuner, and how each way to fail is recorded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from keras_tuner.engine.trial import Trial, TrialStatus

from sonicrnn.checkpoint import load_weights
from sonicrnn.config import load_as, load_settings
from sonicrnn.errors import UserError
from sonicrnn.song import open_song
from sonicrnn.wandb_run import read_history
from tuner import trial as trial_module
from tuner.folder import SearchFolder
from tuner.oracles import make_oracle
from tuner.settings import SearchSettings
from tuner.space import load_space
from tuner.trial import SongHyperModel, SongTuner, reason

TINY = [
    "frames.parts=8",
    "frames.recall=false",
    "data.sequence_length=16",
    "data.batch_size=4",
    "model.front=[]",
    "model.widths=[12]",
    "model.head.mixtures=2",
    "train.epoch_steps=4",
    "train.learning_rate=0.003",
    "wandb.mode=disabled",
    "tuner.trials=20",
    "tuner.epochs=2",
    "tuner.algorithm=random",
]
SPACE = """
data.batch_size: [4, 8]
data.sequence_length: [16, 100000]
model.widths: {layers: [1, 2], each: [8, 12]}
"""


class Watched(SongTuner):
    """Notes what KerasTuner's own callback is told."""

    def on_epoch_end(self, trial: Trial, model: Any, epoch: int, logs: Any = None) -> None:
        self.told = [*getattr(self, "told", []), (trial.trial_id, epoch, dict(logs))]


@pytest.fixture(scope="module")
def song_file(tmp_path_factory: pytest.TempPathFactory, small_song: np.ndarray) -> Path:
    file = tmp_path_factory.mktemp("song") / "tune.wav"
    soundfile.write(file, small_song, 16_000, subtype="PCM_16")
    return file


@pytest.fixture
def tuner(tmp_path: Path, song_file: Path) -> Watched:
    return make_tuner(tmp_path, song_file)


def make_tuner(folder: Path, song_file: Path, *more: str) -> Watched:
    options = [*TINY, f"song.path={song_file}", f"tuner.folder={folder}", *more]
    settings = load_as(SearchSettings, "configs/gru.yaml", options)
    (folder / "space.yaml").write_text(SPACE)
    space = load_space(str(folder / "space.yaml"), settings.start(), comparable=True)
    search = SearchFolder(folder / "mine")
    oracle = make_oracle(settings.tuner, space, settings.seed, search.trials)
    hypermodel = SongHyperModel(search, settings, space, open_song(settings.song, lambda _: None), lambda _: None)
    return Watched(oracle, hypermodel, directory=str(search.folder), project_name="trials")


def run(tuner: Watched, **values: Any) -> Trial:
    """The next trial, with these values in place of those that were drawn."""
    trial = Trial.from_state(tuner.oracle.create_trial("worker-1").get_state())  # a worker has a copy
    trial.hyperparameters.values |= {name.replace("__", "."): value for name, value in values.items()}
    tuner.run_one(trial)
    return tuner.oracle.get_trial(trial.trial_id)


def test_a_trial_is_a_run_and_kerastuner_follows_it(tuner: Watched) -> None:
    trial = run(tuner)
    assert trial.status == TrialStatus.COMPLETED, trial.message
    folder = tuner.hypermodel.search.run(trial.trial_id)
    history = read_history(folder)
    losses = [row["validation_loss"] for row in history]
    assert trial.score == pytest.approx(min(losses), rel=1e-6)
    assert [(told[0], told[1]) for told in tuner.told] == [("00", 0), ("00", 1)]
    assert [told[2]["validation_loss"] for told in tuner.told] == pytest.approx(losses)
    assert (Path(tuner.get_trial_dir("00")) / "checkpoint.weights.h5").stat().st_size > 100  # by its own callback
    settings = folder.settings()
    assert (settings.name, settings.train.epochs, settings.train.minutes) == ("00", 2, None)
    assert settings.wandb.group == "mine"
    assert trial.metrics.get_last_value("memory_mb") > 100
    assert not folder.audio.exists()


def test_an_epoch_hears_as_much_of_the_song_whatever_the_batch(tuner: Watched) -> None:
    model = tuner.hypermodel
    values = model.space.start_values()
    for batch, steps in ((4, 4), (8, 2)):
        assert model.trial_settings({**values, "data.batch_size": batch}, "x").train.epoch_steps == steps


def test_an_impossible_trial_fails_with_its_reason_and_the_next_goes_on(tuner: Watched) -> None:
    run_id = run(tuner, data__sequence_length=100_000).trial_id
    trial = tuner.oracle.get_trial(run_id)
    assert trial.status == TrialStatus.FAILED
    assert "a sequence of 100000 frames" in trial.message
    assert "or a longer recording" in trial.message
    assert "Traceback" not in trial.message
    assert tuner.oracle.create_trial("worker-1").trial_id != run_id


def exhausted() -> None:
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]\nmore")


def no_memory() -> None:
    raise MemoryError


def diverged() -> None:
    raise UserError("the loss is no longer a number at step 3: try a lower train.learning_rate")


def wrong() -> None:
    raise KeyError("left")


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        (exhausted, "out of memory: OOM when allocating tensor with shape[9,9]"),
        (no_memory, "out of memory: MemoryError"),
        (diverged, "the loss is no longer a number at step 3: try a lower train.learning_rate"),
        (wrong, "KeyError: 'left'"),
    ],
)
def test_every_way_to_fail_has_a_reason(
    fails: Callable[[], None], expected: str, tuner: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "train", lambda *_, **__: fails())
    trial = run(tuner)
    assert (trial.status, trial.message) == (TrialStatus.FAILED, expected)


def test_a_full_disk_is_no_fault_of_a_trial(tuner: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "here")

    monkeypatch.setattr(trial_module, "train", full)
    with pytest.raises(OSError, match="No space left"):
        run(tuner)
    assert not tuner.oracle.end_order


def test_a_reason_is_never_empty() -> None:
    assert reason(ValueError()) == "ValueError: ValueError"


@pytest.mark.slow
def test_a_trial_that_goes_on_with_a_shorter_one_is_the_longer_one(tmp_path: Path, song_file: Path) -> None:
    tuner = make_tuner(tmp_path, song_file)
    short = {"tuner/epochs": 1, "tuner/initial_epoch": 0}
    first = run(tuner, **short)
    on = {"tuner/epochs": 2, "tuner/initial_epoch": 1, "tuner/trial_id": first.trial_id}
    values = {name.replace(".", "__"): value for name, value in tuner.hypermodel.space.start_values().items()}
    second = run(tuner, **values, **on)
    whole = run(tuner, **values)
    assert {trial.status for trial in (first, second, whole)} == {TrialStatus.COMPLETED}
    search = tuner.hypermodel.search
    assert [len(read_history(search.run(trial.trial_id))) for trial in (first, second, whole)] == [1, 2, 2]
    for one, other in zip(
        load_weights(search.run(second.trial_id).kept), load_weights(search.run(whole.trial_id).kept), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert second.score == whole.score


@pytest.mark.slow
def test_the_likeness_of_free_runs_is_an_objective_too(tmp_path: Path, song_file: Path) -> None:
    tuner = make_tuner(tmp_path, song_file, "tuner.objective=unlikeness", "generate.prime_seconds=1")
    trial = run(tuner)
    assert trial.status == TrialStatus.COMPLETED, trial.message
    assert trial.score == trial.metrics.get_last_value("unlikeness") > 0
    assert tuner.hypermodel.search.run(trial.trial_id).calibration.exists()


def test_the_tuner_of_the_library_accepts_what_is_made(tuner: Watched) -> None:
    assert isinstance(tuner, keras_tuner.Tuner)
    assert load_settings("configs/gru.yaml").model.widths == [384, 384]
