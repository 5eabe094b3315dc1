"""Requests that nobody should send, drawn by chance: each is made from its own number, and so can be made again."""

from __future__ import annotations

import base64
import gzip
import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest
from tensorflow_serving.apis.predict_pb2 import PredictRequest

HOW = {"temperature": 0.5, "seed": 3}
PRIME = {"prime": [0.0], "prime_samples": 0}
ROWS: dict[str, dict[str, Any]] = {
    "": {**PRIME, "seconds": 0.25, **HOW},
    "generate": {**PRIME, "seconds": 0.25, **HOW},
    "pcm": {**PRIME, "seconds": 0.25, **HOW},
    "start": {**PRIME, **HOW},
    "step": {"state_bytes": {"b64": "AAAA"}, "temperature": 0.5},
}
TYPES = {"prime_samples": np.int32, "seed": np.int32, "state_bytes": object}
ODD: list[Any] = [
    None, True, False, "", "x", "\ud800", "\0", "é" * 500, -1, 0, 1, 2, 1.5, -0.0, 1e-320, 1e39, 1e308, 2**31, 2**63,
    2**200, float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None], [1, [2]], [[1], [2, 3]], [[0.0] * 3] * 2,
    [0.0] * 5000, {"b64": "!"}, {"b64": ""}, {"b64": 3}, {"b64": "AAAA", "more": 1}, {"": {}},
]  # fmt: skip


DEPTHS = [10, 40, 300, 900, 100_000]


def body(chance: random.Random) -> bytes:
    """Of a REST prediction; sometimes a good one."""
    signature = chance.choice(list(ROWS))
    count = chance.choice([1, 1, 1, 1, 2, 8, 9, 0])
    document: Any = {"instances": [dict(ROWS[signature]) for _ in range(count)]}
    if chance.random() < 0.4:
        document = {"inputs": {name: [value] * count for name, value in ROWS[signature].items()}}
    if signature or chance.random() < 0.5:
        document["signature_name"] = signature
    for _ in range(chance.choice([0, 1, 1, 1, 2, 3])):
        document = changed(document, chance)
    made = json.dumps(document).encode()
    return spoiled(made, chance) if chance.random() < 0.25 else made


