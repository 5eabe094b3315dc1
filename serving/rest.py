"""The REST protocol of TensorFlow Serving, as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import zlib
from collections.abc import Generator
from urllib.parse import unquote

import uvicorn
from google.protobuf.json_format import MessageToDict, MessageToJson
from h11 import LocalProtocolError
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from tensorflow_serving.apis.get_model_metadata_pb2 import GetModelMetadataResponse, SignatureDefMap
from tensorflow_serving.apis.model_pb2 import ModelSpec
from uvicorn.protocols.http.h11_impl import H11Protocol

from serving.failures import Code, Failure, invalid
from serving.page_files import page_routes
from serving.refusal import refusal
from serving.service import Service
from serving.socket_stream import SocketStream
from serving.streams import Streams
from serving.waiting import within
from serving.wav_stream import WavStream, fields
from serving.wishes import FIELDS, refuse_unknown, wish

METRICS_PATH = "/monitoring/prometheus/metrics"
MOST_BYTES = 64 << 20  # of a request's body
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"(?i){_MODEL}:predict")
_ABOUT = re.compile(rf"(?i)(?:{_MODEL}|/v1/models)(?P<metadata>/metadata)?")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Server(uvicorn.Server):
    """Leaves the signals, which end the gRPC server as well, to whoever started both."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class Protocol(H11Protocol):
    """Hangs up on what is no HTTP where that cannot be answered: to HEAD, or once another answer has begun."""

    def send_400_response(self, msg: str) -> None:
        try:
            super().send_400_response(msg)
        except LocalProtocolError:
            self.transport.close()


def application(streams: Streams) -> ASGIApp:
    """The endpoints of one service and its streams."""
    routed = _routed(streams)

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await routed(scope, receive, send)
        except LocalProtocolError:  # what followed was no HTTP: the server itself has refused it, and hangs up
            while (await receive())["type"] != "http.disconnect":
                pass

    return called


def _routed(streams: Streams) -> Starlette:
    service = streams.service

    async def versioned(request: Request) -> Response:
        if not request.url.path.lower().startswith("/v1/"):
            return PlainTextResponse("Not Found", 404)
        path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0] or request.url.path
        try:
            with service.counted("REST", "predict" if _PREDICT.fullmatch(path) else ""):
                service.let_in(request.headers.get("authorization"))
                return Response(await _answer(service, request, path), media_type="application/json")
        except Failure as failure:
            return refusal(failure)

    async def about(request: Request) -> Response:
        try:
            service.let_in(request.headers.get("authorization"))
            refuse_unknown(request.query_params, FIELDS[:3])
            return JSONResponse(service.about(wish(fields(request.query_params), service.versions.name).spec))
        except Failure as failure:
            return refusal(failure)

    async def metrics(request: Request) -> Response:
        return PlainTextResponse(service.metrics.page())

    routes = [
        *page_routes(),
        Route(METRICS_PATH, metrics),
        Route("/about", about),
        Route("/stream", WavStream(streams)),
        WebSocketRoute("/stream", SocketStream(streams).talk),
        Route("/{path:path}", versioned, methods=METHODS),
    ]
    return Starlette(routes=routes)


async def _answer(service: Service, request: Request, path: str) -> bytes:
    if request.method == "POST" and (found := _PREDICT.fullmatch(path)):
        try:
            body = await within(service.timeout, _body(request))
        except asyncio.TimeoutError:
            raise Failure(Code.DEADLINE_EXCEEDED, "the request did not come whole in time") from None
        return await service.predict_json(_spec(found), body)
    if request.method == "GET" and (found := _ABOUT.fullmatch(path)):
        if not found["name"]:
            raise invalid("Missing model name in request.")
        if found["metadata"]:
            return _metadata_json(service.metadata(_spec(found)))
        status = service.status(_spec(found))
        return MessageToJson(status, preserving_proto_field_name=True, **_all_fields()).encode()
    raise invalid(f"Malformed request: {request.method} {path}")


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > MOST_BYTES:
                raise invalid(f"the request has more than {MOST_BYTES >> 20} MB")
            chunks.append(chunk)
    except ClientDisconnect:
        raise Failure(Code.CANCELLED, "the client left before its request was whole") from None
    whole = await asyncio.to_thread(b"".join, chunks)
    zipped = request.headers.get("content-encoding", "").lower() == "gzip"
    return await asyncio.to_thread(_unzipped, whole) if zipped else whole


def _unzipped(body: bytes) -> bytes:
    opened = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        made = opened.decompress(body, MOST_BYTES)
    except zlib.error:
        raise invalid("the request's body is no gzip, which its Content-Encoding says that it is") from None
    if not opened.eof:
        raise invalid(f"the request's body is cut off, or has more than {MOST_BYTES >> 20} MB")
    return made


def _spec(found: re.Match[str]) -> ModelSpec:
    spec = ModelSpec(name=unquote(found["name"]))
    if found["version"]:
        if len(found["version"]) > 19 or int(found["version"]) >= 2**63:
            raise invalid(f"Failed to convert version: {found['version'][:100]} to numeric.")
        spec.version.value = int(found["version"])
    if found["label"]:
        spec.version_label = unquote(found["label"])
    return spec


def _metadata_json(response: GetModelMetadataResponse) -> bytes:
    signatures = SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    spec, made = (
        MessageToDict(message, preserving_proto_field_name=True, **_all_fields())
        for message in (response.model_spec, signatures)
    )
    return json.dumps({"model_spec": spec, "metadata": {"signature_def": made}}, indent=1).encode()


def _all_fields() -> dict[str, bool]:
    """Write fields that have their default, too: protobuf has renamed how this is asked for."""
    import google.protobuf

    renamed = int(google.protobuf.__version__.partition(".")[0]) >= 5
    return {"always_print_fields_with_no_presence" if renamed else "including_default_value_fields": True}
