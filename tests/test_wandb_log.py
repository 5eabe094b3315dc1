"""W&B really runs here, offline or against a server on this machine; what it wrote is read back from its files."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow as tf
import wandb
from wandb.proto.wandb_internal_pb2 import Record

from sonicrnn import wandb_log, wandb_mode, wandb_run
from sonicrnn.checkpoint import Progress
from sonicrnn.config import FrameSettings, ModelSettings, Settings, parse_settings
from sonicrnn.encoding import Encoding
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.frames import halves
from sonicrnn.models import SongModel
from sonicrnn.run import Run
from sonicrnn.song import Normaliser
from sonicrnn.wandb_log import StepPace, WandbLog, validation_example
from sonicrnn.wandb_mode import find_mode, logged_in, reachable, within
from sonicrnn.wandb_run import WandbRun, log_scores
from tests.wandb_server import WandbServer

API_KEY = "0123456789" * 4
EPOCH_STEPS = 10
STEP_SECONDS = 256 * 2 / 16_000  # hop × stack / rate


@pytest.fixture
def new_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """W&B that reads its environment anew; nobody is logged in."""
    wandb.teardown()
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(tmp_path / "no netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "wandb config"))
    yield
    wandb.teardown()


@pytest.fixture
def new_service() -> Iterator[None]:
    """W&B whose service was not started yet."""
    wandb.teardown()
    yield
    wandb.teardown()


def settings(mode: str = "auto") -> Settings:
    tree = {
        "frames": {"kind": "stft", "frame_length": 1024, "stack": 2},
        "data": {"batch_size": 4, "sequence_length": 25},
        "wandb": {"mode": mode},
    }
    return parse_settings(tree, "test")


@dataclass
class Training:
    """What `training.fit` would have in its hands, without a model: epochs pass when they are told to."""

    run: Run
    progress: Progress = field(default_factory=Progress)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.run.audio.mkdir(parents=True, exist_ok=True)
        self.run.song.write_text('{"sample_rate": 16000}')

    def log(self, mode: str = "auto", example: wandb_log.Example | None = None) -> WandbLog:
        return WandbLog(self.run, settings(mode), self.progress, example or self.example, self.said.append)

    def example(self) -> tuple[Any, Any]:
        frames = np.random.default_rng(self.progress.epoch).normal(size=(25, 8))
        return frames, 0.5 * frames

    def epoch(self, log: WandbLog, heard: bool = False) -> None:
        """One epoch, in the order in which the callbacks do their work."""
        for batch in range(3):
            log.on_train_batch_begin(batch)
            time.sleep(0.001)
            log.on_train_batch_end(batch)
        epoch = self.progress.epoch = self.progress.epoch + 1
        self.progress.step = EPOCH_STEPS * epoch
        self.progress.history.append(row(epoch))
        with self.run.history.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(row(1)))
            writer.writeheader()
            writer.writerows(self.progress.history)
        if heard:
            self.progress.heard_file = f"epoch-{epoch:04d}.wav"
            tone = 0.3 * np.sin(0.05 * epoch * np.arange(8000))
            soundfile.write(self.run.audio / self.progress.heard_file, tone, 16_000)
        log.on_epoch_end(epoch - 1, {"loss": 0.0})

    def back_to(self, epoch: int) -> None:
        """As after a kill: all is as the last checkpoint has it, while `history.csv` may be further on."""
        self.progress.history = [row(earlier) for earlier in range(1, epoch + 1)]
        self.progress.epoch, self.progress.step = epoch, EPOCH_STEPS * epoch
        heard = [name for name in self.run.audio.glob("*.wav") if int(name.stem[-4:]) <= epoch]
        self.progress.heard_file = max(heard).name if heard else None


def row(epoch: int) -> dict[str, float]:
    return {
        "epoch": epoch,
        "step": EPOCH_STEPS * epoch,
        "seconds": 2.0 * epoch,
        "loss": 1 / epoch,
        "validation_loss": 1.0 + abs(epoch - 3),  # the third is the best
        "gradient_norm": 0.5,
        "learning_rate": 0.002,
    }


@pytest.fixture
def training(tmp_path: Path) -> Training:
    return Training(Run(tmp_path / "my run"))


@dataclass
class Recording:
    """One offline recording, read from its file."""

    folder: Path

    def records(self) -> list[Record]:
        """All records; waits for the last one, which W&B's service may write after it says that it is done."""
        for _ in range(200):
            records = list(self.records_so_far())
            if any(record.HasField("exit") for record in records):
                return records
            time.sleep(0.1)
        pytest.fail(f"{self.folder} was never finished")

    def records_so_far(self) -> Iterator[Record]:
        """The records of a `.wandb` file: a header of 7 bytes, then LevelDB's log format."""
        data = next(self.folder.glob("*.wandb")).read_bytes()
        at, parts = 7, b""
        while at + 7 <= len(data):
            if (left := 32_768 - at % 32_768) < 7:
                at += left
                continue
            _, length, kind = struct.unpack("<IHB", data[at : at + 7])
            parts += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # whole, or the last part
                yield Record.FromString(parts)
                parts = b""

    def history(self) -> list[dict[str, Any]]:
        return [tree(record.history.item) for record in self.records() if record.HasField("history")]

    def steps(self) -> list[int]:
        return [row["_step"] for row in self.history()]

    def summary(self) -> dict[str, Any]:
        return tree(item for record in self.records() for item in record.summary.update)

    def config(self) -> dict[str, Any]:
        record = next(record.run for record in self.records() if record.HasField("run"))
        return {item.key: json.loads(item.value_json) for item in record.config.update}

    def identity(self) -> str:
        return str(next(record.run.run_id for record in self.records() if record.HasField("run")))

    def exit_code(self) -> int:
        return next(record.exit.exit_code for record in self.records() if record.HasField("exit"))


