"""A worker's line to the chief: KerasTuner's own protocol, with what it leaves out sent along as metadata.

KerasTuner's messages hold no reason why a trial failed, no sign of life, and nothing to tell one search from another.
"""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import grpc
from keras_tuner.engine.trial import Trial
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_client import OracleClient

from sonicrnn.errors import UserError

PATIENCE_SECONDS = 600.0  # that a worker waits for a chief that does not answer: it may be starting again
AGAIN_SECONDS = 0.5  # between two tries of a call that was broken off
BROKEN_OFF = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)  # a chief may hear a call twice
MOST_BYTES = 2000  # of a reason: headers of a call have a limit

T = TypeVar("T")


class ChiefIsGone(Exception):
    """The chief did not answer for a long time: the search has ended, or its machine is off."""


class Client(OracleClient):
    """The chief's oracle, as a worker sees it.

    Args:
        oracle: an oracle of the same space.
        identity: of the search, see `folder.identity`; the chief refuses the workers of another one.
        song: content hash of the song here; all workers must learn the same one.
    """

    def __init__(self, oracle, identity: str, song: str):
        super().__init__(oracle)
        self.identity, self.song = identity, song

    def create_trial(self, tuner_id: str) -> Trial:
        """The worker's next trial. Raises UserError when the chief searches something else."""
        request = protos.get_service().CreateTrialRequest(tuner_id=tuner_id)
        told = (("search", self.identity), ("song", self.song))
        return Trial.from_proto(self._asked(self.stub.CreateTrial, request, told).trial)

    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> Trial:
        request = protos.get_service().UpdateTrialRequest(trial_id=trial_id, metrics=metrics, step=step)
        return Trial.from_proto(self._asked(self.stub.UpdateTrial, request).trial)

    def get_trial(self, trial_id: str) -> Trial:
        request = protos.get_service().GetTrialRequest(trial_id=trial_id)
        return Trial.from_proto(self._asked(self.stub.GetTrial, request).trial)

    def end_trial(self, trial: Trial) -> None:
        """Tell how a trial ended, and why if it failed."""
        with contextlib.redirect_stdout(io.StringIO()):  # the library prints every condition of the space
            request = protos.get_service().EndTrialRequest(trial=trial.to_proto())
        why = (trial.message or "").encode()[:MOST_BYTES]
        self._asked(self.stub.EndTrial, request, (("reason-bin", why),))

    def keep_telling(self, trial_id: str, seconds: float) -> Callable[[], None]:
        """Tell the chief every so often that the trial is being worked on; a call of the result ends that."""
        request = protos.get_service().GetTrialRequest(trial_id=trial_id)
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(seconds):
                with contextlib.suppress(grpc.RpcError):  # a chief that starts again hears of the trial next time
                    self.stub.GetTrial(request, timeout=seconds, metadata=(("worker", self.tuner_id),))

        threading.Thread(target=tell, daemon=True).start()
        return ended.set

    def _asked(self, call: Callable[..., T], request: object, told: tuple[tuple[str, str | bytes], ...] = ()) -> T:
        last = time.monotonic() + PATIENCE_SECONDS
        while (left := last - time.monotonic()) > 0:
            try:
                return call(request, wait_for_ready=True, timeout=left, metadata=told)
            except grpc.RpcError as error:
                if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                    raise UserError(error.details()) from None
                if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                    break
                if error.code() not in BROKEN_OFF:
                    raise
            time.sleep(AGAIN_SECONDS)
        raise ChiefIsGone
