"""The books of a search: every trial begins once, ends once, and survives whatever is killed."""

from __future__ import annotations

import json
from pathlib import Path

import keras_tuner
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from sonicrnn.config import load_as
from tuner.oracles import Oracle, make_oracle
from tuner.settings import SearchSettings
from tuner.space import load_space

SETTINGS = load_as(SearchSettings, "configs/gru.yaml")
SPACE = load_space("quick", SETTINGS.start(), comparable=True)
ALGORITHMS = ("random", "bayesian", "hyperband")


def oracle(folder: Path, algorithm: str = "random", **changed: object) -> Oracle:
    made = SETTINGS.tuner.model_copy(update={"algorithm": algorithm, "trials": 6, "epochs": 9, **changed})
    return make_oracle(made, SPACE, 3, folder / "trials")


def end(searching: keras_tuner.Oracle, trial: Trial, loss: float | None) -> None:
    """As a worker tells it: the trial came over the wire."""
    told = Trial.from_proto(trial.to_proto())
    told.status, told.message = (TrialStatus.FAILED, "because") if loss is None else (TrialStatus.COMPLETED, None)
    if loss is not None:
        searching.update_trial(trial.trial_id, {"validation_loss": loss, "weights": 7.0})
    searching.end_trial(told)


def loss_of(trial: Trial) -> float:
    """A bowl whose lowest place is a wide first layer and a learning rate of 0.004."""
    values = trial.hyperparameters.values
    return (values["train.learning_rate"] - 0.004) ** 2 * 1e5 + (384 - values["model.widths.1"]) / 384


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_search_begins_where_it_starts_from_and_ends(algorithm: str, tmp_path: Path) -> None:
    searching = oracle(tmp_path, algorithm)
    first = searching.create_trial("worker-1")
    assert SPACE.settings(first.hyperparameters.values) == SETTINGS.start()
    trials = [first]
    while trials[-1].status == TrialStatus.RUNNING:
        end(searching, trials[-1], loss_of(trials[-1]))
        trials.append(searching.create_trial("worker-1"))
    assert trials[-1].status == TrialStatus.STOPPED
    assert len(trials) == 7
    assert searching.over
    assert searching.end_order == [trial.trial_id for trial in trials[:-1]]
    assert searching.get_best_trials(1)[0].score <= loss_of(first) + 1e-6
    for file in (tmp_path / "trials").glob("trial_*/trial.json"):
        assert json.loads(file.read_text())["status"] == "COMPLETED"


def test_hyperband_trains_the_best_on_and_replaces_what_fails(tmp_path: Path) -> None:
    searching = oracle(tmp_path, "hyperband", trials=40)
    continued = []
    for number in range(20):
        trial = searching.create_trial("worker-1")
        values = trial.hyperparameters.values
        if "tuner/trial_id" in values:
            continued.append((values["tuner/initial_epoch"], values["tuner/epochs"]))
            parent = searching.trials[values["tuner/trial_id"]]
            assert parent.hyperparameters.values["train.learning_rate"] == values["train.learning_rate"]
        end(searching, trial, None if number in (1, 4) else loss_of(trial))
    assert (1, 3) in continued
    assert (3, 9) in continued


def test_each_trial_ends_once(tmp_path: Path) -> None:
    searching = oracle(tmp_path)
    trial = searching.create_trial("worker-1")
    end(searching, trial, 1.0)
    end(searching, trial, 0.1)
    end(searching, trial, None)
    known = searching.trials[trial.trial_id]
    assert (known.status, known.score) == (TrialStatus.COMPLETED, 1.0)
    assert searching.end_order == [trial.trial_id]


