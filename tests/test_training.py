"""Whole trainings of tiny models with the real command: what is left behind, going on, and being killed."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonicrnn.files import written_beside
from sonicrnn.kept_generator import is_kept
from sonicrnn.run import Run
from tests.small_runs import TINY

pytestmark = pytest.mark.slow


def command(song: Path, folder: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "sonicrnn.fit", "configs/gru.yaml"),
        *(f"song.path={song}", f"runs={folder}", "name=tiny", *TINY, *more),
    ]


def run_fit(song: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(song, folder, *more), capture_output=True, text=True, timeout=280)


def weights(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "tiny" / "checkpoint.npz") as stored:
        return {name: stored[name] for name in stored.files if name != "progress"}


def progress(folder: Path) -> dict:
    with np.load(folder / "tiny" / "checkpoint.npz") as stored:
        return json.loads(str(stored["progress"]))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that test at once."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="module")
def song_file(shared: Path, song_of_a_training: np.ndarray) -> Path:
    file = shared / "tune.wav"
    with written_beside(file) as beside:
        soundfile.write(beside, song_of_a_training, 16_000, subtype="PCM_16", format="WAV")
    return file


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shared: Path, song_file: Path) -> tuple[Path, str]:
    """The folder of a run that went through without a stop, and what it printed: trained once, a copy for each."""
    first = shared / "finished"
    first.mkdir(exist_ok=True)
    with (first / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (first / "printed.txt").exists():
            also = ("generate.temperature=auto", "generate.takes=2", "generate.keep_graphs=true")
            done = run_fit(song_file, first / "runs", *also)
            assert done.returncode == 0, done.stderr
            (first / "printed.txt").write_text(done.stdout)
    folder = tmp_path_factory.mktemp("copy") / "runs"
    shutil.copytree(first / "runs", folder)
    return folder, (first / "printed.txt").read_text()


def test_a_finished_run_holds_all_that_the_readme_names(finished: tuple[Path, str]) -> None:
    run = finished[0] / "tiny"
    settled = ("config.yaml", "statistics.json", "model.keras", "calibration.json", "recall.npz")
    for name in (*settled, "history.csv", "curves.png", "scores.json", "listen.html"):
        assert (run / name).stat().st_size > 100, name
    assert (run / "audio" / "epoch-0001.wav").exists()
    assert soundfile.info(run / "audio" / "epoch-0001.wav").frames == 16_000  # just as long as asked
    assert not (run / "wandb").exists()
    assert is_kept(Run(run))


def test_the_terminal_says_how_it_goes(finished: tuple[Path, str]) -> None:
    out = finished[1]
    assert "epoch 4  step 20" in out
    assert "to go" in out
    assert "listen.html" in out


def test_history_has_a_row_for_each_epoch(finished: tuple[Path, str]) -> None:
    rows = np.genfromtxt(finished[0] / "tiny" / "history.csv", delimiter=",", names=True)
    assert rows["epoch"].tolist() == [1, 2, 3, 4]
    assert rows["step"].tolist() == [5, 10, 15, 20]
    assert np.isfinite(rows["validation_loss"]).all()
    assert np.isfinite(rows["loss"]).all()


def test_the_same_command_again_says_that_nothing_is_left(finished: tuple[Path, str], song_file: Path) -> None:
    before = weights(finished[0])
    again = run_fit(song_file, finished[0])
    assert again.returncode == 0
    assert "nothing is left to train" in again.stdout
    after = weights(finished[0])
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_another_setting_is_refused_by_name(finished: tuple[Path, str], song_file: Path) -> None:
    other = run_fit(song_file, finished[0], "train.learning_rate=0.01")
    assert other.returncode == 2
    assert "train.learning_rate: 0.002 -> 0.01" in other.stderr
    assert "--fresh" in other.stderr
    assert "Traceback" not in other.stderr


def test_another_song_in_the_same_folder_is_refused(
    finished: tuple[Path, str], tmp_path: Path, small_song: np.ndarray
) -> None:
    other = tmp_path / "tune.wav"
    soundfile.write(other, small_song[::-1], 16_000, subtype="PCM_16")
    refused = run_fit(other, finished[0])
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_generate_makes_just_what_was_asked(finished: tuple[Path, str], song_file: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished[0] / "tiny", tmp_path / "run")
    call = [sys.executable, "-m", "sonicrnn.generate", str(run), "--seconds", "2.5", "--seed", "7"]
    first = subprocess.run([*call, "--count", "2", "--out", str(tmp_path / "a")], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    for file in (run / "config.yaml", run / "song.json"):  # the run folder is all that it needs
        file.write_text(file.read_text().replace(song_file.name, "gone.wav"))
    second = subprocess.run([*call, "--out", str(tmp_path / "b")], capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    pieces = sorted((tmp_path / "a").iterdir())
    assert [soundfile.info(piece).frames for piece in pieces] == [40_000, 40_000]
    assert soundfile.info(pieces[0]).subtype == "PCM_16"
    same = tmp_path / "b" / pieces[0].name
    assert same.read_bytes() == pieces[0].read_bytes()  # same seed, same audio
    assert pieces[0].read_bytes() != pieces[1].read_bytes()


def test_continue_goes_on_from_a_recording(finished: tuple[Path, str], song_file: Path, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "sonicrnn.generate", str(finished[0] / "tiny"), "--seconds", "1"]
    done = subprocess.run([*call, "--continue", str(song_file), "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (piece,) = tmp_path.iterdir()
    assert soundfile.info(piece).frames == 16_000
    short = tmp_path / "short.wav"
    soundfile.write(short, np.full(500, 0.1), 16_000)
    refused = subprocess.run([*call, "--continue", str(short)], capture_output=True, text=True)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_killed_runs_end_with_the_weights_of_one_that_was_not(song_file: Path, tmp_path: Path) -> None:
    """Epochs enough that a fast machine, too, is in the middle of them when it is killed for the second time."""
    settings = ("train.epochs=20", "train.checkpoint_seconds=0", "frames.recall=false")  # which ends sooner
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert run_fit(song_file, straight, *settings).returncode == 0
    checkpoint = killed / "tiny" / "checkpoint.npz"
    for moment in (0.0, 0.3):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        running = subprocess.Popen(
            command(song_file, killed, *settings), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and checkpoint.stat().st_mtime_ns > before):
            assert running.poll() is None, running.stdout.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(moment)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
    assert 0 < progress(killed)["step"] < 100  # it was killed in the middle of the training
    ended = run_fit(song_file, killed, *settings)
    assert ended.returncode == 0, ended.stderr
    assert "goes on at epoch" in ended.stdout
    whole, resumed = weights(straight), weights(killed)
    assert whole.keys() == resumed.keys()
    for name in whole:
        assert np.array_equal(whole[name], resumed[name]), f"variable {name} differs"
    kept = ("loss", "validation_loss", "gradient_norm", "learning_rate", "step")
    rows = zip(progress(straight)["history"], progress(killed)["history"], strict=True)
    assert all(one[name] == other[name] for one, other in rows for name in kept)
