"""A chief that really serves, and workers' lines to it: reasons, strangers, the lost."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
import pytest
from keras_tuner.engine.trial import Trial, TrialStatus

from sonicrnn.config import load_as
from sonicrnn.errors import UserError
from tuner import chief
from tuner.client import ChiefIsGone, Client
from tuner.folder import SearchFolder, enter, identity
from tuner.oracles import RandomOracle
from tuner.results import read_results
from tuner.search import _free_port
from tuner.settings import SearchSettings
from tuner.space import load_space


@dataclass
class Search:
    """A search whose chief is a thread of this process."""

    folder: SearchFolder
    settings: SearchSettings
    port: int
    thread: threading.Thread
    said: list[str]

    def client(self, monkeypatch: pytest.MonkeyPatch, worker: str, song: str = "hash", other: str = "") -> Client:
        monkeypatch.setenv("KERASTUNER_TUNER_ID", worker)
        monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
        monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(self.port))
        oracle = RandomOracle(objective=keras_tuner.Objective("validation_loss", "min"))
        return Client(oracle, other or identity(*self.folder.load()), song)

    def end(self) -> None:
        self.thread.join(timeout=20)
        assert not self.thread.is_alive()


def _run_chief(*arguments: Any) -> None:
    with contextlib.suppress(UserError):  # that of a search without a trial that completed
        chief.run_chief(*arguments)


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Search]:
    """Three trials, of which the first two are given out; silence of a second is the end of a worker."""
    options = [f"tuner.folder={tmp_path}", "tuner.trials=3", "tuner.algorithm=random", "tuner.space=quick"]
    settings = load_as(SearchSettings, "configs/gru.yaml", options)
    quick = settings.tuner.model_copy(update={"lost_seconds": 1.5})  # less than a user may choose
    settings = settings.model_copy(update={"tuner": quick})
    folder = SearchFolder(tmp_path / "mine")
    space = load_space("quick", settings.start(), comparable=True)
    enter(folder, settings, space, fresh=False)
    monkeypatch.setattr(SearchFolder, "load", lambda self: (settings, space))
    monkeypatch.setattr("tuner.client.PATIENCE_SECONDS", 20.0)  # a chief that is gone fails a test soon
    port = _free_port()
    said: list[str] = []
    arguments = (folder, f"127.0.0.1:{port}", 5.0, said.append)
    thread = threading.Thread(target=_run_chief, args=arguments, daemon=True)
    thread.start()
    made = Search(folder, settings, port, thread, said)
    yield made
    if thread.is_alive():  # whatever the test has left undone
        sweeper = made.client(monkeypatch, "sweeper")
        while (trial := sweeper.create_trial("sweeper")).status != TrialStatus.STOPPED:
            if trial.status == TrialStatus.RUNNING:
                trial.status = TrialStatus.FAILED
                sweeper.end_trial(trial)
        made.end()


def complete(client: Client, trial: Trial, loss: float) -> None:
    client.update_trial(trial.trial_id, {"validation_loss": loss, "weights": 5.0})
    trial.status = TrialStatus.COMPLETED
    client.end_trial(trial)


def test_a_search_over_the_wire(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    one = search.client(monkeypatch, "worker-1")
    two = search.client(monkeypatch, "worker-2")
    first, second = one.create_trial("worker-1"), two.create_trial("worker-2")
    assert one.create_trial("worker-1").trial_id == first.trial_id  # asked again, as after a kill
    complete(one, first, 2.0)
    complete(one, first, 9.0)  # told twice, as when an answer was lost
    second.status, second.message = TrialStatus.FAILED, "zu viel ü" * 1000
    two.end_trial(second)
    third = one.create_trial("worker-1")
    assert two.create_trial("worker-2").status == TrialStatus.IDLE
    complete(one, third, 1.0)
    assert one.create_trial("worker-1").status == TrialStatus.STOPPED
    time.sleep(3 * chief.LOOK_SECONDS)  # the chief stays until all who work for it have heard of the end
    assert two.create_trial("worker-2").status == TrialStatus.STOPPED
    search.end()
    results = read_results(search.folder)
    assert [result.status for result in results] == ["completed", "failed", "completed"]
    assert [result.objective for result in results] == [2.0, None, 1.0]
    assert results[1].reason.startswith("zu viel ü")
    for file in (search.folder.table, search.folder.best, search.folder.picture, search.folder.page):
        assert file.stat().st_size > 100
    printed = "\n".join(search.said)
    assert "trial 2: validation loss 1.0000, the best so far\n  3 of 3 trials done" in printed
    assert "2 trials completed, 1 failed" in printed
    assert f"train:  python -m sonicrnn.fit {search.folder.best}" in printed


def test_strangers_are_refused(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    own = search.client(monkeypatch, "worker-1")
    own.create_trial("worker-1")
    with pytest.raises(UserError, match="worker-2: the chief searches another space or from other settings"):
        search.client(monkeypatch, "worker-2", other="0" * 16).create_trial("worker-2")
    with pytest.raises(UserError, match="worker-3: the chief's other workers learn another song"):
        search.client(monkeypatch, "worker-3", song="other").create_trial("worker-3")
    with pytest.raises(UserError, match="the chief knows no trial 77"):
        own.get_trial("77")
    assert len(read_results(search.folder)) == 1


def test_a_silent_worker_loses_its_trial_and_one_that_tells_keeps_it(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    lively, silent, late = (search.client(monkeypatch, name) for name in ("lively", "silent", "late"))
    kept, lost = lively.create_trial("lively"), silent.create_trial("silent")
    be_silent = lively.keep_telling(kept.trial_id, 0.2)
    last = time.monotonic() + 15
    while not any("silent has said nothing" in line for line in search.said):
        assert time.monotonic() < last
        time.sleep(0.2)
    assert not any("lively has said" in line for line in search.said)
    taken = late.create_trial("late")  # a worker that joins late takes it up
    assert taken.trial_id == lost.trial_id
    assert taken.hyperparameters.values == lost.hyperparameters.values
    complete(late, taken, 1.0)
    complete(lively, kept, 2.0)
    be_silent()
    complete(late, late.create_trial("late"), 3.0)
    search.end()
    assert [result.objective for result in read_results(search.folder)] == [2.0, 1.0, 3.0]


def test_a_call_that_a_chief_breaks_off_is_made_again(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    client = search.client(monkeypatch, "worker-1")
    through, asked = client.stub.CreateTrial, []

    class Ended(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.CANCELLED

    def ends_once(*arguments: Any, **options: Any) -> Any:
        asked.append(options["timeout"])
        answer = through(*arguments, **options)  # which the chief knows of, and the worker does not
        if len(asked) == 1:
            raise Ended
        return answer

    monkeypatch.setattr(client.stub, "CreateTrial", ends_once)
    trial = client.create_trial("worker-1")
    assert trial.status == TrialStatus.RUNNING
    assert len(read_results(search.folder)) == 1
    assert asked[1] < asked[0]  # its patience does not begin anew
    with monkeypatch.context() as impatient:
        impatient.setattr("tuner.client.PATIENCE_SECONDS", 0.0)
        with pytest.raises(ChiefIsGone):
            client.get_trial(trial.trial_id)


def test_an_address_that_is_taken(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    search.client(monkeypatch, "worker-1").create_trial("worker-1")
    with pytest.raises(UserError, match=r"nothing can listen at .*: choose another KERASTUNER_ORACLE_IP"):
        chief.run_chief(search.folder, f"127.0.0.1:{search.port}")
