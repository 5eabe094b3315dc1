"""What the tables of trained models share: a row is kept until its settings are others, and is put where it belongs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import gan, trained
from sonicrnn.config import Settings
from sonicrnn.errors import UserError
from sonicrnn.run import run_name

HEADS = Path("configs/heads")


def settings(tmp_path: Path, minutes: float = 1.0) -> Settings:
    return trained.settings_of(HEADS / "gan.yaml", "a tune.ogg", minutes, str(tmp_path), "gan-2", 2)


def test_a_row_is_kept_until_its_settings_are_others(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert trained.row_of(made) is None
    folder = trained.folder_of(made)
    folder.mkdir()
    (folder / trained.ROW).write_text(json.dumps({"settings": made.model_dump(mode="json"), "steps": 3}))
    assert trained.row_of(made) is None  # of an old version: figures are missing
    (folder / trained.ROW).write_text(json.dumps({"settings": made.model_dump(mode="json"), "steps": 3, "frames": {}}))
    kept = trained.make(made)  # as it is: nothing is trained
    assert kept["steps"] == 3
    assert trained.row_of(settings(tmp_path, 2.0)) is None


def test_a_row_is_looked_for_where_the_training_puts_it(tmp_path: Path) -> None:
    made = trained.settings_of(HEADS / "gan.yaml", "a tune.ogg", 1.0, str(tmp_path), "gan-a tune: live")
    assert trained.folder_of(made) == tmp_path / run_name(made, "gan", "a tune")
    assert " " not in trained.folder_of(made).name


def test_the_settings_are_the_configs_with_what_all_rows_share(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert made.model.head.kind == "gan"
    assert not made.frames.recall
    assert (made.song.path, made.seed, made.train.minutes, made.wandb.mode) == ("a tune.ogg", 2, 1.0, "disabled")


def test_a_table_is_put_between_its_lines_or_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    trained.put(page, ("<!-- a -->", "<!-- b -->"), "new")
    assert page.read_text() == "before\n<!-- a -->\n\nnew\n\n<!-- b -->\nafter\n"
    with pytest.raises(UserError, match="no place for the table"):
        trained.put(page, ("<!-- a -->", "<!-- c -->"), "newer")
    assert "newer" not in page.read_text()


@pytest.mark.slow
def test_the_table_and_the_picture_are_of_all_that_was_made_so_far(tmp_path: Path) -> None:
    """The first row is there, the second cannot be made: its song is missing."""
    first, second = (
        trained.settings_of(HEADS / "gan.yaml", "a tune.ogg", 1, str(tmp_path), f"gan-{seed}", seed) for seed in (1, 2)
    )
    folder, page, marks = trained.folder_of(first), tmp_path / "page.md", ("<!-- a -->", "<!-- b -->")
    folder.mkdir()
    (folder / trained.ROW).write_text(json.dumps({"settings": first.model_dump(mode="json"), "frames": {}}))
    Image.new("RGB", (30, 20), "red").save(folder / trained.SPECTROGRAM)
    page.write_text("<!-- a --><!-- b -->")
    with pytest.raises(UserError, match="gan-2 could not be made"):
        trained.write_rows({1: first, 2: second}, page, marks, lambda rows: f"rows: {list(rows)}", tmp_path / "all.png")
    assert "rows: [1]" in page.read_text()
    assert Image.open(tmp_path / "all.png").size == (30, 20)


def test_pictures_are_stacked(tmp_path: Path) -> None:
    rows = [trained.settings_of(HEADS / "gan.yaml", "a.ogg", 1, str(tmp_path), f"gan-{seed}", seed) for seed in (1, 2)]
    for number, row in enumerate(rows):
        trained.folder_of(row).mkdir()
        Image.new("RGB", (40 + number, 20 + number), "red").save(trained.folder_of(row) / trained.SPECTROGRAM)
    trained.stack(rows, tmp_path / "all.png")
    assert Image.open(tmp_path / "all.png").size == (41, 41)


@pytest.mark.slow
def test_a_model_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="gan-2 could not be made"):
        trained.make(settings(tmp_path))
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.trained"], input="{}x", capture_output=True, text=True, check=False
    )
    assert made.returncode


def test_the_table_of_the_gan_says_which_figures_are_nearer_to_the_song() -> None:
    def row(score: float, level: float, trend: float, apart: float) -> trained.Row:
        figures = {"score": [score] * 2, "told": [101 - score / 10, None], "level": [level] * 2, "speed": [None, None]}
        held_out = {"score": 100.0, "told": 70.0, "level": -1.0, "speed": 1.0, "trend": 9.0}
        song = {"score": [None, None], "told": [None, None], "level": [-2.5, 0.5], "speed": [1, 1], "trend": [1, 5]}
        shared = {"collapsed": 0, "steps": 1234.0, "temperature": 0.7, "frames": held_out | {"told": 96.0}}
        figures["trend"] = [trend, trend]
        return {"figures": figures, "held_out": held_out, "song": song, "apart": apart, **shared}

    shown = gan.table({"mse-1": row(3, -4, 0, 0), "mixture-1": row(40, -5, -4, 0.9), "gan-1": row(80, 1, 6, 0.8)})
    lines = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in shown.split("\n")}
    assert lines["score"] == ["3", "**40**", "**80**", "–", "100", "100"]
    assert lines["level, dB"] == ["-4.0", "-5.0 †", "**1.0**", "-2.5…0.5", "-1.0", "-1.0"]
    # Up to the song's own all are as good.
    assert lines["trend, dB/min"] == ["0.0", "-4.0", "6.0 †", "1.0…5.0", "9.0", "9.0"]
    assert lines["told, %"] == ["101", "**97**", "**93**", "–", "70", "96"]
    assert lines["pace, ×"] == ["–", "–", "–", "1.00…1.00", "1.00", "1.00"]
    assert lines["draws apart, ×"] == ["0.00", "0.90", "0.80", "–", "1", "–"]
    assert lines["steps"][0] == "1,234"
