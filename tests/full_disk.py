"""A disk that fills up: a real one, of a few megabytes, that only the process on it sees."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OWN_MOUNTS = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]


def run_on_full_disk(folder: Path, megabytes: int, code: str) -> tuple[str, list[str]]:
    """Run Python code, without a single quote in it, that fills a small disk in `folder`, its only argument.

    It has to end in the one message that says so. Returns all that it printed as errors, and the files that it left.
    """
    if shutil.which("unshare") is None or subprocess.run([*OWN_MOUNTS, "true"], capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    left = folder.with_name(f"{folder.name}-left.txt")
    mounted = f"mount -t tmpfs -o size={megabytes}m tmpfs {folder} && {sys.executable} -c '{code}' {folder}"
    whole = f"{mounted}; code=$?; find {folder} -type f > {left}; exit $code"
    done = subprocess.run([*OWN_MOUNTS, whole], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("sonicrnn: the disk is full")
    assert f"at {folder}" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    return done.stderr, left.read_text().split()
