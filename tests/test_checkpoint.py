"""A checkpoint holds all that a training depends on: going on from it is, bit for bit, never having stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.checkpoint import Progress, load_checkpoint, load_weights, save_checkpoint, save_weights
from sonicrnn.config import ModelSettings
from sonicrnn.errors import UserError
from sonicrnn.models import SongModel

DIMENSION, BATCH = 4, 3
RESTLESS: dict[str, Any] = {"widths": [5, 6], "dropout": 0.3, "input_noise": 0.4, "head": {"mixtures": 2}}


def made(streams: bool = False, seed: int = 1, **settings: Any) -> SongModel:
    """A model in which every step depends on chance, averages and moments."""
    keras.utils.set_random_seed(seed)
    model = SongModel(DIMENSION, ModelSettings(**{**RESTLESS, **settings}), seed)
    model.build((None, None, DIMENSION))
    optimizer = keras.optimizers.Adam(0.01, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer)
    model.keep_average(0.9)
    if streams:
        model.carry_state(BATCH)
    return model


def train(model: SongModel, first: int, last: int) -> None:
    """The training steps `first` to `last` - 1, each with frames of its own."""
    for step in range(first, last):
        frames = np.random.default_rng(step).standard_normal((BATCH, 7, DIMENSION)).astype(np.float32)
        carry = [tf.ones([BATCH])] if model.carried else []
        model.train_step((tf.constant(frames), *carry))


def state_of(model: SongModel) -> list[npt.NDArray[Any]]:
    variables = [*model.variables, *model.optimizer.variables, *model.averages, *model.carried]
    return [np.asarray(variable) for variable in variables]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_what_goes_on_is_bit_for_bit_what_was_never_interrupted(tmp_path: Path, cell: str, streams: bool) -> None:
    whole = made(streams, cell=cell)
    train(whole, 0, 6)
    begun = made(streams, cell=cell)
    train(begun, 0, 3)
    save_checkpoint(tmp_path / "checkpoint.npz", begun, Progress(step=3))
    resumed = made(streams, seed=9, cell=cell)  # other weights, other chance: all of it is replaced
    resumed.seed = 1
    assert load_checkpoint(tmp_path / "checkpoint.npz", resumed).step == 3
    train(resumed, 3, 6)
    for one, other in zip(state_of(resumed), state_of(whole), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(resumed.optimizer.iterations) == 6


def test_progress_comes_back_as_it_was(tmp_path: Path) -> None:
    model = made()
    progress = Progress(
        step=310,
        epoch=3,
        epoch_step=10,
        seconds=123.456789012345,
        loss_sum=0.1 + 0.2,
        best_loss=None,
        heard_at=60.25,
        heard_file="epoch-0003.wav",
        history=[{"epoch": 1, "loss": 1 / 3}],
    )
    save_checkpoint(tmp_path / "checkpoint.npz", model, progress)
    assert asdict(load_checkpoint(tmp_path / "checkpoint.npz", model)) == asdict(progress)


def test_a_finished_run_of_an_older_version_still_is_one(tmp_path: Path) -> None:
    """Which variables it was trained with matters no more."""
    file = tmp_path / "checkpoint.npz"
    np.savez(file, progress=np.array(json.dumps({"step": 7, "finished": True})), **{"0000": np.zeros(2)})
    assert load_checkpoint(file, made()) == Progress(step=7, finished=True)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "checkpoint.npz"
    model = made()
    save_checkpoint(file, model, Progress(step=1))

    def full(*arguments: Any, **named: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(file, model, Progress(step=2))
    assert load_checkpoint(file, model).step == 1
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "other",
    [
        lambda: made(widths=[5, 7]),
        lambda: made(widths=[5]),
        lambda: made(widths=[5, 6, 7]),
        lambda: made(cell="lstm"),
        lambda: made(dropout=0.3, streams=True),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(
    tmp_path: Path, other: Callable[[], SongModel]
) -> None:
    save_checkpoint(tmp_path / "checkpoint.npz", made(), Progress())
    model = other()
    before = state_of(model)
    with pytest.raises(UserError, match=r"cannot be resumed.*--fresh"):
        load_checkpoint(tmp_path / "checkpoint.npz", model)
    for one, kept in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(one, kept)


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(file.read_bytes()[:-40]),
        lambda file: file.write_bytes(file.read_bytes()[:1000]),
        lambda file: file.write_text("no archive"),
        lambda file: np.savez(file, a=np.zeros(3)),
        lambda file: np.savez(file, progress=np.array("{")),
    ],
)
def test_a_spoiled_checkpoint_is_a_users_error(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    model, file = made(), tmp_path / "checkpoint.npz"
    save_checkpoint(file, model, Progress())
    spoil(file)
    with pytest.raises(UserError, match=r"cannot be resumed.*--fresh"):
        load_checkpoint(file, model)


def test_weights_come_back_in_their_order(tmp_path: Path) -> None:
    weights = [np.full([index % 3 + 1], index, np.float32) for index in range(120)]
    save_weights(tmp_path / "best.npz", weights)
    loaded = load_weights(tmp_path / "best.npz")
    assert len(loaded) == 120
    for one, other in zip(loaded, weights, strict=True):
        np.testing.assert_array_equal(one, other)
