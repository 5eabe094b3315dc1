"""One training, from settings to a run folder with a model in it.

`fit` reads top-down: song, encoding, tables, model, callbacks, `keras.Model.fit`, the finishing touches. The rules for
going on with an earlier run stand in `run.enter`; what a checkpoint holds, in `checkpoint`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from sonicrnn.calibration import calibrate
from sonicrnn.callbacks import Checkpoints, Curves, Judge, Line, Listening, Pace
from sonicrnn.checkpoint import Progress, load_checkpoint, load_weights, save_checkpoint
from sonicrnn.config import Settings
from sonicrnn.devices import batch_shares, be_quiet, give_each_share_a_core
from sonicrnn.encoding import Encoding, fit_encoding
from sonicrnn.errors import UserError
from sonicrnn.files import write_json, written_beside
from sonicrnn.free_run import FreeRun
from sonicrnn.generator import Calibration, Generator, keep_primes
from sonicrnn.models import SongModel
from sonicrnn.pipeline import Table, check_length, make_table, training_data, validation_data
from sonicrnn.recall import make_recall
from sonicrnn.run import Run, enter, run_name
from sonicrnn.selection import free_run_score
from sonicrnn.song import Normaliser, Song, cache_folder, normaliser, open_song, part_statistics
from sonicrnn.wandb_log import WandbLog, validation_example

Report = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that a training is made of."""

    run: Run
    settings: Settings
    song: Song
    encoding: Encoding
    training: Table
    validation: Table
    model: SongModel


def fit(settings: Settings, config_stem: str = "run", fresh: bool = False, report: Report = print) -> Run:
    """Train, or go on training, and leave a run folder with the best model.

    Raises UserError for what a user can mend.
    """
    be_quiet()
    give_each_share_a_core(batch_shares(settings.data.batch_size))
    song = open_song(settings.song, report)
    run = Run(Path(settings.runs) / run_name(settings, config_stem, song.name))
    with run.locked():
        resumed = enter(run, settings, fresh)
        prepared = prepare(run, settings, song)
        progress = reached(prepared, resumed)
        if progress.finished:
            report(f"{run.folder} is finished: nothing is left to train (--fresh starts over and keeps this one)")
        else:
            free_run = make_free_run(prepared)
            train(prepared, free_run, progress, report)
            finish(prepared, free_run, progress, report)
    return run


def prepare(run: Run, settings: Settings, song: Song) -> Prepared:
    """Everything up to the first step. Raises UserError when the song is another one, or too short."""
    keras.utils.set_random_seed(settings.seed)
    _same_song(run, song)
    figures = part_statistics(song)
    encoding = _encoding(run, settings, song, normaliser(figures, settings.song.normalise, "training"))
    cache = cache_folder(settings.song)
    tables = {}
    for part in ("training", "validation"):
        samples = song.part(part)
        own = replace(encoding, normaliser=normaliser(figures, settings.song.normalise, part))
        check_length(settings.data, own, len(samples), part)
        content = f"{song.content_hash} {song.parts[part]} {song.lead_in} {song.fade_out}"
        tables[part] = make_table(samples, own, settings.data, cache, content)
    model = make_model(settings, encoding)
    model.shares = batch_shares(settings.data.batch_size)
    if settings.data.order == "streams":
        model.carry_state(settings.data.batch_size)
    return Prepared(run, settings, song, encoding, tables["training"], tables["validation"], model)


def make_model(settings: Settings, encoding: Encoding) -> SongModel:
    """The model with its optimizer, its weights drawn; where it has an echo, that says what is told linearly."""
    made = settings.train
    model = SongModel(encoding.dimension, settings.model, settings.seed)
    model.build((None, None, encoding.dimension))
    if settings.model.echo and encoding.transition is not None:
        model.begin_with(encoding.transition)
    optimizer = keras.optimizers.Adam(made.learning_rate, global_clipnorm=made.clip_norm)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False)
    if made.average:
        model.keep_average(made.average)
    return model


def make_free_run(prepared: Prepared) -> FreeRun:
    """That of the model as it stands, and goes on being trained."""
    recall = None
    if prepared.settings.frames.recall:
        recall = make_recall(prepared.training.rows, prepared.song.part("training"), prepared.encoding)
    return FreeRun(prepared.model, prepared.encoding, recall=recall)


