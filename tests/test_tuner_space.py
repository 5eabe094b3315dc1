"""What a search may choose from: how it is declared, checked, and turned into settings."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sonicrnn.config import Settings, load_as, load_settings
from sonicrnn.errors import UserError
from tuner.folder import dump_space
from tuner.hyperparameters import declare, tidy
from tuner.settings import SearchSettings
from tuner.space import SPACES, Space, load_space

NAMES = sorted(path.stem for path in SPACES.glob("*.yaml"))
START = load_settings("configs/gru.yaml")


def space(tmp_path: Path, text: str, start: Settings = START, comparable: bool = True) -> Space:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return load_space(str(file), start, comparable)


@pytest.mark.parametrize("name", NAMES)
def test_every_space_holds_the_recommended_model(name: str) -> None:
    assert load_space(name, START, comparable=name != "frames").holds_start


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 10_000))
@hypothesis_settings(max_examples=25, deadline=None)
def test_every_point_of_every_space_is_settings(name: str, seed: int) -> None:
    made = load_space(name, START, comparable=False)
    hyperparameters = declare(made)
    drawn = hyperparameters.copy()
    drawn.values = {}
    for index, one in enumerate(hyperparameters.space):
        if drawn.is_active(one):
            drawn.values[one.name] = one.random_sample(seed + index)
    values = tidy(drawn.values)
    chosen = made.settings(values)
    assert len(chosen.model.widths) == values.get("model.widths.layers", len(START.model.widths))
    assert chosen.data.batch_size == values["data.batch_size"]
    unsearched = chosen.model_dump()
    assert unsearched["generate"] == START.model_dump()["generate"]
    # What came over the wire means the same.
    arrived = type(drawn).from_proto(drawn.to_proto())
    assert made.settings(tidy({name: arrived.values[name] for name in drawn.values})) == chosen


def test_a_space_reads_back_as_it_was_written(tmp_path: Path) -> None:
    for name in NAMES:
        made = load_space(name, START, comparable=False)
        again = space(tmp_path, dump_space(made), comparable=False)
        assert again == made


def test_layers_are_dimensions_of_their_own(tmp_path: Path) -> None:
    made = space(tmp_path, "model.widths: {layers: [1, 3], each: [8, 16]}")
    assert made.settings({"model.widths.layers": 1, "model.widths.1": 8}).model.widths == [8]
    three = {"model.widths.layers": 3, "model.widths.1": 8, "model.widths.2": 16, "model.widths.3": 8}
    assert made.settings(three).model.widths == [8, 16, 8]
    names = [one.name for one in declare(made).space]
    assert names == ["model.widths.layers", "model.widths.1", "model.widths.2", "model.widths.3"]
    shallow = declare(made)
    shallow.values = {"model.widths.layers": 1}
    assert [one.name for one in shallow.space if shallow.is_active(one)] == names[:2]


def test_a_condition_leaves_the_setting_as_it_was(tmp_path: Path) -> None:
    text = "model.head.mixtures: {choice: [4, 16], when: {model.head.kind: [mixture]}}\n"
    made = space(tmp_path, text + "model.head.kind: [gaussian, mixture]")
    hyperparameters = declare(made)
    hyperparameters.values = {"model.head.kind": "gaussian"}
    active = [one.name for one in hyperparameters.space if hyperparameters.is_active(one)]
    assert active == ["model.head.kind"]
    assert made.settings({"model.head.kind": "gaussian"}).model.head.mixtures == 8


def test_a_choice_may_be_of_anything_that_a_setting_may_be(tmp_path: Path) -> None:
    made = space(tmp_path, "model.front: [[], [64], [64, 32]]\ntrain.clip_norm: [null, 0.5, 1]")
    fronts = {tuple(made.settings({"model.front": one}).model.front) for one in declare(made).space[0].values}
    assert fronts == {(), (64,), (64, 32)}
    clips = {made.settings({"train.clip_norm": one}).train.clip_norm for one in declare(made).space[1].values}
    assert clips == {None, 0.5, 1.0}


def test_the_start_is_the_nearest_that_the_space_has(tmp_path: Path) -> None:
    widths = "model.widths: {layers: [1], each: [100, 400]}"
    made = space(tmp_path, f"data.batch_size: [2, 12]\nmodel.dropout: {{low: 0.4, high: 0.5}}\n{widths}")
    assert not made.holds_start
    values = made.start_values()
    assert (values["data.batch_size"], values["model.dropout"]) == (12, 0.4)
    assert made.settings(values).model.widths == [400]


def test_a_wrong_space_is_told_all_that_is_wrong_with_it(tmp_path: Path) -> None:
    text = """
data.batchsize: [1]
model.dropout: {low: 1, high: 0.5}
train.minutes: [1, 2]
model.widths: {low: 1, high: 9}
data.batch_size: [0, 8]
model.cell: 8
model.input_noise: {low: 0, high: 1, scale: log}
model.head.mixtures: {choice: [4], when: {model.head.kind: [mse]}}
frames.parts: [24, 96]
train.learning_rate: {low: 1.0e-3, high: 99}
"""
    with pytest.raises(UserError) as caught:
        space(tmp_path, text)
    lines = str(caught.value).splitlines()
    assert "mine.yaml: 10 settings to mend:" in lines[0]
    for expected in (
        "data.batchsize is no setting; did you mean data.batch_size?",
        "model.dropout: low 1 must be below high 0.5",
        "train.minutes is not for a search to choose",
        "model.widths is a list: write {layers: [1, 2]",
        "data.batch_size: input should be greater than or equal to 1, not 0",
        "model.cell: write what it may be",
        "model.input_noise: low 0 must be above 0 for scale: log",
        "model.head.mixtures.when: model.head.kind must be one of the choices",
        "frames.parts: validation losses of these do not compare",
        "train.learning_rate: input should be less than or equal to 10, not 99",
    ):
        assert any(line.strip().startswith(expected) for line in lines), expected


def test_losses_of_other_frames_are_not_compared(tmp_path: Path) -> None:
    heads = ("model.head.kind: [mixture, mse]", "model.head.kind: [mixture, gan]")
    for text in ("frames.frame_length: [1024, 2048]", *heads):
        with pytest.raises(UserError, match=r"tuner\.objective=unlikeness"):
            space(tmp_path, text)
        space(tmp_path, text, comparable=False)


def test_a_space_that_is_not_there() -> None:
    with pytest.raises(UserError, match="no space recommendet; did you mean recommended"):
        load_space("recommendet", START, comparable=True)


def test_settings_of_the_search_are_checked_with_all_others() -> None:
    with pytest.raises(UserError) as caught:
        load_as(SearchSettings, "configs/gru.yaml", ["tuner.trails=3", "model.dropout=2", "tuner.algorithm=genetic"])
    text = str(caught.value)
    assert "3 settings to mend" in text
    assert "tuner.trails is no setting; did you mean tuner.trials?" in text
    with pytest.raises(UserError, match="trials or minutes must be set"):
        load_as(SearchSettings, "configs/gru.yaml", ["tuner.trials=null"])


def test_a_plain_run_knows_no_settings_of_a_search() -> None:
    with pytest.raises(UserError, match=r"tuner.* is no setting"):
        load_settings("configs/gru.yaml", ["tuner.trials=3"])
    searched = load_as(SearchSettings, "configs/gru.yaml", ["tuner.trials=3"])
    assert searched.start() == START
