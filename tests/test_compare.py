"""Runs of one song side by side: real runs, real pieces, one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn import compare
from sonicrnn.audio import write_audio
from sonicrnn.errors import UserError
from sonicrnn.song import open_song
from tests.small_runs import QUICK, RATE, make_run

Samples = npt.NDArray[np.float32]


def run_of(folder: Path, samples: Samples, **model: Any) -> Path:
    """A run over a file of these samples, which it knows as its song."""
    file = folder.parent / f"{folder.name}.wav"
    write_audio(file, samples, RATE)
    made = {**QUICK, "song": {"path": str(file)}, "model": {**QUICK["model"], **model}}
    run = make_run(folder, samples, made)
    song = open_song(run.settings().song, report=lambda line: None)
    run.song.write_text(f'{{"content_hash": "{song.content_hash}", "files": ["{file}"]}}')
    return folder


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        compare.main(arguments)
    return str(caught.value)


@pytest.mark.slow
def test_two_runs_of_one_song(tmp_path: Path, small_song: Samples, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [run_of(tmp_path / "plain", small_song), run_of(tmp_path / "wide", small_song, widths=[12])]
    compare.main([*map(str, runs), "--seconds", "4", "--seed", "3"])
    printed = capsys.readouterr().out
    assert "overall score" in printed
    assert "plain" in printed
    page = (tmp_path / compare.PAGE).read_text()
    assert "<title>plain and wide</title>" in page
    assert "model.widths: [8] -&gt; [12]" in page
    assert page.count("<audio") == 3  # the song, and one piece of each
    assert "All settings of this run" not in page
    assert "--seed 4" in page


def test_runs_of_other_songs_are_refused(tmp_path: Path, small_song: Samples) -> None:
    runs = [run_of(tmp_path / "one", small_song), run_of(tmp_path / "other", small_song[: 15 * RATE])]
    said = refusal(*map(str, runs))
    assert "only runs of one song can be compared" in said
    assert not (tmp_path / compare.PAGE).exists()


def test_wrong_options_are_told_at_once(tmp_path: Path) -> None:
    said = refusal(str(tmp_path / "a"), "--seconds", "1", "--seed", "-1")
    for part in ("give 2 to 12 run folders, not 1", "--seconds 1", "--seed -1"):
        assert part in said
    assert "two run folders are called a" in refusal(str(tmp_path / "a"), str(tmp_path / "b" / "a/"))
    assert "holds no run" in refusal(str(tmp_path / "a"), str(tmp_path / "b"))
    assert "--page" in refusal("s3://bucket/a", str(tmp_path / "b"))
