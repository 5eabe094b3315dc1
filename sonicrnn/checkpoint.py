"""All that a training needs to go on, in one file that is whole or not there."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sonicrnn.errors import UserError
from sonicrnn.files import write_arrays
from sonicrnn.gan import DenoisingGan
from sonicrnn.models import SongModel


@dataclass
class Progress:
    """Where a training stands.

    Attributes:
        step: training steps done in all.
        epoch, epoch_step: epochs done, and steps done of the one under way.
        seconds: of training so far, over all starts of the run.
        loss_sum: of the steps of the epoch under way.
        sums: of other figures of its steps, by name.
        best_loss, best_free_run: the lowest validation loss, the highest score of a free run; None before the first.
        best_epoch: after which the run was best, by what `train.keep` goes by; they count from 1, 0 before the first.
        out_of_patience: it has not become better for long enough.
        heard_at, heard_file: when, in seconds of training, and where the last free run to listen to was written.
        finished: nothing is left to train.
        history: a row for every finished epoch.
    """

    step: int = 0
    epoch: int = 0
    epoch_step: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    sums: dict[str, float] = field(default_factory=dict)
    best_loss: float | None = None
    best_free_run: float | None = None
    best_epoch: int = 0
    out_of_patience: bool = False
    heard_at: float | None = None
    heard_file: str | None = None
    finished: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    def end_epoch(self, epoch: int) -> None:
        """So many epochs are done; of the next one, nothing."""
        self.epoch, self.epoch_step, self.loss_sum, self.sums = epoch, 0, 0.0, {}


def save_checkpoint(file: Path, model: SongModel, progress: Progress) -> None:
    """Write every variable (weights, optimizer, averages, random seeds, metrics, carried state) and the progress."""
    arrays = {f"{index:04d}": np.asarray(variable) for index, variable in enumerate(every_variable(model))}
    write_arrays(file, {"progress": json.dumps(asdict(progress)), **arrays})


def load_checkpoint(file: Path, model: SongModel) -> Progress:
    """Put everything back as it was; of a finished run only the progress, nothing being left to train.

    Raises UserError when the file does not belong to this model.
    """
    variables = every_variable(model)
    try:
        with np.load(file, allow_pickle=False) as stored:
            progress = json.loads(str(stored["progress"]))
            if progress["finished"]:
                return Progress(**progress)
            values = [stored[f"{index:04d}"] for index in range(len(variables))]
            if len(stored.files) != len(variables) + 1:
                raise ValueError("it holds other variables")
        for variable, value in zip(variables, values, strict=True):
            if tuple(variable.shape) != value.shape:
                raise ValueError(f"{variable.name} has shape {tuple(variable.shape)} now and {value.shape} there")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"the checkpoint {file} cannot be resumed: {error}; start over with --fresh") from None
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return Progress(**progress)


def save_weights(file: Path, weights: list[np.ndarray]) -> None:
    """Write a model's weights, in its own order."""
    write_arrays(file, {f"{index:04d}": value for index, value in enumerate(weights)})


def load_weights(file: Path) -> list[np.ndarray]:
    """Read what `save_weights` wrote."""
    with np.load(file, allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]


def every_variable(model: SongModel) -> list[Any]:
    """Every variable that a later step depends on, in an order that the settings alone decide."""
    theirs = model.adversary.variables if isinstance(model, DenoisingGan) and model.adversary else []
    return [*model.variables, *model.optimizer.variables, *model.averages, *model.carried, *theirs]
