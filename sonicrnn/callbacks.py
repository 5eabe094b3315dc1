"""What happens in a training besides the steps: limits, validation, curves, audio, checkpoints, a line on the terminal.

Keras calls them in the order in which `training.train` lists them. All share one `Progress`, which a checkpoint keeps.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.audio import write_audio
from sonicrnn.checkpoint import Progress, save_checkpoint, save_weights
from sonicrnn.clock import clock
from sonicrnn.config import TrainSettings
from sonicrnn.drawing import save_figure
from sonicrnn.errors import UserError
from sonicrnn.files import write_text
from sonicrnn.gan import in_words
from sonicrnn.models import SongModel
from sonicrnn.pictures import learning_curves
from sonicrnn.run import Run
from sonicrnn.selection import is_better
from sonicrnn.strategy import Spread


@contextlib.contextmanager
def averaged_weights(model: SongModel) -> Iterator[None]:
    """Inside the block the model has the running average of its weights, where the settings ask for one."""
    if not model.averages:
        yield
        return
    current = [variable.numpy() for variable in model.trainable_variables]
    for variable, average in zip(model.trainable_variables, model.averages, strict=True):
        variable.assign(average)
    try:
        yield
    finally:
        for variable, value in zip(model.trainable_variables, current, strict=True):
            variable.assign(value)


class Pace(keras.callbacks.Callback):
    """Counts steps and seconds, sets the learning rate, and stops at the limits or at a loss that is no number."""

    def __init__(self, settings: TrainSettings, progress: Progress, epoch_steps: int, spread: Spread):
        super().__init__()
        self.settings, self.progress, self.epoch_steps = settings, progress, epoch_steps
        self.spread = spread
        self.loss = math.nan

    @property
    def share(self) -> float:
        """How much of the training is done, 0 to 1, by whichever limit is nearer; 0 where there is none."""
        made, progress = self.settings, self.progress
        by_epochs = progress.step / (made.epochs * self.epoch_steps) if made.epochs else 0.0
        by_minutes = progress.seconds / (60 * made.minutes) if made.minutes else 0.0
        return min(1.0, max(by_epochs, by_minutes))

    @property
    def seconds_left(self) -> float | None:
        """An estimate; None where there is no limit or no step yet."""
        share = self.share
        return self.progress.seconds * (1 - share) / share if share else None

    def learning_rate(self) -> float:
        """Linear warm-up, then constant or a half cosine down to a hundredth."""
        made = self.settings
        warm = min(1.0, (self.progress.step + 1) / (made.warmup_steps + 1))
        fall = 1.0 if made.schedule == "constant" else 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * self.share))
        return made.learning_rate * warm * fall

    def on_train_begin(self, logs=None):
        self.clock = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        self.model.learn_at(self.learning_rate())

    def on_train_batch_end(self, batch, logs=None):
        progress = self.progress
        self.loss = float(logs["loss"])
        if not math.isfinite(self.loss):
            raise UserError(
                f"the loss is no longer a number at step {progress.step + 1}: try a lower train.learning_rate "
                f"(now {self.settings.learning_rate}) or a smaller train.clip_norm, with --fresh; "
                "the run keeps its last checkpoint"
            )
        progress.step += 1
        progress.epoch_step += 1
        progress.loss_sum += self.loss
        for name in logs.keys() - {"loss", "gradient_norm"}:
            progress.sums[name] = progress.sums.get(name, 0.0) + float(logs[name])
        self.tick()
        if self.share >= 1:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.tick()

    def tick(self) -> None:
        """Add the time since the last look to the training's time: the chief's clock is that of all."""
        now = time.monotonic()
        self.progress.seconds = float(self.spread.from_chief(np.array(self.progress.seconds + now - self.clock)))
        self.clock = now


class Judge(keras.callbacks.Callback):
    """Ends an epoch: validation with the averaged weights, a row of history, the best model, patience.

    Later callbacks find the validation loss among the epoch's logs. `score` tells how like the song a free run is; None
    where none is scored.
    """

    def __init__(
        self,
        run: Run,
        settings: TrainSettings,
        progress: Progress,
        data: tf.data.Dataset,
        score: Callable[[], float] | None = None,
    ):
        super().__init__()
        self.run, self.settings, self.progress, self.data = run, settings, progress, data
        self.score = score

    def on_epoch_end(self, epoch, logs=None):
        progress, model, keep = self.progress, self.model, self.settings.keep
        with averaged_weights(model):
            loss, free_run = validation_loss(model, self.data), self._free_run(epoch)
            better = self._is_best(loss, free_run)
            if better:
                progress.best_epoch = epoch + 1
            if better or keep == "last":
                save_weights(self.run.kept, model.get_weights())
        scored = {"free_run": free_run} if self.score else {}
        others = {name: progress.sums[name] / progress.epoch_step for name in sorted(progress.sums)}
        progress.history.append(
            {
                "epoch": epoch + 1,
                "step": progress.step,
                "seconds": round(progress.seconds, 1),
                "loss": progress.loss_sum / progress.epoch_step,
                "validation_loss": loss,
                **scored,
                **others,
                "gradient_norm": float(logs["gradient_norm"]),
                "learning_rate": float(tf.convert_to_tensor(model.optimizer.learning_rate)),
            }
        )
        logs["validation_loss"] = loss
        progress.end_epoch(epoch + 1)
        if self.settings.patience and progress.epoch - progress.best_epoch >= self.settings.patience:
            model.stop_training = True
            progress.out_of_patience = True

    def _free_run(self, epoch: int) -> float:
        """Its score, after the first epoch and every so many after it; nan after the others."""
        if self.score is None or epoch % (self.settings.score_epochs or 1):
            return math.nan
        return self.score()

    def _is_best(self, loss: float, free_run: float) -> bool:
        """Whether this epoch is the best so far, by what is kept; remembers the best of both figures."""
        progress = self.progress
        lower = progress.best_loss is None or loss < progress.best_loss
        higher = is_better(free_run, progress.best_free_run)
        if lower:
            progress.best_loss = loss
        if higher:
            progress.best_free_run = free_run
        return higher if self.settings.keep == "free_run" else lower


def validation_loss(model: SongModel, data: tf.data.Dataset) -> float:
    """The mean over all examples, each counted once."""
    total, count = 0.0, 0
    for (sequences,) in data:
        total += float(model.example_loss(sequences)) * len(sequences)
        count += len(sequences)
    return total / count


class Together(keras.callbacks.Callback):
    """The last at an epoch's end: all processes go on, or stop, as the chief does."""

    def __init__(self, progress: Progress, spread: Spread):
        super().__init__()
        self.progress, self.spread = progress, spread

    def on_epoch_end(self, epoch, logs=None):
        progress, model = self.progress, self.model
        stop, patience = self.spread.from_chief(np.array([model.stop_training, progress.out_of_patience], np.int64))
        model.stop_training, progress.out_of_patience = bool(stop), bool(patience)
        progress.end_epoch(epoch + 1)


