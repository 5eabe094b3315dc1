"""The versions of one model in a folder: found, loaded, warmed up, served, drained and let go, while requests come.

States are TensorFlow Serving's. The newest versions are served; a new one takes over when it is loaded and warm, and an
old one ends when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving.failures import Code, Failure, failure_of, invalid

CARD = Path("assets.extra", "model_card.json")
WARM_UP = Path("assets.extra", "tf_serving_warmup_requests")
State = ModelVersionStatus.State
OF_STREAMS = ("start", "step")  # signatures
POLL_SECONDS = 2.0


class Version:
    """One version: a session over its graph, as TensorFlow Serving runs it, in so many threads."""

    def __init__(self, folder: Path, threads: int):
        self.folder, self.number, self.threads = folder, int(folder.name), threads
        self.state, self.error = State.LOADING, ""
        self.users = 0
        self.card: Mapping[str, Any] = {}
        self.leaving = asyncio.Event()  # set when streams of it have to end
        self.signatures: Mapping[str, Any] = {}
        self._session: tf.compat.v1.Session | None = None

    def load(self) -> None:
        """Read it and run its warm-up requests. Takes a while; not for the event loop."""
        # The operations of a step are too small to be shared out: several cores are put to work by several batches.
        config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=self.threads)
        session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(self.folder))
        self.signatures = {
            name: signature
            for name, signature in loaded.signature_def.items()
            if signature.method_name == "tensorflow/serving/predict"
        }
        self._session = session
        if (self.folder / CARD).is_file():
            self.card = json.loads((self.folder / CARD).read_text(encoding="utf-8"))
        if (self.folder / WARM_UP).is_file():
            for record in tf.compat.v1.io.tf_record_iterator(str(self.folder / WARM_UP)):
                request = PredictionLog.FromString(record).predict_log.request
                inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
                self.run(request.model_spec.signature_name, inputs, 600.0)

    def run(self, signature: str, inputs: Mapping[str, np.ndarray], seconds: float) -> dict[str, np.ndarray]:
        """Outputs by name. Raises Failure."""
        assert self._session is not None
        made = self.signatures[signature]
        feed = {made.inputs[name].name: value for name, value in inputs.items()}
        wanted = {name: info.name for name, info in made.outputs.items()}
        options = tf.compat.v1.RunOptions(timeout_in_ms=max(1, int(1000 * seconds)))
        if signature in OF_STREAMS:  # in the caller's thread: a step's many operations would wait for pieces'
            options.inter_op_thread_pool = -1
        try:
            return {name: np.asarray(value) for name, value in self._session.run(wanted, feed, options=options).items()}
        except tf.errors.OpError as error:
            raise failure_of(error) from None
        except (TypeError, ValueError) as error:  # what a session refuses before it runs
            raise invalid(str(error)) from None

    def close(self) -> None:
        """Give back what it takes up."""
        if self._session is not None:
            self._session.close()
            self._session = None


class Versions:
    """The versions of the model `name` in `base`, and what they are called.

    Args:
        base: folder of the numbered versions.
        name: of the model.
        keep: how many of the newest are served.
        labels: names for versions.
        threads: that run them.
    """

    def __init__(
        self, base: Path, name: str, keep: int = 2, labels: Mapping[str, int] | None = None, threads: int = 2
    ):
        self.base, self.name, self.keep, self.labels, self.threads = base, name, keep, dict(labels or {}), threads
        self.known: dict[int, Version] = {}

    async def watch(self) -> None:
        """Follow the folder for ever."""
        while True:
            try:
                await self.refresh()
            except OSError as error:  # the folder is on a disk that is away, or changes as it is read
                print(f"{self.base} cannot be read: {error}")
            await asyncio.sleep(POLL_SECONDS)

    async def refresh(self) -> None:
        """Load what is new, then let go what is old."""
        found = {int(path.name): path for path in self._folders()}
        wanted = sorted(found)[-self.keep :]
        for number in wanted:
            if number not in self.known or (self.known[number].state == State.END and not self.known[number].error):
                await self._load(found[number])
        if any(version.state == State.AVAILABLE for version in self._of(wanted)):
            old = [version for version in self.known.values() if version.number not in wanted]
            await asyncio.gather(*(self._let_go(version) for version in old if version.state == State.AVAILABLE))

    def _folders(self) -> list[Path]:
        if not self.base.is_dir():
            return []
        return [path for path in self.base.iterdir() if path.name.isdecimal() and (path / "saved_model.pb").is_file()]

    def _of(self, numbers: list[int]) -> list[Version]:
        return [self.known[number] for number in numbers if number in self.known]

    async def _load(self, folder: Path) -> None:
        version = self.known[int(folder.name)] = Version(folder, self.threads)
        try:
            await asyncio.to_thread(version.load)
            version.state = State.AVAILABLE
        except Exception as error:
            version.state, version.error = State.END, f"{type(error).__name__}: {error}"
        print(f"version {version.number} of {self.name}: {version.error or 'loaded and warm'}")

    async def _let_go(self, version: Version) -> None:
        version.state = State.UNLOADING
        version.leaving.set()
        while version.users:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(version.close)
        version.state = State.END
        print(f"version {version.number} of {self.name}: unloaded")

    def leave(self) -> None:
        """Streams, which have no end of their own, end now; requests go on."""
        for version in self.known.values():
            version.leaving.set()

    async def close(self) -> None:
        """Let all go."""
        await asyncio.gather(
            *(self._let_go(version) for version in self.known.values() if version.state == State.AVAILABLE)
        )

    @property
    def ready(self) -> bool:
        """Is there one to ask?"""
        return any(version.state == State.AVAILABLE for version in self.known.values())

    @contextlib.contextmanager
    def using(self, spec: ModelSpec) -> Iterator[Version]:
        """The version that is asked for, which stays as long as it is used. Raises Failure."""
        version = self._find(spec)
        version.users += 1
        try:
            yield version
        finally:
            version.users -= 1

    def _find(self, spec: ModelSpec) -> Version:
        number = self._number(spec)
        available = {version.number: version for version in self.known.values() if version.state == State.AVAILABLE}
        if spec.name != self.name or not available or (number is not None and number not in available):
            asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise Failure(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return available[max(available) if number is None else number]

    def _number(self, spec: ModelSpec) -> int | None:
        """The version that is named by number or by label; None where any will do."""
        kind = spec.WhichOneof("version_choice")
        if kind == "version":
            return spec.version.value
        if kind != "version_label":
            return None
        if spec.name != self.name or spec.version_label not in self.labels:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        return self.labels[spec.version_label]

    def status(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """Of the version that is named, or of all. Raises Failure."""
        number = self._number(spec)
        known = self.known if spec.name == self.name else {}
        if number is None and not known:
            raise Failure(Code.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        if number is not None and number not in known:
            raise Failure(Code.NOT_FOUND, f"Could not find version {number} of model {spec.name}")
        chosen = sorted(known, reverse=True) if number is None else [number]
        return [_status(known[one]) for one in chosen]


def _status(version: Version) -> ModelVersionStatus:
    made = ModelVersionStatus(version=version.number, state=version.state)
    made.status.error_code = 2 if version.error else 0
    made.status.error_message = version.error
    return made
