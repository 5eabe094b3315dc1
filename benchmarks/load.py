"""What the local server does under load, and what it loses when it is stopped, killed and given new versions meanwhile.

    python -m benchmarks.load runs/my                             64 clients, ten minutes
    python -m benchmarks.load runs/my --clients 8 --minutes 1

Two fifths of the clients ask for pieces by REST, two fifths by gRPC, the others listen to streams by WebSocket, half a
second ahead. Who is refused for overload (429, RESOURCE_EXHAUSTED) comes again a little later, as does who finds no
server. Meanwhile the run is exported anew, and then its old version deleted. At the end the server is told to stop, and
started anew, and killed, and started anew. All on this machine, the server's processes among them.

What must not be is counted: other answers than those of the table; requests that were sent well before the server was
told to stop, and not answered; audio that is not what its seed makes. A piece's beginning has to be nearest to what its
own seed gave alone: batches may change the piece from somewhere on, not whose piece it is. Ends with 1 where any of
these was.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np

from benchmarks.clients import Client, Known, Listener, Rest, Rpc, Server, Tally

FINE = ("200", "OK", "begun", "block", "ended", "4503", "no server")  # 4503: its version has gone
OVERLOAD = ("429", "RESOURCE_EXHAUSTED", "4429")
KINDS: tuple[type[Client], ...] = (Rest, Rpc, Rest, Rpc, Listener)
LOOKS_SECONDS = 2.0  # from one look at what the server holds to the next


class Watch(threading.Thread):
    """What the server holds, again and again: (seconds since the begin, MB, files, threads)."""

    def __init__(self, server: Server):
        super().__init__(daemon=True)
        self.server, self.seen, self.over = server, list[tuple[float, float, int, int]](), False

    def run(self) -> None:
        start = time.monotonic()
        while not self.over:
            self.seen.append((time.monotonic() - start, *self.server.holds()))
            time.sleep(LOOKS_SECONDS)

    def table(self, minutes: float) -> Iterator[str]:
        """The means of the second tenth, the middle one and the last."""
        yield "| | memory, MB | files | threads |"
        yield "| --- | --- | --- | --- |"
        tenth = 6 * minutes
        for name, first in (("second tenth", 1), ("sixth", 5), ("last", 9)):
            looks = [one for one in self.seen if first * tenth <= one[0] < (first + 1) * tenth]
            memory, files, threads = np.mean([one[1:] for one in looks], 0)
            yield f"| {name} | {memory:.0f} | {files:.0f} | {threads:.0f} |"


def new_version(run: Path, base: Path) -> None:
    """Export the run once more, in a process of its own."""
    command = [sys.executable, "-m", "sonicrnn.export", str(run), "--out", str(base)]
    subprocess.run(command, check=True, capture_output=True)


def say(line: str) -> None:
    print(line, flush=True)


def drive(run: Path, clients: int, minutes: float, after: float = 15.0) -> Tally:
    """Do all of it, and print the report; `after` s is how long the load goes on after each start."""
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder, "export")
        shutil.copytree(max((run / "export").iterdir(), key=lambda one: int(one.name)), base / "1")
        server = Server(base, Path(folder, "log"), "--streams", str(clients))
        try:
            tally = _drive(server, run, base, clients, minutes, after)
        finally:
            server.process.kill()
        if "Traceback" in (said := server.log.read_text()):
            tally.wrong.append(said[-2000:])
    return tally


def _drive(server: Server, run: Path, base: Path, clients: int, minutes: float, after: float) -> Tally:
    known, tally = Known.of(server), Tally()
    makers = [kind(server, tally, known, number) for number, kind in zip(range(clients), cycle(KINDS), strict=False)]
    watch, start = Watch(server), time.monotonic()
    for thread in (*makers, watch):
        thread.start()

    def until(share: float) -> None:
        time.sleep(max(0.0, start + 60 * minutes * share - time.monotonic()))

    until(0.3)
    new_version(run, base)
    say(f"{time.monotonic() - start:.0f} s: version 2 is exported")
    until(0.6)
    shutil.rmtree(base / "1")
    say(f"{time.monotonic() - start:.0f} s: version 1 is deleted")
    until(1.0)
    watch.over = True
    watch.join()
    say(f"{minutes:g} min: {clients} clients, {tally.audio / 60 / minutes:.1f} s of audio a second; {server.states()}")
    for line in (*times(tally), "", *watch.table(minutes), ""):
        say(line)
    for number in (signal.SIGTERM, signal.SIGKILL):
        tally.stopping, tally.down = time.monotonic(), number == signal.SIGKILL
        say(f"{number.name}: it ended after {server.end(number):.1f} s")
        server.start()
        tally.down = False
        tally.stopping = float("inf")
        before = tally.audio
        time.sleep(after)
        say(f"started anew: {(tally.audio - before) / after:.1f} s of audio a second")
        if tally.audio == before:
            tally.wrong.append(f"nothing was answered after {number.name}")
    tally.over = True
    for maker in makers:
        maker.join(60)
    return tally


def times(tally: Tally) -> Iterator[str]:
    """A table of how long requests took, and how they ended."""
    yield "| | answers | p50, s | p95, s | p99, s | codes |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for kind in sorted(tally.took):
        took = tally.took[kind]
        codes = ", ".join(f"{code} {count}" for (of, code), count in sorted(tally.codes.items()) if of == kind)
        p50, p95, p99 = np.percentile(took, [50, 95, 99])
        yield f"| {kind} | {len(took)} | {p50:.2f} | {p95:.2f} | {p99:.2f} | {codes} |"


def wrongs(tally: Tally) -> list[str]:
    """All that must not be."""
    other = {what: count for what, count in tally.codes.items() if what[1] not in FINE + OVERLOAD}
    others = [f"{kind}: {code}, {count} times" for (kind, code), count in other.items()]
    return [*others, *tally.wrong, *(f"lost: {one}" for one in tally.lost)]


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description="The local server under load.")
    parser.add_argument("run", type=Path, help="a run folder with an exported version")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    tally = drive(options.run, options.clients, options.minutes)
    say("in all: " + ", ".join(f"{kind} {code} {count}" for (kind, code), count in sorted(tally.codes.items())))
    found = wrongs(tally)
    for one in found[:20]:
        say(f"WRONG  {one}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
