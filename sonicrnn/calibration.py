"""What generation takes from a run besides its model; `calibrate` finds it after training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from sonicrnn.errors import UserError
from sonicrnn.files import write_json
from sonicrnn.portrait import Portrait
from sonicrnn.run import TRAIN_AGAIN

if TYPE_CHECKING:
    from sonicrnn.encoding import Contrast

REPEATS = 2.25  # × the root of how alike bars are, unless a song asks for less
FADE_SECONDS = 0.25  # either way from where a passage gives way to another, unless a song asks for another


@dataclass(frozen=True)
class Calibration:
    """What generation takes from a run besides its model.

    Attributes:
        temperature: of the draws.
        persistence: of their noise, see `FreeRun.persistence`.
        gain: factor of the samples.
        level: that the song usually has, dB re full scale as of `leveller.usual_level`; None where it is not known.
        centre, contrast: of the log magnitudes, [bins], see `encoding.Contrast`; empty for frames without any.
        tried: a row of figures for each temperature.
        portrait: of the song, to choose takes by; None where it is not known.
        repeats: of a recall, how much a bar is as the one before it, see `Bars.repeats`.
        longer: of a recall, for how much longer than usual it follows the song's order, see `Recall.longer`.
        fade: of a recall, seconds either way from where one passage gives way to another, see `Passages.fading`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    temperature: float = 1.0
    gain: float = 1.0
    level: float | None = None
    centre: Sequence[float] = ()
    contrast: Sequence[float] = ()
    tried: Sequence[Mapping[str, float]] = ()
    portrait: Portrait | None = None
    repeats: float = REPEATS
    longer: float = 1.0
    fade: float = FADE_SECONDS
    persistence: float = 0.0

    def spectral(self) -> Contrast | None:
        """Its contrast as arrays; None where there is none."""
        from sonicrnn.encoding import Contrast

        if not len(self.contrast):
            return None
        return Contrast(np.asarray(self.centre, np.float32), np.asarray(self.contrast, np.float32))

    def save(self, file: Path) -> None:
        """Write it as JSON."""
        write_json(file, asdict(self))

    @classmethod
    def load(cls, file: Path) -> Calibration:
        """Read what `save` wrote; that of a run that is still training where there is none.

        Raises UserError for a spoiled file.
        """
        if not file.is_file():
            return cls()
        try:
            return TypeAdapter(cls).validate_python(json.loads(file.read_text(encoding="utf-8")))
        except ValidationError as error:
            told = "; ".join(".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors())
            raise UserError(f"{file} cannot be read ({told}): {TRAIN_AGAIN}") from None
        except ValueError as error:
            raise UserError(f"{file} cannot be read ({error}): {TRAIN_AGAIN}") from None
