"""Clients of the local server, which runs as a process of its own, and the tally of what came of their requests."""

from __future__ import annotations

import base64
import collections
import json
import math
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

import grpc
import numpy as np
from tensorflow.core.framework.tensor_pb2 import TensorProto
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect

NAME = "my"
SEEDS = tuple(range(1, 13))
SECONDS = (1.0, 2.0, 5.0, 10.0)  # of pieces; the first is enough to tell whose one is
STREAM_SECONDS = (5.0, 10.0, 40.0)  # that a listener stays
EDGE_SECONDS = 1.0  # before a stop; a request that is older was certainly taken in
PATIENCE = 120.0  # s


class Server:
    """The real command in a process of its own, on ports that it keeps when it is started anew."""

    def __init__(self, folder: Path, log: Path, *options: str):
        self.folder, self.log, self.options = folder, log, options
        self.ports = ["0", "0"]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "serving.local", str(self.folder), "--name", NAME, *self.options]
        command += ["--port", self.ports[0], "--rest-port", self.ports[1]]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout
        said = ""
        while "gRPC" not in said:
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit(f"the server ended: {said}{self.log.read_text()}")
            said += line
        rest, rpc = re.search(r"REST +http://\S+?:(\d+)/", said), re.search(r"gRPC +\S+:(\d+)", said)
        assert rest
        assert rpc
        self.ports = [rpc[1], rest[1]]
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    @property
    def stream(self) -> str:
        return f"ws://127.0.0.1:{self.ports[1]}/stream"

    def end(self, number: signal.Signals) -> float:
        """Send it a signal: seconds until it has ended."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait()
        return time.monotonic() - start

    def predict(self, signature: str, seconds: float, seed: int) -> bytes:
        """A piece by REST. Raises HTTPError, OSError or HTTPException."""
        row = {"prime": [0.0], "prime_samples": 0, "seconds": seconds, "temperature": -1, "seed": seed}
        body = json.dumps({"signature_name": signature, "instances": [row]}).encode()
        address = f"http://127.0.0.1:{self.ports[1]}/v1/models/{NAME}:predict"
        with urllib.request.urlopen(urllib.request.Request(address, body), timeout=PATIENCE) as answer:
            made = json.loads(answer.read())["predictions"][0]
        return base64.b64decode(made["pcm_bytes"]["b64"])

    def states(self) -> list[tuple[int, str]]:
        """Of its versions."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/v1/models/{NAME}", timeout=PATIENCE) as answer:
            return [(int(one["version"]), one["state"]) for one in json.loads(answer.read())["model_version_status"]]

    def holds(self) -> tuple[float, int, int]:
        """MB of memory, open files, threads."""
        folder = Path(f"/proc/{self.process.pid}")
        told = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        return int(told["VmRSS"].split()[0]) / 1024, len(list((folder / "fd").iterdir())), int(told["Threads"])


