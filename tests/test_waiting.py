"""Waiting, above all at the moment at which two things end at once."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from serving.waiting import first_of, within


def test_within_has_the_result_of_what_ends_in_time() -> None:
    async def seven() -> int:
        await asyncio.sleep(0.001)
        return 7

    assert asyncio.run(within(60, seven())) == 7


def test_within_raises_what_was_raised() -> None:
    async def fail() -> None:
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        asyncio.run(within(60, fail()))


@pytest.mark.parametrize("seconds", [0.0, 0.01])
def test_what_takes_too_long_is_ended_first(seconds: float) -> None:
    """As where a lock is taken back: who waited holds it again when the wait is over."""

    async def late() -> bool:
        changed = asyncio.Condition()
        async with changed:
            with contextlib.suppress(asyncio.TimeoutError):
                await within(seconds, changed.wait())
            return changed.locked()

    assert asyncio.run(late())


@pytest.mark.parametrize("turns", range(6))
def test_who_is_cancelled_as_its_wait_ends_does_not_go_on(turns: int) -> None:
    """`turns` of the loop lie between the one end and the other: one of these numbers is the same moment."""

    async def both() -> None:
        moment = asyncio.Event()

        async def play() -> None:
            await within(60, moment.wait())
            await asyncio.Event().wait()  # for ever

        async def left() -> None:
            await moment.wait()
            for _ in range(turns):
                await asyncio.sleep(0)

        async def strike() -> None:
            await asyncio.sleep(0.001)
            moment.set()

        await asyncio.gather(asyncio.wait_for(first_of(play(), left()), 5), strike())

    asyncio.run(both())


def test_the_first_to_end_ends_the_others_and_raises_what_it_raised() -> None:
    ended = []

    async def on() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("on")

    async def fail() -> None:
        await asyncio.sleep(0.001)
        raise ValueError("so it is")

    with pytest.raises(ValueError, match="so it is"):
        asyncio.run(first_of(on(), fail()))
    assert ended == ["on"]
