"""One trial: the project's own training, between KerasTuner's questions and its callbacks."""

from __future__ import annotations

import contextlib
import math
import resource
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import tensorflow as tf
from keras_tuner.engine.trial import Trial, TrialStatus

from sonicrnn.calibrate import calibrate
from sonicrnn.checkpoint import Progress, load_weights
from sonicrnn.config import Settings
from sonicrnn.devices import batch_shares, give_each_share_a_core
from sonicrnn.errors import UserError, disk_message
from sonicrnn.preparation import Prepared, prepare
from sonicrnn.run import Run, enter
from sonicrnn.song import Song
from sonicrnn.training import make_free_run, reached, train
from tuner.folder import SearchFolder
from tuner.settings import SearchSettings
from tuner.space import Space, Values

Report = Callable[[str], None]


class SongHyperModel(keras_tuner.HyperModel):
    """Hyperparameters -> a prepared run; and its training, in a run folder of its own.

    Args:
        search, settings, space: the search.
        song: that all trials learn.
    """

    def __init__(self, search: SearchFolder, settings: SearchSettings, space: Space, song: Song, report: Report):
        super().__init__()
        self.search, self.settings, self.space, self.song, self.report = search, settings, space, song, report
        self.prepared: Prepared
        self.progress: Progress

    def trial_settings(self, values: Values, trial_id: str) -> Settings:
        """Those of a trial's run. Raises UserError where the values do not go together."""
        chosen = self.space.settings(values)
        train_settings = chosen.train.model_copy(
            update={"epochs": self.settings.tuner.epochs, "minutes": None, "epoch_steps": self._epoch_steps(chosen)}
        )
        group = chosen.wandb.model_copy(update={"group": self.search.folder.name})
        return chosen.model_copy(
            update={"name": trial_id, "runs": str(self.search.runs), "train": train_settings, "wandb": group}
        )

    def _epoch_steps(self, chosen: Settings) -> int | None:
        """As many as hear as much of the song as an epoch does where the search starts, whatever a step holds."""
        start = self.space.start
        if start.train.epoch_steps is None:
            return None
        return max(1, round(start.train.epoch_steps * _heard_a_step(start) / _heard_a_step(chosen)))

    def enter(self, run: Run, values: Values, settings: Settings) -> None:
        """Make the run folder ready: as it was, as a copy of the shorter run that it goes on with, or new."""
        parent = values.get("tuner/trial_id")
        if parent is not None and not run.config.exists():
            # Where that run is on another machine, the same one is trained here again from its beginning.
            _copy_run(self.search.run(str(parent)), run)
        self.resumed = enter(run, settings, fresh=False)
        self.run, self.run_settings = run, settings

    def build(self, hp: keras_tuner.HyperParameters) -> tf.keras.Model:
        """The model of the run that was entered. Raises UserError where the song is too short for it."""
        self.prepared = prepare(self.run, self.run_settings, self.song)
        self.progress = reached(self.prepared, self.resumed)
        return self.prepared.model

    def fit(self, hp, model, *, callbacks, epochs: int | None = None, initial_epoch: int = 0) -> dict[str, float]:
        """Train up to `epochs`, with KerasTuner's callbacks; the trial's figures, its objective among them."""
        free_run = make_free_run(self.prepared) if self.settings.tuner.objective == "unlikeness" else None
        train(self.prepared, None, self.progress, self.report, until=epochs, also=callbacks)
        figures = {
            "validation_loss": float(self.progress.best_loss or math.nan),
            "epochs": float(self.progress.epoch),
            "steps": float(self.progress.step),
            "seconds": self.progress.seconds,
            "weights": float(model.count_params()),
            "memory_mb": peak_memory_mb(),
        }
        # A second objective: what is low for a better trial, measured on what `keep` says a run keeps.
        if free_run is not None:
            model.set_weights(load_weights(self.run.kept))
            calibration = calibrate(free_run, self.song, self.run_settings)
            calibration.save(self.run.calibration)
            figures["unlikeness"] = min(row["unlikeness"] for row in calibration.tried)
        return figures


class SongTuner(keras_tuner.Tuner):
    """Runs one trial at a time; the oracle may be on another machine.

    All else is KerasTuner's own: it asks the hypermodel to build and to fit, with callbacks that keep the weights of
    the best epoch beside the trial and tell the tuner of each epoch.
    """

    hypermodel: SongHyperModel

    def _populate_initial_space(self) -> None:
        """The oracle knows the space already: no model need be built to learn it."""

    def run_one(self, trial: Trial) -> None:
        """Run a trial and tell the oracle how it ended. Raises OSError on a full disk, which is no trial's fault."""
        try:
            self._run_and_update_trial(trial)
            trial.status = TrialStatus.COMPLETED
        except Exception as error:
            if isinstance(error, OSError) and disk_message(error):
                raise
            traceback.print_exc()  # into the worker's log
            trial.status, trial.message = TrialStatus.FAILED, reason(error)
        self.on_trial_end(trial)

    def run_trial(self, trial: Trial, *arguments: Any, **named: Any) -> Any:
        values = trial.hyperparameters.values
        settings = self.hypermodel.trial_settings(values, trial.trial_id)
        give_each_share_a_core(batch_shares(settings.data.batch_size))
        run = self.hypermodel.search.run(trial.trial_id)
        if "tuner/epochs" in values:
            named |= {"epochs": values["tuner/epochs"], "initial_epoch": values["tuner/initial_epoch"]}
        with run.locked():
            self.hypermodel.enter(run, values, settings)
            return super().run_trial(trial, *arguments, **named)


def reason(error: Exception) -> str:
    """Why a trial failed, in a line or two."""
    text = str(error) or type(error).__name__
    if isinstance(error, UserError):
        return text
    first = text.strip().splitlines()[0][:300]
    if isinstance(error, MemoryError | tf.errors.ResourceExhaustedError):
        return f"out of memory: {first}"
    return f"{type(error).__name__}: {first}"


def peak_memory_mb() -> float:
    """The most that this process has taken so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


def _heard_a_step(settings: Settings) -> int:
    """Samples of the song in a training step."""
    return settings.data.batch_size * settings.data.sequence_length * settings.frames.step_length


def _copy_run(parent: Run, run: Run) -> None:
    """Copy what a training goes on from, whole or not at all."""
    if not parent.checkpoint.exists():
        return
    run.folder.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        beside = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=run.folder.parent, prefix=".copy-")))
        copied = beside / run.folder.name
        shutil.copytree(parent.folder, copied, ignore=shutil.ignore_patterns("wandb", "audio"))
        copied.rename(run.folder)