@dataclass
class Tally:
    """What came of all requests; any thread may add to it."""

    codes: collections.Counter[tuple[str, str]] = field(default_factory=collections.Counter)
    took: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))
    audio: float = 0.0  # seconds
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stopping: float = math.inf  # when the server was told to stop
    down: bool = False  # it is killed or not there yet: whoever asks is not answered, and comes again
    over: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, kind: str, code: str, took: float = 0.0, audio: float = 0.0) -> None:
        with self.lock:
            self.codes[kind, code] += 1
            self.audio += audio
            if took:
                self.took[kind].append(took)

    def unanswered(self, kind: str, start: float, error: Exception) -> None:
        """The connection broke, or there was none."""
        late = start > self.stopping - EDGE_SECONDS
        self.add(kind, "no server" if self.down or late else "LOST")
        if not (self.down or late):
            self.lost.append(f"{kind}: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Known:
    """How what is asked for begins, by its seed, when it is asked for alone; and its rate, Hz."""

    pieces: Mapping[int, bytes]
    streams: Mapping[int, bytes]
    rate: int

    @classmethod
    def of(cls, server: Server) -> Known:
        """Ask for all of it."""
        streams, rates = zip(*(stream_begin(server, seed) for seed in SEEDS), strict=True)
        pieces = {seed: server.predict("pcm", SECONDS[0], seed) for seed in SEEDS}
        return cls(pieces, dict(zip(SEEDS, streams, strict=True)), rates[0])


def stream_begin(server: Server, seed: int, blocks: int = 2) -> tuple[bytes, int]:
    """The first blocks of a stream, and their rate."""
    with connect(server.stream, proxy=None, compression=None) as socket:
        socket.send(json.dumps({"seed": seed, "more": blocks}))
        rate = json.loads(socket.recv(PATIENCE))["sample_rate"]
        return b"".join(socket.recv(PATIENCE) for _ in range(blocks)), rate  # type: ignore[misc]


def nearest(pcm: bytes, begins: Mapping[int, bytes]) -> int:
    """Which of them it begins like."""

    def away(seed: int) -> float:
        length = min(len(pcm), len(begins[seed]))
        made, known = (np.frombuffer(one[:length], "<i2").astype(np.float64) for one in (pcm, begins[seed]))
        return float(np.mean(np.square(made - known)))

    return min(begins, key=away)


class Client(threading.Thread):
    """One who asks for audio again and again until it is over, each time for one of these lengths."""

    kind = ""
    lengths: tuple[float, ...] = SECONDS

    def __init__(self, server: Server, tally: Tally, known: Known, seed: int, lengths: tuple[float, ...] = ()):
        super().__init__(daemon=True)
        self.server, self.tally, self.known, self.chance = server, tally, known, random.Random(seed)
        self.seconds = lengths or self.lengths

    def run(self) -> None:
        while not self.tally.over:
            seed, start = self.chance.choice(SEEDS), time.monotonic()
            try:
                answered = self.ask(seed)
            except Exception as error:
                self.tally.add(self.kind, f"{type(error).__name__}: {error}"[:100])
                answered = False
            if not answered:
                time.sleep(self.chance.uniform(0.2, 1.5))
            time.sleep(max(0.0, 0.02 - (time.monotonic() - start)))

    def ask(self, seed: int) -> bool:
        raise NotImplementedError

    @property
    def begins(self) -> Mapping[int, bytes]:
        return self.known.pieces

    def check(self, pcm: bytes, seed: int, samples: int) -> None:
        """Is it so long, and of that seed?"""
        if len(pcm) != 2 * samples:
            self.tally.wrong.append(f"{self.kind}: {len(pcm) // 2} samples, not {samples}")
        elif (other := nearest(pcm, self.begins)) != seed:
            self.tally.wrong.append(f"{self.kind}: seed {seed} sounds like {other}")


class Rest(Client):
    kind = "REST"

    def ask(self, seed: int) -> bool:
        seconds, start = self.chance.choice(self.seconds), time.monotonic()
        try:
            pcm = self.server.predict("pcm", seconds, seed)
        except urllib.error.HTTPError as error:
            self.tally.add(self.kind, str(error.code))
            return False
        except (OSError, HTTPException) as error:
            self.tally.unanswered(self.kind, start, error)
            return False
        self.tally.add(self.kind, "200", time.monotonic() - start, seconds)
        self.check(pcm, seed, round(seconds * self.known.rate))
        return True


class Rpc(Client):
    kind = "gRPC"

    def ask(self, seed: int) -> bool:
        seconds, start = self.chance.choice(self.seconds), time.monotonic()
        request = PredictRequest(output_filter=["pcm_bytes"])
        request.model_spec.name, request.model_spec.signature_name = NAME, "pcm"
        for name, kind, values in (
            ("prime", "float_val", [0.0]), ("prime_samples", "int_val", [0]), ("seconds", "float_val", [seconds]),
            ("temperature", "float_val", [-1.0]), ("seed", "int_val", [seed]),
        ):  # fmt: skip
            tensor = TensorProto(dtype=1 if kind == "float_val" else 3, **{kind: values})
            for _ in range(2 if name == "prime" else 1):
                tensor.tensor_shape.dim.add(size=1)
            request.inputs[name].CopyFrom(tensor)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{self.server.ports[0]}", CHANNEL) as channel:
                pcm = PredictionServiceStub(channel).Predict(request, PATIENCE).outputs["pcm_bytes"].string_val[0]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self.tally.unanswered(self.kind, start, error)
            else:
                self.tally.add(self.kind, error.code().name)
            return False
        self.tally.add(self.kind, "OK", time.monotonic() - start, seconds)
        self.check(pcm, seed, round(seconds * self.known.rate))
        return True


CHANNEL = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


class Listener(Client):
    """Its time is that to the first audio."""

    kind = "stream"
    lengths = STREAM_SECONDS

    @property
    def begins(self) -> Mapping[int, bytes]:
        return self.known.streams

    def ask(self, seed: int) -> bool:
        start, stays = time.monotonic(), self.chance.choice(self.seconds)
        try:
            with connect(self.server.stream, proxy=None, compression=None) as socket:
                socket.send(json.dumps({"seed": seed, "more": 2}))
                said = json.loads(socket.recv(PATIENCE))
                if "error" in said:
                    socket.recv(PATIENCE)
                first, step = socket.recv(PATIENCE), said["step_seconds"]
                self.tally.add(self.kind, "begun", time.monotonic() - start, step)
                self.check(b"".join([first, socket.recv(PATIENCE)]), seed, 2 * said["step_samples"])  # type: ignore[list-item]
                while time.monotonic() < start + stays and not self.tally.over:
                    socket.send('{"more": 1}')
                    socket.recv(PATIENCE)
                    self.tally.add(self.kind, "block", audio=step)
                    time.sleep(0.9 * step)
        except WebSocketException as error:
            code = getattr(getattr(error, "rcvd", None), "code", None)
            if code is None:  # the connection broke
                self.tally.unanswered(self.kind, time.monotonic(), error)
            else:
                self.tally.add(self.kind, str(code))
            return False
        except OSError as error:
            self.tally.unanswered(self.kind, start, error)
            return False
        self.tally.add(self.kind, "ended")
        return True