def changed(value: Any, chance: random.Random) -> Any:
    """With one part of it replaced, left out, added, doubled or wrapped."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        name = chance.choice(list(value))
        kind = chance.random()
        if kind < 0.1:
            return {key: one for key, one in value.items() if key != name}
        if kind < 0.2:
            return {**value, chance.choice(["", "pitch", "inputs", name.upper(), "\ud800", "a" * 3000]): odd(chance)}
        return {**value, name: changed(value[name], chance)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        index = chance.randrange(len(value))
        return chance.choice([
            [*value[:index], changed(value[index], chance), *value[index + 1 :]],
            value[:index],
            value * 2,
        ])  # fmt: skip
    return chance.choice([odd(chance), odd(chance), [value], value])


def odd(chance: random.Random) -> Any:
    if chance.random() < 0.1:
        return base64.b64encode(chance.randbytes(chance.randrange(200))).decode()
    return chance.choice(ODD)


def spoiled(made: bytes, chance: random.Random) -> bytes:
    """With bytes missing, changed, added, or in another encoding."""
    index = chance.randrange(len(made) + 1)
    return chance.choice([
        lambda: made[:index],
        lambda: made[:index] + chance.randbytes(chance.randrange(1, 9)) + made[index:],
        lambda: made[:index] + bytes([chance.randrange(256)]) + made[index + 1 :],
        lambda: made.decode().encode(chance.choice(["utf-16", "utf-32", "utf-8-sig"])),
        lambda: gzip.compress(made),
        lambda: chance.choice([b"[", b'{"a":', b'{"instances":[', b'{"inputs":{"prime":[']) * chance.choice(DEPTHS),
        lambda: b'{"instances": [' + b"9" * chance.choice([20, 5000, 200_000]) + b"]}",
        lambda: chance.randbytes(chance.randrange(100)),
        lambda: b'{"a":1,"a":2}' + made,
        lambda: b"[" + b"0," * 200_000 + b"0]",
    ])()  # fmt: skip


def path(chance: random.Random) -> str:
    """Of a REST request; mostly the one of a prediction."""
    if chance.random() < 0.6:
        return "/v1/models/my:predict"
    name = chance.choice(["my", "my", "your", "%6dy", "%00", "%ff%fe", "..", "", "m" * 5000, "my my", "%F0%9F%8E%B5"])
    which = chance.choice([
        "", "/versions/1", "/versions/0", "/versions/x", f"/versions/{2**63}", f"/versions/{'9' * 5000}",
        "/versions/%31", "/versions/١", "/labels/stable", "/labels/none", "/labels/%73table", "/labels/%00",
        "/versions/1/labels/stable",
    ])  # fmt: skip
    end = chance.choice([":predict", ":predict", "", "/metadata", ":classify", "/", ":predict/", "?a=b", "#"])
    other = ["/about", "/stream?seconds=0.2", "/page/x", "/%2e%2e/%2e%2e/etc/passwd", "//", "/v1/", "*", "/v2"]
    whole = f"/v1/models/{name}{which}{end}" if chance.random() < 0.8 else chance.choice(other)
    return whole.encode("utf-8").decode("latin-1").replace(" ", "%20")


def plain(chance: random.Random) -> tuple[bytes, bool]:
    """A request as it goes over the wire, and whether it is whole: a server waits for the rest of one that is not."""
    method = chance.choice(["POST"] * 6 + ["GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "BREW", ""])
    content = body(chance) if method != "GET" else b""
    lines = [f"{method} {path(chance)} HTTP/{chance.choice(['1.1'] * 9 + ['1.0', '9.9', '2'])}", "Host: x"]
    length = chance.choice([len(content)] * 8 + [0, -1, len(content) // 2, len(content) + 9, "x", 2**70])
    lines.append(chance.choice([f"Content-Length: {length}"] * 9 + ["Transfer-Encoding: chunked", "Expect: 100-a"]))
    lines += chance.sample([
        "Authorization: Bearer \xff", "Content-Type: text/plain", "Content-Encoding: gzip", "X: " + "x" * 70_000,
        "Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c", ": empty", "Content-Length: 3", "Accept: \0",
    ], chance.choice([0] * 8 + [1, 2]))  # fmt: skip
    made = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + content
    cut = chance.randrange(len(made)) if chance.random() < 0.05 else len(made)
    whole = cut == len(made) and "chunked" not in lines[2] and length in (0, len(content) // 2, len(content))
    return made[:cut], whole


def query(chance: random.Random) -> str:
    """Of `/stream`, always with an end."""
    texts = ["", "x", "-1", "0", "1", "1.5", "nan", "inf", "1e999", "9" * 5000, "١", "%00", "%ff", "my", "stable"]
    names = ["model", "version", "label", "temperature", "seed", "ahead", "seed", "pitch", "", "%ff"]
    given = [f"{chance.choice(names)}={chance.choice(texts)}" for _ in range(chance.randrange(4))]
    seconds = chance.choice(["0.1", "0.3", *texts[:6], "nan"])
    return "&".join([f"seconds={seconds}", *given, chance.choice(["ahead=inf", "%", "&=&"])])


def words(chance: random.Random) -> list[str | bytes]:
    """What is said to the WebSocket, message by message."""
    said: list[Any] = [{"temperature": 0.5, "seed": 3, "more": 2}]
    if chance.random() < 0.3:
        said = [{**said[0], "prime": True}, chance.randbytes(chance.choice([0, 3, 4, 4000, 400_000]))]
    said += [{"more": chance.choice([0, 1, 2])}, {"temperature": chance.choice([0.1, 1, -1])}][: chance.randrange(3)]
    if chance.random() < 0.8:
        index = chance.randrange(len(said))
        said[index] = changed(said[index], chance) if isinstance(said[index], dict) else chance.choice([b"", said[0]])
    made = [one if isinstance(one, bytes) else json.dumps(one) for one in said]
    if chance.random() < 0.2:
        index = chance.randrange(len(made))
        made[index] = chance.choice(["", "[" * 50_000, "{", "null", "\0", chance.randbytes(20), "9" * 10_000])
    return made


# gRPC ---------------------------------------------------------------------------------------------------------------

PREDICT = "/tensorflow.serving.PredictionService/Predict"
METHODS = [
    "/tensorflow.serving.PredictionService/GetModelMetadata",
    "/tensorflow.serving.ModelService/GetModelStatus",
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.PredictionService/Regress",
    "/tensorflow.serving.PredictionService/MultiInference",
    "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
    "/tensorflow.serving.SessionService/SessionRun",
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/none/none",
]


def message(chance: random.Random) -> tuple[str, bytes]:
    """The method and the bytes of a request; sometimes a good one."""
    if chance.random() < 0.75:
        method, request = PREDICT, _prediction(chance).SerializeToString()
    else:
        method = chance.choice(METHODS)
        fields: list[str] = chance.choice([[], ["signature_def"], ["x"], ["signature_def"] * 9])
        about = GetModelMetadataRequest(metadata_field=fields)
        asked = chance.choice([about, GetModelStatusRequest(), _prediction(chance)])
        _specify(asked.model_spec, chance)
        request = chance.choice([asked.SerializeToString(), b"", b"\x0a\x00", b"\x0a\x01x"])
    return method, _torn(request, chance) if chance.random() < 0.3 else request


def _prediction(chance: random.Random) -> PredictRequest:
    request, signature = PredictRequest(), chance.choice(list(ROWS))
    count = chance.choice([1, 1, 1, 1, 2, 8, 9, 0])
    _specify(request.model_spec, chance)
    request.model_spec.signature_name = signature if chance.random() < 0.95 else "x" * chance.choice([1, 5000])
    for name, value in ROWS[signature].items():
        kind = TYPES.get(name, np.float32)
        values = np.array([b"AAAA" if kind is object else value] * count, kind)
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, shape=values.shape))
    for _ in range(chance.choice([0, 1, 1, 2])):
        _tensor(request.inputs[chance.choice([*request.inputs] * 9 + ["", "pitch"])], chance)
    some: list[list[str]] = [[], [], [], [], ["samples"], ["x"], ["samples"] * 2, ["pcm_bytes", "sample_rate"]]
    request.output_filter.extend(chance.choice(some))
    return request


def _specify(spec: Any, chance: random.Random) -> None:
    spec.name = chance.choice(["my"] * 9 + ["", "your", "\0", "m" * 5000])
    kind = chance.random()
    if kind < 0.1:
        spec.version.value = chance.choice([0, 1, -1, 2**63 - 1, -(2**63)])
    elif kind < 0.2:
        spec.version_label = chance.choice(["stable", "", "none", "\0", "l" * 5000])


def _tensor(tensor: Any, chance: random.Random) -> None:
    """One thing about it is other than it should be."""
    def shape() -> None:
        tensor.tensor_shape.Clear()
        for _ in range(chance.choice([0, 1, 2, 3, 300])):
            tensor.tensor_shape.dim.add(size=chance.choice([0, 1, 1, 2, 3, -1, 2**20, 2**31, 2**40, 2**62]))
        tensor.tensor_shape.unknown_rank = chance.random() < 0.1

    def values() -> None:
        for field, some in {
            "float_val": [0.0, float("nan"), 1e38], "int_val": [0, 1, -(2**31)], "string_val": [b"", b"x" * 999],
            "half_val": [0, 70_000], "bool_val": [True], "int64_val": [2**62],
            "double_val": [1e300], "scomplex_val": [1.0],
        }.items():  # fmt: skip
            if chance.random() < 0.3:
                tensor.ClearField(field)
                getattr(tensor, field).extend([chance.choice(some) for _ in range(chance.choice([0, 1, 2, 3, 1000]))])

    kinds: list[Callable[[], Any]] = [
        shape,
        values,
        lambda: setattr(tensor, "dtype", chance.choice([*range(25), 30, 101, 119, 999])),
        lambda: setattr(tensor, "tensor_content", chance.randbytes(chance.choice([0, 1, 3, 4, 8, 1000]))),
        lambda: setattr(tensor, "version_number", chance.choice([1, -1])),
        lambda: tensor.resource_handle_val.add(name="x"),
        lambda: tensor.variant_val.add(type_name="x"),
        tensor.Clear,
    ]
    chance.choice(kinds)()


def _torn(made: bytes, chance: random.Random) -> bytes:
    index = chance.randrange(len(made) + 1)
    return chance.choice([
        made[:index],
        made[:index] + chance.randbytes(chance.randrange(1, 9)) + made[index:],
        made[:index] + bytes([chance.randrange(256)]) + made[index + 1 :],
        chance.randbytes(chance.randrange(200)),
        b"\x0b" * 5000,  # groups in groups
        made * 3,
    ])  # fmt: skip


def metadata(chance: random.Random) -> Iterator[tuple[str, str | bytes]]:
    if chance.random() < 0.1:
        yield "authorization", "".join(chance.choices(string.printable[:94], k=chance.choice([1, 50, 2000])))
    if chance.random() < 0.05:
        yield "x-bin", chance.randbytes(100)