def tree(items: Iterable[Any]) -> dict[str, Any]:
    """Keys and JSON texts as one nested dictionary; later items win."""
    made: dict[str, Any] = {}
    for item in items:
        *path, last = item.nested_key or [item.key]
        place = made
        for name in path:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)
    return made


def recordings(run: Run) -> list[Recording]:
    """Oldest first."""
    return [Recording(folder) for folder in sorted((run.folder / "wandb").glob("offline-run-*"))]


def only_recording(run: Run) -> Recording:
    (recording,) = recordings(run)
    return recording


def next_second() -> None:
    """W&B names its folders by the second."""
    time.sleep(1.05 - time.time() % 1)


def test_runs_that_belong_together_are_a_group(training: Training) -> None:
    own = settings("offline")
    grouped = own.model_copy(update={"wandb": own.wandb.model_copy(update={"group": "my search"})})
    with WandbLog(training.run, grouped, training.progress, training.example, training.said.append) as log:
        training.epoch(log)
    records = only_recording(training.run).records()
    assert next(record.run for record in records if record.HasField("run")).run_group == "my search"


def test_an_offline_recording_holds_curves_sound_pictures_and_settings(
    training: Training, capfd: pytest.CaptureFixture[str]
) -> None:
    with training.log() as log:
        training.epoch(log, heard=True)
        training.epoch(log)
        training.epoch(log, heard=True)
        training.epoch(log)
    recording = only_recording(training.run)
    history = recording.history()
    assert recording.steps() == [10, 20, 30, 40]
    for logged, epoch in zip(history, (1, 2, 3, 4), strict=True):
        expected = {name: value for name, value in row(epoch).items() if name != "step"}
        assert {name: logged[name] for name in expected} == pytest.approx(expected)
    second = history[1]
    frames = second["throughput/steps_per_second"] * 4 * 25
    assert 0 < second["throughput/steps_per_second"] < 1000
    assert second["throughput/frames_per_second"] == pytest.approx(frames)
    assert second["throughput/song_seconds_per_second"] == pytest.approx(frames * STEP_SECONDS)
    for name in ("audio/free_run", "audio/spectrogram", "pictures/target_against_prediction"):
        assert [name in logged for logged in history] == [True, False, True, False]
        for logged in (history[0], history[2]):
            assert (recording.folder / "files" / logged[name]["path"]).stat().st_size == logged[name]["size"]
    sounds = [(recording.folder / "files" / history[at]["audio/free_run"]["path"]).read_bytes() for at in (0, 2)]
    assert sounds == [(training.run.audio / f"epoch-000{epoch}.wav").read_bytes() for epoch in (1, 3)]
    assert {**recording.config(), "_wandb": 0} == {**settings().model_dump(mode="json"), "_wandb": 0}
    assert recording.summary()["best_epoch"] == 3
    assert recording.summary()["best_validation_loss"] == 1.0
    assert recording.exit_code() == 0
    assert training.said == [f"W&B offline: `wandb leet {training.run.folder / 'wandb'}` shows the run"]
    assert capfd.readouterr() == ("", "")


