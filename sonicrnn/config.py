"""Settings: one frozen tree, read from YAML and `a.b=c` overrides, checked in full before anything runs.

Nothing here imports TensorFlow, so that a wrong setting is answered at once. Every field's comment in the
tree below is its documentation; `config_words.describe` prints the tree with its defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sonicrnn.config_words import mistakes, to_mend
from sonicrnn.errors import UserError
from sonicrnn.settings_file import apply_override, read_tree

PARTS = ("training", "validation", "test")
MOST_LOGITS = 65_536  # of one frame
SMALLEST_IMAGE = 64  # samples


class Section(BaseModel):
    """A group of settings: frozen, and closed to names it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class SongSettings(Section):
    path: str | list[str] | None = Field(
        None,
        description="a file, several files, a folder or a glob, s3://… too: one song, in order; null: the built-in",
    )
    sample_rate: int | None = Field(16_000, ge=2_000, le=192_000, description="Hz; null keeps the song's own rate")
    trim: bool = Field(True, description="leave out the leading silence and the fade at the end")
    normalise: Literal["std", "minmax", "none"] = Field("std", description="by figures of the training part")
    leak: bool = Field(False, description="normalise by figures of the whole song: what is held out then leaks in")
    split: tuple[float, float, float] = Field((0.8, 0.1, 0.1), description="training, validation and test, in time")
    cache: str | None = Field(None, description="folder of decoded songs; null is the user's cache folder")

    @model_validator(mode="after")
    def _split_is_whole(self) -> SongSettings:
        if min(self.split) <= 0 or abs(sum(self.split) - 1) > 1e-6:
            raise ValueError(f"split {list(self.split)} must be three shares above 0 that add up to 1")
        return self

    @model_validator(mode="after")
    def _cache_is_here(self) -> SongSettings:
        if "://" in (self.cache or ""):
            raise ValueError(f"cache {self.cache} must be a folder of this machine: it is read from all the time")
        return self


