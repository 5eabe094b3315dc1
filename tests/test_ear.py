"""The pretrained network: its inner layer is reached, its windows are joined, and it may be missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.ear import _LAYER, _MODEL, RATE, WINDOW, Ear, _another_output, load_ear
from sonicrnn.errors import UserError

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def ear() -> Ear:
    found = load_ear()
    assert found is not None, "the environment of the tests holds the extra eval"
    return found


def tone(hertz: float, seconds: float, rate: int = RATE) -> Floats:
    time = np.arange(round(seconds * rate)) / rate
    return 0.2 * np.sign(np.sin(2 * np.pi * hertz * time)) * (1 + np.sin(2 * np.pi * 3 * time))


@pytest.mark.parametrize("seconds", [0.5, 1.988, 2.5, 3.0, 9.9])
def test_a_row_every_46_ms(ear: Ear, seconds: float) -> None:
    for rate in (RATE, 16_000):
        rows = ear.hear(tone(220, seconds, rate), rate)
        assert rows.shape[1] == 704
        assert len(rows) == pytest.approx(seconds * RATE / 1024, abs=1)
        assert np.isfinite(rows).all()


def test_windows_are_joined_in_order(ear: Ear) -> None:
    sound = np.concatenate([tone(220, WINDOW / RATE), tone(330, WINDOW / RATE)])
    whole = ear.hear(sound, RATE)
    first, second = ear.hear(sound[:WINDOW], RATE), ear.hear(sound[WINDOW:], RATE)
    np.testing.assert_allclose(whole[:40], first[:40], atol=1e-4)
    np.testing.assert_allclose(whole[-40:], second[-40:], atol=1e-4)
    assert np.abs(first.mean(0) - second.mean(0)).max() > 0.1


def test_the_pitch_counts_more_than_the_phase(ear: Ear) -> None:
    one, later, other = (ear.hear(sound, RATE).mean(0) for sound in (tone(220, 6), -tone(220, 6), tone(330, 6)))
    assert np.abs(one - later).mean() < 0.1 * np.abs(one - other).mean()


def test_silence_can_be_heard(ear: Ear) -> None:
    assert np.isfinite(ear.hear(np.zeros(3 * RATE), RATE)).all()


def test_another_output_leaves_the_model_as_it_was(ear: Ear) -> None:
    import onnxruntime

    package = importlib.util.find_spec("basic_pitch")
    assert package is not None
    assert package.origin is not None
    content = (Path(package.origin).parent / _MODEL).read_bytes()
    sound = {"serving_default_input_2:0": tone(220, 2)[None, :WINDOW, None].astype(np.float32)}
    sessions = [
        onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        for model in (content, content + _another_output(_LAYER))
    ]
    before, after = ([output.name for output in session.get_outputs()] for session in sessions)
    assert after == [*before, _LAYER]
    for first, second in zip(sessions[0].run(before, sound), sessions[1].run(before, sound), strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


@pytest.mark.parametrize("missing", ["basic_pitch", "onnxruntime"])
def test_without_its_packages_there_is_none(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    find = importlib.util.find_spec

    def found(name: str, package: str | None = None) -> Any:
        return None if name == missing else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", found)
    assert load_ear() is None


def test_a_package_without_the_model_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "basic_pitch").mkdir()
    (tmp_path / "basic_pitch" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match=r"cannot be used.*pip install --no-deps basic-pitch==0\.4\.0"):
        load_ear()
