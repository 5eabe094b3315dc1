"""A disk that fills up: a real one, of a few megabytes, that only the process on it sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def run_on_small_disk(folder: Path, megabytes: int, code: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run Python code, without a single quote in it, with a small disk in `folder`, which is its only argument.

    Returns how it ended, and the files that it left there.
    """
    if shutil.which("unshare") is None or subprocess.run([*OWN_MOUNTS, "true"], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    left = folder.with_name(f"{folder.name}-left.txt")
    mounted = f"mount -t tmpfs -o size={megabytes}m tmpfs {folder} && {sys.executable} -c '{code}' {folder}"
    whole = f"{mounted}; code=$?; find {folder} -type f > {left}; exit $code"
    done = subprocess.run([*OWN_MOUNTS, whole], capture_output=True, text=True)
    return done, left.read_text().split()
