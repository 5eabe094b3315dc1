"""What a search says while it goes on, and at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sonicrnn.clock import clock
from sonicrnn.errors import UserError
from tuner.folder import SearchFolder
from tuner.results import OBJECTIVES, Result, failed, ranked
from tuner.settings import TunerSettings

if TYPE_CHECKING:
    from keras_tuner.engine.trial import Trial

    from tuner.oracles import Oracle

MOST_ROWS = 10

Report = Callable[[str], None]


class Progress:
    """Lines about trials as they begin and end, with what is left of the budget."""

    def __init__(self, oracle: Oracle, settings: TunerSettings, report: Report):
        self.oracle, self.settings, self.report = oracle, settings, report
        self.began_with = len(oracle.end_order)
        self.seconds_before = oracle.seconds

    def begins(self, trial: Trial) -> None:
        """A trial has begun."""
        values = {name: value for name, value in trial.hyperparameters.values.items() if not name.startswith("tuner/")}
        chosen = " ".join(f"{name}={value}" for name, value in values.items())
        self.report(f"trial {trial.trial_id} begins: {chosen}")

    def ended(self, trial: Trial) -> None:
        """A trial has ended, one way or the other."""
        title = OBJECTIVES[self.settings.objective]
        if trial.score is None:
            self.report(f"trial {trial.trial_id} failed: {trial.message}\n  {self.left()}")
            return
        best = self.oracle.get_best_trials(1)[0]
        beside = "the best so far" if best is trial else f"best {best.score:.4f} of trial {best.trial_id}"
        self.report(f"trial {trial.trial_id}: {title} {trial.score:.4f}, {beside}\n  {self.left()}")

    def left(self) -> str:
        """How far the search is, and about how long it will go on."""
        oracle, made = self.oracle, self.settings
        done, running = len(oracle.end_order), max(0, len(oracle.ongoing_trials) - 1)
        parts = [f"{done} of {made.trials} trials done" if made.trials else f"{done} trials done"]
        if running:
            parts.append(f"{running} running")
        parts.append(f"{clock(oracle.seconds)} so far")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"about {clock(left)} to go")
        return ", ".join(parts)

    def seconds_left(self) -> float | None:
        """By whichever limit is nearer; None where nothing tells."""
        oracle, made = self.oracle, self.settings
        limits = []
        if made.minutes is not None:
            limits.append(max(0.0, 60 * made.minutes - oracle.seconds))
        # By the pace of this start, with its workers; a running trial is half done.
        done, running = len(oracle.end_order) - self.began_with, max(0, len(oracle.ongoing_trials) - 1) / 2
        if made.trials is not None and done:
            pace = (oracle.seconds - self.seconds_before) / (done + running)
            limits.append(pace * max(0.0, made.trials - len(oracle.end_order) - running))
        return min(limits) if limits else None

    def summary(self, search: SearchFolder, results: Sequence[Result], holds_start: bool) -> None:
        """The table of the best, what failed, and where all of it is. Raises UserError when nothing completed."""
        title = OBJECTIVES[self.settings.objective]
        best = ranked(results)
        self.report(f"\n{len(best)} trials completed, {len(failed(results))} failed, in {clock(self.oracle.seconds)}")
        for line in table(best[:MOST_ROWS], title):
            self.report(line)
        for one in failed(results)[:MOST_ROWS]:
            self.report(f"trial {one.trial} failed: {one.reason}")
        if not best:
            raise UserError(f"no trial of {search.folder} completed, so there is no best one: the reasons are above")
        start = results[0]
        if start.objective is not None:
            named = "the settings it started from" if holds_start else "the nearest to the settings it started from"
            self.report(f"{title}: best {best[0].objective:.4f}, {named} {start.objective:.4f}")
        self.report(f"page:   {search.page.resolve()}\ntrain:  python -m sonicrnn.fit {search.best}")


def table(results: Sequence[Result], title: str) -> list[str]:
    """Aligned lines: the objective, then every value that differs between these trials, then figures."""
    if not results:
        return []
    names = list(dict.fromkeys(name for one in results for name in one.values if not name.startswith("tuner/")))
    differing = [name for name in names if len({one.values.get(name) for one in results}) > 1]
    head = ["trial", title, *(name.split(".", 1)[1] for name in differing), "weights", "minutes", "MB"]
    rows = [
        [
            one.trial,
            f"{one.objective:.4f}",
            *(str(one.values.get(name, "–")) for name in differing),
            f"{one.figures.get('weights', 0):,.0f}",
            f"{one.figures.get('seconds', 0) / 60:.1f}",
            f"{one.figures.get('memory_mb', 0):.0f}",
        ]
        for one in results
    ]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