class FrameSettings(Section):
    kind: Literal["waveform", "mdct", "stft"] = "stft"
    frame_length: int = Field(1024, ge=16, le=200_000, description="samples")
    hop: int | None = Field(
        None, ge=1, description="samples; null: the frame itself (waveform), its half (mdct), its quarter (stft)"
    )
    join: Literal["fade", "average", "last"] = Field(
        "fade", description="waveform: what is heard where frames overlap: a cross-fade, the mean, or the earlier one"
    )
    parts: int | None = Field(
        None, ge=1, le=1024, description="stft: spectra that all others are sums of, a note or a drum each; null: bins"
    )
    components: int | None = Field(
        None, ge=1, le=4096, description="stft: principal components of the log magnitudes; null keeps every bin"
    )
    stack: int = Field(1, ge=1, le=64, description="stft: spectra a step; above 1 a frame is twice as many, lapped")
    recall: bool = Field(False, description="stft: hear each draw through the nearest frame that the song had")
    master: bool = Field(False, description="recall: pieces have the recording's own channels and rate")
    phase_steps: int = Field(64, ge=0, le=1000, description="stft: Griffin-Lim steps of the inverse")

    @property
    def hop_length(self) -> int:
        """Samples between the starts of two neighbouring spectra or waveform frames (before stacking)."""
        if self.hop is not None:
            return self.hop
        return self.frame_length // {"waveform": 1, "mdct": 2, "stft": 4}[self.kind]

    @property
    def step_length(self) -> int:
        """Samples that one step of the model stands for: `stack` hops."""
        return self.hop_length * self.stack

    @model_validator(mode="after")
    def _fits(self) -> FrameSettings:
        length, hop = self.frame_length, self.hop_length
        if self.kind == "mdct" and length % 4:
            raise ValueError(f"frame_length {length} must be a multiple of 4 for mdct frames")
        if self.hop is None and self.kind == "stft" and length % 4:
            raise ValueError(f"frame_length {length} must be a multiple of 4 for stft frames (or name a hop)")
        if hop > length:
            raise ValueError(
                f"hop {hop} is longer than frame_length {length}: samples between the frames would be lost"
            )
        if self.kind == "waveform" and 2 * hop < length:
            raise ValueError(f"hop {hop} must be at least half of frame_length {length} for waveform frames")
        if self.kind == "mdct" and 2 * hop != length:
            raise ValueError(f"mdct frames overlap by half: hop must be {length // 2}, not {hop}")
        if self.kind == "stft" and 2 * hop > length:
            raise ValueError(f"hop {hop} must be at most half of frame_length {length} for stft frames")
        if self.kind != "stft" and (self.parts or self.components or self.stack > 1):
            raise ValueError("parts, components and stack are for stft frames alone")
        if self.recall and (self.kind != "stft" or self.stack > 1):
            raise ValueError("recall is for stft frames that are not stacked")
        figures = (self.parts or length // 2 + 1) * self.stack * (2 if self.stack > 1 else 1)
        if self.components and self.components > figures:
            raise ValueError(f"components {self.components} is more than the {figures} figures of a frame")
        return self


class DataSettings(Section):
    sequence_length: int = Field(100, ge=1, le=100_000, description="frames")
    shift: int | None = Field(
        None, ge=1, description="samples between two training examples; null is a quarter of a sequence"
    )
    batch_size: int = Field(32, ge=1, le=65_536, description="sequences")
    order: Literal["shuffled", "streams"] = Field(
        "shuffled", description="shuffled examples, or contiguous streams whose state is carried (truncated BPTT)"
    )
    carry: int | None = Field(
        None, ge=1, description="streams: frames over which the state is carried; null: for as long as a stream lasts"
    )
    speeds: list[Annotated[float, Field(ge=0.5, le=2)]] = Field(
        [1.0], max_length=16, description="at which the training part is learned from, pitch and pace together"
    )
    gains: list[Annotated[float, Field(ge=-24, le=24)]] = Field(
        [0.0], max_length=16, description="dB, at which the training part is learned from, at each of the speeds"
    )

    @model_validator(mode="after")
    def _carries_whole_sequences(self) -> DataSettings:
        if self.carry and self.order != "streams":
            raise ValueError("carry is for order: streams, where the state goes from one sequence to the next")
        if self.carry and self.carry % self.sequence_length:
            near = max(1, round(self.carry / self.sequence_length)) * self.sequence_length
            raise ValueError(
                f"carry {self.carry} must be a multiple of sequence_length {self.sequence_length}: take {near}"
            )
        return self

    @model_validator(mode="after")
    def _varies_the_song(self) -> DataSettings:
        for name, values, own in (("speeds", self.speeds, 1.0), ("gains", self.gains, 0.0)):
            if own not in values:
                raise ValueError(f"{name} {values} must have {own} among them: the song as it is is learned from, too")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} {values} must all be different")
        if self.order == "streams" and len(self.speeds) * len(self.gains) > 1:
            raise ValueError("speeds and gains are for order: shuffled: streams go through the song as it is")
        return self


class HeadSettings(Section):
    kind: Literal["mse", "spectral", "gaussian", "mixture", "softmax", "gan", "flow"] = "mixture"
    mixtures: int = Field(8, ge=1, le=256, description="Gaussians of the mixture and the gan head")
    levels: int = Field(256, ge=2, le=4096, description="µ-law levels of each figure, of the softmax head")
    width: int = Field(384, ge=1, le=16_384, description="of the gan head's denoiser, of the flow head's couplings")
    layers: int = Field(2, ge=1, le=16, description="of the gan head's denoiser; couplings of the flow head")
    revise: int = Field(1, ge=0, le=16, description="times that a drawn frame is noised again and denoised, gan head")


