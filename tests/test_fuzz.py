"""Whatever is sent to the local server: it says what is wrong, in time, keeps no memory, serves the next request."""

from __future__ import annotations

import collections
import contextlib
import random
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests import attacks
from tests.served import Server, export_small

Samples = npt.NDArray[np.float32]
PATIENCE = 60  # s; more than any request of these takes
FINE = ("OK", "INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED")


class Attacked(Server):
    """A server whose words are kept, and what is done to it."""

    def __init__(self, folder: Path, log: Path, *options: str):
        self.log = log
        with log.open("w") as file:
            super().__init__(folder, *options, stderr=file)
        host, _, port = self.base.removeprefix("http://").partition(":")
        self.rest = host, int(port)
        self.answers: collections.Counter[str] = collections.Counter()

    def attack(self, seed: str) -> None:
        """Send one request and look at what comes back."""
        chance = random.Random(seed)
        kind = chance.choices([self._plain, self._rpc, self._stream, self._socket], [45, 40, 8, 7])[0]
        try:
            answer = kind(chance)
        except Exception as error:
            raise AssertionError(f"request {seed!r} of {kind.__name__}: {type(error).__name__}: {error}") from error
        self.answers[f"{kind.__name__[1:]} {answer}"] += 1

    def _plain(self, chance: random.Random) -> str:
        return _http(self.rest, *attacks.plain(chance))

    def _stream(self, chance: random.Random) -> str:
        path = f"/stream?{attacks.query(chance)}"
        return _http(self.rest, f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), True)

    def _rpc(self, chance: random.Random) -> str:
        method, request = attacks.message(chance)
        ask = self.channel.unary_unary(method)
        try:
            ask(request, PATIENCE, metadata=list(attacks.metadata(chance)))
            return "OK"
        except grpc.RpcError as error:
            code, told = error.code().name, error.details()  # type: ignore[attr-defined]
            assert code in FINE, f"{code}: {told}"
            return str(code)

    def _socket(self, chance: random.Random) -> str:
        address = self.base.replace("http", "ws") + "/stream"
        try:
            with connect(address, proxy=None, compression=None, open_timeout=PATIENCE) as it:
                for one in attacks.words(chance):
                    it.send(one)
                with contextlib.suppress(TimeoutError):
                    while True:
                        it.recv(timeout=0.2)
        except ConnectionClosed as error:
            closed = error
        else:
            return "open"
        code = closed.rcvd.code if closed.rcvd else None
        assert code in (1007, 1009, *range(4400, 4500)), str(closed)
        return str(code)

    def memory(self) -> float:
        """MB that it holds."""
        held = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert held
        return int(held[1]) / 1024


def _http(address: tuple[str, int], request: bytes, whole: bool) -> str:
    """The status that a request is answered with, or that it is not answered, as it is not whole."""
    with socket.create_connection(address, timeout=PATIENCE) as wire:
        with contextlib.suppress(OSError):  # it may be refused before it is whole
            wire.sendall(request)
            if not whole:
                wire.shutdown(socket.SHUT_WR)
        answer = bytearray()
        with contextlib.suppress(ConnectionError):
            while part := wire.recv(65536):
                answer += part
    status = re.match(rb"HTTP/1\.1 (?:100 Continue\r\n\r\nHTTP/1\.1 )?(\d+)", answer)
    assert status or not answer, bytes(answer[:200])
    code = status[1].decode() if status else "none"
    assert code == "none" or int(code) < 500, bytes(answer[:500])
    return code


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Iterator[Attacked]:
    folder = tmp_path_factory.mktemp("attacked")
    made = Attacked(export_small(folder / "my", small_song), folder / "log", "--label", "stable=1", "--idle", "30")
    yield made
    made.process.kill()
    made.process.wait()


def attack(server: Attacked, numbers: range, name: str = "fuzz", at_once: int = 6) -> None:
    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(server.attack, f"{name} {number}") for number in numbers]:
            done.result()


def still_well(server: Attacked) -> None:
    """It answers, and has said nothing of what it did not expect."""
    row = attacks.ROWS["pcm"]
    assert server.predict({"signature_name": "pcm", "instances": [row]})[0] == 200
    server.rpc("pcm", **{name: np.array([value], attacks.TYPES.get(name, np.float32)) for name, value in row.items()})
    assert server.process.poll() is None
    said = server.log.read_text()
    assert not re.search("Traceback|Error|Exception|exception", said), said[-3000:]


@pytest.mark.parametrize("method", ["HEAD", "POST"])
def test_what_turns_out_to_be_no_http_ends_the_connection_and_nothing_else(attacked: Attacked, method: str) -> None:
    request = f"{method} /v1/models/my HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n"
    assert _http(attacked.rest, request.encode(), True) in ("400", "none")
    still_well(attacked)


def test_whatever_is_sent_is_answered_in_time_and_the_next_request_is_served(attacked: Attacked) -> None:
    attack(attacked, range(400))
    still_well(attacked)
    print(attacked.answers)
    for kind in ("plain 200", "plain 400", "plain 404", "rpc OK", "rpc INVALID_ARGUMENT", "stream 200", "socket 4400"):
        assert attacked.answers[kind] > 0, attacked.answers


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(1800)
def test_ten_thousand_requests_leave_the_memory_as_it_was(attacked: Attacked) -> None:
    attack(attacked, range(2_000), "warm")
    before, start = attacked.memory(), time.monotonic()
    for begin in range(0, 10_000, 2_000):
        attack(attacked, range(begin, begin + 2_000), "many")
        print(f"{begin + 2_000}: {time.monotonic() - start:.0f} s, {attacked.memory():.0f} MB (before {before:.0f})")
    still_well(attacked)
    print(sorted(attacked.answers.items()))
    assert attacked.memory() < 1.05 * before
