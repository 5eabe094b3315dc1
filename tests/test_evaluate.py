"""The command: options refused at once, pieces made or read, the table printed, `scores.json` written."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.image import imread

from sonicrnn import evaluate
from sonicrnn.audio import write_audio
from sonicrnn.errors import UserError
from sonicrnn.song import Song, split
from tests.small_runs import TINY

RATE = 16_000
Samples = npt.NDArray[np.float32]


class PlaybackGenerator:
    """Stands in for a trained model: its pieces are cut from a recording, one after the other."""

    def __init__(self, folder: Path, samples: Samples):
        self.run = SimpleNamespace(folder=folder)
        self.settings = SimpleNamespace(seed=1, song=SimpleNamespace(trim=True))
        self.encoding = SimpleNamespace(sample_rate=RATE, step=256)
        self.temperature = 0.8
        self.asked: list[tuple[float, float, tuple[int, ...], int | None]] = []
        self.song = Song(samples, RATE, "tune", "0", [], 800, 0, split(len(samples), (0.8, 0.1, 0.1)), 800)

    def primes(self, part: str, seeds: Sequence[int]) -> Samples:
        assert part == "validation"
        return np.zeros((len(seeds), RATE), np.float32)

    def generate(
        self,
        primes: Samples,
        seconds: float,
        temperature: float,
        seeds: Sequence[int],
        takes: int | None,
        revise: int | None,
    ) -> Samples:
        assert revise is None
        assert len(primes) == len(seeds)
        self.asked.append((seconds, temperature, tuple(seeds), takes))
        length = round(seconds * RATE)
        return np.stack([self.song.samples[seed * RATE :][:length] for seed in seeds])

    def reconstruct(self, samples: Samples) -> Samples:
        return np.asarray(samples)[100:-100]


@pytest.fixture
def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, longer_song: Samples) -> PlaybackGenerator:
    """A run folder that looks trained, and what loads from it."""
    import sonicrnn.generator

    (tmp_path / "config.yaml").write_text("{}\n")
    (tmp_path / "model.keras").write_bytes(b"weights")
    loaded = PlaybackGenerator(tmp_path, longer_song)
    monkeypatch.setattr(sonicrnn.generator, "load_generator", lambda folder: loaded)
    return loaded


@pytest.fixture(autouse=True)
def no_ear(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the extra `eval` is not installed, which is fast."""
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        return None if name == "basic_pitch" else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        evaluate.main(arguments)
    return str(caught.value)


def test_new_pieces_are_measured_and_written(generator: PlaybackGenerator, capsys: pytest.CaptureFixture[str]) -> None:
    folder = generator.run.folder
    options = ["--seconds", "5", "--count", "2", "--seed", "3", "--temperature", "0.5", "--takes", "2"]
    evaluate.main([str(folder), *options])
    printed = capsys.readouterr().out
    assert generator.asked == [(5.0, 0.5, (3, 4), 2)]
    scores = json.loads((folder / "scores.json").read_text())
    assert list(scores["pieces"]) == ["seed 3", "seed 4"]
    assert list(scores["figures"]["level"]["references"])[:2] == ["held-out", "frames"]
    assert "clicks" in scores["figures"]
    # Cut from the training part: the trimmed 0.05 s of silence count, too.
    assert scores["pieces"]["seed 3"]["copied"][0]["song_seconds"] == pytest.approx(3.05, abs=0.1)
    assert "copies 5 s of the song at 0:03" in printed
    assert "log-mel: half seconds" in printed
    assert "overall score" in printed
    assert "by log-mel alone" in printed
    assert "pip install --no-deps basic-pitch" in printed
    assert 0 <= scores["figures"]["score"]["pieces"]["seed 3"] <= 100
    assert str(folder / "scores.json") in printed


def test_the_defaults_are_two_minutes_at_the_runs_temperature(generator: PlaybackGenerator) -> None:
    evaluate.main([str(generator.run.folder)])
    assert generator.asked == [(60.0, 0.8, (1, 2), None)]