class ModelSettings(Section):
    cell: Literal["gru", "lstm"] = "gru"
    front: list[Annotated[int, Field(ge=1, le=16_384)]] = Field(
        [], description="widths of dense layers before the stack"
    )
    front_units: Literal["gelu", "logistic", "binary"] = Field(
        "gelu", description="of the front; binary: in training each says 0 or 1, by the chance that is its output"
    )
    image: bool = Field(
        False, description="waveform: frames are seen as images, phase against amplitude, by 2-D convolutions"
    )
    widths: list[Annotated[int, Field(ge=1, le=16_384)]] = Field([199, 256], min_length=1, max_length=16)
    slow: list[Annotated[float, Field(ge=1, le=100_000)]] = Field(
        [], description="gru: how many times longer each layer remembers than its gates say; empty: 1 each"
    )
    skip: bool = Field(False, description="the input goes to all layers, all layers to the head")
    self_heard: int = Field(
        0,
        ge=0,
        le=8,
        description="half of each batch hears its own predictions, after so many passes; 0 hears the song alone",
    )
    scheduled: float = Field(
        0.0, ge=0, le=1, description="share of the frames that it hears of itself, drawn in turn, after scheduled_steps"
    )
    scheduled_steps: int = Field(1000, ge=1, description="training steps over which that share grows from 0")
    echo: bool = Field(False, description="the last frame also goes straight to the prediction, through one matrix")
    forget_bias: float = Field(1.0, ge=-10, le=10, description="initial bias of the LSTM's forget gate")
    update_bias: float = Field(
        0.0, ge=-10, le=10, description="initial bias of the GRU's update gate: above 0 more of the state stays"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="share of units dropped between the layers")
    weight_noise: float = Field(
        0.0, ge=0, le=10, description="deviation of the noise on the recurrent weights in training"
    )
    activation_noise: float = Field(
        0.0, ge=0, le=10, description="deviation of the noise on what the layers put out in training"
    )
    input_noise: float = Field(
        0.0, ge=0, le=10, description="strongest noise on the inputs in training; each sequence draws its own strength"
    )
    head: HeadSettings = HeadSettings()

    @model_validator(mode="after")
    def _hears_one_thing(self) -> ModelSettings:
        if self.scheduled and (self.self_heard or self.input_noise):
            raise ValueError("scheduled says what is heard: leave self_heard and input_noise at 0")
        return self

    @model_validator(mode="after")
    def _has_layers_that_can_be_slow(self) -> ModelSettings:
        if self.slow and self.cell != "gru":
            raise ValueError(f"slow is for cell gru, not {self.cell}")
        if self.slow and len(self.slow) != len(self.widths):
            raise ValueError(f"slow names {len(self.slow)} layers, but widths {len(self.widths)}: one number for each")
        return self


class GanSettings(Section):
    """How the gan head is trained against a discriminator; the other heads know none."""

    likelihood: float = Field(
        2.0, ge=0, le=100, description="weight of the likelihood of the mixture that draws begin with"
    )
    adversarial: float = Field(
        0.3, ge=0, le=100, description="weight of what the discriminator says; 0: trained without it"
    )
    matching: float = Field(0.1, ge=0, le=100, description="weight of the match of the discriminator's features")
    warmup_steps: int = Field(50, ge=0, description="steps in which these two weights rise from 0")
    width: int = Field(256, ge=1, le=16_384, description="of the discriminator's two layers")
    window: int = Field(4, ge=2, le=64, description="frames that the discriminator looks at, the last is judged")
    penalty: float = Field(1.0, ge=0, le=1e4, description="R1: weight of the discriminator's slope at song frames")
    rate: float = Field(1.0, gt=0, le=100, description="the discriminator's learning rate, in units of the model's")
    run_steps: int = Field(12, ge=2, le=256, description="frames of the free runs at the end of each sequence")
    run_ahead: int = Field(0, ge=0, le=65_536, description="most frames of them before those, as there is room")
    run_score: float = Field(1.0, ge=0, le=100, description="weight of the energy score of the free runs")
    every: int = Field(8, ge=1, le=1000, description="frames between two that the discriminator judges in a sequence")