class Curves(keras.callbacks.Callback):
    """`history.csv` and `curves.png`, anew after each epoch."""

    def __init__(self, run: Run, progress: Progress):
        super().__init__()
        self.run, self.progress = run, progress

    def on_epoch_end(self, epoch, logs=None):
        rows = self.progress.history
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.run.history, text.getvalue())
        save_figure(self.run.curves, learning_curves({name: [row[name] for row in rows] for name in rows[0]}))


class Listening(keras.callbacks.Callback):
    """A short free run every few minutes, the first after the first epoch: `audio/epoch-0001.wav`."""

    def __init__(
        self,
        run: Run,
        settings: TrainSettings,
        progress: Progress,
        free_run: Callable[[float], np.ndarray],
        sample_rate: int,
    ):
        super().__init__()
        self.run, self.settings, self.progress = run, settings, progress
        self.free_run, self.sample_rate = free_run, sample_rate

    def on_epoch_end(self, epoch, logs=None):
        progress = self.progress
        if progress.heard_at is not None and progress.seconds - progress.heard_at < 60 * self.settings.audio_minutes:
            return
        progress.heard_at = progress.seconds
        with averaged_weights(self.model):
            piece = self.free_run(self.settings.audio_seconds)
        progress.heard_file = f"epoch-{epoch + 1:04d}.wav"
        write_audio(self.run.audio / progress.heard_file, piece, self.sample_rate)


class Checkpoints(keras.callbacks.Callback):
    """A checkpoint every `checkpoint_seconds`, also in the middle of an epoch, and after each epoch that is longer."""

    def __init__(self, run: Run, settings: TrainSettings, progress: Progress):
        super().__init__()
        self.run, self.settings, self.progress = run, settings, progress
        self.saved = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        # An epoch that is about to end saves itself, with its validation.
        if self.params["steps"] != batch + 1 and not self.model.stop_training:
            self._save_when_due()

    def on_epoch_end(self, epoch, logs=None):
        self._save_when_due()

    def on_train_end(self, logs=None):
        save_checkpoint(self.run.checkpoint, self.model, self.progress)

    def _save_when_due(self) -> None:
        if time.monotonic() - self.saved >= self.settings.checkpoint_seconds:
            save_checkpoint(self.run.checkpoint, self.model, self.progress)
            self.saved = time.monotonic()


class Line(keras.callbacks.Callback):
    """One line on the terminal, rewritten as the training goes; one line an epoch where nobody watches."""

    def __init__(self, report: Callable[[str], None], pace: Pace, progress: Progress):
        super().__init__()
        self.report, self.pace, self.progress = report, pace, progress
        self.live = sys.stdout.isatty()

    def on_train_batch_end(self, batch, logs=None):
        if self.live:
            place = f"epoch {self.progress.epoch + 1}  step {self.progress.epoch_step}/{self.pace.epoch_steps}"
            sys.stdout.write(f"\r\x1b[2K{place}  loss {self.pace.loss:.3f}  {self._left()}")
            sys.stdout.flush()

    def on_epoch_end(self, epoch, logs=None):
        row = self.progress.history[-1]
        best = "  best so far" if self.progress.best_epoch == epoch + 1 else ""
        if self.live:
            sys.stdout.write("\r\x1b[2K")
        self.report(
            f"epoch {epoch + 1}  step {self.progress.step}  "
            f"loss {row['loss']:.3f}  validation {row['validation_loss']:.3f}  {self._free_run(row)}"
            f"{clock(self.progress.seconds)} so far, {self._left()}{best}"
        )
        if told := in_words(row):
            self.report(f"  {told}")

    @staticmethod
    def _free_run(row: Mapping[str, float]) -> str:
        score = row.get("free_run", math.nan)
        return "" if math.isnan(score) else f"free run {score:.2f}  "

    def _left(self) -> str:
        left = self.pace.seconds_left
        return "no limit: stop with Ctrl-C" if left is None else f"{clock(left)} to go"
