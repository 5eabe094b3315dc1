"""What W&B sees of a training: a row for every epoch, and with every new free run its sound and pictures.

- curves: the rows of `history.csv` (loss, validation_loss, gradient_norm, learning_rate, seconds, epoch) at their step
- throughput: steps, frames and seconds of song per second, of the training steps alone
- audio: the latest free run and its spectrogram
- pictures: a target of the validation part above its prediction, at the same scale
- config: the resolved settings
- summary: the last row, the best epoch, and after an evaluation the scores (`wandb_run.log_scores`)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import soundfile
import tensorflow as tf

from sonicrnn.callbacks import averaged_weights
from sonicrnn.checkpoint import Progress
from sonicrnn.config import Settings
from sonicrnn.drawing import save_figure
from sonicrnn.encoding import Encoding
from sonicrnn.frames import halves
from sonicrnn.graphs import graph
from sonicrnn.models import SongModel
from sonicrnn.pictures import spectrogram, target_against_prediction
from sonicrnn.run import Run
from sonicrnn.wandb_mode import Report
from sonicrnn.wandb_run import WandbRun

Values = npt.NDArray[np.floating[Any]]
Example = Callable[[], tuple[Values, Values]]  # makes a target and its prediction, of one shape


class WandbLog(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Logs to the W&B run of a run folder inside a `with` block; nothing that it does raises.

    It reads the rows of `progress.history` and nothing of the model, so any model will do.

    Args:
        run, settings, progress: the training.
        example: makes what to draw, [samples] or [time, figures] each; None: no such picture.
        report: takes the line that says where the log is, or why there is none.
    """

    def __init__(
        self,
        run: Run,
        settings: Settings,
        progress: Progress,
        example: Example | None = None,
        report: Report = print,
    ):
        super().__init__()
        self.run, self.progress = run, progress
        self.example, self.report = example, report
        self.log = WandbRun(run, settings, report)
        self.pace = StepPace()

    def __enter__(self) -> WandbLog:
        self.log.__enter__()
        if self.log.address:
            self.report(f"W&B: {self.log.address}")
        elif self.log.kept is not None:
            self.report(f"W&B offline: `wandb leet {self.log.folder}` shows the run")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.log.__exit__(kind, error, at)

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.pace.begin()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self.pace.end()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        pace = self.pace.taken()
        if (kept := self.log.kept) is not None and self.progress.history:
            step, heard = str(self.progress.history[-1]["step"]), self.progress.heard_file
            with self.log.harmless():
                if pace is not None:
                    kept.paces[step] = pace
                if heard is not None and heard not in kept.heard.values():
                    self._draw(heard)
                    kept.heard[step] = heard
            self.log.log_history(self.progress.history)

    def _draw(self, heard: str) -> None:
        """Pictures as often as there is a new free run, no more: they take a second."""
        samples, rate = soundfile.read(self.run.audio / heard, dtype="float32")
        save_figure(self.log.picture(heard, "spectrogram"), spectrogram(samples, rate, heard))
        if self.example is not None:
            figure = target_against_prediction(*self.example(), f"validation part, epoch {self.progress.epoch}")
            save_figure(self.log.picture(heard, "target_against_prediction"), figure)


def validation_example(model: SongModel, encoding: Encoding, data: tf.data.Dataset) -> Example:
    """The first sequence of `data`, and the frames that the model expects where it reads the real ones before them.

    Waveforms: the last frame, [samples]. Spectra: the log magnitudes, [spectra, bins]. Else the model's own frames.
    """
    expect = graph(lambda inputs: model.head.mean(model(inputs, training=False)))

    def readable(frames: tf.Tensor) -> Values:  # [time, dimension]
        kind = encoding.settings.kind
        if kind == "waveform":
            return np.asarray(frames[-1])
        return np.asarray(encoding.spectra_of(frames[None])[0] if kind == "stft" else frames)

    def example() -> tuple[Values, Values]:
        inputs, targets = halves(next(iter(data))[0])
        with averaged_weights(model):
            return readable(targets[0]), readable(expect(inputs[:1])[0])

    return example


class StepPace:
    """Training steps per second, without what happens between them or in the first, which builds the graph."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.first = True
        self.steps, self.seconds = 0, 0.0

    def begin(self) -> None:
        self.began = time.perf_counter()

    def end(self) -> None:
        if self.began is not None and not self.first:
            self.steps += 1
            self.seconds += time.perf_counter() - self.began
        self.first = False

    def taken(self) -> float | None:
        """Steps per second since this was last asked; None where no step was timed."""
        steps, seconds = self.steps, self.seconds
        self.steps, self.seconds = 0, 0.0
        return steps / seconds if seconds else None