class ReviserSettings(Section):
    """The bidirectional network that revises what was generated; it has frames of its own, whatever the model's are."""

    minutes: float | None = Field(
        None, gt=0, description="of its training, after the model's; null, and no steps: there is no reviser"
    )
    steps: int | None = Field(None, ge=1, description="of its training; whichever limit comes first")
    passes: int = Field(2, ge=0, le=64, description="over each piece that is generated")
    strength: float = Field(
        0.5, gt=0, le=1, description="of the noise that a pass begins with; 1 leaves nothing of what was generated"
    )
    frames: FrameSettings = FrameSettings(kind="stft", frame_length=2048, parts=96)
    widths: list[Annotated[int, Field(ge=1, le=16_384)]] = Field(
        [192, 192], min_length=1, max_length=16, description="of its layers, each way"
    )
    sequence_length: int = Field(128, ge=2, le=100_000, description="frames that it learns from at once")
    batch_size: int = Field(8, ge=1, le=65_536, description="sequences")
    learning_rate: float = Field(0.002, gt=0, le=10)

    @property
    def wanted(self) -> bool:
        """Whether there is to be one."""
        return self.minutes is not None or self.steps is not None

    @model_validator(mode="after")
    def _frames_are_spectra(self) -> ReviserSettings:
        made = self.frames
        if made.kind != "stft" or made.stack > 1 or made.recall:
            raise ValueError("reviser.frames must be stft frames without stack and recall")
        return self


class TrainSettings(Section):
    epochs: int | None = Field(30, ge=1, description="null: no limit but minutes and patience")
    minutes: float | None = Field(None, gt=0, description="stop after so many minutes of training; null: no limit")
    epoch_steps: int | None = Field(100, ge=1, description="longest epoch in steps; null: one pass over the examples")
    learning_rate: float = Field(0.002, gt=0, le=10)
    schedule: Literal["constant", "cosine"] = Field("cosine", description="over the epochs or minutes, to a hundredth")
    warmup_steps: int = Field(20, ge=0)
    clip_norm: float | None = Field(1.0, gt=0, description="longest gradient, global norm; null: no clipping")
    patience: int | None = Field(
        None, ge=1, description="epochs without a better validation loss, or free run where that is kept; null: go on"
    )
    keep: Literal["best", "last", "free_run"] = Field(
        "best", description="the weights of the lowest validation loss, the last, or those of the best free run"
    )
    score_epochs: int | None = Field(
        None, ge=1, description="epochs between two free runs that are scored; null: none is"
    )
    average: float = Field(0.0, ge=0, lt=1, description="decay of the weights' running average, used when not training")
    checkpoint_seconds: float = Field(30, ge=0, description="most that a killed run loses; 0: after every step")
    audio_minutes: float = Field(1.0, ge=0, description="minutes between two free runs to listen to; 0: every epoch")
    audio_seconds: float = Field(10.0, gt=0, le=600)
    strategy: Literal["auto", "mirrored", "multi_worker"] = Field(
        "auto", description="several GPUs, or the machines of TF_CONFIG, which auto takes where there are some"
    )

    @model_validator(mode="after")
    def _is_scored(self) -> TrainSettings:
        if self.keep == "free_run" and self.score_epochs is None:
            raise ValueError("keep: free_run needs score_epochs, the number of epochs between two free runs: try 5")
        return self


class GenerateSettings(Section):
    temperature: float | Literal["auto"] = Field(
        "auto", description="auto: found on the validation part after training"
    )
    seconds: float = Field(30.0, gt=0, le=86_400)
    prime_seconds: float = Field(4.0, gt=0, le=600)
    takes: int = Field(1, ge=1, le=64, description="of each minute in a round; the one most like the song is kept")
    keep_graphs: bool = Field(True, description="beside the model, so that `generate` begins in seconds")

    @model_validator(mode="after")
    def _temperature_in_range(self) -> GenerateSettings:
        if self.temperature != "auto" and not 0 <= self.temperature <= 5:
            raise ValueError(f"temperature {self.temperature} must lie between 0 and 5")
        return self


