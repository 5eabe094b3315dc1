"""A training before its first step, for the benchmarks that measure parts of one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sonicrnn.config import Settings
    from sonicrnn.preparation import Prepared


def prepared(settings: Settings, folder: Path) -> Prepared:
    """The song opened without a word, and all that is made of it, with an empty run folder."""
    from sonicrnn.preparation import prepare
    from sonicrnn.run import Run
    from sonicrnn.song import open_song

    return prepare(Run(folder), settings, open_song(settings.song, report=lambda line: None))
