"""`python -m sonicrnn.dashboard ENTITY/PROJECT`: the project's dashboard on W&B, made by code.

To be run once, after the first run was uploaded: by a training while logged in, or by `wandb beta sync
runs/NAME/wandb`. Its panels show every run of the project. Each call saves one more view and leaves those before it
alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sonicrnn.errors import UserError, run_command
from sonicrnn.scores import FIGURES

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Section, Workspace

NAME = "sonicrnn"


def main(arguments: Sequence[str] | None = None) -> None:
    """Save the dashboard and print where it is, or print it as JSON. Raises UserError where W&B cannot be used."""
    options = _parser().parse_args(arguments)
    entity, project = _place(options.place)
    workspace = make_workspace(entity, project)
    if options.dry_run:
        print(json.dumps(as_json(workspace), indent=2))
    else:
        print(f"dashboard: {save(workspace)}")


def make_workspace(entity: str, project: str) -> Workspace:
    """The dashboard of a project, not saved. Raises UserError without the package wandb-workspaces."""
    try:
        import wandb_workspaces.workspaces as ws
    except ImportError as error:
        raise UserError(
            f"the dashboard needs the package wandb-workspaces ({error}): pip install wandb-workspaces"
        ) from None
    return ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=_sections(),
        runset_settings=ws.RunsetSettings(
            pinned_columns=["summary:best_validation_loss", "summary:best_epoch", "summary:seconds"]
        ),
    )


def as_json(workspace: Workspace) -> dict[str, Any]:
    """What would be sent, as plain JSON values; asks nobody."""
    view: Any = workspace._to_model()  # the package has no public way to the text that it sends
    return {
        "entity": workspace.entity,
        "project": workspace.project,
        "name": workspace.name,
        "spec": view.spec.model_dump(mode="json", by_alias=True, exclude_none=True),
    }


def save(workspace: Workspace) -> str:
    """Save the dashboard as a new view of its project and return its address. Raises UserError where that fails."""
    import wandb

    from sonicrnn.wandb_mode import logged_in, one_line

    known = wandb.setup(wandb.Settings(silent=True)).settings
    if not logged_in(known):
        raise UserError("nobody is logged in to W&B on this machine: `wandb login` first, or look at it with --dry-run")
    try:
        workspace.save()  # type: ignore[no-untyped-call]
        return str(workspace.url)
    except Exception as error:  # the package passes on whatever its transport raises
        raise UserError(
            f"the dashboard of {workspace.entity}/{workspace.project} was not saved ({one_line(error)}): is that the "
            "entity and project of a run that was uploaded (wandb beta sync runs/NAME/wandb), and is the network there?"
        ) from None


def _sections() -> list[Section]:
    """One section for each question: does it learn, how fast, what does it sound like, how good is it."""
    from wandb_workspaces.reports import v2
    from wandb_workspaces.workspaces import Section, SectionLayoutSettings

    wr: Any = v2  # it gets its names in a way that no type checker sees

    def section(name: str, columns: int, rows: int, panels: list[Any]) -> Section:
        layout = SectionLayoutSettings(columns=columns, rows=rows)
        return Section(name=name, panels=panels, is_open=True, layout_settings=layout)

    def curve(title: str, *names: str, **options: Any) -> Any:
        return wr.LinePlot(title=title, x="Step", y=list(names), **options)

    learning = [
        curve("loss and validation loss", "loss", "validation_loss"),
        curve("gradient norm", "gradient_norm", log_y=True),
        curve("learning rate", "learning_rate"),
    ]
    throughput = [
        curve("frames per second", "throughput/frames_per_second"),
        curve("seconds of song per second", "throughput/song_seconds_per_second"),
        curve("training steps per second", "throughput/steps_per_second"),
    ]
    sound = [
        wr.MediaBrowser(title="free run", media_keys=["audio/free_run"], num_columns=1),
        wr.MediaBrowser(title="its spectrogram", media_keys=["audio/spectrogram"], num_columns=1),
    ]
    prediction = [
        wr.MediaBrowser(
            title="target above prediction, same scale",
            media_keys=["pictures/target_against_prediction"],
            num_columns=1,
        )
    ]
    scores = [
        wr.BarPlot(
            title=f"{figure.title} ({figure.unit})" if figure.unit else figure.title,
            metrics=[wr.SummaryMetric(f"scores/{figure.key}")],
        )
        for figure in FIGURES
    ]
    return [
        section("Learning", 3, 1, learning),
        section("Throughput", 3, 1, throughput),
        section("Audio and spectrograms", 2, 1, sound),
        section("Target against prediction", 1, 1, prediction),
        section("Final scores", 3, 2, scores),
    ]


def _place(text: str) -> tuple[str, str]:
    entity, slash, project = text.strip("/").partition("/")
    if not entity or not slash or not project or "/" in project:
        raise UserError(
            f"{text!r} is no ENTITY/PROJECT: write the user or team, a slash, and the project, e.g. ada/sonicrnn"
        )
    return entity, project


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.dashboard",
        description="Make the W&B dashboard of a project: losses, gradients, throughput, sound, pictures, scores.",
        epilog="first: wandb login, and wandb beta sync runs/NAME/wandb for runs that were logged offline",
    )
    parser.add_argument("place", metavar="ENTITY/PROJECT", help="e.g. ada/sonicrnn")
    parser.add_argument("--dry-run", action="store_true", help="print the dashboard as JSON, send nothing")
    return parser


if __name__ == "__main__":
    run_command(main)
