"""KerasTuner's oracles, kept so that a search can be killed at any time: every trial is accounted for.

They differ from the library's own in this:

1. The first trial is where the search starts, so that its best is never worse.
2. Files are whole or not there.
3. A chief that starts again leaves running trials to the workers that have them. A worker that says nothing for long
   enough is lost, and its trial goes to another.
4. Each trial ends once, whoever tells of its end.
5. No trial begins when the minutes are over; the search has ended when no trial runs any more.
6. However many trials fail in a row, the search goes on.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.oracles import BayesianOptimizationOracle, HyperbandOracle, RandomSearchOracle
from scipy.stats import norm

from sonicrnn.files import write_json
from tuner.hyperparameters import declare, tidy
from tuner.settings import TunerSettings
from tuner.space import Space, Value

ENDED = (TrialStatus.COMPLETED, TrialStatus.FAILED)
NO_LIMIT = 10**9
POINTS = 2048  # at which the Bayesian search asks its model at once
NEIGHBOURHOODS = (0.1, 0.02)  # of the best, as parts of a dimension
LEAST_DEVIATION = 1e-9


class Kept(keras_tuner.Oracle):
    """What all of a search's oracles have in common.

    Attributes:
        start: values of the first trial.
        minutes: that the search may take, over all starts of the chief; None: no limit.
        seconds_before: that earlier starts of the chief have taken.
        exhausted: whether the space has no further point.
    """

    start: Mapping[str, Value] = {}
    minutes: float | None = None
    seconds_before: float = 0.0
    exhausted: bool = False

    def __init__(self, **arguments: Any):
        self.ongoing_trials: dict[str, Trial] = {}
        super().__init__(**arguments)
        self.max_consecutive_failed_trials = NO_LIMIT
        self.max_retries_per_trial = 0
        self.verbose = 0
        self.began = time.monotonic()

    @property
    def seconds(self) -> float:
        """That the search has taken so far."""
        return self.seconds_before + time.monotonic() - self.began

    @property
    def used_up(self) -> bool:
        """Whether no further trial may begin."""
        out_of_time = self.minutes is not None and self.seconds >= 60 * self.minutes
        return out_of_time or (self.max_trials is not None and len(self.trials) >= self.max_trials)

    @property
    def over(self) -> bool:
        """Whether every trial has ended and none will begin."""
        return (self.used_up or self.exhausted) and not self.unfinished

    @property
    def unfinished(self) -> bool:
        """Whether a trial runs, or waits to be taken up again."""
        return bool(self.ongoing_trials or self._retry_queue)

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        """As the library's; but a worker waits as long as another's trial may yet come to it."""
        if self._retry_queue or tuner_id in self.ongoing_trials or not self.used_up:
            trial = super().create_trial(tuner_id)
            if trial.status != TrialStatus.STOPPED:
                return trial
            self.exhausted = True
        if self.unfinished:
            status = TrialStatus.IDLE
            self.tuner_ids.add(tuner_id)  # so that the chief waits until this one has heard of the end, too
        else:
            status = TrialStatus.STOPPED
            self.tuner_ids.discard(tuner_id)
        return Trial(self.hyperparameters.copy(), trial_id="", status=status)

    def _random_values(self):
        if self.trials:
            values = super()._random_values()
            return values and tidy(values)
        values = self.hyperparameters.copy()
        values.values = dict(self.start)
        values.ensure_active_values()
        return dict(values.values)

    @keras_tuner.synchronized
    def update_trial(self, trial_id, metrics, step=0):
        if self.trials[trial_id].status in ENDED:
            return self.trials[trial_id]
        return super().update_trial(trial_id, metrics, step)

    @keras_tuner.synchronized
    def end_trial(self, trial):
        known = self.trials[trial.trial_id]
        if known.status in ENDED:
            return
        if trial.trial_id in self._retry_queue:  # its worker was not lost after all
            self._retry_queue.remove(trial.trial_id)
        trial.hyperparameters = known.hyperparameters  # a trial does not change them
        super().end_trial(trial)

    @keras_tuner.synchronized
    def give_back(self, tuner_id: str) -> str:
        """Let another worker take up the trial of a lost one; its id."""
        trial = self.ongoing_trials.pop(tuner_id)
        self.tuner_ids.discard(tuner_id)
        self._retry_queue.append(trial.trial_id)
        self.save()
        return trial.trial_id

    @keras_tuner.synchronized
    def note_time(self) -> None:
        """Keep how long the search has taken, for a chief that starts again."""
        self.save()

    def get_state(self):
        return {**super().get_state(), "seconds": self.seconds, "max_trials": self.max_trials}

    def set_state(self, state):
        super().set_state(state)
        self.seconds_before = state["seconds"]
        self.running = dict(self.ongoing_trials)

    def save(self):
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self):
        super().reload()  # which takes every running trial for lost
        ended = [trial_id for trial_id, trial in self.trials.items() if trial.status in ENDED]
        self.end_order += [trial_id for trial_id in ended if trial_id not in self.end_order]
        self.ongoing_trials = {worker: trial for worker, trial in self.running.items() if trial.trial_id not in ended}
        held = {trial.trial_id for trial in self.ongoing_trials.values()}
        self._retry_queue = [trial_id for trial_id in self.trials if trial_id not in held and trial_id not in ended]


class RandomOracle(Kept, RandomSearchOracle):
    """Points drawn at random (Bergstra and Bengio, 2012)."""


class BayesianOracle(Kept, BayesianOptimizationOracle):
    """Points of which a Gaussian process of the trials so far expects the most.

    The library takes the lower confidence bound, 2.6 standard deviations below the mean: a dozen trials all go to where
    nothing is known, and none beside the best one. Here it is the expected improvement (Jones et al., "Efficient Global
    Optimization of Expensive Black-Box Functions", 1998). The library also asks from fifty places with numerical
    derivatives, which takes ten seconds a trial, and may end where a trial has been. Here many points are asked for at
    once, then many around the best of them, and the best new one is taken.
    """

    def populate_space(self, trial_id):
        completed = [trial for trial in self.trials.values() if trial.status == TrialStatus.COMPLETED]
        if len(completed) < self.num_initial_points:
            return self._random_populate_space()
        known, objectives = self._vectorize_trials()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a length scale is at its bound: that dimension matters much, or not
            self.gpr.fit(known, objectives)
        lowest = float(np.min(objectives))
        points = self._random_state.uniform(size=(POINTS, known.shape[1]))
        best = known[np.argmin(objectives)]
        for spread in NEIGHBOURHOODS:
            near = best + spread * self._random_state.normal(size=points.shape)
            points = np.concatenate([points, np.clip(near, 0, 1)])
            points = points[np.argsort(-self._improvement(points, lowest))][:POINTS]
            best = points[0]
        for point in points:
            values = self._vector_to_values(point)
            if not self._duplicate(tidy(values)):
                return {"status": TrialStatus.RUNNING, "values": tidy(values)}
        return self._random_populate_space()

    def _improvement(self, points: np.ndarray, lowest: float) -> np.ndarray:
        """How far below the lowest objective so far points [points, dimensions] of the unit cube may be: [points]."""
        mean, deviation = self.gpr.predict(points, return_std=True)
        gain, deviation = lowest - mean, np.maximum(deviation, LEAST_DEVIATION)
        share = gain / deviation
        return gain * norm.cdf(share) + deviation * norm.pdf(share)


class HalvingOracle(Kept, HyperbandOracle):
    """Many short trainings, of which the best are trained on (Li et al., "Hyperband", 2018)."""

    def populate_space(self, trial_id):
        # The library waits for every trial of a round to complete before it trains the best on: one that fails gives
        # its place to another, or its bracket would wait for ever.
        for bracket in self._brackets:
            first = bracket["rounds"][0]
            first[:] = [entry for entry in first if self.trials[entry["id"]].status != TrialStatus.FAILED]
        return super().populate_space(trial_id)


Oracle = RandomOracle | BayesianOracle | HalvingOracle


def make_oracle(settings: TunerSettings, space: Space, seed: int, folder: Path) -> Oracle:
    """The oracle that the settings name; it goes on where one in `folder` was."""
    oracle = _new_oracle(settings, space, seed)
    oracle.start, oracle.minutes = space.start_values(), settings.minutes
    oracle.max_trials = settings.trials
    oracle._set_project_dir(str(folder.parent), folder.name)
    if Path(oracle._get_oracle_fname()).exists():
        oracle.reload()
    else:
        oracle.save()
    return oracle


def _new_oracle(settings: TunerSettings, space: Space, seed: int) -> Oracle:
    objective = keras_tuner.Objective(settings.objective, "min")
    hyperparameters = declare(space)
    fixed = {"objective": objective, "hyperparameters": hyperparameters, "seed": seed, "allow_new_entries": False}
    if settings.algorithm == "hyperband":
        return HalvingOracle(max_epochs=settings.epochs, hyperband_iterations=NO_LIMIT, **fixed)
    if settings.algorithm == "random":
        return RandomOracle(**fixed)
    # The library would draw three times as many points as there are dimensions before it learns from any.
    dimensions = len(hyperparameters.space)
    drawn = 2 * dimensions if settings.trials is None else min(2 * dimensions, max(3, settings.trials // 3))
    return BayesianOracle(num_initial_points=drawn, **fixed)
