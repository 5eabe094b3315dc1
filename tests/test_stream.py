"""Streams of the local server as their listeners get them: as a WAV file that goes on, and block by block."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import itertools
import json
import re
import shutil
import signal
import struct
import time
import types
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from serving.failures import Code, Failure
from serving.metrics import Metrics
from serving.streams import Live
from serving.wav_stream import Pace, WavStream
from serving.wishes import wish
from tests.served import STEP_SECONDS, Server, alike, export_small
from tests.small_runs import RATE

Samples = npt.NDArray[np.float32]
TOKEN = "secret"
ALLOWED = {"Authorization": f"Bearer {TOKEN}"}
STEP = round(STEP_SECONDS * RATE)
MOST = 3  # streams at once


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Path:
    return export_small(tmp_path_factory.mktemp("runs") / "my", small_song)


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    options = ("--streams", str(MOST), "--label", "stable=1", "--threads", "1", "--timeout", "20", "--idle", "3")
    made = Server(exported, *options, token=TOKEN)
    yield made
    rest = made.stop()
    assert made.process.returncode == 0, rest


def get(server: Server, headers: dict[str, str] = ALLOWED, **query: Any) -> http.client.HTTPResponse:
    """The answer, whose body is still to come."""
    request = urllib.request.Request(f"{server.base}/stream?{urlencode(query)}", headers=headers)
    answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=60)
    return answer


def metric(server: Server, name: str) -> float:
    with urllib.request.urlopen(f"{server.base}/monitoring/prometheus/metrics") as answer:
        found = re.search(rf"^:{name}\{{.*?\}} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def until(what: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextlib.contextmanager
def talk(server: Server, *messages: Any, **how: Any) -> Iterator[ClientConnection]:
    """A WebSocket after these first messages: bytes, text, or what becomes JSON."""
    address = server.base.replace("http:", "ws:") + "/stream"
    with connect(address, proxy=None, compression=None, **how) as socket:
        for message in messages:
            socket.send(message if isinstance(message, (bytes, str)) else json.dumps(message))
        yield socket


def refused(socket: ClientConnection) -> tuple[int, str]:
    """The close code of a conversation that ends with an error, and the error."""
    said: list[str | bytes] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            said.append(socket.recv(timeout=30))
    assert socket.close_code is not None
    return socket.close_code, json.loads(said[-1])["error"]


# WAV ----------------------------------------------------------------------------------------------------------------


def test_the_wav_is_what_start_and_step_give_for_the_same_seed(server: Server) -> None:
    with get(server, seed=5, temperature=0.5, seconds=0.35, label="stable") as answer:
        assert answer.headers["Content-Type"] == "audio/wav"
        assert (answer.headers["Stream-Seed"], answer.headers["Stream-Version"]) == ("5", "1")
        content = answer.read()
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    assert (rate, samples.shape) == (RATE, (round(0.35 * RATE),))
    assert len(content) == 44 + 2 * len(samples)
    alike(samples.astype("<i2").tobytes(), server.stepped([0.5] * 4, seed=5)[: 2 * len(samples)])
    assert np.std(samples) > 30


def test_without_an_end_it_goes_on_until_the_listener_leaves(server: Server) -> None:
    before = metric(server, "sonicrnn:streamed_seconds")
    answer = get(server, model="my", version=1)
    begin = answer.read(44 + 2 * 7 * STEP)
    assert struct.unpack("<I", begin[40:44]) == (0xFFFFFFFF,)
    samples, rate = soundfile.read(io.BytesIO(begin), dtype="int16")
    assert (rate, len(samples)) == (RATE, 7 * STEP)
    assert metric(server, "sonicrnn:streams_open") == 1
    answer.close()
    until(lambda: metric(server, "sonicrnn:streams_open") == 0)
    assert metric(server, "sonicrnn:streamed_seconds") - before > 6.99 * STEP_SECONDS


def test_a_stream_is_no_more_than_that_far_ahead_unless_it_is_asked_to(server: Server) -> None:
    start = time.monotonic()
    with get(server, ahead=0.5, temperature=0.5) as answer:
        answer.read(44)
        for count in itertools.count(1):
            answer.read(2 * STEP)
            heard = time.monotonic() - start
            assert count * STEP_SECONDS <= 0.5 + heard + 1e-6 + STEP_SECONDS
            if heard > 1.2:
                break
    with get(server, ahead="inf", seconds=60) as answer:
        first = answer.read(44 + 2 * 100 * STEP)
    assert len(first) == 44 + 2 * 100 * STEP


def test_pace_lets_nobody_catch_up_on_what_is_past() -> None:
    pace = Pace(2.0)
    assert [pace.sent(1.0, now=10.0) for _ in range(4)] == [0.0, 0.0, 1.0, 2.0]
    assert pace.sent(1.0, now=12.0) == 1.0  # 5 s sent, 2 s heard
    assert [pace.sent(1.0, now=100.0) for _ in range(3)] == [0.0, 0.0, 1.0]
    assert Pace(float("inf")).sent(1000.0, now=0.0) == 0.0


def test_streams_that_run_together_share_batches_and_each_gets_its_own(server: Server) -> None:
    def batches() -> tuple[float, float]:
        name = "tensorflow:serving:batching_session:processed_batch_size"
        return metric(server, f"{name}_sum"), metric(server, f"{name}_count")

    def taken(seed: int) -> bytes:
        with get(server, seed=seed, temperature=0.5, seconds=2, ahead="inf") as answer:
            return answer.read()[44:]

    rows, runs = batches()
    with ThreadPoolExecutor(MOST) as pool:
        made = list(pool.map(taken, range(MOST)))
    more_rows, more_runs = batches()
    assert more_rows - rows == MOST * 20
    assert more_runs - runs < 0.75 * (more_rows - rows)
    for seed, pcm in enumerate(made):
        alike(pcm[: 2 * 5 * STEP], server.stepped([0.5] * 5, seed))


def test_seeds_differ_where_none_is_given(server: Server) -> None:
    seeds = set()
    for _ in range(2):
        with get(server, seconds=0.1) as answer:
            seeds.add(answer.headers["Stream-Seed"])
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"seed": "x"}, 400, 'seed must be a whole number, not "x"'),
        ({"seed": "1.5"}, 400, 'seed must be a whole number, not "1.5"'),
        ({"seed": 2**31}, 400, "seed must be a whole number from -2147483648 to 2147483647, not 2147483648"),
        ({"temperature": "warm"}, 400, 'temperature must be a number, not "warm"'),
        ({"temperature": "nan"}, 400, "temperature must be a number, not NaN"),
        ({"temperature": 9}, 400, "temperature must be at most 5"),
        ({"seconds": 0}, 400, "seconds must lie above 0 and be at most 21600, not 0"),
        ({"seconds": "nan"}, 400, "seconds must lie above 0"),
        ({"seconds": 1e6}, 400, "seconds must lie above 0"),
        ({"ahead": -1}, 400, "ahead must be a number of seconds from 0 on, or inf, not -1"),
        ({"version": -1}, 400, "version must be a whole number from 0"),
        ({"version": 1, "label": "stable"}, 400, "not by both"),
        ({"version": 7}, 404, "Servable not found for request: Specific(my, 7)"),
        ({"label": "none"}, 400, "Unrecognized servable version label: none"),
        ({"model": "your"}, 404, "Servable not found for request: Latest(your)"),
        ({"model": ""}, 400, 'model must be a name, not ""'),
        ({"pitch": 1}, 400, 'unknown: "pitch"; known: model, version, label, temperature, seed, seconds, ahead'),
    ],
)
def test_wrong_parameters_are_told_what_is_wrong(query: Any, status: int, message: str, server: Server) -> None:
    found, answer = server.ask(f"/stream?{urlencode(query)}", **ALLOWED)
    assert (found, list(answer)) == (status, ["error"])
    assert message in answer["error"]


def test_a_parameter_twice_and_another_method_are_refused(server: Server) -> None:
    assert server.ask("/stream?seed=1&seed=2", **ALLOWED) == (400, {"error": "seed is given twice"})
    assert server.ask("/stream", b"", **ALLOWED) == (400, {"error": "Malformed request: POST /stream"})


def test_the_token_is_asked_for(server: Server) -> None:
    for headers in ({}, {"Authorization": "Bearer other"}):
        for path in ("/stream", "/about"):
            status, answer = server.ask(path, **headers)
            assert status == 401
            assert "Authorization: Bearer TOKEN" in answer["error"]


def test_one_stream_too_many_is_told_so_at_once_and_room_is_there_again(server: Server) -> None:
    answers = [get(server) for _ in range(MOST)]
    refused = server.ask("/stream", **ALLOWED)
    assert refused == (429, {"error": "3 streams are open, and no more may be: try again later"})
    answers.pop().close()
    until(lambda: metric(server, "sonicrnn:streams_open") == MOST - 1)
    with get(server, seconds=0.1) as answer:
        assert len(answer.read()) == 44 + 2 * STEP
    for answer in answers:
        answer.close()


def test_who_listens_already_waits_where_the_queue_is_full() -> None:
    made = {"pcm_bytes": [b"\0\0"], "sample_rate": [1], "state_bytes": ["on"]}
    failures = [Failure(Code.RESOURCE_EXHAUSTED, "full")] * 2

    class Busy:
        timeout, metrics = 20.0, Metrics()
        versions = type("Versions", (), {"name": "my"})

        async def run(self, *_: Any) -> Any:
            if failures:
                raise failures.pop()
            return made

    live = Live(Busy(), None, wish({}, "my"), {**made, "pcm_bytes": [b"\1\0"]})  # type: ignore[arg-type]
    assert [asyncio.run(live.block()) for _ in range(2)] == [b"\1\0", b"\0\0"]
    assert failures == []
    failures.append(Failure(Code.INTERNAL, "broken"))
    with pytest.raises(Failure, match="broken"):
        asyncio.run(live.block())
    assert ':tensorflow:serving:request_count{model_name="my",status="INTERNAL"} 1\n' in Busy.metrics.page()


def test_who_takes_nothing_for_too_long_gives_its_place_away() -> None:
    made = {"pcm_bytes": [b"\1\0"], "sample_rate": [1], "state_bytes": ["on"]}
    sent: list[Any] = []
    places = [True]

    class Still:
        """Whose listener takes the header and then nothing."""

        timeout, metrics, idle, let_in = 20.0, Metrics(), 0.05, staticmethod(lambda _: None)
        versions = type("Versions", (), {"name": "my", "number": 1})

        @property
        def service(self) -> Any:
            return self

        async def run(self, *_: Any) -> Any:
            return made

        @contextlib.asynccontextmanager
        async def open(self, asked: Any) -> Any:
            version = types.SimpleNamespace(number=1, leaving=asyncio.Event())
            yield Live(self, version, asked, made)  # type: ignore[arg-type]
            places.pop()

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 2 and places:
            await asyncio.sleep(60)

    scope = {"type": "http", "method": "GET", "path": "/stream", "query_string": b"ahead=inf", "headers": []}
    asyncio.run(WavStream(Still())(scope, asyncio.Event().wait, send))  # type: ignore[arg-type]
    assert places == []
    assert [message["type"] for message in sent] == ["http.response.start", *["http.response.body"] * 3]
    assert not sent[-1].get("more_body")


def test_about_has_the_card(server: Server) -> None:
    status, about = server.ask("/about?label=stable", **ALLOWED)
    assert (status, about["model"], about["version"]) == (200, "my", 1)
    assert about["card"]["step_samples"] == STEP
    assert about["card"]["limits"]["prime_seconds"] == 30.0
    assert server.ask("/about?version=7", **ALLOWED)[0] == 404
    assert server.ask("/about?seed=7", **ALLOWED)[0] == 400


# WebSocket ----------------------------------------------------------------------------------------------------------

FIRST = {"token": TOKEN, "seed": 5, "temperature": 0.5}


def test_blocks_come_as_they_are_asked_for_and_the_temperature_changes_between_them(server: Server) -> None:
    before = metric(server, "sonicrnn:streamed_seconds")
    with talk(server, FIRST) as socket:
        answer = json.loads(socket.recv())
        assert answer == {
            "model": "my", "version": 1, "sample_rate": RATE, "step_samples": STEP, "step_seconds": STEP_SECONDS,
            "seed": 5, "temperature": 0.5,
        }  # fmt: skip
        socket.send(json.dumps({"more": 2}))
        made = [socket.recv(), socket.recv()]
        socket.send(json.dumps({"temperature": 1.5, "more": 1}))
        made.append(socket.recv())
        socket.send(json.dumps({"more": 1}))
        made.append(socket.recv())
        assert metric(server, "sonicrnn:streamed_seconds") - before == pytest.approx(4 * STEP_SECONDS)
        assert metric(server, "sonicrnn:streams_open") == 1
    until(lambda: metric(server, "sonicrnn:streams_open") == 0)
    pcm = b"".join(one for one in made if isinstance(one, bytes))
    alike(pcm, server.stepped([0.5, 0.5, 1.5, 1.5], seed=5))
    assert pcm[4 * STEP :] != server.stepped([0.5] * 4, seed=5)[4 * STEP :]


def test_a_stream_goes_on_from_the_prime_that_follows(server: Server, small_song: Samples) -> None:
    prime = small_song[3 * RATE : 5 * RATE]
    with talk(server, {**FIRST, "prime": True, "more": 3}, prime.astype("<f4").tobytes()) as socket:
        assert json.loads(socket.recv())["sample_rate"] == RATE
        pcm = b"".join(socket.recv() for _ in range(3))  # type: ignore[misc]
    alike(pcm, server.stepped([0.5] * 3, seed=5, prime=prime))
    assert pcm != server.stepped([0.5] * 3, seed=5)


@pytest.mark.parametrize(
    ("messages", "code", "message"),
    [
        (["{"], 4400, "JSON Parse error"),
        (["[1]"], 4400, "Is not object"),
        ([b"\0"], 4400, "a JSON message was to come, not a binary one"),
        ([{**FIRST, "pitch": 1}], 4400, 'unknown: "pitch"; known: model, version, label, temperature, seed, token'),
        ([{**FIRST, "seed": 1.5}], 4400, "seed must be a whole number from -2147483648"),
        ([{**FIRST, "seed": True}], 4400, "seed must be a whole number"),
        ([{**FIRST, "temperature": "hot"}], 4400, 'temperature must be a number, not "hot"'),
        ([{**FIRST, "temperature": 9}], 4400, "temperature must be at most 5"),
        ([{**FIRST, "more": -1}], 4400, "more must be a whole number from 0 to 1000, not -1"),
        ([{**FIRST, "model": "\ud800"}], 4400, "model must be a name"),
        ([{**FIRST, "model": "your"}], 4404, "Servable not found for request: Latest(your)"),
        ([{**FIRST, "prime": 3}], 4400, "prime must be true, where the next message is one, not 3"),
        ([{**FIRST, "prime": True}, {"more": 1}], 4400, "the prime was to come: a binary message"),
        ([{**FIRST, "prime": True}, b"\0\0\0"], 4400, "the prime was to come: a binary message"),
        ([{**FIRST, "prime": True}, b"\0\0\xc0\x7f" * RATE], 4400, "prime must be samples from -1 to 1"),
        ([{**FIRST, "prime": True}, bytes(4 * 31 * RATE)], 4400, "prime_samples must be 0, or"),
        ([FIRST, {"seed": 6}], 4400, 'unknown: "seed"; known: more, temperature'),
        ([FIRST, {"more": 2000}], 4400, "more must be a whole number from 0 to 1000, not 2000"),
        ([FIRST, {"temperature": None}], 4400, "temperature must be a number, not null"),
        ([FIRST, {"temperature": 9, "more": 3}], 4400, "temperature must be at most 5"),
        ([FIRST, b"\0"], 4400, "a JSON message was to come"),
        ([{}], 4401, "a token is asked for"),
        ([{"token": "other"}], 4401, "a token is asked for"),
        ([{"token": None, "prime": True}], 4401, "a token is asked for"),
    ],
)
def test_wrong_messages_end_it_with_what_is_wrong(messages: Any, code: int, message: str, server: Server) -> None:
    with talk(server, *messages) as socket:
        found, error = refused(socket)
    assert (found, message in error) == (code, True), error


def test_the_token_may_come_in_the_header_as_elsewhere(server: Server) -> None:
    with talk(server, {"more": 1}, additional_headers=ALLOWED) as socket:
        assert json.loads(socket.recv())["sample_rate"] == RATE
        assert len(socket.recv()) == 2 * STEP


def test_one_listener_too_many_is_told_so(server: Server) -> None:
    with contextlib.ExitStack() as open_ones:
        for _ in range(MOST):
            open_ones.enter_context(talk(server, FIRST)).recv()
        with talk(server, FIRST) as socket:
            assert refused(socket) == (4429, "3 streams are open, and no more may be: try again later")
    until(lambda: metric(server, "sonicrnn:streams_open") == 0)


def test_a_stream_of_which_nothing_is_asked_for_too_long_is_told_so(server: Server) -> None:
    with talk(server, {**FIRST, "more": 1}) as socket:
        assert len([socket.recv(), socket.recv()]) == 2
        time.sleep(2)
        socket.send(json.dumps({"more": 1}))
        assert len(socket.recv()) == 2 * STEP
        start = time.monotonic()
        assert refused(socket) == (4504, "the stream stood still for 3 s: begin again")
        assert 2.5 < time.monotonic() - start < 10


@pytest.mark.slow
@pytest.mark.alone
def test_streams_end_with_their_version_and_with_the_server(exported: Path, tmp_path: Path) -> None:
    """And where no token is asked for, pages of elsewhere are let in nowhere."""
    folder = tmp_path / "my"
    shutil.copytree(exported / "export" / "1", folder / "export" / "1")
    server = Server(folder, "--versions", "1")
    with talk(server, {}, origin="http://elsewhere.example") as socket:
        assert refused(socket) == (4403, "a page of http://elsewhere.example may not use this server without a token")
    with talk(server, {}, origin=server.base) as idle, get(server, {}) as wav:
        assert json.loads(idle.recv())["version"] == 1
        shutil.copytree(folder / "export" / "1", folder / "export" / ".new")
        (folder / "export" / ".new").rename(folder / "export" / "2")
        assert refused(idle) == (4503, "version 1 is let go, or the server stops: begin again")
        assert len(wav.read()) > 44
    until(lambda: server.ask("/v1/models/my/versions/1")[1]["model_version_status"][0]["state"] == "END")
    with talk(server, {}) as idle, talk(server) as late, get(server, {}) as wav:
        assert json.loads(idle.recv())["version"] == 2
        server.process.send_signal(signal.SIGTERM)
        assert refused(idle)[0] == 4503
        late.send(json.dumps({}))
        assert refused(late)[0] == 4503
        assert len(wav.read()) > 44
        assert "answered first" in server.stop()
    assert server.process.returncode == 0
