"""The generator of a run folder whose graphs were kept: it makes the same pieces, and TensorFlow is never imported."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sonicrnn.cuts import cuts
from sonicrnn.engine import Made, Recording, Samples, State, Units
from sonicrnn.errors import UserError
from sonicrnn.files import stored_arrays
from sonicrnn.native import Array, NotNative, Session
from sonicrnn.pieces import RunPieces, calibration_of
from sonicrnn.run import TRAIN_AGAIN, Run

ABOUT = "about.json"
FACTS = ("sample_rate", "step", "span", "draws")
RECORDING_FACTS = ("channels", "sample_rate", "plays", "frame_length", "hop", "context")


def load_kept(run: Run) -> KeptGenerator | None:
    """None where a run's graphs were not kept, are another model's, or cannot be run here."""
    if not is_kept(run):
        return None
    try:
        return KeptGenerator(run, json.loads((run.graphs / ABOUT).read_text(encoding="utf-8")))
    except (NotNative, OSError, ValueError, KeyError, TypeError):
        return None


def is_kept(run: Run) -> bool:
    """Whether a run's graphs are there, and of the model that it has now."""
    try:
        about = json.loads((run.graphs / ABOUT).read_text(encoding="utf-8"))
        return bool(about["content"] == run.content_hash())
    except (OSError, ValueError, KeyError, TypeError):
        return False


class KeptGenerator(RunPieces):
    """See `pieces.RunPieces`.

    Args:
        run: whose graphs were kept.
        about: what `kept_graphs` wrote of them.

    Raises NotNative where they cannot be run.
    """

    def __init__(self, run: Run, about: Mapping[str, Any]):
        self.run, self.settings = run, run.trained()
        self.calibration = calibration_of(run, self.settings)
        graphs = Graphs(Session(run.graphs), about["signatures"])
        self._engine = KeptEngine(graphs, **about["stream"])
        self.master: Recording | None = None
        if about["master"] and run.master.is_file():
            with stored_arrays(run.master, TRAIN_AGAIN) as stored:
                self.master = KeptMaster(graphs, stored["rows"], **about["master"])

    @property
    def engine(self) -> KeptEngine:
        return self._engine

    @cached_property
    def cuts(self) -> Sequence[Samples]:
        if not self.run.recall.is_file():
            return ()
        with stored_arrays(self.run.recall, TRAIN_AGAIN) as stored:
            return cuts(stored["rows"], stored["first"], stored["scale"].item())

    def reviser(self) -> Callable[[Samples, int, int], Samples]:
        raise UserError("a reviser is no part of the graphs that were kept")


@dataclass(frozen=True)
class Graphs:
    """Functions of a SavedModel by name."""

    session: Session
    signatures: Mapping[str, Mapping[str, Mapping[str, str]]]

    def call(self, name: str, given: Mapping[str, Array]) -> dict[str, Array]:
        """What a function gives for what it takes, by name. Raises UserError where it cannot be run."""
        takes, gives = self.signatures[name]["takes"], self.signatures[name]["gives"]
        try:
            made = self.session.run({takes[key]: value for key, value in given.items()}, list(gives.values()))
        except NotNative as error:
            raise UserError(
                f"{self.session.folder} cannot be run ({error}): remove that folder, and the model is loaded instead"
            ) from None
        return dict(zip(gives, made, strict=True))


@dataclass(frozen=True)
class KeptEngine:
    """See `engine.Engine`."""

    graphs: Graphs
    sample_rate: int
    step: int
    span: int
    draws: bool

    def begin(self, primes: Samples, temperatures: Samples, seeds: Units) -> tuple[State, Units]:
        state = self.graphs.call("begin", {"primes": primes, "temperature": temperatures, "seed": seeds})
        return state, state.pop("lead")

    def go_on(self, state: State, count: int, temperatures: Samples) -> tuple[Made, State]:
        asked = {"count": np.array(count, np.int32), "temperature": temperatures}
        after = self.graphs.call("go_on", {**state, **asked})
        return Made(*(after.pop(name) for name in Made._fields)), after


@dataclass(frozen=True, eq=False)
class KeptMaster:
    """See `engine.Recording`.

    Args:
        rows: [channel, row, hop] int16, the samples of the run's master.
    """

    graphs: Graphs
    rows: Array
    channels: int
    sample_rate: int
    plays: int
    frame_length: int
    hop: int
    context: int

    def play(self, units: Units, begin: int, factors: Samples) -> Samples:
        given = {"rows": self.rows, "units": units, "begin": np.array(begin, np.int32), "factors": factors}
        return self.graphs.call("play", given)["samples"]
