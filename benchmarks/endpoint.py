"""How fast is the local server? Each figure beside what is asked of it, on two cores that have nothing else to do.

    python -m benchmarks.endpoint runs/my

One client asks for 30 s by REST, again and again, each time another seed: the median. Sixteen clients do so at once,
half of them by gRPC: seconds of audio made in each second. Then a stream is begun where nobody else asks, and beside
fifteen others that play: from the begin of the connection to the first samples, the median. Clients and server share
the cores.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.clients import SEEDS, Client, Known, Listener, Rest, Rpc, Server, Tally, stream_begin

ROUNDS = 5
CLIENTS = 16
PIECE_SECONDS = 30.0


def one_client(server: Server) -> float:
    """Seconds that a piece takes."""
    return _median(lambda seed: server.predict("pcm", PIECE_SECONDS, seed))


def many_clients(server: Server, known: Known, seconds: float) -> float:
    """Seconds of audio a second."""
    tally = Tally()
    kinds: itertools.cycle[type[Client]] = itertools.cycle([Rest, Rpc])
    pairs = zip(range(CLIENTS), kinds, strict=False)
    clients = [kind(server, tally, known, seed, (PIECE_SECONDS,)) for seed, kind in pairs]
    start = time.monotonic()
    for client in clients:
        client.start()
    time.sleep(seconds)
    tally.over = True
    for client in clients:
        client.join()  # what is under way counts, and so does its time
    if set(tally.codes) != {("REST", "200"), ("gRPC", "OK")} or tally.wrong:
        raise SystemExit(f"not all was answered: {dict(tally.codes)} {tally.wrong}")
    return tally.audio / (time.monotonic() - start)


def first_audio(server: Server) -> float:
    """Seconds from the begin of a stream's connection to its first samples."""
    return _median(lambda seed: stream_begin(server, seed, 1))


def first_audio_beside_others(server: Server, known: Known) -> float:
    """The same while others listen."""
    tally = Tally()
    others = [Listener(server, tally, known, seed, (600.0,)) for seed in range(CLIENTS - 1)]
    for other in others:
        other.start()
    time.sleep(5)
    took = first_audio(server)
    tally.over = True
    for other in others:
        other.join()
    return took


def _median(what: Callable[[int], object]) -> float:
    def took(seed: int) -> float:
        start = time.monotonic()
        what(seed)
        return time.monotonic() - start

    return statistics.median(took(seed) for seed in SEEDS[:ROUNDS])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endpoint", description="The local server's speed.")
    parser.add_argument("run", type=Path, help="a run folder with an exported version")
    parser.add_argument("--seconds", type=float, default=40.0, help="that the many ask (default: 40)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(options.run, Path(folder, "log"))
        try:
            known = Known.of(server)
            print("| | measured | asked |\n| --- | --- | --- |")
            print(f"| {PIECE_SECONDS:g} s by REST, one client | {one_client(server):.2f} s | under 1 s |", flush=True)
            print(f"| first audio of a stream | {first_audio(server):.2f} s | under 0.2 s |", flush=True)
            beside = first_audio_beside_others(server, known)
            print(f"| first audio beside {CLIENTS - 1} other streams | {beside:.2f} s | |", flush=True)
            made = many_clients(server, known, options.seconds)
            print(f"| {CLIENTS} clients | {made:.0f} s of audio a second | at least 100 |", flush=True)
        finally:
            server.process.kill()


if __name__ == "__main__":
    main()
