"""What both protocols do: find the version, check the request against its signature, run it in a batch, count it."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.batching import Batcher
from serving.failures import Code, Failure, invalid
from serving.json_tensors import parse, read_inputs, signature_name, write_outputs
from serving.metrics import LATENCY, REQUESTS, RUNTIME, Metrics
from serving.versions import OF_STREAMS, Version, Versions

DEFAULT = "serving_default"
FREE_FIGURES = 1 << 20  # of a tensor; more of them have to be sent


class Service:
    """One model, served.

    Args:
        versions: of the model.
        pieces, steps: that run them; what streams ask for, which is short and wanted soon, does not wait for pieces.
        metrics: to add to.
        token: that a request has to bring along; None asks for none.
        timeout: seconds that a request may take if it does not say so itself.
    """

    def __init__(
        self,
        versions: Versions,
        pieces: Batcher,
        steps: Batcher,
        metrics: Metrics,
        token: str | None = None,
        timeout: float = 60.0,
    ):
        self.versions, self.pieces, self.steps, self.metrics = versions, pieces, steps, metrics
        self.token, self.timeout = token, timeout

    def let_in(self, authorization: str | None) -> None:
        """Raises Failure where `Bearer TOKEN` is asked for and not given."""
        given = (authorization or "").encode(errors="replace")
        if self.token is not None and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            raise Failure(Code.UNAUTHENTICATED, "a token is asked for: send the header Authorization: Bearer TOKEN")

    @contextlib.contextmanager
    def counted(self, entrypoint: str, api: str) -> Iterator[None]:
        """Count a request and how it ended; where it ended well, how long it took, too.

        Args:
            entrypoint: REST, GRPC or STREAM.
            api: as TensorFlow Serving names it: Predict by gRPC, predict by REST, nothing for status and metadata.
        """
        start, status, name = time.monotonic(), "OK", self.versions.name
        try:
            yield
            took = 1e6 * (time.monotonic() - start)
            self.metrics.observe(LATENCY, took, model_name=name, API=api, entrypoint=entrypoint)
        except Failure as failure:
            status = failure.code.name
            raise
        except asyncio.CancelledError:  # who asked has left
            status = Code.CANCELLED.name
            raise
        except Exception:
            status = Code.INTERNAL.name
            raise
        finally:
            self.metrics.count(REQUESTS, model_name=name, status=status)

    async def predict_json(self, spec: ModelSpec, body: bytes) -> bytes:
        """A REST request. Raises Failure."""
        document = parse(body)
        name = signature_name(document)
        with self.versions.using(spec) as version:
            if name not in version.signatures:
                raise invalid(f'Serving signature name: "{name}" not found in signature def')
            types = {key: tf.as_dtype(info.dtype) for key, info in version.signatures[name].inputs.items()}
            inputs, form = await asyncio.to_thread(read_inputs, document, types)
            outputs = await self.run(version, name, inputs, self.timeout)
            return await asyncio.to_thread(write_outputs, outputs, form)

    async def predict(self, request: PredictRequest, seconds: float) -> PredictResponse:
        """A gRPC request that may take so long. Raises Failure."""
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        with self.versions.using(request.model_spec) as version:
            name = request.model_spec.signature_name or DEFAULT
            if name not in version.signatures:
                raise Failure(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
            signature = version.signatures[name]
            _check_names(set(request.inputs), set(signature.inputs))
            wanted = _wanted(request.output_filter, list(signature.outputs))
            inputs = {key: _array(key, value) for key, value in request.inputs.items()}
            outputs = await self.run(version, name, inputs, min(seconds, self.timeout))
            response = PredictResponse()
            response.model_spec.name, response.model_spec.signature_name = request.model_spec.name, name
            response.model_spec.version.value = version.number
            for key in wanted:
                _fill(response.outputs[key], outputs[key])
            return response

    def metadata(self, spec: ModelSpec) -> GetModelMetadataResponse:
        """The signatures of a version. Raises Failure."""
        with self.versions.using(spec) as version:
            response, signatures = GetModelMetadataResponse(), SignatureDefMap()
            response.model_spec.name, response.model_spec.version.value = spec.name, version.number
            for name, signature in version.signatures.items():
                signatures.signature_def[name].CopyFrom(signature)
            response.metadata["signature_def"].Pack(signatures)
            return response

    def status(self, spec: ModelSpec) -> GetModelStatusResponse:
        """How the versions are. Raises Failure."""
        return GetModelStatusResponse(model_version_status=self.versions.status(spec))

    def about(self, spec: ModelSpec) -> dict[str, Any]:
        """A version and its model card. Raises Failure."""
        with self.versions.using(spec) as version:
            return {"model": self.versions.name, "version": version.number, "card": version.card}

    async def run(
        self, version: Version, signature: str, inputs: Mapping[str, np.ndarray], seconds: float
    ) -> dict[str, np.ndarray]:
        """The outputs of a signature, from a batch with others. Raises Failure."""
        _check_tensors(inputs, version.signatures[signature].inputs)
        start = time.monotonic()
        batcher = self.steps if signature in OF_STREAMS else self.pieces
        made = await batcher.run(version, signature, version.run, inputs, start + seconds)
        took = 1e6 * (time.monotonic() - start)
        self.metrics.observe(RUNTIME, took, model_name=self.versions.name, API="Predict", runtime="TF1")
        return made


def _check_names(given: set[str], wanted: set[str]) -> None:
    if given != wanted:
        lists = [",".join(sorted(some)) for some in (given, wanted, given - wanted, wanted - given)]
        raise invalid(
            f"input size does not match signature: {len(given)}!={len(wanted)} len({{{lists[0]}}}) != "
            f"len({{{lists[1]}}}). Sent extra: {{{lists[2]}}}. Missing but required: {{{lists[3]}}}."
        )


def _wanted(asked: Sequence[str], there: Sequence[str]) -> list[str]:
    for index, name in enumerate(asked):
        if name not in there:
            raise invalid(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set "
                f"{{{','.join(sorted(there))}}}."
            )
        if name in asked[:index]:
            raise invalid(f"duplicate output tensor alias: {name}")
    return list(asked) or list(there)


def _array(name: str, tensor: tf.compat.v1.TensorProto) -> np.ndarray:
    """A tensor of a request, whose shape alone could ask for any amount of memory: one value stands for many."""
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    whole = all(size >= 0 for size in sizes) and np.prod(sizes, dtype=float) <= max(FREE_FIGURES, tensor.ByteSize())
    if not whole or tensor.tensor_shape.unknown_rank:
        raise invalid(f"tensor parsing error: {name}")
    try:
        made = tf.make_ndarray(tensor)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError):
        raise invalid(f"tensor parsing error: {name}") from None
    return np.asarray(made)


def _fill(tensor: tf.compat.v1.TensorProto, array: np.ndarray) -> None:
    """As TensorFlow Serving writes it: a list of values in the field of their type."""
    kind = tf.string if array.dtype == object else tf.as_dtype(array.dtype)
    tensor.dtype = kind.as_datatype_enum
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    field = {tf.string: tensor.string_val, tf.float32: tensor.float_val, tf.int32: tensor.int_val}[kind]
    field.extend(array.ravel().tolist())


def _check_tensors(inputs: Mapping[str, np.ndarray], signature: Mapping[str, tf.compat.v1.TensorInfo]) -> None:
    """Types, ranks and rows. Raises Failure."""
    if any(array.ndim == 0 for array in inputs.values()):
        raise invalid("Batching session Run() input tensors must have at least one dimension")
    rows = set()
    for name, array in inputs.items():
        info = signature[name]
        kind, given = tf.as_dtype(info.dtype), tf.string if array.dtype == object else tf.as_dtype(array.dtype)
        if kind != given:
            raise invalid(f"Expects {name} to be {kind.name} but {given.name} is provided")
        if array.ndim != len(info.tensor_shape.dim):
            raise invalid(f"Expects {name} to have {len(info.tensor_shape.dim)} dimensions, not shape {array.shape}")
        rows.add(len(array))
    if len(rows) > 1:
        raise invalid("Batching session Run() input tensors must have equal 0th-dimension size")
    if 0 in rows:
        raise invalid("Batching session Run() input tensors must have at least one row")
