"""Files are whole or not there, whatever happens while they are written."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sonicrnn.files import stored_arrays, write_arrays, write_json, write_text, written_beside
from tests.full_disk import run_on_full_disk


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def write_half(target: Path, error: BaseException) -> None:
    with written_beside(target) as beside:
        beside.write_bytes(b"the first half of the ne")
        raise error


def test_what_is_written_stands_at_the_path_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "page.html"
    write_text(target, "Grüße\n")
    assert target.read_bytes() == "Grüße\n".encode()
    assert list(target.parent.iterdir()) == [target]


def test_the_temporary_file_is_beside_the_target_and_keeps_its_suffix(tmp_path: Path) -> None:
    with written_beside(tmp_path / "piece.flac") as beside:
        assert beside.parent == tmp_path  # else the rename could cross file systems
        assert beside.suffix == ".flac"
        assert not (tmp_path / "piece.flac").exists()
        beside.write_bytes(b"x")
    assert (tmp_path / "piece.flac").read_bytes() == b"x"


@pytest.mark.parametrize("before", [None, "the old text"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, before: str | None) -> None:
    target = tmp_path / "config.yaml"
    if before is not None:
        target.write_text(before)
    with pytest.raises(OSError, match="No space"):
        write_half(target, OSError(errno.ENOSPC, "No space left on device"))
    assert [path.read_text() for path in tmp_path.iterdir()] == ([] if before is None else [before])


def test_a_disk_that_turns_out_full_at_the_last_flush_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems say so only when the data really go out."""
    target = tmp_path / "history.csv"
    target.write_text("old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("sonicrnn.files.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_any_way_out_of_the_block_removes_the_temporary_file(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        write_half(tmp_path / "a.npz", error())
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_while_it_writes_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint.npz"
    target.write_bytes(b"old and whole")
    code = (
        "import os, signal, sys\n"
        "from sonicrnn.files import written_beside\n"
        "with written_beside(sys.argv[1]) as beside:\n"
        "    beside.write_bytes(b'new but ha')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)])
    assert done.returncode == -signal.SIGKILL
    assert target.read_bytes() == b"old and whole"
    write_text(target, "new")  # and what the killed one left over is in nobody's way
    assert target.read_text() == "new"


def test_a_finished_file_has_the_permissions_that_any_new_file_has(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "made.txt", "x")
    (tmp_path / "ordinary.txt").write_text("x")
    assert (tmp_path / "made.txt").stat().st_mode == (tmp_path / "ordinary.txt").stat().st_mode
    assert os.umask(umask) == umask  # and the process keeps its own


def test_json_reads_back_and_refuses_what_json_does_not_have(tmp_path: Path) -> None:
    value = {"level": -14.5, "names": ["ü", "b"], "none": None}
    write_json(tmp_path / "scores.json", value)
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == value
    for wrong in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            write_json(tmp_path / "scores.json", {"level": wrong})
    assert json.loads((tmp_path / "scores.json").read_text(encoding="utf-8")) == value


@pytest.mark.parametrize("before", [{}, {"old": np.ones(3)}])
def test_arrays_are_read_as_they_were_written(tmp_path: Path, before: dict[str, np.ndarray]) -> None:
    target, arrays = tmp_path / "deep" / "arrays.npz", {"0000": np.arange(6.0).reshape(2, 3), "none": np.empty((0, 4))}
    write_arrays(target, before)
    write_arrays(target, {**arrays, "number": 7, "text": "Grüße"})
    with stored_arrays(target, "write it again") as stored:
        assert set(stored) == {*arrays, "number", "text"}
        for name, values in arrays.items():
            np.testing.assert_array_equal(stored[name], values)
        assert stored["number"].item() == 7
        assert str(stored["text"]) == "Grüße"
    assert list(target.parent.iterdir()) == [target]


ARRAYS_OF_NOISE = """
import sys
from pathlib import Path
import numpy as np
from sonicrnn.errors import run_command
from sonicrnn.files import write_arrays

file, noise = Path(sys.argv[1]) / "arrays.npz", np.random.default_rng(1).standard_normal(100_000)
write_arrays(file, {"first": noise})
run_command(lambda _: write_arrays(file, {str(index): noise for index in range(4)}))
"""


def test_a_full_disk_is_told_in_one_line_and_leaves_the_arrays_that_were_there(tmp_path: Path) -> None:
    """An archive that is left open would have its say when the process ends."""
    said, left = run_on_full_disk(tmp_path, 2, ARRAYS_OF_NOISE)
    assert len(said.splitlines()) == 1
    assert left == [str(tmp_path / "arrays.npz")]
