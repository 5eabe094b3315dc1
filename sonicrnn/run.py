"""A run folder: its name, its files, who may write to it, and what its config says."""

from __future__ import annotations

import hashlib
import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from sonicrnn.config import Settings, dump_settings, load_settings
from sonicrnn.config_words import differences
from sonicrnn.errors import UserError
from sonicrnn.files import write_text
from sonicrnn.folders import contents, held, set_aside

TRAIN_AGAIN = "train the run again with --fresh"  # what mends a spoiled file of a run

# Settings that do not change how the model is trained: a run may go on with other ones.
FREE_TO_CHANGE = ("generate.", "reviser.", "wandb.", "runs:", "name:", "song.cache:", "train.strategy:")


@dataclass(frozen=True)
class Run:
    """`runs/NAME/` and the places in it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def model(self) -> Path:
        return self.folder / "model.keras"

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.npz"

    @property
    def kept(self) -> Path:
        return self.folder / "kept.npz"

    @property
    def history(self) -> Path:
        return self.folder / "history.csv"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.png"

    @property
    def audio(self) -> Path:
        return self.folder / "audio"

    @property
    def song(self) -> Path:
        return self.folder / "song.json"

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration.json"

    @property
    def primes(self) -> Path:
        return self.folder / "primes.npy"

    @property
    def recall(self) -> Path:
        return self.folder / "recall.npz"

    @property
    def master(self) -> Path:
        return self.folder / "master.npz"

    @property
    def graphs(self) -> Path:
        """A folder: what `generate` runs, see `kept_graphs`."""
        return self.folder / "graphs"

    @property
    def reviser(self) -> Path:
        """A folder: the reviser, its frames' statistics, and a checkpoint while it is trained."""
        return self.folder / "reviser"

    @property
    def has_reviser(self) -> bool:
        """Whether one was trained to its end."""
        return (self.reviser / "reviser.json").is_file()

    @property
    def scores(self) -> Path:
        return self.folder / "scores.json"

    @property
    def form(self) -> Path:
        return self.folder / "form.png"

    @property
    def page(self) -> Path:
        return self.folder / "listen.html"

    def settings(self) -> Settings:
        """The settings that the run was started with. Raises UserError when the folder holds no run."""
        if not self.config.is_file():
            raise UserError(f"{self.folder} holds no run (there is no config.yaml){self._others()}")
        return load_settings(self.config)

    def trained(self) -> Settings:
        """The settings of a run that has a model. Raises UserError when training has not come so far."""
        settings = self.settings()
        if not self.model.is_file():
            raise UserError(
                f"{self.folder} has no model yet: let `python -m sonicrnn.fit` go on until its first epoch ends"
            )
        return settings

    def content_hash(self) -> str:
        """SHA-256 of all that the run generates from, as hexadecimal figures."""
        names = ("statistics.json", "projection.npz")
        files = [self.model, self.calibration, self.primes, self.recall, *(self.folder / name for name in names)]
        whole = hashlib.sha256()
        for file in files:
            whole.update(f"{file.name} ".encode())
            if file.is_file():
                whole.update(hashlib.sha256(file.read_bytes()).digest())
        return whole.hexdigest()

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder for one training. Raises UserError while another process holds it."""
        return held(self.folder, f"another process is training {self.folder}: wait for it, or choose another name=")

    def _others(self) -> str:
        siblings = sorted(path.parent for path in self.folder.parent.glob("*/config.yaml"))
        return f"; there are: {', '.join(map(str, siblings))}" if siblings else ""


def run_name(settings: Settings, config_stem: str, song_name: str) -> str:
    """`settings.name`, else the config's name and the song's, fit for a folder."""
    name = settings.name or f"{config_stem}-{song_name}"
    return re.sub(r"[^\w.+-]+", "-", name, flags=re.UNICODE).strip("-.") or "run"


def enter(run: Run, settings: Settings, fresh: bool) -> bool:
    """Make the folder ready for a training with these settings; True when it goes on with an earlier one.

    1. `fresh`: what is there is moved aside, to NAME.1, NAME.2, …; nothing is deleted.
    2. An empty or missing folder is a new run, and its settings are written first of all.
    3. A folder with files but no config.yaml is none of ours: refused.
    4. The same settings (but for how to generate and what to report) go on from the last checkpoint.
    5. Other settings are refused, each named with what it was and what it would be.

    Raises UserError where it refuses.
    """
    folder = run.folder
    if fresh and contents(folder):
        set_aside(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not run.config.exists():
        if contents(folder):
            raise UserError(f"{folder} has files but no config.yaml, so it is no run: choose another name=, or --fresh")
        write_text(run.config, dump_settings(settings))
        return False
    changed = trains_otherwise(run.settings(), settings)
    if changed:
        lines = "\n  ".join(changed)
        raise UserError(
            f"{folder} was started with other settings:\n  {lines}\n"
            "Give the old ones to go on, another name= for a second run, or --fresh to start over (the old run is kept)"
        )
    write_text(run.config, dump_settings(settings))
    return True


def trains_otherwise(old: Settings, new: Settings) -> list[str]:
    """A line for every setting by which another model would be trained."""
    return [line for line in differences(old, new) if not line.startswith(FREE_TO_CHANGE)]
