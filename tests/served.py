"""The local server as a process of its own, for tests that ask it, and small runs for it to serve."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

import grpc
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from sonicrnn.export import export_run
from sonicrnn.exported import Limits
from tests.small_runs import QUICK, make_run

Samples = npt.NDArray[np.float32]
STEP_SECONDS = 0.1


def export_small(folder: Path, song: Samples) -> Path:
    """A run folder with one version, quick to make and to serve."""
    run = make_run(folder, song, QUICK)
    limits = Limits(seconds=60.0, batch=8, step_seconds=STEP_SECONDS, block_seconds=0.5)
    export_run(run, run.folder / "export", limits)
    return run.folder


class Server:
    """A process of the command, on free ports."""

    def __init__(self, folder: Path, *options: str, token: str | None = None, stderr: IO[str] | None = None):
        self.token = token
        environment = {**os.environ, "SONICRNN_TOKEN": token or ""}
        command = [sys.executable, "-m", "serving.local", folder, "--port", "0", "--rest-port", "0", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
        assert self.process.stdout
        said = ""
        while "gRPC" not in said:
            line = self.process.stdout.readline()
            assert line, f"the server ended: {said}"
            said += line
        self.base = re.search(r"http://[^/]+", said)[0]  # type: ignore[index]
        self.address = re.search(r"gRPC +(\S+)", said)[1]  # type: ignore[index]
        self.channel = grpc.insecure_channel(self.address, [("grpc.max_receive_message_length", -1)])
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a GET, or of a POST of JSON or bytes."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")

    def predict(self, body: Any, where: str = "/v1/models/my") -> tuple[int, Any]:
        return self.ask(f"{where}:predict", body)

    def rpc(
        self,
        signature: str = "",
        timeout: float = 120,
        filtered: tuple[str, ...] = (),
        metadata: list[tuple[str, str]] | None = None,
        **inputs: Any,
    ) -> Any:
        request = PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = "my", signature
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
        request.output_filter.extend(filtered)
        return self.prediction.Predict(request, timeout, metadata=metadata)

    def stop(self) -> str:
        self.channel.close()
        self.process.send_signal(signal.SIGTERM)
        rest: str = self.process.communicate(timeout=90)[0]
        return rest

    def stepped(self, temperatures: list[float], seed: int, prime: Samples | None = None) -> bytes:
        """The samples of `start` and of `step` after `step`, by gRPC: 16 bits each."""
        given = np.zeros(1, np.float32) if prime is None else prime
        length = 0 if prime is None else len(prime)
        inputs: dict[str, Any] = {"prime": given[None], "prime_samples": _one(length), "seed": _one(seed)}
        metadata = [("authorization", f"Bearer {self.token}")] if self.token else None
        made, signature = b"", "start"
        for temperature in temperatures:
            answer = self.rpc(signature, metadata=metadata, temperature=_one(temperature), **inputs)
            made += tf.make_ndarray(answer.outputs["pcm_bytes"])[0]
            inputs, signature = {"state_bytes": tf.make_ndarray(answer.outputs["state_bytes"])}, "step"
        return made


def _one(value: float) -> npt.NDArray[Any]:
    return np.array([value], np.int32 if isinstance(value, int) else np.float32)


def alike(one: bytes, other: bytes) -> None:
    """Equal up to how the sums of more or fewer rows round."""
    assert len(one) == len(other)
    np.testing.assert_allclose(*(np.frombuffer(pcm, "<i2").astype(float) for pcm in (one, other)), atol=33)
