"""What is freed stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from sonicrnn.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
def step():
    return sum(len(b"x" * (n << 20)) for n in (3, 9, 27))
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways")
def test_a_step_that_repeats_asks_for_no_page_twice() -> None:
    def faults(how: str) -> float:
        done = subprocess.run([sys.executable, "-c", SCRIPT, how], capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert faults("leave") > 300  # else there is nothing to keep
    assert faults("keep") < 20
