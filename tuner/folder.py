"""A search's folder: its files, what it was started with, and who may go on with it."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sonicrnn.config import dump_settings, load_as
from sonicrnn.config_words import differences
from sonicrnn.errors import UserError
from sonicrnn.files import write_text
from sonicrnn.folders import contents, held, set_aside
from sonicrnn.run import Run
from tuner.settings import SearchSettings
from tuner.space import Space, load_space

# What may change while a search goes on: how long it takes, and where and how it is run. (Where the space is read from,
# too: what it holds may not.)
FREE_TO_CHANGE = (
    "tuner.trials:", "tuner.minutes:", "tuner.workers:", "tuner.cores:", "tuner.memory_gb:", "tuner.retries:",
    "tuner.lost_seconds:", "tuner.folder:", "tuner.name:", "tuner.space:", "wandb.", "runs:", "name:", "song.cache:",
)  # fmt: skip
HERE = (*FREE_TO_CHANGE, "song.path:")  # what may differ between the machines of one search


@dataclass(frozen=True)
class SearchFolder:
    """`searches/NAME/` and the places in it."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "search.yaml"

    @property
    def space(self) -> Path:
        return self.folder / "space.yaml"

    @property
    def trials(self) -> Path:
        """KerasTuner's own folder: the oracle and its trials."""
        return self.folder / "trials"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def song(self) -> Path:
        """The content hash of the song that all trials learn."""
        return self.folder / "song.txt"

    @property
    def table(self) -> Path:
        return self.folder / "trials.csv"

    @property
    def best(self) -> Path:
        return self.folder / "best.yaml"

    @property
    def picture(self) -> Path:
        return self.folder / "parallel.png"

    @property
    def page(self) -> Path:
        return self.folder / "search.html"

    def run(self, trial_id: str) -> Run:
        """The run folder of a trial."""
        return Run(self.runs / trial_id)

    def log(self, process: str) -> Path:
        """What a process of the search printed."""
        return self.folder / "logs" / f"{process}.log"

    def state(self, worker: str) -> Path:
        """What a worker's process leaves to the next, see `keeper`."""
        return self.folder / "workers" / f"{worker}.json"

    def load(self) -> tuple[SearchSettings, Space]:
        """What the search was started with."""
        settings = load_as(SearchSettings, self.config)
        return settings, load_space(str(self.space), settings.start(), comparable=False)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder for one chief. Raises UserError while another process holds it."""
        return held(
            self.folder, f"another process searches in {self.folder}: wait for it, or choose another tuner.name="
        )


def search_folder(settings: SearchSettings, config_stem: str) -> SearchFolder:
    """The folder that the settings name."""
    return SearchFolder(Path(settings.tuner.folder) / (settings.tuner.name or config_stem))


def enter(search: SearchFolder, settings: SearchSettings, space: Space, fresh: bool) -> bool:
    """Make the folder ready for a search with these settings; True when it goes on with an earlier one.

    1. `fresh`: what is there is moved aside, to NAME.1, NAME.2, …; nothing is deleted.
    2. An empty or missing folder is a new search.
    3. A folder with files but no search.yaml is none of ours: refused.
    4. The same space and settings (but for how long, where and how it is run) go on.
    5. Others are refused, each named with what it was and what it would be.

    Raises UserError where it refuses.
    """
    folder = search.folder
    if fresh and folder.exists():
        set_aside(folder)
    resumed = search.config.exists()
    if resumed:
        before, space_before = search.load()
        changed = [line for line in differences(before, settings) if not line.startswith(FREE_TO_CHANGE)]
        if dump_space(space) != dump_space(space_before):
            changed.append(f"the space: {search.space} holds the old one")
        if changed:
            lines = "\n  ".join(changed)
            raise UserError(
                f"{folder} was started with other settings:\n  {lines}\n"
                "Give the old ones to go on, another tuner.name= for a second search, or --fresh to start over "
                "(the old search is kept)"
            )
    elif contents(folder):
        raise UserError(
            f"{folder} has files but no search.yaml, so it is no search: choose another tuner.name=, or --fresh"
        )
    write_text(search.space, dump_space(space))
    write_text(search.config, dump_settings(settings))
    return resumed


def dump_space(space: Space) -> str:
    """YAML text that `load_space` reads back."""
    tree = {name: dimension.model_dump(mode="json") for name, dimension in space.dimensions.items()}
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=100)


def identity(settings: SearchSettings, space: Space) -> str:
    """What the chief and its workers must agree on, whatever differs between their machines: 16 hexadecimal digits."""
    tree: dict[str, Any] = {"space": dump_space(space)}
    for line in differences(SearchSettings(), settings):
        if not line.startswith(HERE):
            name, _, change = line.partition(": ")
            tree[name] = change
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]
