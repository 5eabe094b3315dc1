"""`python -m serving.local runs/my`: a run's exported versions over TensorFlow Serving's protocol, on this machine."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sonicrnn.errors import UserError, run_command
from sonicrnn.options import out_of_range, refuse
from sonicrnn.remote import local_folder

LOOPBACK = "127.0.0.1"
FAREWELL_SECONDS = 1.0  # in which streams are told that they end
GRACE_SECONDS = 30.0  # for requests that are under way when the server is told to stop


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the options, then serve until told to stop (SIGINT or SIGTERM)."""
    options = _parser().parse_args(arguments)
    with local_folder(options.run) as folder:
        base = _versions_folder(folder)
    labels = _labels(options.label)
    _check(options)
    token = os.environ.get("SONICRNN_TOKEN") or None
    if options.host not in (LOOPBACK, "localhost", "::1") and token is None:
        raise UserError(
            f"--host {options.host} lets other machines in: set the environment variable SONICRNN_TOKEN to a secret "
            "that they have to know"
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    asyncio.run(serve(options, base, labels, token))


async def serve(options: argparse.Namespace, base: Path, labels: dict[str, int], token: str | None) -> None:
    """Both protocols in one event loop. Raises UserError when a port is taken."""
    import tensorflow as tf

    tf.compat.v1.logging.set_verbosity(tf.compat.v1.logging.ERROR)
    from serving.batching import Batcher, BatchSettings
    from serving.metrics import Metrics
    from serving.rpc import server as rpc_server
    from serving.service import Service
    from serving.streams import Streams
    from serving.versions import Versions

    metrics = Metrics()
    settings = BatchSettings(rows=options.batch, waiting=options.waiting, threads=options.threads)
    batchers = Batcher(settings, metrics, "pieces"), Batcher(replace(settings, threads=1), metrics, "steps")
    versions = Versions(base, options.name or base.parent.name, options.versions, labels, options.threads)
    service = Service(versions, *batchers, metrics, token, options.timeout)
    for batcher in batchers:
        batcher.start()
    await versions.refresh()
    try:
        rpc, rpc_port = rpc_server(service, f"{options.host}:{options.port}")
    except RuntimeError:
        raise UserError(f"port {options.port} of {options.host} is taken: choose another one with --port") from None
    await rpc.start()
    stop = _told_to_stop()
    watch = asyncio.create_task(versions.watch())
    streams = Streams(service, options.streams, options.idle)
    async with _rest(streams, options.host, options.rest_port) as rest_port:
        rest = f"http://{options.host}:{rest_port}"
        print(
            f"serving {versions.name} from {base}\n  page  {rest}/\n  REST  {rest}/v1/models/{versions.name}"
            f"\n  gRPC  {options.host}:{rpc_port}"
        )
        await stop.wait()
        print("stopping: requests that are under way are answered first")
        versions.leave()
        watch.cancel()
        await streams.silent(FAREWELL_SECONDS)  # the REST server would hang up on those who listen
        rpc_ends = asyncio.create_task(rpc.stop(GRACE_SECONDS))  # both at once: neither takes new requests
    await rpc_ends
    for batcher in batchers:
        await batcher.stop()
    await versions.close()


@contextlib.asynccontextmanager
async def _rest(streams, host: str, port: int):
    """The REST server, for as long as the block lasts; its port. When that ends, requests under way are answered."""
    import socket

    import uvicorn

    from serving.rest import MOST_BYTES, Protocol, Server, application

    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        raise UserError(f"port {port} of {host} is taken: choose another one with --rest-port") from None
    config = uvicorn.Config(
        application(streams),
        http=Protocol,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws_max_size=MOST_BYTES,
        ws_per_message_deflate=False,  # audio does not get smaller by it
        timeout_graceful_shutdown=int(GRACE_SECONDS),
    )
    server = Server(config)
    running = asyncio.create_task(server.serve([listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await running
        listener.close()


def _told_to_stop() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    return stop


def _versions_folder(run: Path) -> Path:
    """`runs/my/export`, or the folder itself where it holds the versions."""
    for folder in (run / "export", run):
        if folder.is_dir() and any(path.name.isdecimal() for path in folder.iterdir()):
            return folder.resolve()
    raise UserError(f"{run} has no exported version: make one with `python -m sonicrnn.export {run}`")


def _labels(given: Sequence[str]) -> dict[str, int]:
    labels = {}
    for text in given:
        name, _, number = text.partition("=")
        if not name or not number.isdecimal():
            raise UserError(f"--label {text}: write NAME=VERSION, e.g. stable=1")
        labels[name] = int(number)
    return labels


def _check(options: argparse.Namespace) -> None:
    """Raises UserError that lists every option out of its range."""
    ranges = {
        "port": (0, 65_535),
        "rest_port": (0, 65_535),
        "batch": (1, 1024),
        "waiting": (1, 100_000),
        "threads": (1, 256),
        "versions": (1, 100),
        "streams": (0, 10_000),
        "idle": (0.1, 86_400),
        "timeout": (0.01, 3600),
    }
    refuse(out_of_range(options, ranges))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serving.local",
        description="Serve the exported versions of a run over TensorFlow Serving's REST and gRPC protocols.",
        epilog="SONICRNN_TOKEN in the environment asks every request for the header Authorization: Bearer TOKEN.",
    )
    parser.add_argument("run", help="a run folder, e.g. runs/my, or a folder of exported versions")
    parser.add_argument("--name", help="of the model (default: that of the run folder)")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen at (default: this machine alone)")
    parser.add_argument("--port", type=int, default=8500, help="of gRPC; 0 takes a free one (default: 8500)")
    parser.add_argument("--rest-port", type=int, default=8501, help="of REST; 0 takes a free one (default: 8501)")
    parser.add_argument("--versions", type=int, default=2, help="how many of the newest are served (default: 2)")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VERSION", help="e.g. stable=1")
    parser.add_argument("--batch", type=int, default=16, help="most rows of one batch (default: 16)")
    parser.add_argument("--waiting", type=int, default=256, help="most rows in the queue (default: 256)")
    parser.add_argument("--threads", type=int, default=2, help="batches that run side by side (default: 2)")
    parser.add_argument("--streams", type=int, default=32, help="most streams that are open at once (default: 32)")
    parser.add_argument("--idle", type=float, default=600.0, help="s that a stream may stand still (default: 600)")
    parser.add_argument("--timeout", type=float, default=60.0, help="longest that a request may take, s (default: 60)")
    return parser


if __name__ == "__main__":
    run_command(main)
