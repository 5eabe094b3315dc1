"""One training on several devices and in several processes: the same as on one, whoever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonicrnn.cluster import ALONE
from sonicrnn.errors import UserError
from sonicrnn.strategy import Spread, make_spread
from tests.small_runs import TINY

# The GAN matches the features of its draws share by share of a batch, so more cores have other means: left out here.
GAN = ["model.head={kind: gan, width: 12, layers: 1, revise: 1}", "gan.width=12", "gan.run_steps=2", "gan.matching=0"]
KINDS = {"shuffled": ["frames.recall=true"], "streams of a gan": ["data.order=streams", *GAN]}
# Without recall a training begins and ends in half the time: one of the trainings has it.
SETTINGS = [*TINY, "name=spread", "train.epochs=3", "train.checkpoint_seconds=0", "frames.recall=false"]


def test_alone_everything_is_as_it_was() -> None:
    spread = make_spread("auto", 5, ALONE)
    assert (spread.replicas, spread.processes, spread.is_chief) == (1, 1, True)
    values = np.array([1.5, 2.5])
    assert spread.from_chief(values) is values
    assert spread.told(lambda: {"a": 1}) == {"a": 1}
    assert spread.anywhere(True)
    assert not spread.anywhere(False)
    assert spread.batches(lambda replicas, mine: (replicas, list(mine))) == (1, [0])


def test_a_batch_that_cannot_be_shared_out_is_refused_with_one_that_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spread, "replicas", 3)
    for batch, near in ((16, 15), (17, 18), (1, 3)):
        with pytest.raises(UserError, match=f"batch_size {batch} cannot be shared out to 3 devices: take {near}"):
            make_spread("auto", batch, ALONE)
    make_spread("auto", 6, ALONE)


@pytest.mark.slow
def test_two_devices_train_as_one() -> None:
    done = subprocess.run([sys.executable, "-m", "tests.two_devices"], capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["replicas"], found["auto"]) == (2, 1)  # several CPUs are taken for several devices only where asked
    for kind in ("shuffled", "streams", "gan"):
        assert found[kind]["apart"] < 1e-5, found
        assert found[kind]["moved"] > 0.1


# Several processes ------------------------------------------------------------------------------------------------


class Team:
    """Two processes of the real command on this machine, the first one the chief."""

    def __init__(self, song: Path, folder: Path, logs: Path, *more: str):
        self.song, self.folder, self.logs, self.more = song, folder, logs, more
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        self.running: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, index: int, *more: str) -> None:
        told = {"cluster": {"worker": self.addresses}, "task": {"type": "worker", "index": index}}
        with self.log(index).open("ab") as log:
            self.running[index] = subprocess.Popen(
                command(self.song, self.folder, *self.more, *more),
                env={**os.environ, "TF_CONFIG": json.dumps(told)}, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def log(self, index: int) -> Path:
        return self.logs / f"{index}.log"

    def kill(self, index: int) -> None:
        self.running[index].send_signal(signal.SIGKILL)
        self.running[index].wait()

    def ends(self) -> list[int]:
        """The exit codes of both, when both are done."""
        return [self.running[index].wait(timeout=240) for index in (0, 1)]

    def said(self) -> str:
        return "\n".join(f"{index}: {self.log(index).read_text(errors='replace')[-3000:]}" for index in (0, 1))


@pytest.fixture
def team_of(tmp_path: Path, song_file: Path) -> Iterator[Callable[..., Team]]:
    with contextlib.ExitStack() as stack:

        def make(*more: str) -> Team:
            team = Team(song_file, tmp_path / "runs", tmp_path, *more)
            stack.callback(lambda: [one.kill() for one in team.running.values()])
            return team

        yield make


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def command(song: Path, folder: Path, *more: str) -> list[str]:
    call = [sys.executable, "-m", "sonicrnn.fit", "configs/gru.yaml", f"song.path={song}", f"runs={folder}"]
    return [*call, *SETTINGS, *more]


def variables(folder: Path) -> list[np.ndarray]:
    with np.load(folder / "spread" / "checkpoint.npz") as stored:
        return [stored[name] for name in sorted(stored.files) if name != "progress"]


def step(folder: Path) -> int:
    """Training steps that the checkpoint holds."""
    try:
        with np.load(folder / "spread" / "checkpoint.npz") as stored:
            return int(json.loads(str(stored["progress"]))["step"])
    except OSError:
        return 0


def until(what: Callable[[], bool], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def assert_alike(one: list[np.ndarray], other: list[np.ndarray]) -> None:
    for left, right in zip(one, other, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def song_file(tmp_path_factory: pytest.TempPathFactory, song_of_a_training: np.ndarray) -> Path:
    file = tmp_path_factory.mktemp("song") / "tune.wav"
    soundfile.write(file, song_of_a_training, 16_000, subtype="PCM_16")
    return file


@pytest.fixture(scope="module", params=KINDS)
def alone(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, song_file: Path
) -> tuple[list[str], Path]:
    """Settings of a training, and the folder where it ran in one process."""
    folder, kind = tmp_path_factory.mktemp("runs"), KINDS[request.param]
    done = subprocess.run(command(song_file, folder, *kind), capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return kind, folder


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("alone", ["shuffled"], indirect=True)  # the others: of killed processes
def test_two_processes_train_as_one(alone: tuple[list[str], Path], team_of: Callable[..., Team]) -> None:
    kind, folder = alone
    team = team_of(*kind)
    team.start(1)
    team.start(0)
    assert team.ends() == [0, 0], team.said()
    assert_alike(variables(team.folder), variables(folder))
    assert (team.folder / "spread" / "listen.html").exists()
    assert "epoch 3  step 15" in team.log(0).read_text()
    assert "validation" not in team.log(1).read_text()  # the chief tells
    finished = {path.name for path in (folder / "spread").iterdir()}
    assert {path.name for path in (team.folder / "spread").iterdir()} == finished


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("alone", ["streams of a gan"], indirect=True)
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_that_is_started_again_takes_up_the_training(
    alone: tuple[list[str], Path], team_of: Callable[..., Team], killed: int
) -> None:
    kind, folder = alone
    team = team_of(*kind)
    team.start(0)
    team.start(1)
    until(lambda: step(team.folder) >= 4 or team.running[0].poll() is not None)
    team.kill(killed)
    before = step(team.folder)
    until(lambda: "starting again" in team.log(1 - killed).read_text())
    team.start(killed)
    assert team.ends() == [0, 0], team.said()
    assert 4 <= before < 15
    assert "goes on at epoch" in team.log(0).read_text()
    assert_alike(variables(team.folder), variables(folder))


@pytest.mark.slow
@pytest.mark.alone
def test_what_does_not_go_together_is_said_and_ends_all(team_of: Callable[..., Team]) -> None:
    team = team_of()
    team.start(0)
    team.start(1, "train.learning_rate=0.5")
    assert team.ends() == [2, 2], team.said()
    assert "train.learning_rate: 0.002 -> 0.5" in team.log(1).read_text()
    assert "another process has other settings" in team.log(0).read_text()
    team.start(0, "train.epochs=4")  # which the chief's run folder refuses
    team.start(1, "train.epochs=4")
    assert team.ends() == [2, 2], team.said()
    for index in (0, 1):
        assert "train.epochs: 3 -> 4" in team.log(index).read_text()
