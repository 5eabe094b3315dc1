"""The search as a command: what is checked at once, its folder, its results; and whole searches with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile

from sonicrnn.config import load_as, load_settings
from sonicrnn.errors import UserError
from tests.test_tuner_trial import TINY
from tuner import keeper
from tuner.folder import SearchFolder, enter, identity
from tuner.keeper import core_shares
from tuner.results import Result, failed, ranked, read_results, write_pictures, write_tables
from tuner.search import _free_port, _role
from tuner.settings import SearchSettings
from tuner.space import Space, load_space

if TYPE_CHECKING:
    from tests.conftest import WatchedPage

COMMAND = (sys.executable, "-m", "tuner.search")
QUICK = "tuner.space=quick"


def started(tmp_path: Path, *options: str) -> tuple[SearchFolder, SearchSettings, Space]:
    settings = load_as(SearchSettings, "configs/gru.yaml", [QUICK, f"tuner.folder={tmp_path}", *options])
    return SearchFolder(tmp_path / "mine"), settings, load_space("quick", settings.start(), comparable=True)


# What needs no processes ------------------------------------------------------------------------------------------


def test_help_answers_at_once() -> None:
    began = time.process_time()
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "tuner.algorithm=bayesian" in done.stdout
    imported = "import sys, tuner.search; print([one for one in sys.modules if one in ('tensorflow', 'keras_tuner')])"
    assert subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True).stdout.strip() == "[]"
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["tuner.trails=3"], "tuner.trails is no setting; did you mean tuner.trials?"),
        (["tuner.folder=s3://bucket/searches"], "folder s3://bucket/searches must be one of this machine"),
        (["tuner.space=quik"], "there is no space quik; did you mean quick?"),
        (["configs/gro.yaml"], "there is no config configs/gro.yaml; did you mean configs/gru.yaml?"),
        (["tuner.space=frames"], "frames.parts: validation losses of these do not compare"),
    ],
)
def test_a_wrong_command_ends_in_one_message(options: list[str], expected: str) -> None:
    done = subprocess.run([*COMMAND, *options], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_the_part_of_a_process_is_kerastuners_own_variables() -> None:
    assert _role({})[0] is None
    given = {"KERASTUNER_TUNER_ID": "w", "KERASTUNER_ORACLE_IP": "10.0.0.1", "KERASTUNER_ORACLE_PORT": "8000"}
    assert _role(given) == ("w", ("10.0.0.1", "8000"))
    with pytest.raises(UserError, match="KERASTUNER_ORACLE_PORT must be set too"):
        _role({**given, "KERASTUNER_ORACLE_PORT": ""})
    with pytest.raises(UserError, match="must be a port"):
        _role({**given, "KERASTUNER_ORACLE_PORT": "http"})
    with pytest.raises(UserError, match="must be a name"):
        _role({**given, "KERASTUNER_TUNER_ID": "a/b"})


def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 4, 9, 8})
    monkeypatch.setattr(keeper, "GPUS", ())
    assert core_shares(2, cores=1) == [[3], [4]]
    assert core_shares(2, cores=2) == [[3, 4], [5, 8]]
    assert core_shares(2, cores=8) == [[3, 4], [5, 8]]
    assert core_shares(1, cores=8) == [[3, 4, 5, 8, 9]]
    assert core_shares(6, cores=1) == [[]] * 6


def test_there_are_as_many_workers_as_a_machine_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(keeper, "GPUS", ())
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 15_000_000_000 // 4096}
    monkeypatch.setattr(os, "sysconf", pages.__getitem__)
    assert len(core_shares(None, cores=1)) == 7  # the memory ends first
    assert len(core_shares(None, cores=4)) == 2
    assert len(core_shares(None, cores=16)) == 1
    monkeypatch.setattr(keeper, "GPUS", ("/dev/null",))
    assert core_shares(None, cores=1) == [list(range(8))]
    assert core_shares(2, cores=1) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_a_search_goes_on_with_the_same_settings_alone(tmp_path: Path) -> None:
    search, settings, space = started(tmp_path)
    assert not enter(search, settings, space, fresh=False)
    assert search.load() == (settings, space)
    assert enter(search, settings, space, fresh=False)
    assert enter(search, *started(tmp_path, "tuner.trials=50", "tuner.workers=2", "tuner.cores=2")[1:], fresh=False)
    with pytest.raises(UserError, match=r"tuner\.epochs: 8 -> 9"):
        enter(search, *started(tmp_path, "tuner.epochs=9")[1:], fresh=False)
    other = load_space("recommended", settings.start(), comparable=True)
    with pytest.raises(UserError, match=r"the space: .*space.yaml holds the old one"):
        enter(search, settings, other, fresh=False)
    assert not enter(search, settings, other, fresh=True)
    assert (tmp_path / "mine.1" / "search.yaml").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    search, settings, space = started(tmp_path)
    search.folder.mkdir()
    (search.folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"has files but no search\.yaml"):
        enter(search, settings, space, fresh=False)


def test_machines_may_differ_in_where_things_are_and_in_nothing_else(tmp_path: Path) -> None:
    _, settings, space = started(tmp_path)
    here = ("song.path=elsewhere.wav", "runs=other", "tuner.space=recommended", "tuner.workers=2")
    same = started(tmp_path, *here, "wandb.mode=disabled")[1]
    assert identity(same, space) == identity(settings, space)
    for option in ("seed=2", "tuner.epochs=9", "model.dropout=0.1", "tuner.objective=unlikeness"):
        assert identity(started(tmp_path, option)[1], space) != identity(settings, space)


@pytest.fixture
def results() -> list[Result]:
    values = {"data.batch_size": 16, "model.widths.layers": 1, "model.widths.1": 64, "train.learning_rate": 0.002}
    deep = {**values, "model.widths.layers": 2, "model.widths.2": 128, "data.batch_size": 8}
    figures = {"validation_loss": 0.9, "epochs": 3.0, "weights": 1e5, "seconds": 60.0, "memory_mb": 700.0}
    return [
        Result("0", "completed", 0.9, values, figures),
        Result("1", "failed", None, values, {}, "<b>out of memory</b>"),
        Result("2", "completed", 0.7, deep, {**figures, "validation_loss": 0.7}),
        Result("3", "running", None, deep),
    ]


def test_results_are_a_table_a_config_a_picture_and_a_page(tmp_path: Path, results: list[Result]) -> None:
    search, settings, space = started(tmp_path)
    enter(search, settings, space, fresh=False)
    write_tables(search, settings, space, results)
    write_pictures(search, settings, space, results)
    assert [one.trial for one in ranked(results)] == ["2", "0"]
    assert [one.trial for one in failed(results)] == ["1"]
    rows = search.table.read_text().splitlines()
    assert rows[0].startswith("trial,status,data.batch_size,model.widths.layers,model.widths.1,model.widths.2")
    assert len(rows) == 5
    best = load_settings(search.best)
    assert (best.data.batch_size, best.model.widths) == (8, [64, 128])
    assert best.train == settings.train.model_copy(update={"learning_rate": 0.002})
    assert "# The best of 2 trials" in search.best.read_text().splitlines()[0]
    page = search.page.read_text()
    assert "&lt;b&gt;out of memory&lt;/b&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "model.widths: [384, 384] -&gt; [64, 128]" in page
    assert search.picture.read_bytes().startswith(b"\x89PNG")


def test_a_search_without_a_best_has_a_page_too(tmp_path: Path, results: list[Result]) -> None:
    search, settings, space = started(tmp_path)
    enter(search, settings, space, fresh=False)
    write_tables(search, settings, space, results[1:2])
    write_pictures(search, settings, space, results[1:2])
    assert not search.best.exists()
    assert "No trial completed" in search.page.read_text()


@pytest.mark.browser
def test_the_page_opens_with_its_picture_and_asks_for_nothing(
    tmp_path: Path, results: list[Result], watched_page: WatchedPage
) -> None:
    search, settings, space = started(tmp_path)
    enter(search, settings, space, fresh=False)
    write_pictures(search, settings, space, results)
    page = watched_page.page
    page.goto(search.page.resolve().as_uri())
    assert page.evaluate("document.querySelector('img').naturalWidth") > 500
    assert page.locator("tbody tr").count() == 2
    assert page.locator("dd").inner_text() == "<b>out of memory</b>"
    page.set_viewport_size({"width": 360, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert not watched_page.complaints
    assert not watched_page.outside_requests()


# Whole searches -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def song_file(tmp_path_factory: pytest.TempPathFactory, small_song: np.ndarray) -> Path:
    file = tmp_path_factory.mktemp("song") / "tune.wav"
    soundfile.write(file, small_song, 16_000, subtype="PCM_16")
    return file


def command(song_file: Path, folder: Path, *more: str) -> list[str]:
    space = folder.parent / f"{folder.name}.yaml"
    space.write_text("data.batch_size: [2, 4]\nmodel.widths: {layers: [1, 2], each: [8, 12, 16]}\n")
    return [
        *(*COMMAND, "configs/gru.yaml", *TINY, f"song.path={song_file}", f"tuner.folder={folder.parent}"),
        *(f"tuner.name={folder.name}", f"tuner.space={space}", "train.checkpoint_seconds=0", *more),
    ]


@contextmanager
def running(arguments: list[str], log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(arguments, env={**os.environ, **variables}, stdout=file, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_for(happened: Callable[[], object], seconds: float = 240) -> None:
    last = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < last, "it did not happen"
        time.sleep(0.02)


def working_on(folder: Path, worker: str) -> tuple[int, str] | None:
    """The process and the trial of a worker that is in the middle of a training."""
    file = folder / "workers" / f"{worker}.json"
    if not file.exists():
        return None
    state = json.loads(file.read_text())
    if not (folder / "runs" / state["trial"] / "checkpoint.npz").exists() or not alive(state["process"]):
        return None
    return state["process"], state["trial"]


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def accounted_for(folder: Path, count: int) -> list[Result]:
    """All trials, each of which has ended, and once."""
    results = read_results(SearchFolder(folder))
    assert len(results) == count
    assert {result.status for result in results} <= {"completed", "failed"}
    ended = json.loads((folder / "trials" / "oracle.json").read_text())["end_order"]
    assert sorted(ended) == sorted(result.trial for result in results)
    return results


def completed(folder: Path, count: int) -> list[Result]:
    """All trials, each of which has come to its end."""
    results = accounted_for(folder, count)
    assert {result.status for result in results} == {"completed"}, [result.reason for result in results]
    return results


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_worker_and_the_chief_are_killed_and_no_trial_is_lost(tmp_path: Path, song_file: Path) -> None:
    folder, log = tmp_path / "killed", tmp_path / "log.txt"
    options = command(song_file, folder, "tuner.trials=4", "tuner.workers=2", "tuner.epochs=6")
    with running(options, log) as process:
        wait_for(lambda: working_on(folder, "worker-1"))
        victim, trial = working_on(folder, "worker-1") or (0, "")
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: working_on(folder, "worker-2"))
        os.kill(json.loads((folder / "workers" / "chief.json").read_text())["process"], signal.SIGKILL)
        assert process.wait(timeout=600) == 0, log.read_text()
    assert "the chief was killed: it starts again" in log.read_text()
    completed(folder, 4)
    assert f"runs/{trial} goes on at epoch" in (folder / "logs" / "worker-1.log").read_text()
    assert "4 trials completed, 0 failed" in log.read_text()

    fit = [sys.executable, "-m", "sonicrnn.fit", str(folder / "best.yaml"), f"runs={tmp_path}", "name=best"]
    with running(fit, tmp_path / "fit.txt"):
        wait_for(lambda: (tmp_path / "best" / "history.csv").exists())


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_two_workers_share_twelve_trials_and_find_better_settings(tmp_path: Path, song_file: Path) -> None:
    folder, log = tmp_path / "twelve", tmp_path / "log.txt"
    options = command(song_file, folder, "tuner.trials=12", "tuner.workers=2", "tuner.epochs=2")
    with folder.with_suffix(".yaml").open("a") as space:  # so few steps learn more with longer ones
        space.write("train.learning_rate: {low: 2.0e-3, high: 5.0e-2, scale: log}\n")
    with running(options, log) as process:
        assert process.wait(timeout=800) == 0, log.read_text()
    results = completed(folder, 12)
    best = ranked(results)[0]
    assert best.objective is not None
    assert results[0].objective is not None  # the config itself
    assert best.objective < results[0].objective
    assert load_settings(folder / "best.yaml").data.batch_size == best.values["data.batch_size"]
    taken = [(folder / "logs" / f"worker-{number}.log").read_text().count("\ntrial ") for number in (1, 2)]
    assert min(taken) > 2, taken


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_killed_search_leaves_no_process_behind_and_resumes(tmp_path: Path, song_file: Path) -> None:
    folder, log = tmp_path / "resumed", tmp_path / "log.txt"
    options = command(song_file, folder, "tuner.trials=2", "tuner.workers=1", "tuner.epochs=3")
    with running(options, log) as process:
        wait_for(lambda: working_on(folder, "worker-1"))
        worker, trial = working_on(folder, "worker-1") or (0, "")
        chief = json.loads((folder / "workers" / "chief.json").read_text())["process"]
        process.kill()
        wait_for(lambda: not alive(worker) and not alive(chief), 20)
    with running(options, log) as process:
        assert process.wait(timeout=600) == 0, log.read_text()
    assert "resumed goes on" in log.read_text()
    assert f"runs/{trial} goes on at epoch" in (folder / "logs" / "worker-1.log").read_text()
    completed(folder, 2)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_machine_is_lost_and_another_joins_late(tmp_path: Path, song_file: Path) -> None:
    """Chief and workers as on machines of their own: no folder in common, one never comes back."""
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(_free_port())}
    options = ("tuner.trials=2", "tuner.lost_seconds=6", "tuner.epochs=3")
    places = [tmp_path / place / "search" for place in ("chief", "first", "second")]
    for place in places:
        place.parent.mkdir()
    chief, first, second = (command(song_file, place, *options) for place in places)
    log = tmp_path / "chief.txt"
    with (
        running(chief, log, KERASTUNER_TUNER_ID="chief", **address) as head,
        running(first, tmp_path / "first.txt", KERASTUNER_TUNER_ID="first", **address) as lost,
    ):
        wait_for(lambda: working_on(places[1], "first"))
        process = (working_on(places[1], "first") or (0, ""))[0]
        lost.kill()
        wait_for(lambda: not alive(process), 20)
        with running(second, tmp_path / "second.txt", KERASTUNER_TUNER_ID="second", **address) as late:
            assert head.wait(timeout=600) == 0, log.read_text()
            assert late.wait(timeout=200) == 0, (tmp_path / "second.txt").read_text()
    assert "first has said nothing for" in log.read_text()
    assert "second: the search is over" in (tmp_path / "second.txt").read_text()
    completed(places[0], 2)
    assert (places[0] / "best.yaml").exists()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_a_trial_that_takes_too_much_memory_fails_and_the_next_begins(tmp_path: Path, song_file: Path) -> None:
    folder, log = tmp_path / "memory", tmp_path / "log.txt"
    options = ("tuner.trials=2", "tuner.workers=1", "tuner.memory_gb=0.75", "model.front=[16384,1500]")
    with running(command(song_file, folder, *options), log) as process:
        assert process.wait(timeout=600) == 2, log.read_text()
    results = accounted_for(folder, 2)
    assert {result.reason for result in results} == {"out of memory: it took more than the 0.75 GB of tuner.memory_gb"}
    assert "completed, so there is no best one" in log.read_text()
