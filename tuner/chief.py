"""The chief: it holds the oracle, answers the workers, says how the search goes, and writes its results."""

from __future__ import annotations

import contextlib
import functools
import io
import sys
import time
from collections.abc import Callable, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from keras_tuner.engine.trial import Trial
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from sonicrnn.errors import UserError
from sonicrnn.files import write_text
from tuner.folder import SearchFolder, identity
from tuner.oracles import Oracle, make_oracle
from tuner.progress import Progress
from tuner.results import read_results, write_pictures, write_tables

LOOK_SECONDS = 0.5
NOTE_SECONDS = 10.0  # that a killed chief forgets of the time it has taken
LINGER_SECONDS = 120.0  # at the end, for workers that have not heard of it: their next process may be starting

Report = Callable[[str], None]


def run_chief(search: SearchFolder, address: str, linger: float = LINGER_SECONDS, report: Report | None = None) -> None:
    """Serve a search at `host:port` until every trial has ended; then write its picture and its page.

    `linger` are the seconds in which workers that have not heard of the end may still ask. Raises UserError when the
    address is taken.
    """
    report = report or functools.partial(print, file=sys.stdout)  # this very stream, see Servicer._answered
    settings, space = search.load()
    oracle = make_oracle(settings.tuner, space, settings.seed, search.trials)
    progress = Progress(oracle, settings.tuner, report)

    def ended(trial: Trial) -> None:
        progress.ended(trial)
        write_tables(search, settings, space, read_results(search))

    if not oracle.over:
        servicer = Servicer(oracle, search.song, identity(settings, space), progress.begins, ended)
        _serve(servicer, address, settings.tuner.lost_seconds, linger, report)
    results = read_results(search)
    write_tables(search, settings, space, results)
    write_pictures(search, settings, space, results)
    progress.summary(search, results, space.holds_start)


class Servicer(OracleServicer):
    """KerasTuner's service, which also notes who is alive, hears reasons, and knows its own workers.

    Attributes:
        heard: when each worker was last heard, by a clock that only goes forward.
        broken: what went wrong while a call was answered; None while nothing has.
    """

    def __init__(
        self,
        oracle: Oracle,
        song_file: Path,
        identity: str,
        begins: Callable[[Trial], None],
        ended: Callable[[Trial], None],
    ):
        super().__init__(oracle)
        self.song_file, self.identity, self.begins, self.ended = song_file, identity, begins, ended
        self.heard: dict[str, float] = {}
        self.broken: Exception | None = None

    def CreateTrial(self, request, context):
        told = _metadata(context)
        self._refuse_strangers(request.tuner_id, told, context)
        self.heard[request.tuner_id] = time.monotonic()
        known = set(self.oracle.trials)
        answer = self._answered(super().CreateTrial, request, context)
        self.heard[request.tuner_id] = time.monotonic()  # finding the next point may take a while
        if answer.trial.trial_id and answer.trial.trial_id not in known:
            self.begins(self.oracle.trials[answer.trial.trial_id])
        return answer

    def GetTrial(self, request, context):
        worker = _metadata(context).get("worker")
        if worker:
            self.heard[worker] = time.monotonic()
        self._refuse_unknown(request.trial_id, context)
        return self._answered(super().GetTrial, request, context)

    def UpdateTrial(self, request, context):
        self._refuse_unknown(request.trial_id, context)
        return self._answered(super().UpdateTrial, request, context)

    def EndTrial(self, request, context):
        self._refuse_unknown(request.trial.trial_id, context)
        trial = Trial.from_proto(request.trial)
        trial.message = _metadata(context).get("reason-bin", b"").decode(errors="replace") or None
        before = len(self.oracle.end_order)
        answer = self._answered(self._end, trial, context)
        if len(self.oracle.end_order) > before:
            self._answered(lambda trial, _: self.ended(trial), self.oracle.trials[trial.trial_id], context)
        return answer

    def _end(self, trial: Trial, context) -> Any:
        self.oracle.end_trial(trial)
        return protos.get_service().EndTrialResponse()

    def _answered(self, call: Callable[[Any, Any], Any], request: Any, context: grpc.ServicerContext) -> Any:
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # the library prints every condition of the space
                return call(request, context)
        except Exception as error:
            self.broken = error  # ends the chief: its workers wait until it starts again
            context.abort(grpc.StatusCode.INTERNAL, f"the chief cannot go on: {error}")

    def _refuse_strangers(self, worker: str, told: Mapping[str, Any], context: grpc.ServicerContext) -> None:
        refusal = None
        if told.get("search") != self.identity:
            refusal = "the chief searches another space or from other settings: start all with the same command"
        elif not self.song_file.exists():
            write_text(self.song_file, told["song"])
        elif self.song_file.read_text(encoding="utf-8") != told["song"]:
            refusal = "the chief's other workers learn another song: song.path= must name the same audio everywhere"
        if refusal is not None:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{worker}: {refusal}")

    def _refuse_unknown(self, trial_id: str, context: grpc.ServicerContext) -> None:
        if trial_id not in self.oracle.trials:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"the chief knows no trial {trial_id}: it started over")


def _serve(servicer: Servicer, address: str, lost_seconds: float, linger: float, report: Report) -> None:
    """Answer until the search is over, and give the trials of lost workers to others."""
    oracle = servicer.oracle
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=1),  # the library locks by thread, and only so is safe
        options=(("grpc.so_reuseport", 0),),  # never two chiefs at one address
    )
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    try:
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    if not bound:
        raise UserError(f"nothing can listen at {address}: choose another KERASTUNER_ORACLE_IP or _PORT")
    server.start()
    began = noted = time.monotonic()
    try:
        while not oracle.over:
            time.sleep(LOOK_SECONDS)
            if time.monotonic() - noted > NOTE_SECONDS:
                oracle.note_time()
                noted = time.monotonic()
            if servicer.broken is not None:
                raise servicer.broken
            for worker in list(oracle.ongoing_trials):
                silent = time.monotonic() - max(began, servicer.heard.get(worker, began))
                if silent > lost_seconds:
                    trial_id = oracle.give_back(worker)
                    report(f"{worker} has said nothing for {silent:.0f} s: trial {trial_id} goes to another")
        last = time.monotonic() + linger
        while oracle.tuner_ids and time.monotonic() < last:
            time.sleep(LOOK_SECONDS)
    finally:
        server.stop(grace=2).wait()


def _metadata(context: grpc.ServicerContext) -> dict[str, Any]:
    return dict(context.invocation_metadata())