def test_a_resumed_training_is_one_whole_recording(training: Training) -> None:
    with training.log() as log:
        for _ in range(4):
            training.epoch(log, heard=True)
    before = only_recording(training.run)
    first = before.history()
    next_second()
    training.back_to(2)  # the checkpoint was behind what was logged
    with training.log() as log:
        for _ in range(3):
            training.epoch(log)
    after = only_recording(training.run)
    assert after.folder != before.folder
    assert after.identity() == json.loads((training.run.folder / "wandb/sonicrnn.json").read_text())["id"]
    assert after.steps() == [10, 20, 30, 40, 50]
    for old, new in zip(first, after.history(), strict=False):
        for name in ("loss", "throughput/steps_per_second"):
            assert new[name] == pytest.approx(old[name])
        for name in ("audio/free_run", "audio/spectrogram", "pictures/target_against_prediction"):
            assert new[name]["sha256"] == old[name]["sha256"]
            assert (after.folder / "files" / new[name]["path"]).is_file()


def test_what_a_killed_training_did_not_write_is_logged_by_the_next(training: Training) -> None:
    with training.log() as log:
        for _ in range(3):
            training.epoch(log)
        identity = log.log.kept.id if log.log.kept else ""
    shutil.rmtree(only_recording(training.run).folder)
    killed = training.run.folder / f"wandb/offline-run-20200101_000000-{identity}"
    killed.mkdir()
    (killed / f"run-{identity}.wandb").write_bytes(b":W&B\x00\x00\x00")
    training.back_to(2)
    with training.log() as log:
        training.epoch(log)
        training.epoch(log)
    recording = only_recording(training.run)
    assert recording.identity() == identity
    assert recording.steps() == [10, 20, 30, 40]


def test_after_an_upload_a_recording_holds_what_is_new(training: Training) -> None:
    with training.log() as log:
        training.epoch(log, heard=True)
        training.epoch(log)
    uploaded = only_recording(training.run)
    (uploaded.folder / f"run-{uploaded.identity()}.wandb.synced").touch()
    for _ in range(2):
        next_second()
        with training.log() as log:
            training.epoch(log)
    next_second()
    log_scores(training.run, settings(), {"level": 1.5}, training.said.append)
    kept, second, third, scored = recordings(training.run)
    assert kept.folder == uploaded.folder
    assert [recording.steps() for recording in (kept, second, third, scored)] == [[10, 20], [30], [40], []]
    assert len({recording.identity() for recording in (kept, second, third, scored)}) == 1
    # Enough of a summary for an upload that replaces the one before.
    assert scored.summary()["scores/level"] == 1.5
    assert scored.summary()["epoch"] == 4
    assert scored.summary()["best_epoch"] == 3


