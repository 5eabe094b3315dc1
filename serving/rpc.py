"""The gRPC services: prediction and model status by the official messages, and the standard health check."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.failures import Failure, invalid
from serving.service import Service

MOST_BYTES = 64 << 20  # of a message
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # grpc.health.v1.HealthCheckResponse, its only field set
Context: TypeAlias = grpc.aio.ServicerContext
Answer = Callable[[Any, Context], Awaitable[Message]]


class Calls:
    """What is answered, by the names that the protocol has for it."""

    def __init__(self, service: Service):
        self.service = service

    async def predict(self, request: PredictRequest, context: Context) -> PredictResponse:
        with self.service.counted("GRPC", "Predict"):
            left = context.time_remaining()
            return await self.service.predict(request, self.service.timeout if left is None else left)

    async def metadata(self, request: GetModelMetadataRequest, context: Context) -> GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != "signature_def":
                raise invalid(f"Metadata field {name} is not supported")
        return self.service.metadata(request.model_spec)

    async def status(self, request: GetModelStatusRequest, context: Context) -> GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise invalid("Missing ModelSpec")
        return self.service.status(request.model_spec)


def _handler(service: Service, name: str, answers: Mapping[str, tuple[type[Message], Answer]]) -> Any:
    """Those methods of a service of the protocol that are answered; gRPC says of the others that there are none."""
    methods = {method: _method(service, kind, answer) for method, (kind, answer) in answers.items()}
    return grpc.method_handlers_generic_handler(f"tensorflow.serving.{name}", methods)


def _method(service: Service, kind: type[Message], answer: Answer) -> grpc.RpcMethodHandler:
    async def answered(content: bytes, context: Context) -> Message:
        try:
            service.let_in(dict(context.invocation_metadata() or ()).get("authorization"))
            return await answer(_parsed(kind, content), context)
        except Failure as failure:
            await context.abort(failure.code.grpc, failure.message)

    # Bytes are parsed in here, because gRPC answers UNKNOWN to those that are no message.
    return grpc.unary_unary_rpc_method_handler(answered, response_serializer=_written)


def _written(message: Message) -> bytes:
    return bytes(message.SerializeToString())


def _parsed(kind: type[Message], content: bytes) -> Message:
    try:
        return kind.FromString(content)
    except DecodeError:
        raise invalid(f"the request is no {kind.__name__}") from None


def _health(service: Service) -> grpc.GenericRpcHandler:
    """grpc.health.v1.Health/Check, for the whole server, to which an empty service name belongs."""

    async def check(request: bytes, context: Context) -> bytes:
        if request not in (b"", b"\x0a\x00"):
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return SERVING if service.versions.ready else NOT_SERVING

    handler: Callable[..., Awaitable[Any]] = grpc.unary_unary_rpc_method_handler(check)
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})


def server(service: Service, address: str) -> tuple[grpc.aio.Server, int]:
    """A server that listens once it is started, and its port."""
    made = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", MOST_BYTES),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    calls = Calls(service)
    prediction = {
        "Predict": (PredictRequest, calls.predict),
        "GetModelMetadata": (GetModelMetadataRequest, calls.metadata),
    }
    models = {"GetModelStatus": (GetModelStatusRequest, calls.status)}
    made.add_generic_rpc_handlers((
        _handler(service, "PredictionService", prediction),
        _handler(service, "ModelService", models),
        _health(service),
    ))
    return made, made.add_insecure_port(address)
