"""Waiting that ends when it shall: with a deadline, with the first of several, and always when it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def within(seconds: float, what: Awaitable[Result]) -> Result:
    """The result of what ends in time. Raises asyncio.TimeoutError, with `what` cancelled and ended.

    `asyncio.wait_for` forgets, before Python 3.12, that it was cancelled where `what` ends in the same moment: who
    cancelled it then waits for a task that goes on.
    """
    task = asyncio.ensure_future(what)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    if task.cancelled():
        raise asyncio.TimeoutError
    return task.result()


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
