"""Run folders that are elsewhere: both sides kept alike, each file whole, nothing of another machine overwritten."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonicrnn.errors import UserError
from sonicrnn.mirror import Mirror
from sonicrnn.remote import place_of
from tests.small_runs import TINY

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def far(empty_memory: None) -> Path:
    """What the far folder is called in memory."""
    return Path("/runs/my")


def machine(tmp_path: Path, name: str) -> Mirror:
    """The likeness on a machine of this name."""
    mirror = Mirror(place_of("memory://runs/my"), tmp_path / name)
    mirror.pull()
    return mirror


def write(mirror: Mirror, **files: str) -> None:
    mirror.folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        beside = mirror.folder / ".new"
        beside.write_text(text)
        beside.replace(mirror.folder / f"{name}.txt")


def there() -> dict[str, str]:
    files = fsspec.filesystem("memory")
    return {name.removeprefix("/runs/my/"): files.cat(name).decode() for name in files.find("/runs/my")}


def here(mirror: Mirror) -> dict[str, str]:
    return {path.name: path.read_text() for path in mirror.folder.glob("*.txt")}


def test_what_one_machine_pushes_another_pulls(far: Path, tmp_path: Path) -> None:
    one = machine(tmp_path, "one")
    write(one, a="1", b="2")
    (one.folder / "audio").mkdir()
    (one.folder / "audio" / "epoch.wav").write_bytes(b"sound")
    one.push()
    assert there() == {"a.txt": "1", "b.txt": "2", "audio/epoch.wav": "sound"}  # and nothing hidden
    other = machine(tmp_path, "other")
    assert here(other) == {"a.txt": "1", "b.txt": "2"}
    assert (other.folder / "audio" / "epoch.wav").read_bytes() == b"sound"
    assert other.folder.name == "my"


def test_only_what_has_changed_is_written(far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = machine(tmp_path, "one")
    write(one, a="1", b="2")
    one.push()
    written: list[str] = []
    place = type(one.place)
    real = place.write
    monkeypatch.setattr(place, "write", lambda self, source: (written.append(source.name), real(self, source))[1])
    one.push()
    assert not written
    write(one, b="new")
    machine_again = Mirror(one.place, tmp_path / "one")
    machine_again.pull()  # a process that was started again knows what was alike
    machine_again.push()
    assert written == ["b.txt"]
    assert there()["b.txt"] == "new"


def test_the_settings_go_first_and_the_checkpoint_last(
    far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine(tmp_path, "one")
    one.folder.mkdir(parents=True)
    for name in ("checkpoint.npz", "kept.npz", "config.yaml", "audio.wav"):
        (one.folder / name).write_text(name)
    (one.folder / "wandb").mkdir()
    (one.folder / "wandb" / "log").write_text("log")
    written: list[str] = []
    place = type(one.place)
    real = place.write
    monkeypatch.setattr(place, "write", lambda self, source: (written.append(source.name), real(self, source))[1])
    one.push(everything=False)
    assert written == ["config.yaml", "audio.wav", "kept.npz", "checkpoint.npz"]
    one.push()
    assert written[4:] == ["log"]


def test_what_was_not_pushed_before_a_kill_is_not_lost(far: Path, tmp_path: Path) -> None:
    one = machine(tmp_path, "one")
    write(one, checkpoint="step 1")
    one.push()
    write(one, checkpoint="step 2")  # and then the process is killed
    again = machine(tmp_path, "one")
    assert here(again) == {"checkpoint.txt": "step 2"}
    again.push()
    assert there() == {"checkpoint.txt": "step 2"}


def test_what_another_machine_wrote_wins_and_what_it_removed_goes(far: Path, tmp_path: Path) -> None:
    one = machine(tmp_path, "one")
    write(one, checkpoint="one", old="old")
    one.push()
    other = machine(tmp_path, "other")
    write(other, checkpoint="other, later")
    other.push()
    fsspec.filesystem("memory").rm("/runs/my/old.txt")
    write(one, checkpoint="one, not pushed")
    again = machine(tmp_path, "one")
    assert here(again) == {"checkpoint.txt": "other, later"}


def test_two_machines_at_once_are_told(far: Path, tmp_path: Path) -> None:
    one = machine(tmp_path, "one")
    write(one, checkpoint="1")
    one.push()
    other = machine(tmp_path, "other")
    write(other, checkpoint="other's")
    other.push()
    write(one, checkpoint="one's")
    with pytest.raises(UserError, match="was written by another machine"):
        one.push()
    assert there() == {"checkpoint.txt": "other's"}
    assert here(one) == {"checkpoint.txt": "one's"}


def test_a_fresh_start_sets_the_old_run_aside(far: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    one = machine(tmp_path, "one")
    for text in ("first", "second"):
        write(one, a=text)
        one.push()
        one.set_aside()
        assert there() == {}
        one.folder.rename(one.folder.with_name(f"aside-{text}"))  # as `run.enter` does
    assert files.cat("/runs/my.1/a.txt") == b"first"
    assert files.cat("/runs/my.2/a.txt") == b"second"


def test_a_lost_file_of_the_likeness_comes_back(far: Path, tmp_path: Path) -> None:
    one = machine(tmp_path, "one")
    write(one, a="1", b="2")
    one.push()
    (one.folder / "a.txt").unlink()
    assert here(machine(tmp_path, "one")) == {"a.txt": "1", "b.txt": "2"}


def test_the_work_goes_on_while_the_far_folder_is_out_of_reach(
    far: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine(tmp_path, "one")
    said: list[str] = []
    place = type(one.place)
    monkeypatch.setattr("sonicrnn.mirror.PUSH_SECONDS", 0.02)
    with one.kept_up(said.append):
        with monkeypatch.context() as broken:
            broken.setattr(place, "write", lambda self, source: (_ for _ in ()).throw(OSError("no route")))
            write(one, a="1")
            wait_until(lambda: bool(said))
            time.sleep(0.1)
        wait_until(lambda: there() == {"a.txt": "1"})
        write(one, b="2")
    assert there() == {"a.txt": "1", "b.txt": "2"}
    assert len(said) == 1  # not every time
    assert "no route" in said[0]
    assert "the training goes on" in said[0]


def wait_until(happened: object, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not happened():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.slow
def test_a_training_is_killed_on_one_machine_and_ends_on_another(
    tmp_path: Path, song_of_a_training: np.ndarray
) -> None:
    """With the real commands; song and runs are in a folder that is reached as if it were elsewhere."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    soundfile.write(bucket / "tune.wav", song_of_a_training, 16_000, subtype="PCM_16")
    budget = ("train.epochs=null", "train.minutes=0.6", "train.epoch_steps=100")  # by the clock: long on any machine
    settings = [*TINY, *budget, "train.checkpoint_seconds=0", "frames.recall=false", "name=far"]
    settings += [f"song.path=local://{bucket}/tune.wav", f"runs=local://{bucket}/runs"]
    fit = [sys.executable, "-m", "sonicrnn.fit", "configs/gru.yaml", *settings]
    far = bucket / "runs" / "far"

    def on(name: str) -> dict[str, str]:
        return {**os.environ, "SONICRNN_CACHE": str(tmp_path / name)}

    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(fit, env=on("one"), stdout=log, stderr=log)
        while not (far / "checkpoint.npz").exists() and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    resumed = subprocess.run(fit, env=on("other"), capture_output=True, text=True, timeout=280)
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on at epoch" in resumed.stdout
    assert f"sonicrnn.generate local://{bucket}/runs/far" in resumed.stdout
    for name in ("config.yaml", "model.keras", "checkpoint.npz", "kept.npz", "listen.html", "scores.json"):
        assert (far / name).stat().st_size > 100, name
    assert not [path for path in far.rglob(".*") if path.is_file()]
    call = [sys.executable, "-m", "sonicrnn.generate", f"local://{bucket}/runs/far", "--seconds", "1", "--takes", "1"]
    made = subprocess.run(call, env=on("one"), capture_output=True, text=True, timeout=200)
    assert made.returncode == 0, made.stderr
    (piece,) = (far / "audio").glob("piece-*.wav")
    assert soundfile.info(piece).frames == 16_000
    ended = subprocess.run(fit, env=on("one"), capture_output=True, text=True, timeout=200)
    assert "nothing is left to train" in ended.stdout
    assert json.loads((far / "scores.json").read_text())
