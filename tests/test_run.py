"""A run folder: the numbered rules by which a training enters it, its lock, its name, and folders that are none."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sonicrnn.config import Settings, parse_settings
from sonicrnn.errors import UserError
from sonicrnn.run import Run, enter, run_name


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "my")


def settings(**tree: object) -> Settings:
    return parse_settings(tree, where="test")


def tree_of(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# 1. `fresh` moves aside, deletes nothing --------------------------------------------------------------------------


def test_rule_1_fresh_keeps_each_old_run_under_a_number_of_its_own(run: Run) -> None:
    for seed in (1, 2, 3):
        assert enter(run, settings(seed=seed), fresh=True) is False
        (run.folder / "model.keras").write_text(f"weights of {seed}")
    assert run.settings().seed == 3
    assert (run.folder.parent / "my.1" / "model.keras").read_text() == "weights of 1"
    assert Run(run.folder.parent / "my.2").settings().seed == 2
    assert sorted(path.name for path in run.folder.parent.iterdir()) == ["my", "my.1", "my.2"]


def test_rule_1_fresh_also_moves_what_is_no_run(run: Run) -> None:
    (run.folder / "photos").mkdir(parents=True)
    (run.folder / "photos" / "cat.png").write_bytes(b"cat")
    assert enter(run, settings(), fresh=True) is False
    assert tree_of(run.folder.parent / "my.1") == {"photos/cat.png": b"cat"}


def test_rule_1_fresh_on_an_empty_or_missing_folder_makes_no_copy(run: Run) -> None:
    assert enter(run, settings(), fresh=True) is False
    assert [path.name for path in run.folder.parent.iterdir()] == ["my"]


# 2. A new run -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [False, True])
def test_rule_2_a_new_run_has_its_settings_first_of_all(run: Run, exists: bool) -> None:
    if exists:
        run.folder.mkdir(parents=True)
    wanted = settings(seed=7, train={"learning_rate": 3e-5})
    assert enter(run, wanted, fresh=False) is False
    assert run.settings() == wanted
    assert list(run.folder.iterdir()) == [run.config]


@pytest.mark.parametrize("name", [".DS_Store", ".config-abc123.yaml"])
def test_rule_2_hidden_files_make_no_difference(run: Run, name: str) -> None:
    """A file manager leaves them, and so does a process that was killed while it wrote its settings."""
    run.folder.mkdir(parents=True)
    (run.folder / name).write_text("x")
    assert enter(run, settings(), fresh=False) is False
    assert run.settings() == settings()


# 3. A folder that is none of ours ---------------------------------------------------------------------------------


def test_rule_3_a_folder_of_other_files_is_refused_and_left_alone(run: Run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="has files but no config"):
        enter(run, settings(), fresh=False)
    assert tree_of(run.folder) == {"thesis.tex": b"years of work"}


# 4. The same settings go on ---------------------------------------------------------------------------------------


def test_rule_4_the_same_settings_go_on_and_touch_nothing_else(run: Run) -> None:
    enter(run, settings(seed=7), fresh=False)
    run.checkpoint.write_bytes(b"weights")
    assert enter(run, settings(seed=7), fresh=False) is True
    assert run.checkpoint.read_bytes() == b"weights"


def test_rule_4_how_to_generate_and_report_may_change_and_is_kept(run: Run) -> None:
    enter(run, settings(), fresh=False)
    new = settings(
        generate={"seconds": 5, "temperature": 0.5},
        wandb={"mode": "disabled"},
        name="my",
        runs=str(run.folder.parent),
        song={"cache": "/elsewhere"},
    )
    assert enter(run, new, fresh=False) is True
    assert run.settings() == new


# 5. Other settings are refused ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"seed": 8}, "seed: 7 -> 8"),
        ({"seed": 7, "train": {"epochs": 31}}, "train.epochs: 30 -> 31"),
        ({"seed": 7, "model": {"widths": [10]}}, "model.widths: [199, 256] -> [10]"),
        ({"seed": 7, "song": {"path": "b.wav"}}, "song.path: None -> 'b.wav'"),
        ({"seed": 7, "frames": {"hop": 128}}, "frames.hop: None -> 128"),
    ],
)
def test_rule_5_other_settings_are_refused_with_the_difference(run: Run, tree: dict[str, object], told: str) -> None:
    enter(run, settings(seed=7), fresh=False)
    run.checkpoint.write_bytes(b"weights")
    before = tree_of(run.folder)
    with pytest.raises(UserError) as refused:
        enter(run, settings(**tree), fresh=False)
    lines = str(refused.value).splitlines()
    assert [line.strip() for line in lines[1:-1]] == [told]
    assert all(way in lines[-1] for way in ("name=", "--fresh"))
    assert tree_of(run.folder) == before


def test_rule_5_all_differences_are_told_and_none_that_does_not_matter(run: Run) -> None:
    enter(run, settings(), fresh=False)
    with pytest.raises(UserError) as refused:
        enter(run, settings(seed=2, data={"batch_size": 3}, generate={"seconds": 1}), fresh=False)
    told = str(refused.value)
    assert "seed: 1 -> 2" in told
    assert "data.batch_size: 32 -> 3" in told
    assert "generate" not in told


# The lock ---------------------------------------------------------------------------------------------------------


def test_only_one_process_trains_a_folder(run: Run) -> None:
    code = (
        "import sys, pathlib\n"
        "from sonicrnn.run import Run\n"
        "with Run(pathlib.Path(sys.argv[1])).locked():\n"
        "    print('held', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(run.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another process is training"), run.locked():
            pass
        with Run(run.folder.with_name("another")).locked():
            pass  # a neighbour is free
        os.kill(other.pid, signal.SIGKILL)  # a killed process holds nothing
        other.wait()
        with run.locked():
            pass
    finally:
        other.kill()
        other.communicate()


def test_the_lock_is_let_go_after_an_error_and_holds_while_fresh_moves_the_folder(run: Run) -> None:
    with pytest.raises(RuntimeError), run.locked():
        raise RuntimeError
    enter(run, settings(), fresh=False)
    with run.locked():
        enter(run, settings(seed=2), fresh=True)
        with pytest.raises(UserError, match="another process"), run.locked():
            pass
    with run.locked():
        pass


def test_a_file_system_without_locks_is_told_apart_from_another_process(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(file: object, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with run.locked():
        pass


# Names and folders that are no run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        (None, "gru-my-song"),
        ("take 2", "take-2"),
        ("../../etc", "etc"),
        ("a/b\\c", "a-b-c"),
        ("..", "run"),
        ("Größe_1.5", "Größe_1.5"),
        ("-rf", "rf"),
        ("", "gru-my-song"),
        ("💥", "run"),
    ],
)
def test_a_name_is_fit_for_a_folder(name: str | None, folder: str) -> None:
    assert run_name(settings(name=name), "gru", "my song") == folder


def test_a_folder_that_is_no_run_names_the_runs_beside_it(run: Run) -> None:
    enter(Run(run.folder.with_name("first")), settings(), fresh=False)
    enter(Run(run.folder.with_name("second")), settings(), fresh=False)
    with pytest.raises(UserError, match=r"holds no run .*there are: .*first, .*second"):
        run.settings()


def test_a_run_without_a_model_says_how_it_gets_one(run: Run) -> None:
    enter(run, settings(), fresh=False)
    with pytest.raises(UserError, match=r"no model yet.*sonicrnn\.fit"):
        run.trained()
    run.model.write_bytes(b"x")
    assert run.trained() == settings()


@pytest.mark.parametrize("text", ["train: [1,", "- a\n- b", "train: {epochs: 0}", "\x00", "words"])
def test_a_config_that_was_spoiled_is_a_users_error_with_its_place(run: Run, text: str) -> None:
    enter(run, settings(), fresh=False)
    run.config.write_text(text)
    with pytest.raises(UserError, match=r"my.config\.yaml"):
        run.settings()
