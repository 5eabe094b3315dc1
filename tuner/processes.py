"""Processes of a search: how they start, what their exit codes say, and that none outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SEARCH_IS_OVER = 10
CHIEF_IS_GONE = 11
CANNOT_GO_ON = 2  # that of `errors.run_command`: what a user can mend


def start(module: str, arguments: list[str], variables: Mapping[str, str], log: Path | None) -> subprocess.Popen[bytes]:
    """Start `python -m module`, its words going to a log, or to where ours go.

    Its standard input is a pipe of ours, which the system closes when this process ends, however that happens. Ctrl-C
    is for this process alone, which then stops the others.
    """
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1", **variables}
    command = [sys.executable, "-m", module, *arguments]
    if log is None:
        return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
        )


def end_with_parent() -> None:
    """Wait until the process that started this one has ended; then end this one at once."""
    os.read(0, 1)
    os._exit(CHIEF_IS_GONE)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, if need be with force."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()
    if process.stdin is not None:
        process.stdin.close()


def how_it_died(code: int) -> str:
    """What an exit code says of a process that did not end by itself."""
    if code < 0:
        name = signal.Signals(-code).name
        guess = {"SIGKILL": ", out of memory most likely", "SIGABRT": ", out of memory perhaps"}.get(name, "")
        return f"its process was killed by {name}{guess}"
    return f"its process ended with code {code}"


def memory_mb(process: int) -> float:
    """What a process takes at the moment, in MB; 0 where the system does not tell."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