def test_scores_come_to_the_same_run_with_all_its_history(training: Training) -> None:
    with training.log() as log:
        training.epoch(log, heard=True)
        training.epoch(log)
    identity = only_recording(training.run).identity()
    next_second()
    log_scores(training.run, settings(), {"level": -0.5, "copied": 0.0, "pace": None, "speed": float("nan")})
    recording = only_recording(training.run)
    assert recording.identity() == identity
    assert recording.steps() == [10, 20]
    assert "audio/free_run" in recording.history()[0]
    scores = {name: value for name, value in recording.summary().items() if name.startswith("scores")}
    assert scores == {"scores/level": -0.5, "scores/copied": 0.0}
    assert recording.summary()["loss"] == 0.5


def test_scores_of_a_run_that_was_never_logged(training: Training) -> None:
    log_scores(training.run, settings(), {"level": 2.0}, training.said.append)
    assert only_recording(training.run).summary()["scores/level"] == 2.0
    assert training.said == []


@pytest.mark.usefixtures("new_wandb")
@pytest.mark.parametrize("how", ["setting", "environment"])
def test_disabled_leaves_nothing(training: Training, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online" if how == "setting" else "disabled")
    with training.log("disabled" if how == "setting" else "auto") as log:
        training.epoch(log, heard=True)
    log_scores(training.run, settings("disabled" if how == "setting" else "auto"), {"level": 2.0})
    assert not (training.run.folder / "wandb").exists()
    assert training.said == []


def break_folder(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    (training.run.folder / "wandb").write_text("in the way")


def break_disk(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wandb_log, "save_figure", full)


def break_history(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    training.run.history.write_text("epoch,step\n1,what\n")


def break_example(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> tuple[Any, Any]:
        raise ValueError("one shape\nis needed")

    monkeypatch.setattr(training, "example", fail)


@pytest.mark.usefixtures("new_service")
@pytest.mark.parametrize("fault", [break_folder, break_disk, break_history, break_example])
def test_a_failure_is_one_line_and_the_training_goes_on(
    training: Training,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: Callable[[Training, pytest.MonkeyPatch], None],
) -> None:
    fault(training, monkeypatch)
    with training.log() as log:
        for _ in range(3):
            training.epoch(log, heard=True)
    assert len(training.progress.history) == 3
    (line,) = [line for line in training.said if "`wandb leet" not in line]
    assert line.startswith("W&B: nothing more is logged (")
    assert "\n" not in line
    assert capfd.readouterr() == ("", "")


SERVICE_SCRIPT = """
import sys
from pathlib import Path
from wandb.sdk.lib.service import service_process
from sonicrnn import wandb_run
from sonicrnn.config import Settings
from sonicrnn.run import Run
service_process.get_core_path = lambda: "/bin/false"
wandb_run.START_SECONDS = wandb_run.GIVE_UP_SECONDS = 2.0
with wandb_run.WandbRun(Run(Path(sys.argv[1])), Settings()) as log:
    log.log_history([{"step": 1.0, "loss": 0.5}])
print("the training goes on")
"""


def test_a_service_that_cannot_start_is_one_line_and_the_training_goes_on(tmp_path: Path) -> None:
    """In a process of its own: W&B 0.31 then keeps a lock for ever."""
    command = [sys.executable, "-c", SERVICE_SCRIPT, str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")
    line, after = done.stdout.splitlines()
    assert line.startswith("W&B: nothing more is logged (")
    assert after == "the training goes on"


@pytest.mark.skipif(shutil.which("pgrep") is None, reason="finds the service with pgrep")
@pytest.mark.usefixtures("new_service")
def test_a_service_that_dies_is_one_line_and_the_training_goes_on(
    training: Training, capfd: pytest.CaptureFixture[str]
) -> None:
    with training.log() as log:
        training.epoch(log)
        found = subprocess.run(["pgrep", "-P", str(os.getpid()), "wandb-core"], capture_output=True, text=True)
        (service,) = map(int, found.stdout.split())
        os.kill(service, 9)
        time.sleep(0.3)
        for _ in range(4):
            training.epoch(log, heard=True)
    assert len(training.progress.history) == 5
    assert [line[:28] for line in training.said[1:]] == ["W&B: nothing more is logged "]
    assert capfd.readouterr() == ("", "")


def test_an_error_of_the_training_is_passed_on_and_recorded(training: Training) -> None:
    def stopped() -> None:
        with training.log() as log:
            training.epoch(log)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert only_recording(training.run).exit_code() == 1
    assert only_recording(training.run).steps() == [10]


def test_the_random_numbers_of_a_training_stay_as_they_are(training: Training) -> None:
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state is what is tested
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    with training.log() as log:
        training.epoch(log, heard=True)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]  # noqa: NPY002


@pytest.mark.usefixtures("new_wandb")
def test_online_a_resumed_training_adds_what_the_server_lacks(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with training.log() as log:
            training.epoch(log, heard=True)
            training.epoch(log)
            training.epoch(log)
        (identity,) = server.history
        assert training.said == [f"W&B: {server.url}/ada/sonicrnn/runs/{identity}"]
        assert server.steps(identity) == [10, 20, 30]
        server.history[identity].pop()  # as when a killed process had not sent its last row
        training.back_to(2)
        with training.log() as log:
            training.epoch(log)
            training.epoch(log)
        log_scores(training.run, settings(), {"level": 2.0})
        assert "RunResumeStatus" in server.asked
        assert server.steps(identity) == [10, 20, 30, 40]
        assert list(server.history) == [identity]


@pytest.mark.usefixtures("new_wandb")
def test_a_server_that_goes_away_is_not_waited_for(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    monkeypatch.setattr(wandb_run, "FINISH_SECONDS", 1.0)
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        with training.log() as log:
            training.epoch(log)
            server.__exit__()
            training.epoch(log)
            began = time.monotonic()
        assert time.monotonic() - began < 15
    (folder,) = (training.run.folder / "wandb").glob("run-*")
    assert training.said[1:] == [f"W&B: the server does not take all of it; `wandb sync {folder}` uploads the rest"]


@pytest.mark.usefixtures("new_wandb")
def test_logged_in_without_a_network_is_offline(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:1")
    with training.log() as log:
        training.epoch(log)
    assert training.said[0] == "W&B: logged offline, for http://127.0.0.1:1 does not answer"
    assert only_recording(training.run).steps() == [10]


OFFLINE_SCRIPT = """
import sys
from pathlib import Path
from sonicrnn.config import Settings
from sonicrnn.run import Run
from sonicrnn.wandb_run import WandbRun
with WandbRun(Run(Path(sys.argv[1])), Settings()) as log:
    log.log_history([{"step": 1.0, "loss": 0.5}])
"""


def test_offline_asks_for_nothing_beyond_this_machine(tmp_path: Path) -> None:
    """In a process of its own: the service is another process, whose connections nothing in this one would see."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(0.2)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
        environment = os.environ | dict.fromkeys(names, address) | {"WANDB_ERROR_REPORTING": "true", "NO_PROXY": ""}
        command = [sys.executable, "-c", OFFLINE_SCRIPT, str(tmp_path / "run")]
        calls = tmp_path / "calls"
        if strace := shutil.which("strace"):
            command = [strace, "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(calls), *command]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        with pytest.raises(TimeoutError):
            proxy.accept()
    assert only_recording(Run(tmp_path / "run")).steps() == [1]
    if strace:
        assert [line for line in calls.read_text().splitlines() if "AF_INET" in line] == []


@pytest.mark.parametrize(
    ("wanted", "known", "key", "answers", "expected", "said"),
    [
        ("auto", "online", True, True, "online", 0),
        ("auto", "online", False, True, "offline", 0),
        ("auto", "online", True, False, "offline", 1),
        ("auto", "offline", True, True, "offline", 0),  # WANDB_MODE, or `wandb offline`
        ("auto", "disabled", True, True, "disabled", 0),
        ("online", "offline", True, True, "online", 0),
        ("online", "online", False, True, "offline", 1),
        ("offline", "online", True, True, "offline", 0),
    ],
)
def test_modes(
    monkeypatch: pytest.MonkeyPatch, wanted: str, known: str, key: bool, answers: bool, expected: str, said: int
) -> None:
    monkeypatch.setattr(wandb_mode, "reachable", lambda address: answers)
    lines: list[str] = []
    api_key = API_KEY if key else None
    host = SimpleNamespace(mode=known, api_key=api_key, identity_token_file=None, base_url="https://w.example")
    assert find_mode(wanted, host, lines.append) == expected  # type: ignore[arg-type]
    assert len(lines) == said


def test_an_entry_of_the_netrc_file_is_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = SimpleNamespace(api_key=None, identity_token_file=None, base_url="https://w.example")
    assert not logged_in(host)  # type: ignore[arg-type]
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine w.example\n  login user\n  password {API_KEY}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert logged_in(host)  # type: ignore[arg-type]


def test_a_server_is_there_when_it_answers_anything_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_mode, "ANSWER_SECONDS", 0.5)
    with WandbServer() as server:
        assert reachable(server.url)
    assert not reachable(server.url)
    assert not reachable("no address")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        assert not reachable(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - began < 3


def test_nothing_is_waited_for_longer_than_said() -> None:
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        within(0.05, lambda: time.sleep(2))
    assert time.monotonic() - began < 1


def test_pace_counts_the_steps_but_not_the_first_nor_what_is_between(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 100.0, 100.5, 200.0, 201.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    pace = StepPace()
    for steps, expected in ((1, None), (2, 2 / 1.5), (0, None)):  # the first builds the graph
        for _ in range(steps):
            pace.begin()
            pace.end()
        assert pace.taken() == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("kind", ["waveform", "mdct", "stft"])
def test_a_validation_example_is_a_target_and_its_prediction(kind: str, small_song: np.ndarray) -> None:
    frames = FrameSettings(kind=kind, frame_length=256, **({"stack": 2, "components": 16} if kind == "stft" else {}))
    encoding: Encoding = fit_encoding(small_song, frames, 16_000, Normaliser(0.0, 0.1))
    encoded = encoding.encode(tf.constant(small_song[None, :16_000]))[:, :21]
    inputs, targets = halves(encoded)
    model = SongModel(encoding.dimension, ModelSettings(widths=[8], head={"kind": "mse"}))
    model.build((None, None, encoding.dimension))
    data = tf.data.Dataset.from_tensors((encoded,))
    target, prediction = validation_example(model, encoding, data)()
    expected = model(inputs, training=False)
    if kind == "stft":
        # Two stacks of two spectra each a step, overlapping: 20 steps hold at least 40 spectra.
        assert target.shape == prediction.shape
        assert target.shape[0] >= 40
        assert target.shape[1] == 129
        expected = encoding.spectra_of(expected)
        np.testing.assert_allclose(target, encoding.spectra_of(targets)[0], atol=1e-5)
        np.testing.assert_allclose(prediction, expected[0], atol=1e-4)
    elif kind == "mdct":
        np.testing.assert_allclose(target, targets[0], atol=1e-6)
        np.testing.assert_allclose(prediction, expected[0], atol=1e-5)
    else:
        np.testing.assert_allclose(target, targets[0, -1], atol=1e-6)
        np.testing.assert_allclose(prediction, expected[0, -1], atol=1e-5)


def test_a_run_is_opened_once_for_all_epochs(training: Training) -> None:
    """Keras begins a `fit` anew for an epoch that was left unfinished: that is no new start of the run."""
    with training.log() as log:
        for _ in range(2):
            log.on_train_begin()
            training.epoch(log)
            log.on_train_end()
    assert only_recording(training.run).steps() == [10, 20]
    assert WandbRun(training.run, settings()).kept is None
