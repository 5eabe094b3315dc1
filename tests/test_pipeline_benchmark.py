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


@pytest.mark.parametrize("windows", [keras_windows, torch_windows])
def test_windows_are_all_of_the_song_in_another_order(windows) -> None:
    frames = np.arange(20 * 3, dtype=np.float32).reshape(20, 3)
    if windows is torch_windows:
        pytest.importorskip("torch")
        made = windows(frames, 4, 2, 4, 0)
    else:
        made = windows(frames, 4, 2, 4)
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
    assert line == "| x | 3,000 | 1,000 | – | 3.0 × | – | 9,000 |"
