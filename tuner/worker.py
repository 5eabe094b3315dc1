"""One process of a worker: it asks the chief for a trial, runs it, and ends, so that nothing it used is left.

`python -m tuner.worker FOLDER --cores 0,1` is started by `keeper`, never by hand; KERASTUNER_TUNER_ID names the worker.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from sonicrnn.errors import run_command
from sonicrnn.files import write_json
from tuner.folder import SearchFolder, identity
from tuner.processes import CHIEF_IS_GONE, SEARCH_IS_OVER, end_with_parent

IDLE_SECONDS = 1.0
TELL_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the worker's next trial; the exit code says what is next, see `processes`."""
    parser = argparse.ArgumentParser(prog="python -m tuner.worker", description="One trial of a search.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cores", default="", help="comma-separated; none: all")
    options = parser.parse_args(arguments)
    threading.Thread(target=end_with_parent, daemon=True).start()
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    from tuner.client import ChiefIsGone

    try:
        over = _one_trial(SearchFolder(options.folder), os.environ["KERASTUNER_TUNER_ID"])
    except ChiefIsGone:
        raise SystemExit(CHIEF_IS_GONE) from None
    raise SystemExit(SEARCH_IS_OVER if over else 0)


def _one_trial(search: SearchFolder, worker: str) -> bool:
    """True when the search is over."""
    from keras_tuner.engine.trial import TrialStatus

    from sonicrnn.devices import be_quiet
    from sonicrnn.song import open_song
    from tuner.client import Client
    from tuner.oracles import RandomOracle
    from tuner.trial import SongHyperModel, SongTuner

    be_quiet()
    settings, space = search.load()
    song = open_song(settings.song)
    hypermodel = SongHyperModel(search, settings, space, song, print)
    # Only its objective is asked of this oracle: all else is the chief's.
    local = RandomOracle(objective=_objective(settings.tuner.objective), max_trials=settings.tuner.trials)
    tuner = SongTuner(local, hypermodel, directory=str(search.folder), project_name=search.trials.name)
    tuner.oracle = Client(local, identity(settings, space), song.content_hash)
    while (trial := tuner.oracle.create_trial(worker)).status == TrialStatus.IDLE:
        time.sleep(IDLE_SECONDS)
    if trial.status == TrialStatus.STOPPED:
        return True
    deaths = _deaths(search.state(worker), trial.trial_id)
    be_silent = tuner.oracle.keep_telling(trial.trial_id, min(TELL_SECONDS, settings.tuner.lost_seconds / 4))
    if len(deaths) > settings.tuner.retries or any(death["for_good"] for death in deaths):
        trial.status, trial.message = TrialStatus.FAILED, deaths[-1]["how"]
        tuner.on_trial_end(trial)
    else:
        print(f"trial {trial.trial_id}: {trial.hyperparameters.values}")
        tuner.run_one(trial)
    be_silent()
    return False


def _objective(name: str):
    import keras_tuner

    return keras_tuner.Objective(name, "min")


def _deaths(state: Path, trial_id: str) -> list[dict]:
    """How earlier processes of this trial were killed; notes that this one has it now."""
    known = json.loads(state.read_text(encoding="utf-8")) if state.exists() else {}
    deaths = known.get("deaths", []) if known.get("trial") == trial_id else []
    write_json(state, {"trial": trial_id, "process": os.getpid(), "deaths": deaths})
    return deaths


if __name__ == "__main__":
    run_command(main)
