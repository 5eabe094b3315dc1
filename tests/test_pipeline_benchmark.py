"""The benchmark of the pipeline: do its peers cut the same windows?"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from benchmarks.pipeline import _peers, _peers_line, keras_windows, torch_windows

SMALL = [
    "configs/gru.yaml",
    "frames={kind: waveform, frame_length: 400}",
    "data={sequence_length: 10, shift: 800, batch_size: 4}",
    "model={widths: [4], front: [], head: {kind: mse}}",
]


FRAMES = np.arange(20 * 3, dtype=np.float32).reshape(20, 3)


@pytest.mark.parametrize("windows", [keras_windows, torch_windows])
def test_windows_are_all_of_the_song_in_another_order(windows) -> None:
    if windows is torch_windows:
        pytest.importorskip("torch")
    made = windows(FRAMES, 4, 2, 4, *([0] if windows is torch_windows else []))
    sequences = np.concatenate([np.asarray(batch) for batch in itertools.islice(made, 2)])
    assert sequences.shape == (8, 5, 3)
    np.testing.assert_array_equal(sequences, sequences[:, :1, :1] + np.arange(15).reshape(5, 3))
    assert sorted(sequences[:, 0, 0]) == [6.0 * window for window in range(8)]


def test_pairs_are_the_two_halves_of_windows() -> None:
    pytest.importorskip("torch")
    made = torch_windows(FRAMES, 4, 2, 4, 0, pairs=True)
    inputs, targets = (
        np.concatenate([np.asarray(one) for one in part]) for part in zip(*itertools.islice(made, 2), strict=True)
    )
    np.testing.assert_array_equal(targets[:, :-1], inputs[:, 1:])
    assert sorted(inputs[:, 0, 0]) == [6.0 * window for window in range(8)]
    assert targets.shape == (8, 4, 3)


def test_all_peers_are_measured() -> None:
    speeds = _peers(SMALL, torch=False)
    assert set(speeds) == {"ours", "Keras", "writing alone"}
    assert min(speeds.values()) > 0
    line = _peers_line("x", {"ours": 3000.0, "Keras": 1000.0, "writing alone": 9000.0})
    assert line == "| x | 3,000 | 1,000 | – | – | 3.0 × | – | – | 9,000 |"
