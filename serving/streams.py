"""Audio without end: `start`, then `step` after `step`, in batches with whatever else is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.failures import Code, Failure, invalid
from serving.metrics import STREAMED, STREAMS
from serving.service import Service
from serving.versions import Version

OWN = -1.0  # a temperature under 0 is the model's own
FIELDS = ("model", "version", "label", "temperature", "seed")  # of whatever asks for a stream
NO_PRIME = np.zeros(0, np.float32)  # takes one of the model's own
RETRY_SECONDS = 0.05  # that a stream under way waits where the queue is full


@dataclass(frozen=True)
class Wish:
    """What a stream is asked for.

    Attributes:
        spec: the model's name, and its version or label.
        temperature: to begin with.
        seed: the same seed gives the same stream.
        prime: [samples] float32 at the model's rate, -1 to 1, that the stream goes on from.
    """

    spec: ModelSpec
    temperature: float
    seed: int
    prime: np.ndarray


def wish(asked: Mapping[str, Any], name: str, prime: np.ndarray = NO_PRIME) -> Wish:
    """Of those of FIELDS that are given; what is not: the model `name`, its newest version, a seed by chance.

    Raises:
        Failure: a field is not of its kind.
    """
    spec = ModelSpec(name=_text(asked.get("model", name), "model"))
    if "version" in asked and "label" in asked:
        raise invalid("a version is named by its number or by its label, not by both")
    if "version" in asked:
        spec.version.value = _whole(asked["version"], "version", 0, 2**63 - 1)
    if "label" in asked:
        spec.version_label = _text(asked["label"], "label")
    seed = asked["seed"] if "seed" in asked else secrets.randbelow(2**31)
    seed = _whole(seed, "seed", -(2**31), 2**31 - 1)
    return Wish(spec, temperature(asked.get("temperature", OWN)), seed, prime)


def temperature(value: Any) -> float:
    """As a field of a request. What is too hot the model itself refuses. Raises Failure."""
    if type(value) not in (int, float) or not abs(value) < 1e9:
        raise invalid(f"temperature must be a number, not {shown(value)}")
    return float(value)


def refuse_unknown(asked: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raises Failure that names what was asked for and is not known."""
    if unknown := [shown(name) for name in asked if name not in known]:
        raise invalid(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")


def shown(value: Any) -> str:
    """A value in a message."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise invalid(f"{name} must be a whole number from {least} to {most}, not {shown(value)}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise invalid(f"{name} must be a name, not {shown(value)}")
    return value


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
        labels = {"model_name": self._service.versions.name}
        self._service.metrics.count(STREAMED, self.step_samples / self.rate, **labels)
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
                    raise
            await asyncio.sleep(RETRY_SECONDS)


def _left(version: Version) -> Failure:
    return Failure(Code.UNAVAILABLE, f"version {version.number} is let go, or the server stops: begin again")


class Streams:
    """The streams of one service.

    Args:
        service: that makes them.
        most: how many may be open at once.
    """

    def __init__(self, service: Service, most: int):
        self.service, self.most = service, most
        self._open = 0

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
            with self.service.counted("STREAM"):
                held.enter_context(self._one_more())
                version = held.enter_context(self.service.versions.using(asked.spec))
                if not {"start", "step"} <= set(version.signatures):
                    raise invalid(f"version {version.number} has no signatures `start` and `step`: export it again")
                if version.leaving.is_set():
                    raise _left(version)
                first = await self.service.run(version, "start", inputs, self.service.timeout)
            yield Live(self.service, version, asked, first)

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


class Pace:
    """Keeps a stream at most `ahead` seconds ahead of its listener, who hears one second each second.

    Where the listener had to wait, nothing is made up for later: it is as far ahead as before.
    """

    def __init__(self, ahead: float):
        self.ahead, self._heard = ahead, -math.inf

    def sent(self, seconds: float, now: float) -> float:
        """So much more was sent at `now`, s: how many seconds to wait before sending on."""
        self._heard = max(self._heard, now) + seconds
        return max(0.0, self._heard - now - self.ahead)


async def first_of(*some: Coroutine[Any, Any, Any]) -> None:
    """Wait for the first of them to end, which ends the others; raises what it raised."""
    tasks = [asyncio.ensure_future(one) for one in some]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()
