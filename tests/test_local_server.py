"""The local server as its clients see it: both protocols, and TensorFlow Serving's answers to what is wrong."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, ModelVersionStatus
from tensorflow_serving.apis.predict_pb2 import PredictRequest

from serving import client
from sonicrnn.errors import UserError
from tests.served import Server, export_small
from tests.small_runs import RATE

Samples = npt.NDArray[np.float32]
ROW = {"prime": [0.0], "prime_samples": 0, "seconds": 0.25, "temperature": 0.5, "seed": 3}


def arrays(seconds: float = 0.25, seed: int = 3, temperature: float = 0.5) -> dict[str, Any]:
    return {
        "prime": np.zeros([1, 1], np.float32),
        "prime_samples": np.zeros([1], np.int32),
        "seconds": np.array([seconds], np.float32),
        "temperature": np.array([temperature], np.float32),
        "seed": np.array([seed], np.int32),
    }


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Path:
    """A run folder with one version."""
    return export_small(tmp_path_factory.mktemp("runs") / "my", small_song)


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    made = Server(exported, "--label", "stable=1", "--label", "future=9", "--waiting", "24", "--batch", "8")
    yield made
    rest = made.stop()
    assert made.process.returncode == 0, rest


# What is right ------------------------------------------------------------------------------------------------------


def test_rows_and_columns_by_rest_and_tensors_by_grpc_are_the_same_audio(server: Server) -> None:
    status, rows = server.predict({"instances": [ROW, {**ROW, "seed": 4}]})
    assert status == 200
    first, second = rows["predictions"]
    assert set(first) == {"audio", "samples", "pcm_bytes", "sample_rate"}
    assert first["sample_rate"] == RATE
    assert first["samples"] == len(first["audio"]) == RATE // 4
    assert first["audio"] != second["audio"]
    pcm = np.frombuffer(base64.b64decode(first["pcm_bytes"]["b64"]), "<i2")
    np.testing.assert_allclose(pcm / 32768, first["audio"], atol=1 / 65535)
    columns = {name: [value, value] for name, value in ROW.items()}
    status, whole = server.predict({"signature_name": "generate", "inputs": {**columns, "seed": [3, 4]}})
    assert status == 200
    np.testing.assert_allclose(whole["outputs"]["audio"][1], second["audio"], atol=1e-6)
    answer = server.rpc(**arrays())
    assert (answer.model_spec.version.value, answer.model_spec.signature_name) == (1, "serving_default")
    np.testing.assert_allclose(tf.make_ndarray(answer.outputs["audio"])[0], first["audio"], atol=1e-3)
    assert list(server.rpc("pcm", filtered=("samples",), **arrays()).outputs) == ["samples"]


def test_a_stream_goes_from_rest_to_grpc_and_back_with_its_state(server: Server) -> None:
    row = {name: ROW[name] for name in ("prime", "prime_samples", "temperature", "seed")}
    _, begun = server.predict({"signature_name": "start", "instances": [row]})
    state = base64.b64decode(begun["predictions"][0]["state_bytes"]["b64"])
    on = server.rpc("step", state_bytes=np.array([state], object), temperature=np.array([0.5], np.float32))
    (after,) = tf.make_ndarray(on.outputs["state_bytes"])
    shown = {"state_bytes": {"b64": base64.b64encode(after).decode()}, "temperature": 0.5}
    status, last = server.predict({"signature_name": "step", "instances": [shown]}, "/v1/models/my/versions/1")
    assert status == 200
    assert len(last["predictions"][0]["audio"]) == tf.make_ndarray(on.outputs["audio"]).shape[1]


def test_a_body_may_be_zipped(server: Server) -> None:
    body, path = gzip.compress(json.dumps({"instances": [ROW]}).encode()), "/v1/models/my:predict"
    zipped = {"Content-Encoding": "gzip"}
    assert server.ask(path, body, **zipped)[0] == 200
    assert server.ask(path, body[:-9], **zipped) == (400, {"error": CUT_OFF})
    assert server.ask(path, gzip.compress(bytes(65 << 20)), **zipped) == (400, {"error": CUT_OFF})
    assert "is no gzip" in server.ask(path, b"{}", **zipped)[1]["error"]


CUT_OFF = "the request's body is cut off, or has more than 64 MB"


def test_versions_labels_status_and_metadata(server: Server) -> None:
    for where in ("/v1/models/my/versions/1", "/v1/models/my/labels/stable", "/V1/models/my"):
        assert server.predict({"instances": [ROW]}, where)[0] == 200
        status, told = server.ask(f"{where}/metadata")
        assert status == 200
        assert told["model_spec"]["version"] == "1"
        signature = told["metadata"]["signature_def"]["signature_def"]["step"]
        assert signature["inputs"]["state_bytes"]["dtype"] == "DT_STRING"
        assert signature["method_name"] == "tensorflow/serving/predict"
    expected = [{"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}]
    assert server.ask("/v1/models/my") == (200, {"model_version_status": expected})
    request = GetModelStatusRequest()
    request.model_spec.name = "my"
    assert server.models.GetModelStatus(request).model_version_status[0].state == ModelVersionStatus.AVAILABLE
    about = GetModelMetadataRequest(metadata_field=["signature_def"])
    about.model_spec.name = "my"
    signatures = SignatureDefMap()
    server.prediction.GetModelMetadata(about).metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def) == {"serving_default", "generate", "pcm", "start", "step"}


def test_health_and_metrics(server: Server) -> None:
    check = server.channel.unary_unary("/grpc.health.v1.Health/Check")
    assert check(b"") == b"\x08\x01"
    server.predict({"instances": [ROW]})
    server.rpc(**arrays())

    def page() -> str:
        with urllib.request.urlopen(f"{server.base}/monitoring/prometheus/metrics") as answer:
            return str(answer.read().decode())

    before = page()
    for api, entrypoint in (("predict", "REST"), ("Predict", "GRPC")):
        found = f':tensorflow:serving:request_latency_bucket{{model_name="my",API="{api}",entrypoint="{entrypoint}",'
        assert re.search(re.escape(found) + r'le="\+Inf"\} [1-9]', before)
    assert re.search(r':runtime_latency_count\{model_name="my",API="Predict",runtime="TF1"\} [1-9]', before)
    server.ask("/v1/models/my/metadata")
    server.predict({"instances": [{**ROW, "seconds": -1}]})
    counted = {
        'request_count{model_name="my",status="OK"}': 1,
        'request_count{model_name="my",status="INVALID_ARGUMENT"}': 1,
        'request_latency_count{model_name="my",API="predict",entrypoint="REST"}': 0,  # what failed has none
        'request_latency_count{model_name="my",API="",entrypoint="REST"}': 1,
    }
    assert {what: metric(page(), what) - metric(before, what) for what in counted} == counted


def metric(page: str, what: str) -> float:
    found = re.search(rf"^:tensorflow:serving:{re.escape(what)} (\S+)$", page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_requests_that_come_together_are_one_batch_and_each_gets_its_own(server: Server) -> None:
    """With primes of different lengths."""
    alone = {seed: server.predict({"instances": [{**ROW, "seed": seed}]})[1] for seed in range(4)}

    def ask(seed: int) -> tuple[int, Any]:
        return server.predict({"instances": [{**ROW, "seed": seed, "prime": [0.0] * (1 + seed)}]})

    with ThreadPoolExecutor(8) as pool:
        for seed, (status, made) in enumerate(pool.map(ask, range(4))):
            assert status == 200
            audio, expected = (one["predictions"][0]["audio"] for one in (made, alone[seed]))
            np.testing.assert_allclose(audio, expected, atol=1e-3)


def test_a_wrong_request_does_not_spoil_those_it_was_put_together_with(server: Server) -> None:
    rows = [{**ROW, "temperature": 9.0 if index == 2 else 0.5} for index in range(6)]
    with ThreadPoolExecutor(6) as pool:
        statuses = [status for status, _ in pool.map(lambda row: server.predict({"instances": [row]}), rows)]
    assert statuses == [200, 200, 400, 200, 200, 200]


def test_the_client_writes_the_same_piece_by_rest_and_by_grpc(server: Server, tmp_path: Path) -> None:
    how = ["my", "--seconds", "0.5", "--seed", "2"]
    client.main([*how, "--rest", server.base, "--out", str(tmp_path / "rest.wav")])
    client.main([*how, "--grpc", server.address, "--out", str(tmp_path / "rpc.wav")])
    rest, rate = soundfile.read(tmp_path / "rest.wav", dtype="float32")
    assert (rate, len(rest)) == (RATE, RATE // 2)
    assert np.std(rest) > 1e-3
    np.testing.assert_allclose(soundfile.read(tmp_path / "rpc.wav", dtype="float32")[0], rest, atol=1e-3)
    stream = client.rpc_stream(server.address, "my", client.OWN, seed=2)
    blocks = [next(stream)[0] for _ in range(3)]
    assert len({len(block) for block in blocks}) == 1
    assert len(set(blocks)) == 3
    with pytest.raises(UserError, match=r"answered 400: [\s\S]*seconds must lie above 0"):
        client.main(["my", "--seconds", "61", "--rest", server.base])
    with pytest.raises(UserError, match="answered NOT_FOUND: Servable not found"):
        client.main(["your", "--grpc", server.address])
    with pytest.raises(UserError, match=r"no server at http://127\.0\.0\.1:1 "):
        client.main(["my", "--rest", "http://127.0.0.1:1"])


# What is wrong ------------------------------------------------------------------------------------------------------


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"\xff\xfe\x00", "JSON Parse error: "),
        (b"[" * 100_000, "JSON Parse error: "),
        (b"[1]", "JSON Value: [1] Is not object"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [ROW], "inputs": {}}, "only one of 'inputs' or 'instances'"),
        ({"instances": 3}, "'instances' to be an list/array"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": [1.0]}, "instances is a plain list, but expecting list of objects"),
        ({"instances": [ROW, 1]}, "Expecting object but got list at item 1"),
        ({"instances": [without("seed")]}, "keys must be equal to: prime,prime_samples,seconds,seed,temperature"),
        ({"instances": [{**ROW, "pitch": 1}]}, "does not have named input: pitch"),
        ({"instances": [ROW, {**ROW, "prime": [0.0, 0.0]}]}, "Expecting shape [1] but got: [2]"),
        ({"instances": [{**ROW, "seed": 1.5}]}, "JSON Value: 1.5 Type: Number is not of expected type: int32"),
        ({"instances": [{**ROW, "seed": 2**31}]}, "is not of expected type: int32"),
        ({"instances": [{**ROW, "seed": True}]}, "is not of expected type: int32"),
        ({"instances": [{**ROW, "seed": None}]}, "Type: Null is not of expected type: int32"),
        ({"instances": [{**ROW, "seconds": "long"}]}, 'JSON Value: "long" Type: String is not of expected type: float'),
        ({"instances": [{**ROW, "seconds": 1e39}]}, "is not of expected type: float32"),
        ({"instances": [{**ROW, "prime": [[0.0], 0.0]}]}, "found at incorrect level"),
        ({"instances": [{**ROW, "prime": 0.0}]}, "to have 2 dimensions"),
        ({"inputs": 3}, "inputs is a plain value/list"),
        ({"inputs": without("seed")}, "Missing named input: seed in 'inputs' object."),
        ({"inputs": {**{name: [value] for name, value in ROW.items()}, "seed": [1, 2]}}, "equal 0th-dimension size"),
        ({"inputs": ROW}, "at least one dimension"),
        ({"signature_name": 100}, "'signature_name' key must be a string value."),
        ({"signature_name": "sing", "instances": [ROW]}, 'Serving signature name: "sing" not found in signature def'),
        (b'{"instances": [' + json.dumps(ROW).replace("0.25", "NaN").encode() + b"]}", "seconds must lie above 0"),
        ({"instances": [{**ROW, "seconds": 1e9}]}, "seconds must lie above 0 and be at most 60"),
        ({"instances": [ROW] * 9}, "1 to 8 rows"),
        ({"signature_name": "step", "instances": [{"state_bytes": {"b64": "!"}, "temperature": 1}]}, "base64 decode"),
        ({"signature_name": "step", "instances": [{"state_bytes": "x", "temperature": 1}]}, "no state of this model"),
    ],
)
def test_wrong_bodies_are_told_what_is_wrong_as_tensorflow_serving_tells(
    body: Any, message: str, server: Server
) -> None:
    status, answer = server.predict(body)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/models/your:predict", {"instances": [ROW]}, 404, "Servable not found for request: Latest(your)"),
        ("/v1/models/my/versions/7:predict", {}, 404, "Servable not found for request: Specific(my, 7)"),
        ("/v1/models/my/labels/future:predict", {"instances": [ROW]}, 404, "Specific(my, 9)"),
        ("/v1/models/my/labels/none:predict", {"instances": [ROW]}, 400, "Unrecognized servable version label: none"),
        ("/v1/models/my:sing", {}, 400, "Malformed request: POST /v1/models/my:sing"),
        ("/v1/models/my:predict", None, 400, "Malformed request: GET /v1/models/my:predict"),
        ("/v1/models", None, 400, "Missing model name in request."),
        ("/v1/models/your", None, 404, "Could not find any versions of model your"),
        ("/v1/models/my/versions/7", None, 404, "Could not find version 7 of model my"),
        ("/v1/models/my/versions/99999999999999999999", None, 400, "Failed to convert version"),
    ],
)
def test_wrong_paths_have_tensorflow_servings_codes(
    path: str, body: Any, status: int, message: str, server: Server
) -> None:
    if body == {}:
        body = {"instances": [ROW]}
    found, answer = server.ask(path, body)
    assert found == status
    assert message in answer["error"]


def test_wrong_grpc_requests_have_tensorflow_servings_codes(server: Server) -> None:
    def failure(signature: str = "", **inputs: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as raised:
            server.rpc(signature, **inputs)
        return raised.value.code(), raised.value.details()  # type: ignore[attr-defined]

    invalid = grpc.StatusCode.INVALID_ARGUMENT
    assert failure("sing")[0] is grpc.StatusCode.FAILED_PRECONDITION
    code, told = failure("step", temperature=np.ones(1, np.float32))
    assert code is invalid
    assert told.endswith("Sent extra: {}. Missing but required: {state_bytes}.")
    code, told = failure(**{**arrays(), "seed": np.ones(1)})
    assert (code, told) == (invalid, "Expects seed to be int32 but float64 is provided")
    assert "equal 0th-dimension" in failure(**{**arrays(), "seed": np.ones(2, np.int32)})[1]
    request = PredictRequest()
    request.model_spec.name = "my"
    for name in arrays():
        request.inputs[name].dtype = tf.float32.as_datatype_enum
        request.inputs[name].tensor_shape.dim.add(size=2**40)
        request.inputs[name].float_val.append(1.0)
    with pytest.raises(grpc.RpcError, match="tensor parsing error"):
        server.prediction.Predict(request)
    with pytest.raises(grpc.RpcError, match="Missing ModelSpec"):
        server.prediction.Predict(PredictRequest())


def test_overload_is_refused_at_once_and_a_deadline_is_kept(server: Server) -> None:
    body = {"signature_name": "pcm", "instances": [{**ROW, "seconds": 20.0}] * 8}
    with ThreadPoolExecutor(12) as pool:
        statuses = [status for status, _ in pool.map(lambda _: server.predict(body), range(12))]
    assert set(statuses) == {200, 429}
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as raised:
        server.rpc("pcm", timeout=0.2, **arrays(seconds=60.0))
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
    assert time.monotonic() - start < 5
    assert server.predict({"instances": [ROW]})[0] == 200


# A life -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.alone
def test_new_versions_are_taken_up_and_old_ones_let_go_while_requests_come(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my"
    shutil.copytree(exported / "export" / "1", folder / "export" / "1")
    server = Server(folder, "--versions", "1", "--name", "my")
    try:
        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(server.predict, {"instances": [ROW]}) for _ in range(60)]
            shutil.copytree(folder / "export" / "1", folder / "export" / ".new")
            (folder / "export" / ".new").rename(folder / "export" / "2")
            answers = [one.result() for one in asked]
        assert {status for status, _ in answers} == {200}
        audio = np.array([answer["predictions"][0]["audio"] for _, answer in answers])
        np.testing.assert_allclose(audio, np.broadcast_to(audio[0], audio.shape), atol=1e-3)
        until = time.monotonic() + 90
        while server.ask("/v1/models/my/versions/1")[1]["model_version_status"][0]["state"] != "END":
            assert time.monotonic() < until
            time.sleep(0.2)
        assert server.rpc(**arrays()).model_spec.version.value == 2
        (folder / "export" / "3").mkdir()
        (folder / "export" / "3" / "saved_model.pb").write_bytes(b"spoiled")
        while len(server.ask("/v1/models/my")[1]["model_version_status"]) < 3:
            assert time.monotonic() < until
            time.sleep(0.2)
        assert server.predict({"instances": [ROW]})[0] == 200
        assert server.ask("/v1/models/my/versions/3")[1]["model_version_status"][0]["status"]["error_message"]
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.alone
def test_a_token_is_asked_for_and_what_is_under_way_is_answered_before_the_end(exported: Path) -> None:
    server = Server(exported, token="secret")
    status, answer = server.predict({"instances": [ROW]})
    assert status == 401
    assert "Authorization: Bearer TOKEN" in answer["error"]
    with pytest.raises(grpc.RpcError) as raised:
        server.rpc(**arrays())
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
    body = {"signature_name": "pcm", "instances": [{**ROW, "seconds": 30.0}]}
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(server.ask, "/v1/models/my:predict", body, Authorization="Bearer secret")
        time.sleep(0.5)
        said = server.stop()
        assert late.result()[0] == 200
    assert "answered first" in said
    assert server.process.returncode == 0


def test_options_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    def refused(*options: str) -> str:
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "serving.local", *options], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert time.monotonic() - start < 5
        return done.stderr

    assert "has no exported version: make one with `python -m sonicrnn.export" in refused(str(tmp_path))
    (tmp_path / "export" / "1").mkdir(parents=True)
    assert "--label stable: write NAME=VERSION" in refused(str(tmp_path), "--label", "stable")
    assert "--batch 0 must lie between" in refused(str(tmp_path), "--batch", "0")
    assert "SONICRNN_TOKEN" in refused(str(tmp_path), "--host", "0.0.0.0")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "is taken" in refused_slowly(tmp_path, "--rest-port", str(taken.getsockname()[1]))


def refused_slowly(folder: Path, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "serving.local", folder, "--port", "0", *options],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    return done.stderr
