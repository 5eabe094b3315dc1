"""The seeds' experiments: the table that one command makes, and that a finished row is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from benchmarks.seeds import main
from benchmarks.seeds_measures import hum
from benchmarks.seeds_table import BEGIN, END, HEADINGS, PICTURE, SCORES, write_table
from sonicrnn.errors import UserError

ROOT = Path(__file__).parents[1]


def row(kind: str = "mse", nmse: float = 0.5) -> dict[str, Any]:
    errors = {"nmse": nmse, "loss": 1.25}
    history = [{"seconds": 5.0 * (step + 1), "loss": 0.4 / (step + 1), "validation_loss": 0.5} for step in range(3)]
    return {
        "settings": {
            "model": {"head": {"kind": kind}},
            "frames": {"kind": "waveform", "frame_length": 100},
            "data": {"batch_size": 2, "sequence_length": 50},
        },
        "seconds": 30.0,
        "steps": 1234.0,
        "weights": 1_500_000,
        "steps_per_second": 7.3,
        "memory": 1.3e9,
        "errors": {"training": errors, "validation": errors, "test": errors},
        "levels": [-1.6, -12.0, -17.4],
        "scores": {"score": 3.6, "flatness": 1.5, "clicks": None, "copied": 0.0},
        "history": history,
    }


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|\n").split("|")]


def test_the_table_stands_between_its_marks_and_the_words_around_it_stay(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"before\n\n{BEGIN}\n\nan old table\n\n{END}\n\nafter\n")
    rows = {tmp_path / "base.yaml": row(), tmp_path / "cost-gaussian.yaml": row("gaussian", 0.25)}
    for _ in range(2):  # a second time changes nothing
        write_table(tmp_path, {**rows, tmp_path.parent / "gru.yaml": {**row(), "scores": {}}})
        text = (tmp_path / "README.md").read_text()
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "an old table" not in text
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == list(HEADINGS)
    assert {len(line) for line in lines} == {len(HEADINGS)}
    base, gaussian, other = (dict(zip(HEADINGS, line, strict=True)) for line in lines[2:])
    assert base["config"] == "[base](base.yaml)"
    assert other["config"] == "[gru](../gru.yaml)"
    assert (base["steps"], base["weights"], base["memory, GB"], base["minutes"]) == ("1,234", "1.50 M", "1.3", "0.50")
    assert base["samples/s"] == "73 k"  # 7.3 steps of 2 sequences of 50 frames of 100 samples
    assert (base["1 s"], base["5 s"], base["30 s"]) == ("-2", "-12", "-17")
    assert (base["validation"], base["nats"]) == ("0.500", "–")  # squared error is no likelihood
    assert (gaussian["validation"], gaussian["nats"]) == ("0.250", "1.25")
    assert base["clicks"] == "–"
    assert [other[name] for name in SCORES] == ["–"] * len(SCORES)  # that are measured in the end
    with Image.open(tmp_path / PICTURE) as picture:
        assert len(set(picture.convert("RGB").get_flattened_data())) > 10
    assert (tmp_path / PICTURE).stat().st_size < 200_000


def test_a_row_that_there_is_none_of_is_refused_with_those_that_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"there is no cell-gro; there are: base, .*cell-lstm.*gru"):
        main(["my.ogg", "--only", "base", "cell-gro"])
    with pytest.raises(UserError, match="--side-by-side 0 must lie between 1 and"):
        main(["my.ogg", "--side-by-side", "0"])


def test_a_song_that_is_not_there_is_told_before_any_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=r"there is no file or folder missing\.ogg"):
        main(["missing.ogg"])


def test_a_chord_that_stands_still_is_a_hum_and_music_and_noise_are_not(longer_song: npt.NDArray[np.float32]) -> None:
    time = np.arange(30 * 16_000) / 16_000
    still = sum(np.sin(2 * np.pi * hertz * time) for hertz in (110, 220.3, 471))
    assert hum(np.asarray(still, np.float32), 16_000) > 0.99
    assert hum(longer_song[: len(time)], 16_000) < 0.9
    assert hum(np.random.default_rng(0).standard_normal(len(time)), 16_000) < 0.02
    moved = np.concatenate([np.random.default_rng(0).standard_normal(20 * 16_000), still[-10 * 16_000 :]])
    assert hum(moved, 16_000) > 0.99  # what it comes to is what counts
    assert hum(np.zeros(len(time)), 16_000) == 0


def test_where_no_row_can_be_made_the_table_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs/seeds").mkdir(parents=True)
    for name in ("base.yaml", "README.md"):
        (tmp_path / "configs/seeds" / name).write_bytes((ROOT / "configs/seeds" / name).read_bytes())
    soundfile.write(tmp_path / "short.wav", np.full(4000, 0.1), 16_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with pytest.raises(UserError, match="no row could be made"):
        main(["short.wav", "--only", "base"])
    assert (tmp_path / "configs/seeds/README.md").read_bytes() == (ROOT / "configs/seeds/README.md").read_bytes()


@pytest.mark.slow
def test_a_row_is_trained_and_measured_and_kept(tmp_path: Path, longer_song: npt.NDArray[np.float32]) -> None:
    soundfile.write(tmp_path / "song.wav", longer_song, 16_000)
    (tmp_path / "configs/seeds").mkdir(parents=True)
    (tmp_path / "configs/gru.yaml").write_bytes((ROOT / "configs/gru.yaml").read_bytes())
    for name in ("base.yaml", "cell-lstm.yaml", "README.md"):
        (tmp_path / "configs/seeds" / name).write_bytes((ROOT / "configs/seeds" / name).read_bytes())
    command = [sys.executable, "-m", "benchmarks.seeds", "song.wav", "--minutes", "0.05", "--only"]

    def run(name: str) -> str:
        done = subprocess.run(
            [*command, name], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True,
            capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout

    assert "cell-lstm: " in run("cell-lstm")
    place = tmp_path / "runs/seeds/cell-lstm/row.json"
    made = json.loads(place.read_text())
    assert made["steps"] > 0
    assert made["seconds"] >= 3
    assert 0 < made["errors"]["validation"]["nmse"] < 1.5
    assert all(-60 <= level < 20 for level in made["levels"])
    assert 1e8 < made["memory"] < 4e9
    assert made["scores"]["score"] is not None
    assert made["scores"]["clicks"] != 0
    assert "cell-lstm: " not in run("cell-lstm")  # it is kept
    assert json.loads(place.read_text()) == made
    text = (tmp_path / "configs/seeds/README.md").read_text()
    assert "| [cell-lstm](cell-lstm.yaml) | 0.0" in text
