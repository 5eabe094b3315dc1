"""How many trials a minute a search makes with one worker and with two, what it finds, and whether its memory grows.

    python -m benchmarks.search                          12 trials each, about half an hour on two cores
    python -m benchmarks.search --workers 1 --trials 30  whether memory grows over 30 trials

Each search is `python -m tuner.search` on the built-in song in a folder of its own. A worker has one core; beside them
stands one with all cores. Memory is that of the chief and of each trial's own process, when it is highest; growth
compares the means of the first and of the last third of the trials.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonicrnn.errors import UserError, run_command
from tuner.folder import SearchFolder
from tuner.processes import memory_mb
from tuner.results import Result, failed, ranked, read_results

LOOK_SECONDS = 1.0
HEAD = (
    "| workers | cores each | trials | failed | minutes | trials/min | cores busy | start | best "
    "| trial, MB: first, last third | chief, MB: first, last third |\n| --- |" + " ---: |" * 10
)


@dataclass(frozen=True)
class Search:
    """One that is over.

    Attributes:
        workers, cores: how many, and of each.
        results: its trials.
        seconds, core_seconds: that it took by the clock, and of all cores.
        chief_mb: the most that the chief held after so many trials had ended.
    """

    workers: int
    cores: int
    results: Sequence[Result]
    seconds: float
    core_seconds: float
    chief_mb: Mapping[int, float]

    @property
    def pace(self) -> float:
        """Trials a minute."""
        return len(self.results) / self.seconds * 60

    @property
    def busy(self) -> float:
        """How many cores were at work, on average."""
        return self.core_seconds / self.seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and how many times the trials of the first search the others make in a minute."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description="See the module's head.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--trials", type=int, default=12, help="of each search (default: 12)")
    parser.add_argument("--epochs", type=int, default=3, help="of each trial (default: 3)")
    parser.add_argument("--space", default="quick", help="default: quick")
    options = parser.parse_args(arguments)
    print(HEAD)
    plans = [(workers, 1) for workers in options.workers]
    if len(plans) > 1:
        plans.append((1, len(os.sched_getaffinity(0))))
    searches = []
    for workers, cores in plans:
        searches.append(search(workers, cores, options.trials, options.epochs, options.space))
        print(row(searches[-1]))
    first, *others = searches
    for one in others:
        print(f"\n{one.workers} × {one.cores} cores : {first.workers} × {first.cores}: {one.pace / first.pace:.2f} ×")


def search(workers: int, cores: int, trials: int, epochs: int, space: str) -> Search:
    """Run one to its end. Raises UserError where it fails."""
    with tempfile.TemporaryDirectory() as place:
        folder = SearchFolder(Path(place) / "search")
        command = [sys.executable, "-m", "tuner.search", "configs/gru.yaml", "wandb.mode=disabled"]
        command += [f"tuner.folder={place}", "tuner.name=search", f"tuner.space={space}", f"tuner.workers={workers}"]
        command += [f"tuner.cores={cores}", f"tuner.trials={trials}", f"tuner.epochs={epochs}"]
        begin, worked = time.perf_counter(), _core_seconds()
        with (Path(place) / "log.txt").open("w+") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
            watched: dict[int, float] = {}
            watcher = threading.Thread(target=_watch, args=(process, folder, watched))
            watcher.start()
            code = process.wait()
            watcher.join()
            if code:
                log.seek(0)
                raise UserError(f"the search ended with code {code}:\n{log.read()}")
        took, worked = time.perf_counter() - begin, _core_seconds() - worked
        return Search(workers, cores, read_results(folder), took, worked, watched)


def _core_seconds() -> float:
    """That processes which have ended, and those that they had waited for, have worked."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(one: Search) -> str:
    """A line of the table."""
    start, best = one.results[0].objective, ranked(one.results)[0].objective
    peaks = [result.figures["memory_mb"] for result in one.results if "memory_mb" in result.figures]
    chief = [held for _, held in sorted(one.chief_mb.items())]
    cells = [str(count) for count in (one.workers, one.cores, len(one.results), len(failed(one.results)))]
    cells += [f"{one.seconds / 60:.1f}", f"{one.pace:.2f}", f"{one.busy:.2f}"]
    losses = ["–" if start is None else f"{start:.3f}", f"{best:.3f}"]
    return f"| {' | '.join([*cells, *losses, _thirds(peaks), _thirds(chief)])} |"


def _watch(process: subprocess.Popen[bytes], folder: SearchFolder, held: dict[int, float]) -> None:
    """Note the most that the chief holds between each trial's end and the next."""
    while process.poll() is None:
        file = folder.state("chief")
        if file.exists():
            ended = _ended(folder.table)
            now = memory_mb(json.loads(file.read_text(encoding="utf-8"))["process"])
            held[ended] = max(now, held.get(ended, 0.0))
        time.sleep(LOOK_SECONDS)


def _ended(table: Path) -> int:
    """Trials that are over. (KerasTuner writes its own files in place, so one may be half there.)"""
    if not table.exists():
        return 0
    with table.open(newline="", encoding="utf-8") as file:
        return sum(row["status"] != "running" for row in csv.DictReader(file))


def _thirds(values: Sequence[float]) -> str:
    third = max(1, len(values) // 3)
    return f"{statistics.mean(values[:third]):.0f}, {statistics.mean(values[-third:]):.0f}" if values else "–"


if __name__ == "__main__":
    run_command(main)
