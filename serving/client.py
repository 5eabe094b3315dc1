"""`python -m serving.client my --seconds 10`: audio from TensorFlow Serving or the local server, by REST or gRPC.

The functions are as short as they are so that they can be taken into other programs.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sonicrnn.errors import UserError, run_command
from sonicrnn.files import written_beside

OWN = -1.0  # a temperature under 0 is the model's own


def rest_piece(base: str, name: str, seconds: float, temperature: float, seed: int) -> tuple[bytes, int]:
    """A piece as 16-bit samples, and its rate in Hz, from a server at e.g. `http://127.0.0.1:8501`."""
    # One zero that counts for nothing: the piece begins from a prime of the model's own.
    row = {"prime": [0.0], "prime_samples": 0, "seconds": seconds, "temperature": temperature, "seed": seed}
    body = json.dumps({"signature_name": "pcm", "instances": [row]}).encode()
    request = urllib.request.Request(f"{base}/v1/models/{name}:predict", body, _authorization())
    try:
        with urllib.request.urlopen(request) as answer:
            made = json.loads(answer.read())["predictions"][0]
    except urllib.error.HTTPError as error:
        raise UserError(f"the server answered {error.code}: {error.read().decode(errors='replace')}") from None
    except urllib.error.URLError as error:
        raise UserError(f"no server at {base} ({error.reason})") from None
    return base64.b64decode(made["pcm_bytes"]["b64"]), made["sample_rate"]


def rpc_piece(address: str, name: str, seconds: float, temperature: float, seed: int) -> tuple[bytes, int]:
    """The same from a gRPC server at e.g. `127.0.0.1:8500`."""
    how = {"seconds": _floats(seconds), "temperature": _floats(temperature), "seed": _numbers(seed)}
    outputs = _predict(address, name, "pcm", {**_no_prime(), **how}, ["pcm_bytes", "sample_rate"])
    return outputs["pcm_bytes"].string_val[0], outputs["sample_rate"].int_val[0]


def rpc_stream(address: str, name: str, temperature: float, seed: int) -> Iterator[tuple[bytes, int]]:
    """The same without end, block by block. Each step may be made by another server: the state goes along."""
    how = {"temperature": _floats(temperature)}
    wanted = ["pcm_bytes", "sample_rate", "state_bytes"]
    outputs = _predict(address, name, "start", {**_no_prime(), **how, "seed": _numbers(seed)}, wanted)
    while True:
        yield outputs["pcm_bytes"].string_val[0], outputs["sample_rate"].int_val[0]
        outputs = _predict(address, name, "step", {"state_bytes": outputs["state_bytes"], **how}, wanted)


def _predict(address: str, name: str, signature: str, inputs: dict[str, Any], wanted: list[str]) -> Any:
    import grpc
    from tensorflow_serving.apis.predict_pb2 import PredictRequest
    from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

    request = PredictRequest(inputs=inputs, output_filter=wanted)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    metadata = [(key.lower(), value) for key, value in _authorization().items()]
    with grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)]) as channel:
        try:
            return PredictionServiceStub(channel).Predict(request, 60, metadata=metadata).outputs
        except grpc.RpcError as error:
            raise UserError(f"the server at {address} answered {error.code().name}: {error.details()}") from None


def _no_prime() -> dict[str, Any]:
    return {"prime": _tensor("float_val", [0.0], 1, [1, 1]), "prime_samples": _numbers(0)}


def _floats(value: float) -> Any:
    return _tensor("float_val", [value], 1, [1])


def _numbers(value: int) -> Any:
    return _tensor("int_val", [value], 3, [1])


def _tensor(field: str, values: list[Any], dtype: int, shape: list[int]) -> Any:
    """A TensorProto; made by hand, so that a client need not load TensorFlow. dtype: 1 is float32, 3 is int32."""
    from tensorflow.core.framework.tensor_pb2 import TensorProto

    made = TensorProto(dtype=dtype, **{field: values})
    for size in shape:
        made.tensor_shape.dim.add(size=size)
    return made


def _authorization() -> dict[str, str]:
    token = os.environ.get("SONICRNN_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write one piece."""
    options = _parser().parse_args(arguments)
    how = options.name, options.seconds, options.temperature, options.seed
    if options.grpc:
        pcm, rate = rpc_piece(options.grpc, *how)
    else:
        pcm, rate = rest_piece(options.rest, *how)
    with written_beside(Path(options.out)) as beside, wave.open(str(beside), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(pcm)
    print(f"{options.out}  {len(pcm) / 2 / rate:g} s, {rate} Hz")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m serving.client", description="A piece from a server.")
    parser.add_argument("name", help="of the model")
    parser.add_argument("--rest", default="http://127.0.0.1:8501", help="base of the REST server")
    parser.add_argument("--grpc", metavar="HOST:PORT", help="ask by gRPC instead, e.g. 127.0.0.1:8500")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--temperature", type=float, default=OWN, help="default: the model's own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="piece.wav")
    return parser


if __name__ == "__main__":
    run_command(main)
