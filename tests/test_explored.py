"""The table of what was explored: each model is the rung `parts` but for one thing, and all songs count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import explored
from sonicrnn.config import load_settings
from sonicrnn.errors import UserError
from tests.test_ladder import ROW


def test_each_model_is_heard_as_it_draws() -> None:
    for file in explored.MODELS:
        made = load_settings(file, [])
        assert not made.frames.recall
        assert made.generate.takes == 1


def test_every_config_of_the_folder_is_a_row() -> None:
    found = set(Path("configs/explored").glob("*.yaml"))
    assert found == set(explored.MODELS) - {explored.PARTS}


def test_the_table_has_the_means_of_all_songs_and_the_score_of_each() -> None:
    other = {**ROW, "figures": {**ROW["figures"], "score": [40.0, 42.0], "told": [80.0, 85.0]}, "temperature": 1.0}
    shown = explored.table({explored.PARTS: [ROW, other], explored.MODELS[1]: [ROW]})
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in shown.splitlines()]
    assert len({len(line) for line in lines}) == 1
    both, one = (dict(zip(lines[0], line, strict=True)) for line in lines[2:])
    assert both["model"] == "[parts](../configs/ladder/parts.yaml)"
    assert (both["score"], both["told, %"], both["temperature"]) == ("**70** (99, 41)", "77", "0.70, 1.00")
    assert (one["score"], one["told, %"], one["beat, ×"], one["steps"]) == ("**99**", "72", "–", "1,234")


def test_all_songs_must_be_there_before_anything_is_trained(tmp_path: Path) -> None:
    there = tmp_path / "there.wav"
    soundfile.write(there, np.zeros(16_000), 16_000)
    with pytest.raises(UserError, match=r"missing\.ogg"):
        explored.main([str(there), "missing.ogg"])
