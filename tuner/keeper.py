"""Keeps a search's processes on one machine going: a chief, and for each worker one process after the other.

A trial has a process of its own. So the memory that it took is free again whatever library held it, and a trial that
the system kills takes nothing else with it: its keeper notes that, the worker's next process takes the trial up where
its last checkpoint is, and gives it up as failed when that happens too often.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sonicrnn.errors import UserError
from sonicrnn.files import write_json
from tuner.folder import SearchFolder
from tuner.processes import CANNOT_GO_ON, CHIEF_IS_GONE, SEARCH_IS_OVER, how_it_died, memory_mb, start, stop
from tuner.settings import TunerSettings

LOOK_SECONDS = 0.2
MOST_CHIEFS = 5  # that are started for one search before it is given up
WORKER_GB = 2.0  # that a trial of the recommended model takes at most
GPUS = ("/dev/nvidiactl", "/dev/kfd")
MOST_DEATHS = 5  # of a worker's processes in a row, before any trial began

Report = Callable[[str], None]


@dataclass
class Worker:
    """One worker: its name, its cores, and the process that has its present trial."""

    name: str
    search: SearchFolder
    settings: TunerSettings
    variables: Mapping[str, str]
    cores: Sequence[int] = ()
    process: subprocess.Popen[bytes] | None = None
    over: bool = False
    killed_for: str | None = None
    deaths_in_a_row: int = field(default=0)

    def look(self) -> None:
        """Start the next process where the last one has ended. Raises UserError where that would not help."""
        if self.over:
            return
        if self.process is None:
            cores = ["--cores", ",".join(map(str, self.cores))] if self.cores else []
            variables = {**self.variables, "KERASTUNER_TUNER_ID": self.name}
            arguments = [str(self.search.folder), *cores]
            self.process = start("tuner.worker", arguments, variables, self.search.log(self.name))
            return
        self._watch_memory(self.process)
        code = self.process.poll()
        if code is None:
            return
        stop(self.process)
        self.process = None
        if code in (CANNOT_GO_ON, CHIEF_IS_GONE):
            raise UserError(self._last_words(code))
        self.over = code == SEARCH_IS_OVER
        if code in (0, SEARCH_IS_OVER):
            self.deaths_in_a_row = 0
        else:
            self._note_death(code)

    def _watch_memory(self, process: subprocess.Popen[bytes]) -> None:
        most = self.settings.memory_gb
        if most is not None and memory_mb(process.pid) > 1000 * most:
            self.killed_for = f"out of memory: it took more than the {most:g} GB of tuner.memory_gb"
            process.kill()

    def _note_death(self, code: int) -> None:
        """Leave word to the worker's next process."""
        self.deaths_in_a_row += 1
        if self.deaths_in_a_row > max(MOST_DEATHS, self.settings.retries + 2):
            how = self.killed_for or how_it_died(code)
            raise UserError(f"{self.name} dies again and again ({how}): see {self.search.log(self.name)}")
        file = self.search.state(self.name)
        if file.exists():
            state = json.loads(file.read_text(encoding="utf-8"))
            how = self.killed_for or how_it_died(code)
            state["deaths"].append({"how": how, "for_good": self.killed_for is not None})
            write_json(file, state)
        self.killed_for = None

    def _last_words(self, code: int) -> str:
        if code == CHIEF_IS_GONE:
            return f"{self.name}: the chief does not answer any more"
        lines = self.search.log(self.name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        words = [line.removeprefix("sonicrnn: ") for line in lines if line.startswith("sonicrnn: ")]
        return words[-1] if words else f"{self.name} cannot go on: see {self.search.log(self.name)}"


def keep_worker(worker: Worker) -> None:
    """Keep one worker going, whose chief is elsewhere, until the search is over."""
    try:
        while not worker.over:
            worker.look()
            time.sleep(LOOK_SECONDS)
    finally:
        if worker.process is not None:
            stop(worker.process)


def keep_search(search: SearchFolder, settings: TunerSettings, address: tuple[str, int], report: Report) -> None:
    """Keep a chief and all workers going on this machine until the search is over. Raises UserError where it cannot."""
    variables = {"KERASTUNER_ORACLE_IP": address[0], "KERASTUNER_ORACLE_PORT": str(address[1])}
    shares = core_shares(settings.workers, settings.cores)
    workers = [Worker(f"worker-{index + 1}", search, settings, variables, share) for index, share in enumerate(shares)]
    chief, chiefs = _start_chief(search, variables), 1
    try:
        while (code := chief.poll()) is None or code < 0:
            if code is not None:
                if chiefs == MOST_CHIEFS:
                    raise UserError(f"the chief was killed {chiefs} times: the same command goes on")
                report("the chief was killed: it starts again, its workers go on")
                chief, chiefs = _start_chief(search, variables), chiefs + 1
            for worker in workers:
                worker.look()
            time.sleep(LOOK_SECONDS)
        if code == CANNOT_GO_ON:
            raise SystemExit(code)  # it has said why
        if code:
            raise UserError(f"the chief ended with code {code}: the same command goes on where it was")
    finally:
        for process in [chief, *(worker.process for worker in workers)]:
            if process is not None:
                stop(process)


def core_shares(workers: int | None, cores: int) -> list[list[int]]:
    """The cores of each worker: so many of this process's, or fewer where there are fewer.

    Without a number there are as many workers as this machine has room for. None for each, which is no limit, where
    there are more workers than cores. Where a GPU does the work, one worker has all of them.
    """
    here = _cores()
    if any(Path(device).exists() for device in GPUS):
        workers, cores = workers or 1, len(here)
    workers = workers or max(1, min(len(here) // cores, int(_memory_gb() / WORKER_GB)))
    each = min(cores, len(here) // workers)
    return [here[index * each : (index + 1) * each] for index in range(workers)]


def _memory_gb() -> float:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _start_chief(search: SearchFolder, variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
    chief = start("tuner.serve", [str(search.folder)], {**variables, "KERASTUNER_TUNER_ID": "chief"}, None)
    write_json(search.state("chief"), {"process": chief.pid})
    return chief
