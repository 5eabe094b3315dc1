"""Errors that a user can mend, and how a command ends on one: one message, exit code 2, no traceback."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, or of what one may have of it


class UserError(Exception):
    """Something a user can mend. The message says what is wrong and how to mend it."""


def run_command(main: Callable[[Sequence[str] | None], None]) -> NoReturn:
    """Run a command line's `main`; exit 0 when done, 2 on a `UserError` or a full disk, 130 on Ctrl-C.

    Each line is written as it comes, to a file or a pipe, too.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    try:
        main(None)
        _flush()
    except UserError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        _forget_output()  # its reader (`| head`) went away: that is no failure of ours
        sys.exit(0)
    except OSError as error:
        message = disk_message(error)
        if message is None:
            raise
        try:
            _flush()
        except OSError:  # it is our output that finds no room
            _forget_output()
        _fail(message)
    sys.exit(0)


def _flush() -> None:
    print(end="", flush=True)  # also where there is no output at all (`>&-`)


def _forget_output() -> None:
    """Give the interpreter's last flush somewhere to go, as the Python documentation advises."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def disk_message(error: OSError) -> str | None:
    """One sentence for a disk that is full or may not be written; None for any other error."""
    where = f" at {error.filename}" if error.filename else ""
    if error.errno in FULL:
        return f"the disk is full{where}: free some space and run the same command again; finished files are whole"
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"no permission to write{where}: choose another folder or change its permissions"
    return None


def _fail(message: str) -> NoReturn:
    print(f"sonicrnn: {message}", file=sys.stderr)
    sys.exit(2)
