"""One training, from settings to a run folder with a model in it.

`fit` reads top-down: song, preparation, callbacks, `keras.Model.fit`, the finishing touches. The rules for
going on with an earlier run stand in `run.enter`; what a checkpoint holds, in `checkpoint`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from sonicrnn.calibrate import calibrate
from sonicrnn.calibration import Calibration
from sonicrnn.callbacks import Checkpoints, Curves, Judge, Line, Listening, Pace, Together
from sonicrnn.checkpoint import Progress, every_variable, load_checkpoint, load_weights, save_checkpoint
from sonicrnn.cluster import ALONE, Cluster
from sonicrnn.config import Settings, parse_settings
from sonicrnn.devices import batch_shares, be_quiet, give_each_share_a_core
from sonicrnn.errors import UserError
from sonicrnn.files import written_beside
from sonicrnn.free_run import FreeRun
from sonicrnn.generator import Generator
from sonicrnn.master import make_master
from sonicrnn.mirror import mirror_of
from sonicrnn.pieces import keep_primes
from sonicrnn.pipeline import training_data, validation_data
from sonicrnn.practice import practise
from sonicrnn.preparation import Prepared, prepare
from sonicrnn.recall import make_recall
from sonicrnn.remote import is_remote
from sonicrnn.run import Run, enter, run_name, trains_otherwise
from sonicrnn.selection import free_run_score
from sonicrnn.song import Song, open_song
from sonicrnn.strategy import Spread, make_spread, watched
from sonicrnn.wandb_log import WandbLog, validation_example

Report = Callable[[str], None]


def fit(
    settings: Settings,
    config_stem: str = "run",
    fresh: bool = False,
    report: Report = print,
    cluster: Cluster = ALONE,
    then: Callable[[Run], None] = lambda run: None,
) -> Run | None:
    """Train, or go on training, and leave a run folder with the best model.

    Args:
        then: what else is to be in the folder of a finished run.

    Returns:
        the run; None in a process that is not the chief of several, when the chief is done.

    Raises UserError for what a user can mend, ProcessLost when another process of the training is gone.
    """
    be_quiet()
    count = len(cluster.addresses)
    give_each_share_a_core(batch_shares(settings.data.batch_size // count))
    if count > 1:
        report(f"process {cluster.index} of {count} waits for the others; the chief is {cluster.addresses[0]}")
    with watched(cluster):
        spread = make_spread(settings.train.strategy, settings.data.batch_size, cluster)
        song = open_song(settings.song, report)
        name = run_name(settings, config_stem, song.name)
        mirror = mirror_of(f"{settings.runs.rstrip('/')}/{name}") if is_remote(settings.runs) else None
        run = Run(mirror.folder if mirror else Path(settings.runs) / name)
        with contextlib.ExitStack() as stack:

            def begin() -> bool:
                stack.enter_context(run.locked())
                if mirror is None:
                    return enter(run, settings, fresh)
                if fresh:
                    mirror.set_aside()
                else:
                    mirror.pull()
                resumed = enter(run, settings, fresh)
                stack.enter_context(mirror.kept_up(report))
                return resumed

            _fit(settings, song, run, spread, spread.told(begin), report)
            spread.told(lambda: then(run))
    return run if spread.is_chief else None


def _fit(settings: Settings, song: Song, run: Run, spread: Spread, resumed: bool, report: Report) -> None:
    _check_alike(spread, settings, song)
    prepared = prepare(run, settings, song, spread)
    progress = reached(prepared, resumed)
    if progress.finished:
        left = "to train but a reviser" if settings.reviser.wanted else "to train"
        report(f"{run.folder} is finished: nothing is left {left} (--fresh starts over and keeps this one)")
    else:
        free_run = make_free_run(prepared) if spread.is_chief else None
        train(prepared, free_run, progress, report)
        spread.told(lambda: finish(prepared, free_run, progress, report))
    if settings.reviser.wanted:
        spread.told(lambda: practise(run, settings, song, prepared.encoding.normaliser, report))


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
    settings, model, spread = prepared.settings, prepared.model, prepared.spread
    pace = Pace(settings.train, progress, steps_per_epoch(prepared), spread)
    with contextlib.ExitStack() as stack:
        callbacks: list[keras.callbacks.Callback] = [pace]
        if spread.is_chief:
            callbacks += _chiefs_callbacks(prepared, free_run, progress, pace, report, stack)
        callbacks += [*also, Together(progress, spread)]
        report(_announcement(prepared, progress, pace))
        most = min(until or 10**9, settings.train.epochs or 10**9)
        while pace.share < 1 and progress.epoch < most and not progress.out_of_patience:
            # The epoch that a killed run left unfinished is finished first: Keras wants all epochs of one `fit` equally
            # long.
            last = progress.epoch + 1 if progress.epoch_step else most
            model.fit(
                spread.batches(partial(training_data, prepared.training, settings.seed, progress.step)),
                initial_epoch=progress.epoch,
                epochs=last,
                steps_per_epoch=pace.epoch_steps - progress.epoch_step,
                callbacks=callbacks,
                shuffle=False,  # the pipeline has its own order
                verbose=0,
            )


def _chiefs_callbacks(
    prepared: Prepared,
    free_run: FreeRun | None,
    progress: Progress,
    pace: Pace,
    report: Report,
    stack: contextlib.ExitStack,
) -> list[keras.callbacks.Callback]:
    """What one process does for all; the W&B run is that of the `stack`."""
    settings, model, run = prepared.settings, prepared.model, prepared.run
    validation, score = validation_data(prepared.validation), None
    if settings.train.score_epochs:
        score = free_run_score(free_run or make_free_run(prepared), prepared.song, settings)
    callbacks = [Judge(run, settings.train, progress, validation, score), Curves(run, progress)]
    if free_run is not None:
        listen = _short_free_run(prepared, free_run)
        callbacks.append(Listening(run, settings.train, progress, listen, prepared.encoding.sample_rate))
    example = validation_example(model, prepared.encoding, validation)
    wandb_log = stack.enter_context(WandbLog(run, settings, progress, example, report))
    return [*callbacks, Line(report, pace, progress), Checkpoints(run, settings.train, progress), wandb_log]


def finish(prepared: Prepared, free_run: FreeRun | None, progress: Progress, report: Report) -> None:
    """Write the model that is kept, find its temperature, and mark the run as finished."""
    model, run, free_run = prepared.model, prepared.run, free_run or make_free_run(prepared)
    model.set_weights(load_weights(run.kept))
    with written_beside(run.model) as beside:
        model.save(beside)
    keep_primes(run, prepared.song, prepared.settings)
    sought = "the temperature, and how passages best follow one another" if free_run.recall else "the temperature"
    report(f"{_best(prepared, progress)}; looking for {sought}")
    if free_run.recall:
        free_run.recall.save(run.recall)
        if prepared.settings.frames.master:
            _keep_master(prepared, report)
    calibrate(free_run, prepared.song, prepared.settings).save(run.calibration)
    progress.finished = True
    save_checkpoint(run.checkpoint, model, progress)


def _keep_master(prepared: Prepared, report: Report) -> None:
    try:
        master = make_master(prepared.song, prepared.encoding)
    except UserError as error:
        report(f"pieces will be mono, at {prepared.encoding.sample_rate} Hz: {error}")
        return
    if master is not None:
        master.save(prepared.run.master)
        channels = "stereo" if master.channels == 2 else "mono"
        report(f"pieces are played from the recording itself: {channels}, {master.sample_rate} Hz")


def steps_per_epoch(prepared: Prepared) -> int:
    """One pass over the training part, or `train.epoch_steps` where a pass is longer."""
    one_pass, most = prepared.training.steps_per_pass, prepared.settings.train.epoch_steps
    return min(one_pass, most) if most else one_pass


def _announcement(prepared: Prepared, progress: Progress, pace: Pace) -> str:
    table, model = prepared.training, prepared.model
    variants = f" of {len(table.variants)} variants" if table.others else ""
    begins = f"goes on at epoch {progress.epoch + 1}, step {progress.step + 1}" if progress.step else "starts"
    return (
        f"{prepared.run.folder} {begins}: {model.count_params():,} weights, {table.example_count:,} training "
        f"examples{variants}, {pace.epoch_steps} steps an epoch"
    )


def _best(prepared: Prepared, progress: Progress) -> str:
    if prepared.settings.train.keep == "free_run":
        return f"best free run {progress.best_free_run:.2f} after epoch {progress.best_epoch}"
    found = f"lowest validation loss {progress.best_loss:.3f} after epoch {progress.best_epoch}"
    return f"{found}, the last weights are kept" if prepared.settings.train.keep == "last" else found


def _short_free_run(prepared: Prepared, free_run: FreeRun) -> Callable[[float], np.ndarray]:
    """Seconds -> a free run of that length after the start of the validation part."""
    made, rate = prepared.settings.generate, prepared.encoding.sample_rate
    prime = prepared.song.part("validation")[: round(made.prime_seconds * rate)]
    generator = Generator(free_run, Calibration(1.0 if made.temperature == "auto" else made.temperature))

    def listen(seconds: float) -> np.ndarray:
        return generator.generate(prime[None], seconds, seeds=[prepared.settings.seed])[0]

    return listen


def reached(prepared: Prepared, resumed: bool) -> Progress:
    """Where an earlier start of the run left off, its variables put back in all processes; else the beginning."""
    checkpoint, spread = prepared.run.checkpoint, prepared.spread

    def load() -> dict[str, Any]:
        found = load_checkpoint(checkpoint, prepared.model) if resumed and checkpoint.exists() else Progress()
        return asdict(found)

    progress = Progress(**spread.told(load))
    spread.share(every_variable(prepared.model))
    return progress


def _check_alike(spread: Spread, settings: Settings, song: Song) -> None:
    """Raises UserError in all processes where one of them would train something else than the chief."""
    chiefs = spread.told(lambda: {"settings": settings.model_dump(mode="json"), "content_hash": song.content_hash})
    others = trains_otherwise(parse_settings(chiefs["settings"], "the chief's settings"), settings)
    wrong = [line for line in others if not line.startswith("song.path:")]
    if song.content_hash != chiefs["content_hash"]:
        wrong.append("the song is other audio")
    if spread.anywhere(bool(wrong)):
        here = "\n  ".join(["this process would train something else than the chief:", *wrong])
        raise UserError(here if wrong else "another process has other settings or another song: its message says which")
