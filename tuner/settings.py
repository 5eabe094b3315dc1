"""Settings of a search: those of a run, where it starts, and the section `tuner`. Nothing here imports TensorFlow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sonicrnn.config import Section, Settings


class TunerSettings(Section):
    name: str | None = Field(None, min_length=1, description="of the search; null: the config's name")
    folder: str = Field("searches", min_length=1, description="folder of all searches")
    space: str = Field("recommended", min_length=1, description="what is searched: a YAML file, or one of tuner/spaces")
    algorithm: Literal["bayesian", "hyperband", "random"] = "bayesian"
    objective: Literal["validation_loss", "unlikeness"] = Field(
        "validation_loss", description="what is to be low: unlikeness is that of free runs, measured after a training"
    )
    trials: int | None = Field(12, ge=1, le=100_000, description="null: no limit but minutes")
    minutes: float | None = Field(None, gt=0, description="no trial begins later; null: no limit but trials")
    epochs: int = Field(8, ge=1, le=10_000, description="longest training of a trial; each hears as much of the song")
    workers: int | None = Field(
        None, ge=1, le=1000, description="on this machine; null: as many as its cores and its memory have room for"
    )
    cores: int = Field(1, ge=1, le=1000, description="of each worker: many small trainings end sooner side by side")
    memory_gb: float | None = Field(None, gt=0, description="most that a trial may take; null: what the machine has")
    retries: int = Field(1, ge=0, le=100, description="how often a trial is taken up again whose process was killed")
    lost_seconds: float = Field(60, ge=5, description="of silence, after which a worker's trial goes to another")

    @model_validator(mode="after")
    def _ends_and_is_here(self) -> TunerSettings:
        if self.trials is None and self.minutes is None:
            raise ValueError("trials or minutes must be set, or the search would not end")
        if "://" in self.folder:
            raise ValueError(
                f"folder {self.folder} must be one of this machine (the songs of a search may be elsewhere)"
            )
        return self


class SearchSettings(Settings):
    """All that a search depends on."""

    tuner: TunerSettings = TunerSettings()

    def start(self) -> Settings:
        """The run that the search starts from."""
        return Settings.model_validate(self.model_dump(exclude={"tuner"}))
