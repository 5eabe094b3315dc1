"""Audio without end: `start`, then `step` after `step`, in batches with whatever else is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from typing import Any

import numpy as np

from serving.failures import Code, Failure, invalid
from serving.metrics import REQUESTS, STREAMED, STREAMS
from serving.service import Service
from serving.versions import Version
from serving.waiting import within
from serving.wishes import Wish

RETRY_SECONDS = 0.05  # that a stream under way waits where the queue is full


class Live:
    """A stream under way.

    Attributes:
        version: that it began with and stays with.
        seed: of it.
        temperature: of the next block; may be set at any time.
        rate: of its samples, Hz.
        step_samples: of a block.
    """

    def __init__(self, service: Service, version: Version, asked: Wish, first: Mapping[str, np.ndarray]):
        self.version, self.seed, self.temperature = version, asked.seed, asked.temperature
        self.rate, self.step_samples = int(first["sample_rate"][0]), len(first["pcm_bytes"][0]) // 2
        self._service, self._state = service, first["state_bytes"]
        self._ready: bytes | None = first["pcm_bytes"][0]

    async def block(self) -> bytes:
        """The next block, 16 bits a sample, little-endian. Raises Failure."""
        pcm, self._ready = self._ready, None
        if pcm is None:
            made = await self._step()
            pcm, self._state = made["pcm_bytes"][0], made["state_bytes"]
        self._count(STREAMED, self.step_samples / self.rate)
        return pcm

    async def left(self) -> None:
        """Until the version is let go, or the server stops. Raises Failure."""
        await self.version.leaving.wait()
        raise _left(self.version)

    async def _step(self) -> Mapping[str, np.ndarray]:
        """Who listens already waits for room in the queue; it is newcomers who are turned away."""
        until = time.monotonic() + self._service.timeout
        while True:
            inputs = {"state_bytes": self._state, "temperature": np.array([self.temperature], np.float32)}
            try:
                return await self._service.run(self.version, "step", inputs, until - time.monotonic())
            except Failure as failure:
                if failure.code is not Code.RESOURCE_EXHAUSTED or time.monotonic() + RETRY_SECONDS > until:
                    self._count(REQUESTS, 1, status=failure.code.name)
                    raise
            await asyncio.sleep(RETRY_SECONDS)

    def _count(self, name: str, more: float, **labels: str) -> None:
        self._service.metrics.count(name, more, model_name=self._service.versions.name, **labels)


def _left(version: Version) -> Failure:
    return Failure(Code.UNAVAILABLE, f"version {version.number} is let go, or the server stops: begin again")


class Streams:
    """The streams of one service.

    Args:
        service: that makes them.
        most: how many may be open at once.
        idle: seconds that one may stand still: nothing is asked for, or nothing is taken.
    """

    def __init__(self, service: Service, most: int, idle: float = 600.0):
        self.service, self.most, self.idle = service, most, idle
        self._open = self._talking = 0

    @contextlib.asynccontextmanager
    async def open(self, asked: Wish) -> AsyncIterator[Live]:
        """A stream that has begun, for as long as the block lasts. Raises Failure."""
        given = asked.prime if len(asked.prime) else np.zeros(1, np.float32)  # one zero that counts for nothing
        inputs = {
            "prime": given[None],
            "prime_samples": np.array([len(asked.prime)], np.int32),
            "temperature": np.array([asked.temperature], np.float32),
            "seed": np.array([asked.seed], np.int32),
        }
        with contextlib.ExitStack() as held:
            with self.service.counted("STREAM", "stream"):
                held.enter_context(self._one_more())
                version = held.enter_context(self.service.versions.using(asked.spec))
                if not {"start", "step"} <= set(version.signatures):
                    raise invalid(f"version {version.number} has no signatures `start` and `step`: export it again")
                if version.leaving.is_set():
                    raise _left(version)
                first = await self.service.run(version, "start", inputs, self.service.timeout)
            yield Live(self.service, version, asked, first)

    @contextlib.contextmanager
    def talk(self) -> Iterator[None]:
        """While somebody is talked to who has, or is about to have, a stream."""
        self._talking += 1
        try:
            yield
        finally:
            self._talking -= 1

    async def silent(self, seconds: float) -> None:
        """Until nobody is talked to, or so many seconds are over."""
        until = time.monotonic() + seconds
        while self._talking and time.monotonic() < until:
            await asyncio.sleep(0.01)

    @contextlib.contextmanager
    def _one_more(self) -> Iterator[None]:
        if self._open >= self.most:
            raise Failure(Code.RESOURCE_EXHAUSTED, f"{self.most} streams are open, and no more may be: try again later")
        labels = {"model_name": self.service.versions.name}
        self._open += 1
        self.service.metrics.level(STREAMS, self._open, **labels)
        try:
            yield
        finally:
            self._open -= 1
            self.service.metrics.level(STREAMS, self._open, **labels)


async def soon(idle: float, what: Awaitable[Any]) -> None:
    """Wait for something that the listener does. Raises Failure where it does nothing for `idle` seconds."""
    try:
        await within(idle, what)
    except asyncio.TimeoutError:
        raise Failure(Code.DEADLINE_EXCEEDED, f"the stream stood still for {idle:g} s: begin again") from None