@pytest.mark.slow
def test_long_pieces_have_their_form_drawn(
    generator: PlaybackGenerator, longer_song: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = generator.run.folder
    evaluate.main([str(folder), "--seconds", "5"])
    assert "form over the minutes" not in capsys.readouterr().out
    long = np.concatenate([longer_song, longer_song])
    generator.song = Song(long, RATE, "tune", "0", [], 800, 0, split(len(long), (0.7, 0.15, 0.15)), 800)
    evaluate.main([str(folder), "--seconds", "125", "--count", "1"])
    printed = capsys.readouterr().out
    assert f"form over the minutes: {folder / 'form.png'}" in printed
    assert "times the song's variety" in printed
    assert imread(folder / "form.png").shape[1] > 600


def test_given_files_are_measured(generator: PlaybackGenerator, tmp_path: Path, longer_song: Samples) -> None:
    loud, other = tmp_path / "loud.wav", tmp_path / "again" / "loud.wav"
    other.parent.mkdir()
    write_audio(loud, 1.5 * longer_song[: 6 * RATE], RATE)
    write_audio(other, 0.5 * longer_song[: 12 * RATE : 2], RATE // 2)  # another rate
    evaluate.main([str(tmp_path), "--audio", str(loud), str(other)])
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert list(scores["pieces"]) == [str(loud), str(other)]  # two of one name are told apart
    levels = scores["figures"]["level"]["pieces"]
    assert levels[str(loud)] - levels[str(other)] == pytest.approx(9.5, abs=1.0)
    assert not generator.asked


def test_bad_options_are_refused_all_at_once(tmp_path: Path) -> None:
    wrong = ["--seconds", "1", "--count", "0", "--temperature", "7", "--seed", "-1", "--takes", "0"]
    said = refusal(str(tmp_path), *wrong)
    for part in ("--seconds 1", "--count 0", "--takes 0", "--temperature 7", "--seed -1", "between 3 and 3600"):
        assert part in said
    said = refusal(str(tmp_path), "--audio", "nothing.wav", "--count", "3")
    assert "there is no file nothing.wav" in said
    assert "--count: for pieces that are generated" in said


def test_a_folder_without_a_run_or_without_a_model(tmp_path: Path) -> None:
    assert "holds no run" in refusal(str(tmp_path / "none"))
    (tmp_path / "config.yaml").write_text("{}\n")
    assert "has no model yet" in refusal(str(tmp_path))


def test_too_short_a_file_or_song(generator: PlaybackGenerator, tmp_path: Path, longer_song: Samples) -> None:
    short = tmp_path / "short.wav"
    write_audio(short, longer_song[: 2 * RATE], RATE)
    assert "short: 2.0 s are too short to judge" in refusal(str(tmp_path), "--audio", str(short))
    tiny = PlaybackGenerator(tmp_path, longer_song[: 5 * RATE])
    generator.song = tiny.song
    assert "validation and test parts of 1.0 s" in refusal(str(tmp_path), "--seconds", "3")


def test_help_and_refusals_come_at_once(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-X", "importtime", "-m", "sonicrnn.evaluate", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    helped = run("--help")
    assert helped.returncode == 0
    assert "--audio" in helped.stdout
    refused = run(str(tmp_path))
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr
    for done in (helped, refused):
        assert "tensorflow" not in done.stderr
        assert "scipy" not in done.stderr


@pytest.mark.slow
def test_a_really_trained_run_is_measured(
    tmp_path: Path, song_of_a_training: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    song = tmp_path / "tune.wav"
    write_audio(song, song_of_a_training, RATE)
    command = [sys.executable, "-m", "sonicrnn.fit", "configs/gru.yaml", f"song.path={song}", f"runs={tmp_path}"]
    settings = ["name=tiny", *TINY, "frames.recall=false", "train.epochs=1"]
    subprocess.run([*command, *settings], check=True, capture_output=True, timeout=280)
    evaluate.main([str(tmp_path / "tiny"), "--seconds", "4", "--count", "1"])
    scores = json.loads((tmp_path / "tiny" / "scores.json").read_text())
    assert list(scores["pieces"]) == ["seed 1"]
    assert scores["figures"]["spectrum"]["references"]["frames"] < scores["figures"]["spectrum"]["references"]["white"]
    assert "seed 1:" in capsys.readouterr().out
