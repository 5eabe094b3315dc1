"""The training of a reviser, after that of the model: on the same part of the song, by itself.

1. A reviser that was trained with the same settings on the same song is left alone.
2. A checkpoint of one that was, and was stopped or killed, is gone on from: it ends with the very weights of one that
   was not (by `reviser.steps`; by minutes it may have had a few steps more or less).
3. Otherwise it starts over, and takes the place of another one that was there when it is done.
"""

from __future__ import annotations

import json
import math
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.chance import Chance
from sonicrnn.clock import clock
from sonicrnn.config import DataSettings, ReviserSettings, Settings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.files import write_arrays, write_json
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.frames import halves
from sonicrnn.graphs import graph
from sonicrnn.pipeline import Table, check_length, fitting, make_table, training_data
from sonicrnn.reviser import Reviser
from sonicrnn.revising import Revising
from sonicrnn.run import Run
from sonicrnn.song import Normaliser, Song, cache_folder
from sonicrnn.usual import usual_of

CHECKPOINT, FACTS = "checkpoint.npz", "reviser.json"  # the second, of one that is finished, says how it was made
AVERAGE = 0.99  # decay of the running average of the weights, which is what is kept
CLIP_NORM = 1.0
LEAST_RATE = 0.01  # of the learning rate, in the end
LINES = 5  # of progress, on the terminal


def practise(run: Run, settings: Settings, song: Song, by: Normaliser, report: Callable[[str], None]) -> None:
    """Leave a trained reviser in the run folder. Raises UserError for a song that is too short for its frames."""
    made, folder = settings.reviser, run.reviser
    facts = {"reviser": made.model_dump(mode="json", exclude={"passes", "strength"}), "seed": settings.seed}
    if _facts(folder) == facts:
        return
    folder.mkdir(parents=True, exist_ok=True)
    encoding = fit_encoding(song.part("training"), made.frames, song.sample_rate, by)
    table = _table(encoding, made, settings, song)
    learner = Learner(Reviser(encoding.dimension, made.widths, settings.seed), made, json.dumps(facts))
    begins = "goes on at" if learner.resume(folder / CHECKPOINT) else "starts at"
    report(f"the reviser {begins} step {learner.step + 1}: {learner.model.count_params():,} weights")
    learner.learn(table, settings, folder / CHECKPOINT, report)
    learner.use_average()
    (folder / FACTS).unlink(missing_ok=True)  # from here on it is no longer the old one
    Revising(learner.model, encoding, usual_of(np.asarray(table.rows[:]))).save(folder)
    write_json(folder / FACTS, facts)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def _facts(folder: Path) -> Any:
    file = folder / FACTS
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _table(encoding: Encoding, made: ReviserSettings, settings: Settings, song: Song) -> Table:
    """The training part in the reviser's frames, in sequences that overlap by three quarters."""
    part = song.part("training")
    data = fitting(DataSettings(sequence_length=made.sequence_length, batch_size=made.batch_size), encoding, len(part))
    check_length(data, encoding, len(part), "training")
    content = f"{song.content_hash} {song.parts['training']} {song.lead_in} {song.fade_out}"
    return make_table(part, encoding, data, cache_folder(settings.song), content)


@dataclass(eq=False)
class Learner:
    """A reviser in training.

    Attributes:
        facts: what it is made with, so that nothing else goes on from its checkpoint.
        step, seconds: of training so far, over all starts.
    """

    model: Reviser
    made: ReviserSettings
    facts: str
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.model.build()
        self.optimizer = keras.optimizers.Adam(self.made.learning_rate, global_clipnorm=CLIP_NORM)
        self.optimizer.build(self.model.trainable_variables)
        self.averages = [tf.Variable(variable.numpy()) for variable in self.model.trainable_variables]

    @property
    def share(self) -> float:
        """How much of the training is done, 0 to 1, by whichever limit is nearer."""
        by_steps = self.step / self.made.steps if self.made.steps else 0.0
        by_minutes = self.seconds / (60 * self.made.minutes) if self.made.minutes else 0.0
        return min(1.0, max(by_steps, by_minutes))

    def learn(self, table: Table, settings: Settings, checkpoint: Path, report: Callable[[str], None]) -> None:
        """From where it stands to the end, with a checkpoint every `train.checkpoint_seconds`."""
        told, losses, saved = self.share, [], time.monotonic()
        for (sequences,) in training_data(table, settings.seed, self.step):
            if self.share >= 1:
                break
            begin = time.monotonic()
            self.optimizer.learning_rate = self._learning_rate()
            loss = float(_train_step(self, halves(sequences)[0], tf.constant(self.step, tf.int64)))
            if not math.isfinite(loss):
                raise UserError(
                    f"the reviser's loss is no longer a number at step {self.step + 1}: try a lower "
                    f"reviser.learning_rate (now {self.made.learning_rate})"
                )
            losses.append(loss)
            self.step, self.seconds = self.step + 1, self.seconds + time.monotonic() - begin
            if self.share - told >= 1 / LINES or self.share >= 1:
                report(f"reviser  step {self.step}  loss {np.mean(losses):.3f}  {clock(self.seconds)} so far")
                told, losses = self.share, []
            if time.monotonic() - saved >= settings.train.checkpoint_seconds:
                self.save(checkpoint)
                saved = time.monotonic()

    def _learning_rate(self) -> float:
        """Half a cosine."""
        fall = 0.5 * (1 + math.cos(math.pi * self.share))
        return self.made.learning_rate * (LEAST_RATE + (1 - LEAST_RATE) * fall)

    def use_average(self) -> None:
        """Give the model the average of its weights."""
        for variable, average in zip(self.model.trainable_variables, self.averages, strict=True):
            variable.assign(average)

    def save(self, file: Path) -> None:
        """Write what `resume` goes on from."""
        told = json.dumps({"facts": self.facts, "step": self.step, "seconds": self.seconds})
        arrays = {f"{index:04d}": np.asarray(variable) for index, variable in enumerate(self._variables())}
        write_arrays(file, {"told": told, **arrays})

    def resume(self, file: Path) -> bool:
        """Go on from a checkpoint of the same settings; False where there is none that can be read."""
        try:
            with np.load(file, allow_pickle=False) as stored:
                told = json.loads(str(stored["told"]))
                values = [stored[f"{index:04d}"] for index in range(len(self._variables()))]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return False
        if told["facts"] != self.facts:
            return False
        for variable, value in zip(self._variables(), values, strict=True):
            variable.assign(value)
        self.step, self.seconds = told["step"], told["seconds"]
        return True

    def _variables(self) -> list[Any]:
        return [*self.model.trainable_variables, *self.optimizer.variables, *self.averages]


@graph
def _train_step(learner: Learner, frames: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """The loss, once the weights and their average have moved."""
    model, rows = learner.model, tf.range(tf.shape(frames, tf.int64)[0])
    with tf.GradientTape() as tape:
        loss = model.loss_of(frames, Chance(model.seed, step, rows))
    gradients = tape.gradient(loss, model.trainable_variables)
    learner.optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    done = tf.cast(step, tf.float32)
    decay = tf.minimum(AVERAGE, (2 + done) / (11 + done))  # it forgets faster at first
    for average, variable in zip(learner.averages, model.trainable_variables, strict=True):
        average.assign(decay * average + (1 - decay) * variable)
    return loss
