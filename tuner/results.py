"""What a search has found: a table of its trials, the best of them as a config, a picture and a page."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sonicrnn.config import Settings, dump_settings
from sonicrnn.files import write_text
from tuner.folder import SearchFolder
from tuner.settings import SearchSettings
from tuner.space import Layers, Space, Value

OBJECTIVES = {"validation_loss": "validation loss", "unlikeness": "unlikeness of free runs"}
FIGURES = ("validation_loss", "unlikeness", "epochs", "steps", "seconds", "weights", "memory_mb")


@dataclass(frozen=True)
class Result:
    """One trial.

    Attributes:
        trial: its id, the name of its run folder.
        status: `completed`, `failed` or `running`.
        objective: low is good; None where it has not completed.
        values: what KerasTuner chose.
        figures: what was measured, see `trial.SongHyperModel.fit`.
        reason: why it failed, else empty.
    """

    trial: str
    status: str
    objective: float | None
    values: Mapping[str, Value]
    figures: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def read_results(search: SearchFolder) -> list[Result]:
    """All trials that have begun, in their order."""
    return [_result(json.loads(file.read_text(encoding="utf-8"))) for file in _files(search)]


def ranked(results: Sequence[Result]) -> list[Result]:
    """The trials that completed, the best first."""
    return sorted((one for one in results if one.objective is not None), key=lambda one: (one.objective, one.trial))


def failed(results: Sequence[Result]) -> list[Result]:
    """The trials that failed, in their order."""
    return [one for one in results if one.status == "failed"]


def write_tables(
    search: SearchFolder, settings: SearchSettings, space: Space, results: Sequence[Result]
) -> None:
    """`trials.csv`, and `best.yaml` as soon as a trial has completed."""
    columns = [*search_columns(space), *(name for name in FIGURES if any(name in one.figures for one in results))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "status", *columns, "reason"])
    for one in results:
        cells = {**one.values, **one.figures}
        writer.writerow([one.trial, one.status, *(cells.get(column, "") for column in columns), one.reason])
    write_text(search.table, text.getvalue())
    if best := ranked(results):
        write_text(search.best, best_config(search, settings, space, best[0], results))


def best_config(
    search: SearchFolder, settings: SearchSettings, space: Space, best: Result, results: Sequence[Result]
) -> str:
    """The best trial's settings as a config: what was searched is the trial's, all else is where the search started."""
    title = OBJECTIVES[settings.tuner.objective]
    start = results[0].objective
    beside = f"; the settings that the search started from had {start:.4f}" if start is not None else ""
    return (
        f"# The best of {len(ranked(results))} trials of {search.folder}: trial {best.trial}, "
        f"{title} {best.objective:.4f}{beside}.\n"
        f"# Found with {settings.tuner.epochs} epochs a trial; a training goes on for as long as `train` says.\n"
        f"#\n#   python -m sonicrnn.fit {search.best}\n{dump_settings(best_settings(space, best))}"
    )


def best_settings(space: Space, best: Result) -> Settings:
    """The settings to train with."""
    return space.settings(best.values)


def write_pictures(search: SearchFolder, settings: SearchSettings, space: Space, results: Sequence[Result]) -> None:
    """`parallel.png` and `search.html`."""
    from tuner.page import search_page
    from tuner.picture import parallel_coordinates, save

    title = OBJECTIVES[settings.tuner.objective]
    if ranked(results):
        save(search.picture, parallel_coordinates(space, results, title))
    write_text(search.page, search_page(search, settings, space, results, title))


def search_columns(space: Space) -> list[str]:
    """The names of KerasTuner's values, in the space's order."""
    names: list[str] = []
    for name, dimension in space.dimensions.items():
        if isinstance(dimension, Layers):
            names += [f"{name}.layers", *(f"{name}.{index + 1}" for index in range(max(dimension.layers)))]
        else:
            names.append(name)
    return names


def _files(search: SearchFolder) -> list[Any]:
    return sorted(search.trials.glob("trial_*/trial.json"), key=lambda file: int(file.parent.name.split("_")[1]))


def _result(state: Mapping[str, Any]) -> Result:
    metrics = state["metrics"]["metrics"]
    figures = {name: metrics[name]["observations"][-1]["value"][-1] for name in FIGURES if name in metrics}
    status = {"COMPLETED": "completed", "FAILED": "failed"}.get(state["status"], "running")
    return Result(
        trial=state["trial_id"],
        status=status,
        objective=state["score"] if status == "completed" else None,
        values=state["hyperparameters"]["values"],
        figures=figures,
        reason=(state["message"] or "").strip() if status == "failed" else "",
    )