class WandbSettings(Section):
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: online when logged in, else offline"
    )
    project: str = Field("sonicrnn", min_length=1)
    group: str | None = Field(None, min_length=1, description="runs that belong together, as those of a search do")


class Settings(Section):
    """All that a run depends on."""

    name: str | None = Field(None, description="the run's name; null: the config's name and the song's")
    runs: str = Field("runs", min_length=1, description="folder of all runs, also s3://…")
    seed: int = Field(1, ge=0, lt=2**31)
    song: SongSettings = SongSettings()
    frames: FrameSettings = FrameSettings()
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    gan: GanSettings = GanSettings()
    reviser: ReviserSettings = ReviserSettings()
    train: TrainSettings = TrainSettings()
    generate: GenerateSettings = GenerateSettings()
    wandb: WandbSettings = WandbSettings()

    @model_validator(mode="after")
    def _heads_have_their_frames(self) -> Settings:
        head, made = self.model.head, self.frames
        if head.kind == "spectral" and (made.kind != "waveform" or made.hop_length != made.frame_length):
            raise ValueError("model.head.kind spectral is for waveform frames without overlap: leave frames.hop out")
        if head.kind == "softmax" and made.kind != "waveform":
            raise ValueError(f"model.head.kind softmax is for waveform frames, not {made.kind}")
        if head.kind == "softmax" and made.frame_length * head.levels > MOST_LOGITS:
            raise ValueError(
                f"{head.levels} levels for each of {made.frame_length} samples are too many for a softmax head: take "
                f"frames.frame_length={MOST_LOGITS // head.levels} or less"
            )
        if head.kind == "flow" and 1 in (made.parts, made.components, made.frame_length):
            raise ValueError("model.head.kind flow is for frames of two figures or more")
        if self.model.image and (made.kind != "waveform" or made.frame_length < SMALLEST_IMAGE):
            raise ValueError(
                f"model.image is for waveform frames of {SMALLEST_IMAGE} samples or more, not for {made.kind} frames "
                f"of {made.frame_length}"
            )
        if head.kind == "softmax" and self.model.echo:
            raise ValueError("model.echo is for heads whose prediction can be moved: not with head.kind softmax")
        return self

    @model_validator(mode="after")
    def _has_room_for_runs(self) -> Settings:
        needed = self.gan.run_steps + self.gan.window
        if self.model.head.kind == "gan" and self.data.sequence_length < needed:
            raise ValueError(
                f"data.sequence_length {self.data.sequence_length} must hold gan.run_steps and gan.window: "
                f"take {needed} frames or more"
            )
        return self


SectionType = TypeVar("SectionType", bound=Section)


def load_settings(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Read a YAML file, the files that it names as `base`, and `a.b=c` overrides, into checked settings.

    Raises UserError that lists every mistake at once, each with how to mend it.
    """
    return load_as(Settings, path, overrides)


def load_as(kind: type[SectionType], path: str | Path, overrides: Sequence[str] = ()) -> SectionType:
    """As `load_settings`, for another tree of settings."""
    file = Path(path)
    tree = read_tree(file)
    for override in overrides:
        apply_override(tree, override)
    return parse_as(kind, tree, where=str(file))


def parse_settings(tree: Mapping[str, Any], where: str) -> Settings:
    """Check a nested mapping. Raises UserError that names `where` and lists every mistake."""
    return parse_as(Settings, tree, where)


def parse_as(kind: type[SectionType], tree: Mapping[str, Any], where: str) -> SectionType:
    """As `parse_settings`, for another tree of settings."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise UserError(to_mend(where, mistakes(error, kind))) from None


def dump_settings(settings: Settings) -> str:
    """YAML text that `load_settings` reads back to an equal object."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
