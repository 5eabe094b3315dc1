"""The ladder: every rung is a config that can be trained, and the table says what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks import ladder, trained
from sonicrnn.config import load_settings
from sonicrnn.errors import UserError

ROW: dict[str, Any] = {
    "steps": 1234.0,
    "weights": 2_415_368,
    "temperature": 0.7,
    "minute_seconds": 3.14,
    "figures": {
        "score": [98.0, 100.0], "told": [70.0, 73.0], "level": [-2.0, -1.0], "flatness": [0.8, 0.9],
        "onsets": [1.0, 1.1], "speed": [None, 1.0], "beat": [None, None], "copied": [2.0, 4.0],
    },
}  # fmt: skip


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page with an old table, where the command would write."""
    page = tmp_path / "ladder.md"
    page.write_text(f"before\n\n{ladder.MARKS[0]}\n\nan old table\n\n{ladder.MARKS[1]}\n\nafter\n")
    monkeypatch.setattr(ladder, "PAGE", page)
    return page


def test_each_rung_is_a_config() -> None:
    heads = [load_settings(file, []).model.head.kind for file in ladder.RUNGS]
    assert heads[0] == "mse"
    assert heads[-1] == "mixture"


def test_the_table_has_means_and_the_words_around_it_stay(page: Path) -> None:
    files = [Path("configs/seeds/base.yaml"), Path("configs/gru.yaml")]
    trained.put(page, ladder.MARKS, ladder.table(dict.fromkeys(files, ROW)))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "an old table" not in text
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert len({len(line) for line in lines}) == 1
    shown = dict(zip(ladder.HEADINGS, lines[-1], strict=True))
    assert shown["score"] == "**99** (98, 100)"
    assert shown["told, %"] == "72"
    assert shown["pace, ×"] == "1.00"
    assert shown["beat, ×"] == "–"
    assert shown["a minute takes, s"] == "3.1"


def test_a_song_that_is_not_there_is_told_before_anything_is_trained(page: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.ogg"):
        ladder.main(["missing.ogg"])
    assert "an old table" in page.read_text()
