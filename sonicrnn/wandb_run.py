"""The W&B run of a run folder: one, however often the training is started again, its data in `RUN/wandb/`.

W&B looks on and nothing more. Whatever fails in it (no service, no network, a full disk) is said in one line and ends
the logging; it never ends the work that is logged. Offline it opens no connection beyond this machine. `wandb` is
imported only when a run is opened: that takes one to two seconds.

W&B cannot go on with an offline recording. So every start makes a new one:

1. As long as nothing was uploaded, it holds the whole history, sound and pictures included, and takes the place of the
   recordings before it. One recording is the whole run: `wandb leet` shows all of it, and `wandb sync` uploads it.
2. After an upload, online or by `wandb sync`, it holds what came since. It has the same id and asks to resume, so that
   `wandb beta sync` adds it to the run on the server.
"""

from __future__ import annotations

import contextlib
import csv
import json
import logging
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sonicrnn.config import Settings
from sonicrnn.files import write_json
from sonicrnn.run import Run
from sonicrnn.wandb_mode import Mode, Report, find_mode, one_line, within

if TYPE_CHECKING:
    import wandb

Row = Mapping[str, float]

# W&B itself may wait for ever: for a server that has gone away, or, in 0.31, for a service that cannot be started.
START_SECONDS = 45.0  # that starting the service may take, and opening the run
GIVE_UP_SECONDS = 5.0  # that W&B may take to write what it has, when it is given up
FINISH_SECONDS = 60.0  # that uploading may go on after the end; what is not uploaded by then stays in the folder


@dataclass
class Kept:
    """What one start leaves to the next beside `history.csv`, as `RUN/wandb/sonicrnn.json`.

    Attributes:
        id: of the W&B run.
        step: training step of the last row in the recording, or on the server.
        uploaded: whether the run has been online.
        paces: training steps per second, by the training step at which they were measured.
        heard: names of the free runs in `RUN/audio`, by the training step after which they were made.
    """

    id: str
    step: int = 0
    uploaded: bool = False
    paces: dict[str, float] = field(default_factory=dict)
    heard: dict[str, str] = field(default_factory=dict)


