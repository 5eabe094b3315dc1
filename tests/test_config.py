"""Settings: what is taken, what is refused and with which words, and that they come back from a file as they were."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sonicrnn.config import FrameSettings, Settings, dump_settings, load_settings, parse_settings
from sonicrnn.config_words import describe, differences
from sonicrnn.errors import UserError

ROOT = Path(__file__).parent.parent


def parsed(*overrides: str, tmp_path: Path, text: str = "") -> Settings:
    """Settings of a file with this text and some overrides."""
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, overrides)


def refusal(tree: dict[str, Any]) -> str:
    with pytest.raises(UserError) as raised:
        parse_settings(tree, where="mine.yaml")
    return str(raised.value)


# What is taken ----------------------------------------------------------------------------------------------------


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert parsed(tmp_path=tmp_path) == Settings()
    assert parsed(tmp_path=tmp_path, text="# nothing but a comment\n") == Settings()


def test_overrides_come_after_the_file_and_the_last_one_counts(tmp_path: Path) -> None:
    text = "train: {epochs: 5, minutes: 2}\nname: mine"
    made = parsed("train.epochs=7", "train.epochs=9", "model.widths=[10, 20]", tmp_path=tmp_path, text=text)
    assert (made.train.epochs, made.train.minutes, made.name, made.model.widths) == (9, 2, "mine", [10, 20])


@pytest.mark.parametrize(
    ("written", "read"),
    [("1e-4", 1e-4), ("1E-4", 1e-4), ("1.e-4", 1e-4), (".1e-3", 1e-4), ("0.0001", 1e-4), ("2e+0", 2.0), ("1", 1.0)],
)
def test_numbers_are_numbers_however_they_are_written(tmp_path: Path, written: str, read: float) -> None:
    """YAML libraries read `1e-4` as a string: here it is a number, in a file and in an override."""
    assert parsed(f"train.learning_rate={written}", tmp_path=tmp_path).train.learning_rate == read
    in_file = parsed(tmp_path=tmp_path, text=f"train: {{learning_rate: {written}}}")
    assert in_file.train.learning_rate == read


def test_null_in_an_override_takes_a_limit_away(tmp_path: Path) -> None:
    assert parsed("train.epochs=null", tmp_path=tmp_path).train.epochs is None


@pytest.mark.parametrize(
    "path",
    ["my song.ogg", "*.ogg", "#1.ogg", "@home.wav", "Artist: Title.mp3", "100%.wav", "[live].wav", "~/a=b.wav"],
)
def test_a_path_on_the_command_line_is_taken_as_it_stands(tmp_path: Path, path: str) -> None:
    """Even where it means something else, or nothing, in YAML."""
    assert parsed(f"song.path={path}", tmp_path=tmp_path).song.path == path


def test_several_paths_on_the_command_line(tmp_path: Path) -> None:
    assert parsed("song.path=[a.wav, b c.wav]", tmp_path=tmp_path).song.path == ["a.wav", "b c.wav"]


def test_a_base_file_is_laid_under_the_one_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "common").mkdir()
    (tmp_path / "common" / "base.yaml").write_text("base: deeper.yaml\ntrain: {epochs: 3, minutes: 4}\nseed: 5")
    (tmp_path / "common" / "deeper.yaml").write_text("train: {minutes: 9, warmup_steps: 7}\nname: deep")
    made = parsed(tmp_path=tmp_path, text="base: common/base.yaml\ntrain: {epochs: 1}")
    assert (made.train.epochs, made.train.minutes, made.train.warmup_steps) == (1, 4, 7)
    assert (made.seed, made.name) == (5, "deep")


def test_every_config_of_the_repository_is_valid() -> None:
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert files
    for file in files:
        load_settings(file)


# What comes back --------------------------------------------------------------------------------------------------


def test_settings_are_frozen() -> None:
    made = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        made.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        made.train.epochs = 3  # type: ignore[misc]


words = st.text("abc019/.*: #[]{}&!%@|>~=,-'\"\\\té音🎵", max_size=8)
frame_settings = st.one_of(
    st.tuples(st.integers(16, 200_000), st.floats(0.5, 1)).map(
        lambda drawn: {"kind": "waveform", "frame_length": drawn[0], "hop": -int(-drawn[0] * drawn[1] // 1)}
    ),
    st.integers(4, 5000).map(lambda n: {"kind": "mdct", "frame_length": 4 * n}),
    st.tuples(st.integers(4, 500), st.none() | st.integers(1, 9), st.integers(1, 9)).map(
        lambda drawn: {"kind": "stft", "frame_length": 4 * drawn[0], "components": drawn[1], "stack": drawn[2]}
    ),
)
trees = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | words,
        "seed": st.integers(0, 2**31 - 1),
        "song": st.fixed_dictionaries(
            {},
            optional={
                "path": st.none() | words | st.lists(words, max_size=3),
                "sample_rate": st.none() | st.integers(2_000, 192_000),
                "trim": st.booleans(),
                "normalise": st.sampled_from(["std", "minmax", "none"]),
                "split": st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (1 / 3, 1 / 3, 1 / 3)]),
            },
        ),
        "frames": frame_settings,
        "data": st.fixed_dictionaries(
            {},
            optional={
                "speeds": st.lists(st.floats(0.5, 2), unique=True, max_size=3).map(lambda some: [1, *{*some} - {1}]),
                "gains": st.lists(st.floats(-24, 24), unique=True, max_size=3).map(lambda some: [*{*some} - {0}, 0]),
            },
        ),
        "model": st.fixed_dictionaries(
            {"widths": st.lists(st.integers(1, 512), min_size=1, max_size=4)},
            optional={"cell": st.sampled_from(["gru", "lstm"]), "dropout": st.floats(0, 0.99)},
        ),
        "train": st.fixed_dictionaries(
            {},
            optional={
                "learning_rate": st.floats(1e-30, 10),
                "minutes": st.none() | st.floats(1e-9, 1e9),
                "clip_norm": st.none() | st.floats(1e-12, 1e12),
            },
        ),
        "generate": st.fixed_dictionaries({"temperature": st.just("auto") | st.floats(0, 5)}),
    },
)


@given(trees)
@settings(deadline=None, max_examples=60)
def test_what_is_dumped_loads_to_an_equal_object(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    made = parse_settings(tree, where="drawn")
    file = tmp_path_factory.getbasetemp() / "dumped.yaml"
    file.write_text(dump_settings(made), encoding="utf-8")
    assert load_settings(file) == made
    # A plain YAML reader reads the same, so that other tools may read a run's config.
    assert parse_settings(yaml.safe_load(dump_settings(made)), where="plain") == made


def test_a_dump_is_complete() -> None:
    """Defaults that change in a later version must not change an old run."""
    dumped = yaml.safe_load(dump_settings(Settings()))
    assert parse_settings(dumped, where="dump").model_dump(exclude_unset=True) == Settings().model_dump()


def test_differences_name_each_setting_with_both_values() -> None:
    old = Settings()
    new = parse_settings({"seed": 2, "model": {"head": {"kind": "mse"}}, "data": {"sequence_length": 9}}, where="new")
    assert differences(old, new) == [
        "seed: 1 -> 2",
        "data.sequence_length: 100 -> 9",
        "model.head.kind: 'mixture' -> 'mse'",
    ]
    assert differences(new, new) == []


def test_the_description_has_every_setting_with_its_default() -> None:
    lines = describe(Settings()).splitlines()
    assert any(line.startswith("train.learning_rate=0.002 ") for line in lines)
    assert any("model.cell=gru" in line and "gru | lstm" in line for line in lines)
    leaves = json.dumps(Settings().model_dump(mode="json"))
    assert len(lines) == leaves.count(": ") - leaves.count(": {")
    assert len({line.split("=")[0] for line in lines}) == len(lines)
    assert all(json.dumps(line.split("=")[0].split(".")[-1]) in leaves for line in lines)


# What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"data": {"carry": 100}}, "carry is for order: streams"),
        ({"data": {"order": "streams", "sequence_length": 30, "carry": 100}}, "take 90"),
        ({"data": {"speeds": [0.97, 1.03]}}, "speeds [0.97, 1.03] must have 1.0 among them"),
        ({"data": {"gains": [4]}}, "gains [4.0] must have 0.0 among them"),
        ({"data": {"gains": []}}, "gains [] must have 0.0 among them"),
        ({"data": {"speeds": [1, 0.97, 1.0]}}, "must all be different"),
        ({"data": {"order": "streams", "speeds": [1, 0.97]}}, "speeds and gains are for order: shuffled"),
        ({"data": {"order": "streams", "gains": [0, -4]}}, "speeds and gains are for order: shuffled"),
        ({"model": {"head": {"kind": "spectral"}}}, "spectral is for waveform frames"),
        (
            {"model": {"head": {"kind": "spectral"}}, "frames": {"kind": "waveform", "hop": 600}},
            "spectral is for waveform frames without overlap",
        ),
        ({"model": {"head": {"kind": "softmax"}}}, "softmax is for waveform frames, not stft"),
        (
            {"model": {"head": {"kind": "softmax"}}, "frames": {"kind": "waveform", "frame_length": 257}},
            "take frames.frame_length=256 or less",
        ),
        ({"model": {"head": {"kind": "flow"}}, "frames": {"parts": 1}}, "flow is for frames of two figures or more"),
        ({"model": {"slow": [8, 1], "cell": "lstm"}}, "slow is for cell gru, not lstm"),
        ({"model": {"slow": [8], "widths": [4, 4]}}, "slow names 1 layers, but widths 2"),
        ({"model": {"image": True}}, "model.image is for waveform frames"),
        ({"model": {"scheduled": 0.5, "self_heard": 1}}, "leave self_heard and input_noise at 0"),
        (
            {"model": {"head": {"kind": "softmax"}, "echo": True}, "frames": {"kind": "waveform", "frame_length": 40}},
            "not with head.kind softmax",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused_with_the_reason(tree: dict[str, Any], told: str) -> None:
    assert told in refusal(tree)


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"trian": {"epochs": 3}}, "trian is no setting; did you mean train?"),
        ({"train": {"epoch": 3}}, "train.epoch is no setting; did you mean train.epochs?"),
        ({"train": {"batch_size": 3}}, "train.batch_size is no setting; did you mean data.batch_size?"),
        ({"epochs": 3}, "epochs is no setting; did you mean train.epochs?"),
        ({"model": {"head": {"mixture": 3}}}, "model.head.mixture is no setting; did you mean model.head.mixtures?"),
        ({"data": {"streams": True}}, "data.streams is no setting"),
        ({"train": {"float16": True}}, "train.float16 is no setting"),
        ({"xyzzy": 1}, "xyzzy is no setting"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_known_one(tree: dict[str, Any], told: str) -> None:
    assert told in refusal(tree).splitlines()[1]


@pytest.mark.parametrize(
    ("key", "wrong", "edge"),
    [
        ("song.sample_rate", 1_999, 2_000),
        ("song.sample_rate", 192_001, 192_000),
        ("frames.frame_length", 15, 16),
        ("data.sequence_length", 0, 1),
        ("data.batch_size", 0, 1),
        ("data.speeds", [1, 0.49], [1, 0.5]),
        ("data.speeds", [1, 2.01], [1, 2]),
        ("data.gains", [0, -24.1], [0, -24]),
        ("data.gains", [0, 24.1], [0, 24]),
        ("model.dropout", 1.0, 0.999),
        ("model.dropout", -0.1, 0.0),
        ("model.head.mixtures", 0, 1),
        ("train.learning_rate", 0, 1e-9),
        ("train.learning_rate", 10.1, 10),
        ("train.learning_rate", float("nan"), 1e-3),
        ("train.clip_norm", float("inf"), 1e6),
        ("train.minutes", 0, 0.01),
        ("train.epochs", 1.5, 1),
        ("train.average", 1.0, 0.9999),
        ("generate.temperature", 5.1, 5),
        ("generate.temperature", -0.1, 0),
        ("generate.temperature", "warm", "auto"),
        ("generate.seconds", 86_401, 86_400),
        ("model.widths", [], [1]),
        ("model.cell", "rnn", "lstm"),
        ("song.trim", "perhaps", False),
        ("seed", -1, 0),
    ],
)
def test_each_bound_is_where_it_says(key: str, wrong: Any, edge: Any) -> None:
    def tree(value: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        place = made
        *sections, name = key.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value
        if key == "frames.frame_length":
            place["kind"] = "waveform"
        return made

    parse_settings(tree(edge), where="edge")
    told = refusal(tree(wrong))
    assert told.startswith("mine.yaml: 1 setting to mend:")
    assert all(word in told.splitlines()[1] for word in key.split("."))
    assert len(told.splitlines()) == 2


@pytest.mark.parametrize(
    ("tree", "reason"),
    [
        ({"song": {"split": [0.8, 0.1, 0.2]}}, "add up to 1"),
        ({"song": {"split": [1.0, 0.0, 0.0]}}, "above 0"),
        ({"frames": {"kind": "waveform", "frame_length": 100, "hop": 49}}, "at least half of frame_length 100"),
        ({"frames": {"kind": "waveform", "frame_length": 100, "hop": 101}}, "would be lost"),
        ({"frames": {"kind": "mdct", "frame_length": 101}}, "multiple of 4 for mdct frames"),
        ({"frames": {"kind": "mdct", "frame_length": 102}}, "multiple of 4 for mdct frames"),
        ({"frames": {"kind": "mdct", "frame_length": 128, "hop": 32}}, "hop must be 64, not 32"),
        ({"frames": {"kind": "stft", "frame_length": 1022}}, "multiple of 4 for stft frames"),
        ({"frames": {"kind": "stft", "frame_length": 1024, "hop": 600}}, "at most half"),
        ({"frames": {"kind": "stft", "frame_length": 64, "components": 34}}, "more than the 33 figures of a frame"),
        ({"frames": {"kind": "waveform", "components": 3}}, "for stft frames alone"),
        ({"frames": {"kind": "mdct", "stack": 2}}, "for stft frames alone"),
    ],
)
def test_settings_that_do_not_fit_together_say_why(tree: dict[str, Any], reason: str) -> None:
    assert reason in refusal(tree)


def test_the_hop_of_each_kind() -> None:
    assert FrameSettings(kind="waveform", frame_length=1000).hop_length == 1000
    assert FrameSettings(kind="mdct", frame_length=512).hop_length == 256
    assert FrameSettings(kind="stft", frame_length=1024).hop_length == 256
    assert FrameSettings(kind="stft", frame_length=1024, hop=300, stack=3).step_length == 900
    assert FrameSettings(kind="stft", frame_length=1001, hop=250).hop_length == 250


def test_all_mistakes_are_told_at_once() -> None:
    told = refusal(
        {
            "sede": 3,
            "frames": {"kind": "wave"},
            "model": {"cell": "rnn", "widths": [0, 10, -1], "head": {"kind": "gauss", "mixtures": 0}},
            "train": {"epochs": 0, "minutes": -1},
            "song": {"split": [0.5, 0.2, 0.2]},
        }
    )
    for key in (
        "sede", "frames.kind", "model.cell", "model.widths.0", "model.widths.2", "model.head.kind",
        "model.head.mixtures", "train.epochs", "train.minutes", "song",
    ):  # fmt: skip
        assert any(line.strip().startswith(key) for line in told.splitlines()[1:]), key
    assert told.startswith("mine.yaml: 10 settings to mend:")
    assert len(told.splitlines()) == 11


def test_a_value_of_several_kinds_is_one_mistake() -> None:
    """A path may be a text or a list, a temperature a number or `auto`: whoever gives neither has one thing to mend."""
    told = refusal({"song": {"path": 5}, "generate": {"temperature": [1]}})
    assert told.startswith("mine.yaml: 2 settings to mend:")
    assert "not 5" in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("train: [1, 2", "is no YAML"),
        ("- a\n- b", "must hold `name: value` lines, not a list"),
        ("just words", "must hold `name: value` lines, not a str"),
        ("base: mine.yaml", "is its own base"),
        ("base: gone.yaml", "there is no config"),
        ("train: 5", "train: "),
    ],
)
def test_a_file_that_is_no_config_says_so(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parsed(tmp_path=tmp_path, text=text)


def test_a_missing_file_names_those_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "lstm.yaml").write_text("")
    (tmp_path / "gru.yaml").write_text("")
    with pytest.raises(UserError, match=r"there is no config .*gro\.yaml; did you mean .*gru\.yaml\?"):
        load_settings(tmp_path / "gro.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_settings(tmp_path)
    (tmp_path / "song.ogg").write_bytes(b"OggS\x00\xff\xfe")
    with pytest.raises(UserError, match="cannot be read"):
        load_settings(tmp_path / "song.ogg")


@pytest.mark.parametrize("override", ["song.ogg", "=5", " =5", "--fast", "song.path=", "name= "])
def test_a_word_that_is_no_override_says_how_one_is_written(tmp_path: Path, override: str) -> None:
    with pytest.raises(UserError, match=r"section\.name=value"):
        parsed(override, tmp_path=tmp_path)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
sections = st.sampled_from([*Settings.model_fields, "other"])


@given(st.dictionaries(sections, anything | st.dictionaries(st.sampled_from(["path", "kind", "hop"]), anything)))
@settings(deadline=None)
def test_whatever_a_file_holds_the_answer_is_settings_or_a_users_error(tree: dict[str, Any]) -> None:
    try:
        parse_settings(tree, where="drawn")
    except UserError as error:
        assert len(str(error).splitlines()) > 1  # noqa: PT017


@given(st.text("abc.=[]{}:#*&!%@`'\" ,-1e\n", max_size=12))
@settings(deadline=None)
def test_whatever_an_override_is_the_answer_is_settings_or_a_users_error(
    tmp_path_factory: pytest.TempPathFactory, override: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "empty.yaml"
    file.write_text("")
    for word in (override, f"song.path={override}", f"train.epochs={override}", f"model{override}=3"):
        try:
            load_settings(file, [word])
        except UserError:
            continue


# At once, without TensorFlow --------------------------------------------------------------------------------------

HEAVY = ("tensorflow", "keras", "scipy", "matplotlib", "soundfile", "wandb")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["fit", "--help"], 0),
        (["generate", "--help"], 0),
        (["export", "--help"], 0),
        (["export", "no such run"], 2),
        (["export", "x", "--batch", "0"], 2),
        (["fit", "configs/gru.yaml", "train.epoch=3"], 2),
        (["fit", "configs/gro.yaml"], 2),
        (["fit", "configs/gru.yaml", "frames.hop=5000"], 2),
        (["fit", "configs/gru.yaml", "data.speeds=[0.97]"], 2),
        (["fit"], 2),
        (["generate", "no such run"], 2),
        (["generate", "x", "--seconds", "-1"], 2),
    ],
)
def test_help_and_mistakes_are_answered_within_a_second_before_tensorflow_loads(command: list[str], code: int) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", f"sonicrnn.{command[0]}", *command[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    imported = {
        line.rsplit("|", 1)[1].strip().split(".")[0]
        for line in done.stderr.splitlines()
        if line.startswith("import time:")
    }
    said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
    assert done.returncode == code, said
    assert "sonicrnn" in imported
    assert not imported & set(HEAVY)
    assert "Traceback" not in done.stderr
    # The processor's time: that on the clock is its neighbours' affair too.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
