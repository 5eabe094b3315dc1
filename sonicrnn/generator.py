"""A trained model, ready to generate: loaded from its run folder, given a prime, asked for seconds of audio."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.calibration import Calibration
from sonicrnn.config import Settings
from sonicrnn.devices import be_quiet
from sonicrnn.encoding import Encoding
from sonicrnn.engine import Samples
from sonicrnn.errors import UserError
from sonicrnn.free_run import FreeRun
from sonicrnn.gan import DenoisingGan
from sonicrnn.live import LiveEngine
from sonicrnn.master import Master, through
from sonicrnn.models import SongModel
from sonicrnn.pieces import Pieces, RunPieces, calibration_of
from sonicrnn.recall import Recall
from sonicrnn.revising import Revising
from sonicrnn.run import Run
from sonicrnn.sounding import limited
from sonicrnn.stream import Stream

NO_REVISER = (
    "the run has no reviser: give the command that trained it once more, with reviser.minutes=3 "
    "(the model stays as it is)"
)


def load_generator(folder: str | Path) -> RunGenerator:
    """The generator of a run folder. Raises UserError when the folder holds no trained run."""
    be_quiet()
    run = Run(Path(folder))
    settings = run.trained()
    try:
        model = keras.saving.load_model(run.model, compile=False, safe_mode=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{run.model} cannot be read ({error}); train the run again with --fresh") from None
    assert isinstance(model, SongModel | DenoisingGan)  # either is known to Keras once it is imported
    calibration = calibration_of(run, settings)
    recall = Recall.load(run.recall) if settings.frames.recall else None
    if recall:
        recall.bars.repeats.assign(calibration.repeats)
        recall.longer.assign(calibration.longer)
        recall.passages = recall.passages.fading(calibration.fade)
    free_run = FreeRun(model, Encoding.load(run.folder), calibration.spectral(), recall)
    free_run.persistence.assign(calibration.persistence)
    master = Master.load(run.master).fading(calibration.fade) if run.master.is_file() else None
    return RunGenerator(free_run, calibration, master, run=run, settings=settings)


@dataclass(frozen=True, eq=False)
class Generator(Pieces):
    """A trained model, ready to run free; with a master, as wide and as bright as the recording, too."""

    free_run: FreeRun
    calibration: Calibration
    master: Master | None = None

    @property
    def encoding(self) -> Encoding:
        return self.free_run.encoding

    @cached_property
    def graphs(self) -> Stream:
        """What it runs."""
        return Stream(self.free_run, self.calibration.gain, self.calibration.level)

    @cached_property
    def engine(self) -> LiveEngine:
        return LiveEngine(self.graphs)

    @property
    def cuts(self) -> Sequence[Samples]:
        return self.free_run.recall.passages.cuts() if self.free_run.recall else ()

    @property
    def revising(self) -> Revising | None:
        """The run's reviser; None where there is none."""
        return None

    def reviser(self) -> Callable[[Samples, int, int], Samples]:
        if self.revising is None:
            raise UserError(NO_REVISER)
        return self.revising.revise

    def reconstruct(self, samples: np.ndarray) -> np.ndarray:
        """[samples] through the frames and back, without the edges: the best that this kind of frame can do."""
        edge, offset = self.encoding.overlap, self.encoding.normaliser.offset
        whole = self.free_run.reconstruct(tf.constant(samples[None], tf.float32))[0]
        return limited(whole[edge : len(whole) - edge] - offset).numpy()

    def reconstruct_master(self, samples: np.ndarray) -> np.ndarray:
        """[samples] through the frames and back, as the recording sounds: [samples, channels] at the master's rate."""
        assert self.master, "made by a training with frames.master"
        assert self.free_run.recall
        units = self.free_run.recall.told(self.free_run.encode(tf.constant(samples[None], tf.float32)))
        return through(self.master, units[0].numpy())


@dataclass(frozen=True, eq=False)
class RunGenerator(RunPieces, Generator):
    """The generator of a run folder, with the song that it learned at hand."""

    run: Run = field(kw_only=True)
    settings: Settings = field(kw_only=True)

    @cached_property
    def revising(self) -> Revising | None:
        if not self.run.has_reviser:
            return None
        return Revising.load(self.run.reviser, self.settings.reviser.strength)