class WandbRun:
    """The W&B run of a folder, open inside a `with` block; nothing that it does raises.

    Attributes:
        run, settings: the training.
        kept: what is known of the W&B run; None while it is not open: closed, disabled, or failed.
    """

    def __init__(self, run: Run, settings: Settings, report: Report = print):
        self.run, self.settings, self.report = run, settings, report
        self.kept: Kept | None = None
        self._open: wandb.Run | None = None

    @property
    def folder(self) -> Path:
        return self.run.folder / "wandb"

    @property
    def address(self) -> str | None:
        """Where the run is seen in a browser; None offline."""
        return self._open.url if self._open is not None else None

    def picture(self, heard: str, name: str) -> Path:
        """The place of a picture that belongs to a free run."""
        return self.folder / "pictures" / f"{Path(heard).stem}-{name}.png"

    def __enter__(self) -> WandbRun:
        if self.settings.wandb.mode != "disabled":
            with self.harmless():
                self._start()
                self.log_history(read_history(self.run))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self.harmless():
            if self._open is not None and self.kept is not None:
                own = Path(self._open.dir).parent
                self._open.summary.update(final_figures(read_history(self.run)))
                try:
                    within(FINISH_SECONDS + 10, partial(self._open.finish, exit_code=0 if error is None else 1))
                except TimeoutError:
                    self.report(f"W&B: the server does not take all of it; `wandb sync {own}` uploads the rest")
                if not self._uploaded(self.kept):
                    self._remove_others(self.kept.id, own)
        self._open = self.kept = None

    @contextlib.contextmanager
    def harmless(self) -> Iterator[None]:
        """A block whose failure ends the logging and nothing else."""
        try:
            yield
        except Exception as error:  # of any kind: the training is worth more than its log
            self._open = self.kept = None
            self.report(f"W&B: nothing more is logged ({one_line(error)}); all else goes on")
            with contextlib.suppress(Exception):
                import wandb

                # Else it would go on to complain, and the end of the process would wait for its service.
                logging.getLogger("wandb").setLevel(logging.CRITICAL + 1)
                within(GIVE_UP_SECONDS, wandb.teardown)

    def log_history(self, rows: Sequence[Row]) -> None:
        """Log those rows that are new, in order, each at its training step with what was kept for that step."""
        for row in rows:
            if self._open is not None and self.kept is not None and row["step"] > self.kept.step:
                with self.harmless():
                    step = int(row["step"])
                    known = {name: value for name, value in row.items() if not math.isnan(value)}
                    figures = {name: value for name, value in known.items() if name != "step"}  # W&B's own `_step`
                    self._open.log({**figures, **self._throughput(step), **self._media(step)}, step=step)
                    self.kept.step = step
        with self.harmless():
            self._keep()

    def summarise(self, values: Mapping[str, float]) -> None:
        """Set figures of the run as a whole."""
        if self._open is not None:
            with self.harmless():
                self._open.summary.update(dict(values))

    def _throughput(self, step: int) -> dict[str, float]:
        assert self.kept is not None
        if (pace := self.kept.paces.get(str(step))) is None:
            return {}
        data = self.settings.data
        frames = pace * data.batch_size * data.sequence_length
        rate = json.loads(self.run.song.read_text(encoding="utf-8"))["sample_rate"]
        return {
            "throughput/steps_per_second": pace,
            "throughput/frames_per_second": frames,
            "throughput/song_seconds_per_second": frames * self.settings.frames.step_length / rate,
        }

    def _media(self, step: int) -> dict[str, Any]:
        """The free run that was made after a step, with its pictures; empty where there was none."""
        assert self.kept is not None
        if (heard := self.kept.heard.get(str(step))) is None or not (self.run.audio / heard).is_file():
            return {}
        import wandb

        media: dict[str, Any] = {"audio/free_run": wandb.Audio(str(self.run.audio / heard), caption=heard)}
        for key in ("audio/spectrogram", "pictures/target_against_prediction"):
            if (file := self.picture(heard, key.split("/")[1])).is_file():
                media[key] = wandb.Image(str(file))
        return media

    def _start(self) -> None:
        # Read when the library is loaded: without it, its errors would be reported over the network, offline or not.
        os.environ["WANDB_ERROR_REPORTING"] = "false"
        import wandb

        known = within(START_SECONDS, partial(wandb.setup, wandb.Settings(silent=True))).settings
        mode = find_mode(self.settings.wandb.mode, known, self.report)
        if mode == "disabled":
            return
        self.kept, before = self._known_or_new()
        resume = before and (mode == "online" or self._uploaded(self.kept))
        self._keep()  # first of all, as W&B itself takes another folder, and says nothing, where it may not write
        self._open = within(START_SECONDS, partial(self._init, mode, resume))
        if mode == "online":
            self.kept.uploaded = True
            self.kept.step = self._open.starting_step - 1  # what the server has, whatever was sent
        elif not resume:
            self.kept.step = 0

    def _init(self, mode: Mode, resume: bool) -> wandb.Run:
        import wandb

        assert self.kept is not None
        return wandb.init(
            project=self.settings.wandb.project,
            group=self.settings.wandb.group,
            name=self.run.folder.name,
            id=self.kept.id,
            resume="allow" if resume else None,
            mode=mode,
            dir=str(self.run.folder),
            config=self.settings.model_dump(mode="json"),
            allow_val_change=True,  # a run may go on with other settings of what does not change the training
            reinit="create_new",  # never the open run of somebody else in this process
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=START_SECONDS / 2,
                finish_timeout=FINISH_SECONDS,
                finish_timeout_raises=True,
                disable_code=True,
                disable_git=True,  # this and the list of all installed packages take a second of every start
                x_save_requirements=False,
            ),
        )

    def _known_or_new(self) -> tuple[Kept, bool]:
        """What an earlier start has left, and whether there was one."""
        file = self.folder / "sonicrnn.json"
        if file.is_file():
            return Kept(**json.loads(file.read_text(encoding="utf-8"))), True
        return Kept(secrets.token_hex(4)), False  # never from the seeded random numbers of the training

    def _keep(self) -> None:
        if self.kept is not None:
            write_json(self.folder / "sonicrnn.json", asdict(self.kept))

    def _uploaded(self, kept: Kept) -> bool:
        """Whether a server may have some of this run: then recordings add to one another."""
        return kept.uploaded or any(self.folder.glob("offline-run-*/*.sync*"))

    def _remove_others(self, identity: str, own: Path) -> None:
        """Remove the recordings that the present, whole one holds all of."""
        for other in self.folder.glob(f"offline-run-*-{identity}"):
            if other.resolve() != own.resolve():
                shutil.rmtree(other, ignore_errors=True)


def log_scores(run: Run, settings: Settings, scores: Mapping[str, float | None], report: Report = print) -> None:
    """Set the scores of an evaluation as `scores/NAME` in the summary of the run's W&B run, opened again for it.

    Scores that are None or no number are left out. Nothing is raised: what fails is reported in one line.
    """
    known = {f"scores/{name}": score for name, score in scores.items() if score is not None and math.isfinite(score)}
    with WandbRun(run, settings, report) as log:
        log.summarise(known)


def read_history(run: Run) -> list[dict[str, float]]:
    """The rows of `history.csv`; none before the first epoch's end."""
    if not run.history.is_file():
        return []
    with run.history.open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def final_figures(rows: Sequence[Row]) -> dict[str, float]:
    """The last row, and which epoch was the best; empty for no rows."""
    if not rows:
        return {}
    best = min(rows, key=lambda row: row.get("validation_loss", math.inf))
    return {**rows[-1], **{f"best_{name}": best[name] for name in ("epoch", "validation_loss") if name in best}}
