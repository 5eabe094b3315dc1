"""Requests that wait for the same graph are run as one: a step for sixteen pieces costs little more than one for one.

The queue is bounded: who finds it full is told so at once. Who waits for longer than its deadline is let go.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from serving.failures import Code, Failure
from serving.metrics import BATCH_SIZE, QUEUING, Metrics

Arrays = Mapping[str, np.ndarray]
Run = Callable[[str, Arrays, float], dict[str, np.ndarray]]  # signature, inputs, seconds that it may take


@dataclass(frozen=True)
class BatchSettings:
    """rows: most of one batch. wait_seconds: for more of them. waiting: most rows in the queue. threads: of batches."""

    rows: int = 16
    wait_seconds: float = 0.005
    waiting: int = 256
    threads: int = 2


@dataclass(eq=False)
class Task:
    """A request in the queue. `key` says whose graph and which signature; `deadline` is of the monotonic clock."""

    key: tuple[Any, str]
    run: Run
    inputs: Arrays
    deadline: float
    done: asyncio.Future[dict[str, np.ndarray]]
    since: float = field(default_factory=time.monotonic)

    @property
    def rows(self) -> int:
        return len(next(iter(self.inputs.values())))


class Batcher:
    """Runs tasks in an event loop's thread pool."""

    def __init__(self, settings: BatchSettings, metrics: Metrics):
        self.settings, self.metrics = settings, metrics
        self._queue: deque[Task] = deque()
        self._changed = asyncio.Condition()
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix="batch")
        self._workers: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to work; in the event loop."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(self.settings.threads)]

    async def stop(self) -> None:
        """End once all that waits is done."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._queue)
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        await asyncio.to_thread(self._pool.shutdown)

    async def run(self, owner: Any, signature: str, run: Run, inputs: Arrays, deadline: float) -> dict[str, np.ndarray]:
        """The outputs for these inputs. Raises Failure."""
        task = Task((owner, signature), run, inputs, deadline, asyncio.get_running_loop().create_future())
        if task.rows + sum(one.rows for one in self._queue) > self.settings.waiting:
            raise Failure(
                Code.RESOURCE_EXHAUSTED,
                f"The batch scheduling queue to which this task was submitted is full; at most "
                f"{self.settings.waiting} rows wait: try again",
            )
        async with self._changed:
            self._queue.append(task)
            self._changed.notify_all()
        try:
            return await asyncio.wait_for(task.done, max(0.0, deadline - time.monotonic()))
        except asyncio.TimeoutError:
            raise Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the audio was made") from None

    async def _work(self) -> None:
        while True:
            batch = await self._next_batch()
            if batch:
                await self._answer(batch)

    async def _next_batch(self) -> list[Task]:
        """The task that has waited longest, with those for the same graph; none where all were given up."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._queue))
            first = self._queue[0]
            late = first.since + self.settings.wait_seconds
            while self._rows_for(first.key) < self.settings.rows and (left := late - time.monotonic()) > 0:
                try:
                    await asyncio.wait_for(self._changed.wait(), left)
                except asyncio.TimeoutError:
                    break
                if not self._queue or self._queue[0] is not first:
                    return []  # another worker was faster
            batch: list[Task] = []
            rows = 0
            for task in [task for task in self._queue if task.key == first.key]:
                if batch and rows + task.rows > self.settings.rows:
                    break
                self._queue.remove(task)
                if not task.done.done():
                    batch.append(task)
                    rows += task.rows
            self._changed.notify_all()
            return batch

    def _rows_for(self, key: tuple[Any, str]) -> int:
        return sum(task.rows for task in self._queue if task.key == key)

    async def _answer(self, batch: list[Task]) -> None:
        now = time.monotonic()
        for task in batch:
            self.metrics.observe(QUEUING, 1e6 * (now - task.since), thread_pool_name="batch")
        self.metrics.observe(BATCH_SIZE, sum(task.rows for task in batch))
        seconds = max(task.deadline for task in batch) - now
        try:
            outputs = await self._in_thread(batch[0], merged([task.inputs for task in batch]), seconds)
        except Failure as failure:
            if len(batch) > 1 and failure.code is Code.INVALID_ARGUMENT:
                for task in batch:  # one of them is wrong: the others shall not suffer for it
                    await self._answer([task])
                return
            for task in batch:
                if not task.done.done():
                    task.done.set_exception(failure)
            return
        start = 0
        for task in batch:
            if not task.done.done():
                task.done.set_result({name: array[start : start + task.rows] for name, array in outputs.items()})
            start += task.rows

    async def _in_thread(self, task: Task, inputs: Arrays, seconds: float) -> dict[str, np.ndarray]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._pool, task.run, task.key[1], inputs, seconds)
        except Failure:
            raise
        except Exception as error:
            raise Failure(Code.INTERNAL, f"{type(error).__name__}: {error}") from error


def merged(many: list[Arrays]) -> Arrays:
    """Rows under rows; what is shorter than the longest is padded, as TensorFlow Serving pads."""
    if len(many) == 1:
        return many[0]
    return {name: np.concatenate(_alike([one[name] for one in many])) for name in many[0]}


def _alike(arrays: list[np.ndarray]) -> list[np.ndarray]:
    shape = np.max([array.shape[1:] for array in arrays], axis=0) if arrays[0].ndim > 1 else ()
    return [
        np.pad(array, [(0, 0), *((0, int(most - size)) for most, size in zip(shape, array.shape[1:], strict=True))])
        for array in arrays
    ]
