"""The gRPC services: prediction and model status by the official stubs, and the standard health check."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataRequest, GetModelMetadataResponse
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusRequest, GetModelStatusResponse
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

from serving.failures import Failure, invalid
from serving.service import Service

MOST_BYTES = 64 << 20  # of a message
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"  # grpc.health.v1.HealthCheckResponse, its only field set
Context: TypeAlias = grpc.aio.ServicerContext


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """tensorflow.serving.PredictionService"""

    def __init__(self, service: Service):
        self.service = service

    async def Predict(self, request: PredictRequest, context: Context) -> PredictResponse:
        async with _answered(self.service, context):
            with self.service.counted("GRPC", "Predict"):
                left = context.time_remaining()
                return await self.service.predict(request, self.service.timeout if left is None else left)

    async def GetModelMetadata(self, request: GetModelMetadataRequest, context: Context) -> GetModelMetadataResponse:
        async with _answered(self.service, context):
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for name in request.metadata_field:
                if name != "signature_def":
                    raise invalid(f"Metadata field {name} is not supported")
            return self.service.metadata(request.model_spec)


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """tensorflow.serving.ModelService"""

    def __init__(self, service: Service):
        self.service = service

    async def GetModelStatus(self, request: GetModelStatusRequest, context: Context) -> GetModelStatusResponse:
        async with _answered(self.service, context):
            if not request.HasField("model_spec"):
                raise invalid("Missing ModelSpec")
            return self.service.status(request.model_spec)


@contextlib.asynccontextmanager
async def _answered(service: Service, context: Context) -> AsyncIterator[None]:
    """Let a request in, and end it with the status of what it fails with."""
    try:
        service.let_in(dict(context.invocation_metadata() or ()).get("authorization"))
        yield
    except Failure as failure:
        await context.abort(failure.code.grpc, failure.message)


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
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Prediction(service), made)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(service), made)
    made.add_generic_rpc_handlers((_health(service),))
    return made, made.add_insecure_port(address)