def train(
    prepared: Prepared,
    free_run: FreeRun | None,
    progress: Progress,
    report: Report,
    until: int | None = None,
    also: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Run `keras.Model.fit` from where `progress` stands to the end that the settings name.

    Args:
        free_run: makes the short pieces to listen to; None: none are made but those that are scored.
        until: leave off after so many epochs; a later call goes on as if it had not. None: only the settings' limits.
        also: callbacks that come after the training's own; an epoch's logs hold its `validation_loss`.
    """
    settings, model, run = prepared.settings, prepared.model, prepared.run
    validation = validation_data(prepared.validation)
    pace = Pace(settings.train, progress, steps_per_epoch(prepared))
    wandb_log = WandbLog(run, settings, progress, validation_example(model, prepared.encoding, validation), report)
    score = None
    if settings.train.score_epochs:
        score = free_run_score(free_run or make_free_run(prepared), prepared.song, settings)
    callbacks = [pace, Judge(run, settings.train, progress, validation, score), Curves(run, progress)]
    if free_run is not None:
        listen = _short_free_run(prepared, free_run)
        callbacks.append(Listening(run, settings.train, progress, listen, prepared.encoding.sample_rate))
    callbacks += [Line(report, pace, progress), Checkpoints(run, settings.train, progress), wandb_log, *also]
    report(_announcement(prepared, progress, pace))
    most = min(until or 10**9, settings.train.epochs or 10**9)
    with wandb_log:
        while pace.share < 1 and progress.epoch < most and not progress.out_of_patience:
            # The epoch that a killed run left unfinished is finished first: Keras wants all epochs of one `fit` equally
            # long.
            last = progress.epoch + 1 if progress.epoch_step else most
            model.fit(
                training_data(prepared.training, settings.seed, progress.step),
                initial_epoch=progress.epoch,
                epochs=last,
                steps_per_epoch=pace.epoch_steps - progress.epoch_step,
                callbacks=callbacks,
                shuffle=False,  # the pipeline has its own order
                verbose=0,
            )


def finish(prepared: Prepared, free_run: FreeRun, progress: Progress, report: Report) -> None:
    """Write the model that is kept, find its temperature, and mark the run as finished."""
    model, run = prepared.model, prepared.run
    model.set_weights(load_weights(run.kept))
    with written_beside(run.model) as beside:
        model.save(beside)
    keep_primes(run, prepared.song, prepared.settings)
    report(f"{_best(prepared, progress)}; looking for the temperature and the level")
    if free_run.recall:
        free_run.recall.save(run.recall)
    calibrate(free_run, prepared.song, prepared.settings).save(run.calibration)
    progress.finished = True
    save_checkpoint(run.checkpoint, model, progress)


def steps_per_epoch(prepared: Prepared) -> int:
    """One pass over the training part, or `train.epoch_steps` where a pass is longer."""
    one_pass, most = prepared.training.steps_per_pass, prepared.settings.train.epoch_steps
    return min(one_pass, most) if most else one_pass


def _announcement(prepared: Prepared, progress: Progress, pace: Pace) -> str:
    table, model = prepared.training, prepared.model
    begins = f"goes on at epoch {progress.epoch + 1}, step {progress.step + 1}" if progress.step else "starts"
    return (
        f"{prepared.run.folder} {begins}: {model.count_params():,} weights, {table.example_count:,} training examples, "
        f"{pace.epoch_steps} steps an epoch"
    )


def _best(prepared: Prepared, progress: Progress) -> str:
    if prepared.settings.train.keep == "free_run":
        return f"best free run {progress.best_free_run:.2f} after epoch {progress.best_epoch}"
    return f"lowest validation loss {progress.best_loss:.3f} after epoch {progress.best_epoch}"


def _short_free_run(prepared: Prepared, free_run: FreeRun) -> Callable[[float], np.ndarray]:
    """Seconds -> a free run of that length after the start of the validation part."""
    made, rate = prepared.settings.generate, prepared.encoding.sample_rate
    prime = prepared.song.part("validation")[: round(made.prime_seconds * rate)]
    generator = Generator(free_run, Calibration(1.0 if made.temperature == "auto" else made.temperature))

    def listen(seconds: float) -> np.ndarray:
        return generator.generate(prime[None], seconds, seeds=[prepared.settings.seed])[0]

    return listen


def reached(prepared: Prepared, resumed: bool) -> Progress:
    """Where an earlier start of the run left off; the beginning where there is nothing to go on from."""
    checkpoint = prepared.run.checkpoint
    return load_checkpoint(checkpoint, prepared.model) if resumed and checkpoint.exists() else Progress()


def _same_song(run: Run, song: Song) -> None:
    """Raises UserError when the folder was started on other audio; else remembers this one."""
    facts = {
        "name": song.name,
        "content_hash": song.content_hash,
        "sample_rate": song.sample_rate,
        "seconds": len(song.samples) / song.sample_rate,
        "files": [str(file.path) for file in song.files],
    }
    if run.song.exists():
        before = json.loads(run.song.read_text(encoding="utf-8"))
        if before["content_hash"] != song.content_hash:
            raise UserError(
                f"{run.folder} was started on other audio ({before['name']}, {before['seconds']:.0f} s) than that of "
                f"{song.name} ({facts['seconds']:.0f} s): choose another name=, or --fresh to start over"
            )
    write_json(run.song, facts)


def _encoding(run: Run, settings: Settings, song: Song, by: Normaliser) -> Encoding:
    """That of the run where it has one, else fitted to the training part and kept in the run."""
    if (run.folder / "statistics.json").exists():
        return Encoding.load(run.folder)
    encoding = fit_encoding(song.part("training"), settings.frames, song.sample_rate, by)
    encoding.save(run.folder)
    return encoding
