"""The real commands, as far as a test needs them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

LAST_STEP_MADE = "; looking for"  # the temperature


def train_only(command: Sequence[str]) -> str:
    """What `sonicrnn.fit` says until its model has learned all it will; it is killed before what comes after."""
    said: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout
        for line in running.stdout:
            said.append(line)
            if LAST_STEP_MADE in line:
                running.kill()
                return "".join(said)
    raise AssertionError("".join(said))
