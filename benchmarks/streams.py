"""How soon is a stream of the local server heard, and how many listeners does it serve without a gap?

    python -m serving.local runs/my --streams 100
    python -m benchmarks.streams --listeners 1 8 16

Each listener is what the player page is: it asks for blocks 1.5 s ahead of what it hears, begins when it has 0.6 s, and
counts a gap when it has nothing left. First audio: from the begin of the connection to the first block, median and
latest. Listeners and server share this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import statistics
import time
from dataclasses import dataclass

from websockets.asyncio.client import ClientConnection, connect

AHEAD_SECONDS, BEGIN_SECONDS = 1.5, 0.6


@dataclass
class Listener:
    """One who plays a stream; all times are of the monotonic clock, s.

    first: when the first block was there. filled: until when there is sound. waiting: seconds of blocks that came while
    there was none.
    """

    step: float
    first: float = 0.0
    filled: float = 0.0
    waiting: float = 0.0
    playing: bool = False
    gaps: int = 0
    blocks: int = 0

    def take(self, now: float) -> None:
        """A block came."""
        self.first, self.blocks = self.first or now, self.blocks + 1
        if self.playing and now > self.filled:
            self.playing, self.waiting, self.gaps = False, 0.0, self.gaps + 1
        if self.playing:
            self.filled += self.step
            return
        self.waiting += self.step
        if self.waiting >= BEGIN_SECONDS:
            self.playing, self.filled = True, now + self.waiting

    def unheard(self, now: float) -> float:
        """Seconds that came and were not heard yet."""
        return max(0.0, self.filled - now) if self.playing else self.waiting


async def listen(address: str, seconds: float) -> tuple[float, int, float]:
    """Seconds to the first audio, gaps, and seconds of audio."""
    start = time.monotonic()
    async with connect(address, max_size=None, compression=None, proxy=None) as socket:
        await socket.send("{}")
        listener = Listener(json.loads(await socket.recv())["step_seconds"])
        asking = asyncio.create_task(_ask(socket, listener))
        while time.monotonic() < start + seconds:
            await socket.recv()
            listener.take(time.monotonic())
        asking.cancel()
    return listener.first - start, listener.gaps, listener.blocks * listener.step


async def _ask(socket: ClientConnection, listener: Listener) -> None:
    """For as many blocks as keep it AHEAD_SECONDS ahead."""
    asked, ahead = 0, max(2, math.ceil(AHEAD_SECONDS / listener.step))
    while True:
        heard = listener.blocks - math.ceil(listener.unheard(time.monotonic()) / listener.step)
        if (more := heard + ahead + listener.gaps - asked) > 0:
            await socket.send(json.dumps({"more": more}))
            asked += more
        await asyncio.sleep(0.02)


async def measure(address: str, count: int, seconds: float) -> str:
    """A row of the table."""
    made = await asyncio.gather(*(listen(address, seconds) for _ in range(count)))
    firsts, gaps, audio = zip(*made, strict=True)
    return (
        f"| {count} | {statistics.median(firsts):.2f} s | {max(firsts):.2f} s | {sum(gaps)} | "
        f"{sum(1 for one in gaps if one)} | {sum(audio) / seconds:.1f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description="Listeners of the local server.")
    parser.add_argument("--at", default="127.0.0.1:8501", metavar="HOST:PORT", help="the server's REST port")
    parser.add_argument("--listeners", type=int, nargs="+", default=[1, 8, 16], help="how many at once")
    parser.add_argument("--seconds", type=float, default=30.0, help="that they listen (default: 30)")
    options = parser.parse_args()
    print("| listeners | first audio | latest | gaps | listeners with gaps | seconds of audio a second |")
    print("| --- | --- | --- | --- | --- | --- |")
    for count in options.listeners:
        print(asyncio.run(measure(f"ws://{options.at}/stream", count, options.seconds)), flush=True)


if __name__ == "__main__":
    main()
