"""Selecting weights by how like the song their free run is."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn import callbacks, selection
from sonicrnn.callbacks import Judge
from sonicrnn.checkpoint import Progress, load_weights
from sonicrnn.config import Settings, TrainSettings
from sonicrnn.errors import UserError
from sonicrnn.run import Run
from sonicrnn.selection import free_run_score, is_better
from sonicrnn.song import Song, split

RATE = 16_000
Samples = npt.NDArray[np.float32]


def song_of(samples: Samples) -> Song:
    return Song(samples, RATE, "tune", "0", [], 0, 0, split(len(samples), (0.7, 0.15, 0.15)))


class Player:
    """Stands in for a generator: its pieces are what it is given."""

    def __init__(self, pieces: list[Samples]):
        self.pieces = pieces

    def __call__(self, free_run: Any, calibration: Any) -> Player:
        return self

    def generate(self, primes: Samples, seconds: float, seeds: list[int]) -> Samples:
        assert len(primes) == len(seeds) == selection.PIECES
        return np.stack([self.pieces[index % len(self.pieces)] for index in range(len(seeds))])


def scored(monkeypatch: pytest.MonkeyPatch, song: Song, *pieces: Samples) -> float:
    monkeypatch.setattr(selection, "Generator", Player(list(pieces)))
    return free_run_score(None, song, Settings())()  # type: ignore[arg-type]


def test_more_of_the_song_scores_higher_than_noise_and_copies(
    monkeypatch: pytest.MonkeyPatch, longer_song: Samples
) -> None:
    song = song_of(longer_song)
    test, training = song.part("test"), song.part("training")
    real = scored(monkeypatch, song, test)
    noise = scored(monkeypatch, song, 0.1 * np.random.default_rng(1).standard_normal(len(test)).astype(np.float32))
    copy = scored(monkeypatch, song, training[5 * RATE : 20 * RATE])
    assert real > 0.3
    assert noise < 0.1
    assert copy < 0.6 * real
    both = scored(monkeypatch, song, test, training[5 * RATE :][: len(test)])
    assert both == pytest.approx((real + copy) / 2, abs=0.05)  # the mean over the pieces


def test_a_song_whose_parts_are_too_short_is_refused(small_song: Samples) -> None:
    with pytest.raises(UserError, match=r"validation part.*song\.split"):
        free_run_score(None, song_of(small_song[: 12 * RATE]), Settings())  # type: ignore[arg-type]


def test_to_keep_the_best_free_run_some_have_to_be_scored() -> None:
    with pytest.raises(ValueError, match="score_epochs"):
        TrainSettings(keep="free_run")
    assert TrainSettings(keep="free_run", score_epochs=2).keep == "free_run"


@pytest.mark.parametrize(
    ("score", "best", "better"),
    [
        (0.1, None, True),
        (math.nan, None, True),
        (0.3, 0.2, True),
        (0.2, 0.2, False),
        (math.nan, 0.2, False),
        (-5.0, math.nan, True),
        (math.nan, math.nan, False),
    ],
)
def test_what_is_better(score: float, best: float | None, better: bool) -> None:
    assert is_better(score, best) is better


class Epochs:
    """Ends epochs of a model whose only weight is the number of the epoch."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, losses: list[float], **settings: Any):
        self.run, self.progress = Run(folder), Progress()
        self.scores: list[float] = []
        self.weight = 0
        self.model = SimpleNamespace(
            averages=[],
            stop_training=False,
            optimizer=SimpleNamespace(learning_rate=0.1),
            get_weights=lambda: [np.array(self.weight)],
        )
        monkeypatch.setattr(callbacks, "validation_loss", lambda model, data: losses[self.weight - 1])
        self.judge = Judge(self.run, TrainSettings(**settings), self.progress, None, self._score)
        self.judge.set_model(self.model)

    def _score(self) -> float:
        return self.scores.pop(0)

    def end(self, count: int) -> None:
        for _ in range(count):
            self.weight += 1
            self.progress.epoch_step = 1
            self.judge.on_epoch_end(self.weight - 1, {"gradient_norm": 1.0})

    @property
    def kept(self) -> int:
        return int(load_weights(self.run.kept)[0])


def test_the_best_free_run_is_kept_whatever_the_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = Epochs(tmp_path, monkeypatch, [1.0, 0.9, 1.1, 1.2, 1.3, 1.4, 1.5], keep="free_run", score_epochs=2)
    epochs.scores = [0.1, 0.7, 0.9, 0.8]
    epochs.end(7)
    assert [row["free_run"] for row in epochs.progress.history] == pytest.approx(
        [0.1, math.nan, 0.7, math.nan, 0.9, math.nan, 0.8], nan_ok=True
    )
    assert epochs.kept == 5
    assert epochs.progress.best_epoch == 5
    assert (epochs.progress.best_free_run, epochs.progress.best_loss) == (0.9, 0.9)


def test_the_lowest_loss_is_kept_though_free_runs_are_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = Epochs(tmp_path, monkeypatch, [1.0, 0.9, 1.1], score_epochs=1)
    epochs.scores = [0.1, 0.7, 0.9]
    epochs.end(3)
    assert (epochs.kept, epochs.progress.best_epoch, epochs.progress.best_free_run) == (2, 2, 0.9)


def test_patience_goes_by_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = Epochs(tmp_path, monkeypatch, [1.0] * 9, keep="free_run", score_epochs=2, patience=4)
    epochs.scores = [0.1, 0.7, 0.6, 0.5]
    epochs.end(6)
    assert not epochs.model.stop_training
    epochs.end(1)
    assert epochs.model.stop_training
    assert epochs.progress.out_of_patience