def test_failures_in_a_row_do_not_end_a_search(tmp_path: Path) -> None:
    searching = oracle(tmp_path)
    for _ in range(6):
        end(searching, searching.create_trial("worker-1"), None)
    assert searching.over
    assert {trial.message for trial in searching.trials.values()} == {"because"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_chief_that_starts_again_leaves_running_trials_to_their_workers(algorithm: str, tmp_path: Path) -> None:
    before = oracle(tmp_path, algorithm)
    ended, running = before.create_trial("worker-1"), before.create_trial("worker-2")
    end(before, ended, 1.0)
    again = oracle(tmp_path, algorithm)
    assert {worker: trial.trial_id for worker, trial in again.ongoing_trials.items()} == {"worker-2": running.trial_id}
    assert again.create_trial("worker-2").trial_id == running.trial_id
    assert again.create_trial("worker-1").trial_id not in (ended.trial_id, running.trial_id)
    end(again, running, 2.0)
    assert again.end_order == [ended.trial_id, running.trial_id]
    assert again.seconds >= before.seconds_before


def test_a_chief_killed_between_its_files_loses_no_trial(tmp_path: Path) -> None:
    before = oracle(tmp_path)
    first = before.create_trial("worker-1")
    state = (tmp_path / "trials" / "oracle.json").read_text()
    second = before.create_trial("worker-2")
    end(before, first, 1.0)
    (tmp_path / "trials" / "oracle.json").write_text(state)  # the trials' own files are newer
    again = oracle(tmp_path)
    assert again.end_order == [first.trial_id]
    assert again.create_trial("worker-3").trial_id == second.trial_id  # nobody is known to have it


def test_the_trial_of_a_lost_worker_goes_to_another(tmp_path: Path) -> None:
    searching = oracle(tmp_path, trials=1)
    trial = searching.create_trial("worker-1")
    assert searching.create_trial("worker-2").status == TrialStatus.IDLE  # it may be needed yet
    assert searching.give_back("worker-1") == trial.trial_id
    assert searching.create_trial("worker-2").trial_id == trial.trial_id
    end(searching, trial, 1.0)  # the lost one was only slow: the first result counts
    end(searching, trial, 2.0)
    assert searching.over
    assert searching.create_trial("worker-2").status == TrialStatus.STOPPED
    assert searching.trials[trial.trial_id].score == 1.0


def test_a_late_result_takes_its_trial_out_of_the_queue(tmp_path: Path) -> None:
    searching = oracle(tmp_path, trials=1)
    trial = searching.create_trial("worker-1")
    searching.give_back("worker-1")
    end(searching, trial, 1.0)
    assert searching.over


def test_no_trial_begins_when_the_minutes_are_over(tmp_path: Path) -> None:
    searching = oracle(tmp_path, trials=None, minutes=1.0)
    trial = searching.create_trial("worker-1")
    searching.began -= 61
    assert searching.create_trial("worker-2").status == TrialStatus.IDLE
    end(searching, trial, 1.0)
    assert searching.tuner_ids == {"worker-1", "worker-2"}  # who must hear of the end
    assert searching.create_trial("worker-2").status == TrialStatus.STOPPED
    assert searching.tuner_ids == {"worker-1"}
    again = oracle(tmp_path, trials=None, minutes=1.0)  # the minutes of all its starts count
    assert again.over
    assert not oracle(tmp_path, trials=None, minutes=3.0).over  # and may be made more


def test_a_small_space_is_exhausted(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("data.batch_size: [16, 8]")
    made = SETTINGS.tuner.model_copy(update={"algorithm": "random", "trials": 50})
    searching = make_oracle(made, load_space(str(file), SETTINGS.start(), comparable=True), 3, tmp_path / "trials")
    while (trial := searching.create_trial("worker-1")).status == TrialStatus.RUNNING:
        end(searching, trial, 1.0)
    assert trial.status == TrialStatus.STOPPED
    assert searching.over
    assert len(searching.trials) == 2


def test_the_bayesian_search_finds_its_way(tmp_path: Path) -> None:
    searching = oracle(tmp_path, "bayesian", trials=10)
    scores = []
    while (trial := searching.create_trial("worker-1")).status == TrialStatus.RUNNING:
        scores.append(loss_of(trial))
        end(searching, trial, scores[-1])
    assert min(scores) < scores[0]
