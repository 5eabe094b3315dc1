"""`GET /stream`: audio as it is made, as a WAV file that goes on for as long as somebody takes it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
import time
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from serving.failures import Failure, invalid
from serving.refusal import refusal
from serving.streams import Live, Streams, soon
from serving.waiting import first_of
from serving.wishes import FIELDS, refuse_unknown, shown, wish

AHEAD_SECONDS = 8.0  # browsers begin to play an address when they have about 256 KB of it
MOST_SECONDS = 6 * 3600.0  # of a stream with an end: its bytes are to be counted in 32 bits
UNKNOWN = 0xFFFFFFFF  # bytes of a WAV file that is not finished
WHOLE = ("version", "seed")  # parameters that are whole numbers


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


class WavStream:
    """The endpoint, as an ASGI application."""

    def __init__(self, streams: Streams):
        self.streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        service, idle = self.streams.service, self.streams.idle

        async def taken(message: Message) -> None:
            await soon(idle, send(message))

        try:
            service.let_in(request.headers.get("authorization"))
            if request.method != "GET":
                raise invalid(f"Malformed request: {request.method} /stream")
            values = parameters(request.query_params)
            seconds, pace = values.pop("seconds", None), Pace(values.pop("ahead", AHEAD_SECONDS))
            async with self.streams.open(wish(values, service.versions.name)) as live:
                await send({"type": "http.response.start", "status": 200, "headers": _headers(live)})
                with contextlib.suppress(Failure):  # too late for a status: a length in the header tells what lacks
                    await first_of(_sound(live, seconds, pace, taken), live.left(), _gone(receive))
            await send({"type": "http.response.body"})
        except Failure as failure:
            await refusal(failure)(scope, receive, send)


def parameters(query: QueryParams) -> dict[str, Any]:
    """The values of a query. Raises Failure."""
    refuse_unknown(query, (*FIELDS, "seconds", "ahead"))
    values = fields(query)
    if not 0 < values.get("seconds", 1.0) <= MOST_SECONDS:
        raise invalid(f"seconds must lie above 0 and be at most {MOST_SECONDS:g}, not {query['seconds']}")
    if not values.get("ahead", 0.0) >= 0:
        raise invalid(f"ahead must be a number of seconds from 0 on, or inf, not {query['ahead']}")
    return values


def fields(query: QueryParams) -> dict[str, Any]:
    """A query's texts as what they stand for. Raises Failure."""
    values: dict[str, Any] = {}
    for name, text in query.multi_items():
        if name in values:
            raise invalid(f"{name} is given twice")
        values[name] = text if name in ("model", "label") else _number(name, text)
    return values


def _number(name: str, text: str) -> float | int:
    try:
        return int(text) if name in WHOLE else float(text)
    except ValueError:
        raise invalid(f"{name} must be a {'whole ' * (name in WHOLE)}number, not {shown(text)}") from None


def wav_header(rate: int, samples: int | None) -> bytes:
    """Of 16-bit samples of one channel; None where nobody knows how many there will be."""
    size = UNKNOWN if samples is None else 2 * samples
    whole = UNKNOWN if samples is None else 36 + size
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", whole, b"WAVE") + form + struct.pack("<4sI", b"data", size)


def _headers(live: Live) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"audio/wav"),
        (b"cache-control", b"no-store"),
        (b"accept-ranges", b"none"),
        (b"stream-seed", str(live.seed).encode()),
        (b"stream-version", str(live.version.number).encode()),
    ]


async def _sound(live: Live, seconds: float | None, pace: Pace, send: Send) -> None:
    samples = None if seconds is None else round(seconds * live.rate)
    await send({"type": "http.response.body", "body": wav_header(live.rate, samples), "more_body": True})
    left = math.inf if samples is None else 2 * samples  # bytes
    while left > 0:
        pcm = await live.block()
        pcm = pcm[: int(min(left, len(pcm)))]
        left -= len(pcm)
        await send({"type": "http.response.body", "body": pcm, "more_body": True})
        if left > 0:
            await asyncio.sleep(pace.sent(len(pcm) / 2 / live.rate, time.monotonic()))


async def _gone(receive: Receive) -> None:
    """Until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
