"""How a command ends: its exit code, one message, and never a traceback for what a user can mend."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from collections.abc import Callable, Sequence

import pytest

from sonicrnn.errors import UserError, disk_message, run_command


def ends(main: Callable[[Sequence[str] | None], None]) -> int:
    """The exit code of a command whose `main` is given."""
    with pytest.raises(SystemExit) as exit:
        run_command(main)
    assert isinstance(exit.value.code, int)
    return exit.value.code


def raising(error: BaseException) -> Callable[[Sequence[str] | None], None]:
    def main(arguments: Sequence[str] | None) -> None:
        raise error

    return main


def test_a_command_that_is_done_exits_with_0_and_reads_its_own_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    got: list[Sequence[str] | None] = []

    def main(arguments: Sequence[str] | None) -> None:
        got.append(arguments)
        print("done")

    assert ends(main) == 0
    assert got == [None]  # argparse takes those of the command line
    assert capsys.readouterr() == ("done\n", "")


def test_a_users_error_is_its_message_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(raising(UserError("no such song: take another path"))) == 2
    assert capsys.readouterr() == ("", "sonicrnn: no such song: take another path\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_one_message_with_its_place(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(raising(OSError(number, os.strerror(number), "runs/my/model.keras"))) == 2
    said = capsys.readouterr().err
    assert "the disk is full at runs/my/model.keras" in said
    assert "run the same command again" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_folder_that_may_not_be_written_is_one_message(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(raising(OSError(number, os.strerror(number), "/readonly"))) == 2
    assert "no permission to write at /readonly" in capsys.readouterr().err


def test_a_message_of_the_disk_needs_no_file_name() -> None:
    message = disk_message(OSError(errno.ENOSPC, "No space left on device"))
    assert message is not None
    assert message.startswith("the disk is full: ")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), ValueError("a bug"), KeyError("a bug")])
def test_what_is_no_users_error_keeps_its_traceback(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        run_command(raising(error))
    assert raised.value is error


def test_ctrl_c_exits_with_130_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "\nstopped\n"


def test_a_usage_error_of_argparse_passes_through() -> None:
    assert ends(raising(SystemExit(2))) == 2


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_reader_that_goes_away_is_no_failure(lines: int) -> None:
    """`command | head -0`, with little output (flushed at the very end) and with much."""
    code = (
        "from sonicrnn.errors import run_command\n"
        f"def main(arguments):\n    for _ in range({lines}): print('a line of output')\n"
        "run_command(main)"
    )
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def buffered() -> dict[str, str]:
    """An environment in which Python keeps its output as it usually does."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


SAYS_ONE_LINE = (
    "from sonicrnn.errors import run_command\ndef main(arguments):\n    print('a line of output')\nrun_command(main)"
)


def test_output_that_finds_no_room_is_one_message() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", SAYS_ONE_LINE], stdout=full, stderr=subprocess.PIPE, env=buffered(), text=True
        )
    assert done.returncode == 2
    assert "the disk is full" in done.stderr
    assert done.stderr.count("\n") == 1


def test_output_that_is_closed_is_no_failure() -> None:
    command = ["sh", "-c", 'exec "$0" -c "$1" >&-', sys.executable, SAYS_ONE_LINE]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_line_is_there_when_it_is_written_not_at_the_end() -> None:
    code = (
        "import sys\nfrom sonicrnn.errors import run_command\n"
        "def main(arguments):\n    print('the first line')\n    sys.stdin.readline()\n"
        "run_command(main)"
    )
    pipe, environment = subprocess.PIPE, buffered()
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, env=environment, text=True) as command:
        assert command.stdin
        assert command.stdout
        assert select.select([command.stdout], [], [], 30)[0]
        assert command.stdout.readline() == "the first line\n"
        command.stdin.write("\n")
    assert command.returncode == 0
