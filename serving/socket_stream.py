"""The WebSocket `/stream`: as many blocks of audio as its listener asks for, as warm as it wants the next ones.

The first message says what the stream shall be, the server answers what it is; then the listener says how many blocks
more it takes, and each comes as a binary message. An error is a last message and a close code: 4000 + the HTTP status.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect

from serving.failures import Code, Failure, invalid
from serving.json_tensors import parse
from serving.service import Service
from serving.streams import Live, Streams, soon
from serving.waiting import first_of, within
from serving.wishes import FIELDS, NO_PRIME, Wish, refuse_unknown, shown, temperature, wish

ERROR = 4000  # close codes from here on are free for applications
MOST_MORE = 1000  # blocks asked for by one message


class SocketStream:
    """The endpoint."""

    def __init__(self, streams: Streams):
        self.streams = streams

    async def talk(self, socket: WebSocket) -> None:
        """From the hand-shake to the end."""
        with self.streams.talk(), contextlib.suppress(WebSocketDisconnect):
            await socket.accept()
            try:
                await self._stream(socket)
            except Failure as failure:
                await socket.send_json({"error": failure.message})
                await socket.close(ERROR + failure.code.http)

    async def _stream(self, socket: WebSocket) -> None:
        asked, more = await _begin(socket, self.streams.service)
        async with self.streams.open(asked) as live:
            listener = Listener(socket, live, self.streams.idle)
            listener.ask(more)
            await socket.send_json(_about(live, self.streams.service))
            await first_of(listener.play(), listener.obey(), live.left())


class Listener:
    """One who listens: what is sent to it, and what it says meanwhile.

    Args:
        socket, live: the two ends that it joins.
        idle: seconds that it may ask for nothing, or take nothing.
    """

    def __init__(self, socket: WebSocket, live: Live, idle: float):
        self.socket, self.live, self.idle = socket, live, idle
        self._asked_for = asyncio.Semaphore(0)

    def ask(self, more: Any) -> None:
        """For so many more blocks. Raises Failure."""
        if type(more) is not int or not 0 <= more <= MOST_MORE:
            raise invalid(f"more must be a whole number from 0 to {MOST_MORE}, not {shown(more)}")
        for _ in range(more):
            self._asked_for.release()

    async def play(self) -> None:
        """Send the blocks that are asked for. Raises Failure."""
        while True:
            await soon(self.idle, self._asked_for.acquire())
            await soon(self.idle, self.socket.send_bytes(await self.live.block()))

    async def obey(self) -> None:
        """Do what the messages say. Raises Failure, and WebSocketDisconnect when the listener leaves."""
        while True:
            said = _object(await _message(self.socket))
            refuse_unknown(said, ("more", "temperature"))
            if "temperature" in said:
                self.live.temperature = temperature(said["temperature"])
            self.ask(said.get("more", 0))


async def _begin(socket: WebSocket, service: Service) -> tuple[Wish, Any]:
    """What the first messages ask for, and for how many blocks. Raises Failure."""

    async def first() -> str | bytes:
        try:
            return await within(service.timeout, _message(socket))
        except asyncio.TimeoutError:
            raise Failure(Code.DEADLINE_EXCEEDED, "the message that the stream begins with did not come") from None

    said = _object(await first())
    refuse_unknown(said, (*FIELDS, "token", "prime", "more"))
    _let_in(socket, service, said.get("token"))
    if type(said.get("prime", False)) is not bool:
        raise invalid(f"prime must be true, where the next message is one, not {shown(said['prime'])}")
    prime = _samples(await first()) if said.get("prime") else NO_PRIME
    return wish(said, service.versions.name, prime), said.get("more", 0)


def _let_in(socket: WebSocket, service: Service, token: Any) -> None:
    """By the token where one is asked for, and if not, no page of elsewhere. Raises Failure."""
    if service.token is not None:
        service.let_in(socket.headers.get("authorization") if token is None else f"Bearer {token}")
        return
    origin = socket.headers.get("origin")  # browsers say it, and let any page open any WebSocket
    if origin is not None and urlsplit(origin).netloc != socket.headers.get("host"):
        raise Failure(Code.PERMISSION_DENIED, f"a page of {origin} may not use this server without a token")


def _about(live: Live, service: Service) -> dict[str, Any]:
    return {
        "model": service.versions.name,
        "version": live.version.number,
        "sample_rate": live.rate,
        "step_samples": live.step_samples,
        "step_seconds": live.step_samples / live.rate,
        "seed": live.seed,
        "temperature": live.temperature,
    }


async def _message(socket: WebSocket) -> str | bytes:
    """The next one. Raises WebSocketDisconnect."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message["code"])
    text: str | None = message.get("text")
    return message["bytes"] if text is None else text


def _object(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise invalid("a JSON message was to come, not a binary one")
    return parse(message.encode())


def _samples(message: str | bytes) -> np.ndarray:
    if isinstance(message, str) or not message or len(message) % 4:
        raise invalid("the prime was to come: a binary message of float32 samples, little-endian")
    return np.frombuffer(message, "<f4").astype(np.float32)
