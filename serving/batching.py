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
from serving.waiting import within

Arrays = Mapping[str, np.ndarray]
Run = Callable[[str, Arrays, float], dict[str, np.ndarray]]  # signature, inputs, seconds that it may take


@dataclass(frozen=True)
class BatchSettings:
    """How much is done at once.

    Attributes:
        rows, figures: most of one batch; of figures, of its largest input with what pads it.
        wait_seconds: for more rows.
        waiting, waiting_bytes: most rows in the queue, and what they may hold.
        threads: of batches.
    """

    rows: int = 16
    figures: int = 32 << 20
    wait_seconds: float = 0.005
    waiting: int = 256
    waiting_bytes: int = 256 << 20
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

    @property
    def width(self) -> int:
        """Figures of a row of its largest input."""
        return max(int(np.prod(array.shape[1:], dtype=int)) for array in self.inputs.values())

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return sum(_bytes(array) for array in self.inputs.values())


class Batcher:
    """Runs tasks in an event loop's thread pool."""

    def __init__(self, settings: BatchSettings, metrics: Metrics, name: str):
        self.settings, self.metrics, self.name = settings, metrics, name
        self._queue: deque[Task] = deque()
        self._changed = asyncio.Condition()
        self._pool = ThreadPoolExecutor(settings.threads, thread_name_prefix=name)
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
        self._refuse_if_full(task)
        async with self._changed:
            self._queue.append(task)
            self._changed.notify_all()
        try:
            return await within(max(0.0, deadline - time.monotonic()), task.done)
        except asyncio.TimeoutError:
            raise Failure(Code.DEADLINE_EXCEEDED, "the deadline passed before the audio was made") from None

    def _refuse_if_full(self, task: Task) -> None:
        """Raises Failure."""
        there = [one for one in self._queue if not one.done.done()]
        many = task.rows + sum(one.rows for one in there) > self.settings.waiting
        if many or (there and task.size + sum(one.size for one in there) > self.settings.waiting_bytes):
            raise Failure(
                Code.RESOURCE_EXHAUSTED,
                f"The batch scheduling queue to which this task was submitted is full; at most "
                f"{self.settings.waiting} rows, or {self.settings.waiting_bytes >> 20} MB, wait: try again",
            )

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
                    await within(left, self._changed.wait())
                except asyncio.TimeoutError:
                    break
                if not self._queue or self._queue[0] is not first:
                    return []  # another worker was faster
            batch: list[Task] = []
            rows, width = 0, 0
            for task in [task for task in self._queue if task.key == first.key]:
                more, wider = rows + task.rows, max(width, task.width)
                if batch and (more > self.settings.rows or more * wider > self.settings.figures):
                    break
                self._queue.remove(task)
                if not task.done.done():
                    batch.append(task)
                    rows, width = more, wider
            self._changed.notify_all()
            return batch

    def _rows_for(self, key: tuple[Any, str]) -> int:
        return sum(task.rows for task in self._queue if task.key == key)

    async def _answer(self, batch: list[Task]) -> None:
        now = time.monotonic()
        for task in batch:
            self.metrics.observe(QUEUING, 1e6 * (now - task.since), thread_pool_name=self.name)
        self.metrics.observe(BATCH_SIZE, sum(task.rows for task in batch))
        seconds = max(task.deadline for task in batch) - now
        try:
            outputs = await self._in_thread(batch, seconds)
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

    async def _in_thread(self, batch: list[Task], seconds: float) -> dict[str, np.ndarray]:
        def run() -> dict[str, np.ndarray]:
            return batch[0].run(batch[0].key[1], merged([task.inputs for task in batch]), seconds)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, run)
        except Failure:
            raise
        except Exception as error:
            raise Failure(Code.INTERNAL, f"{type(error).__name__}: {error}") from error


def _bytes(array: np.ndarray) -> int:
    return sum(map(len, array.ravel())) if array.dtype == object else array.nbytes


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
