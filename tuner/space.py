"""What a search may choose from: declared in YAML, checked before anything runs. Nothing here imports TensorFlow.

A space is a file of settings, each with what it may be:

    data.batch_size: [8, 16, 32]                                      # one of these
    train.learning_rate: {low: 5.0e-4, high: 5.0e-3, scale: log}      # anything between
    model.widths: {layers: [1, 2, 3], each: {low: 128, high: 512, step: 64}}
    model.head.mixtures: {choice: [4, 8], when: {model.head.kind: [mixture]}}

A layer is a dimension of its own, so that depth and each width are searched. A setting with `when` is searched only
where another one has one of these values; else it stays what it is where the search starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError, model_validator

from sonicrnn.config import Section, Settings, parse_settings
from sonicrnn.config_words import mistakes, setting_names, to_mend
from sonicrnn.errors import UserError
from sonicrnn.settings_file import did_you_mean, read_tree

SPACES = Path(__file__).parent / "spaces"
# Settings that a search sets by itself, or that no search should choose.
NOT_SEARCHED = (
    "name", "runs", "seed", "song.", "generate.", "wandb.", "train.epochs", "train.minutes", "train.epoch_steps",
    "train.checkpoint_seconds", "train.audio_", "train.strategy",
)  # fmt: skip

Value = bool | int | float | str  # what KerasTuner knows
Values = Mapping[str, Value]


class Choice(Section):
    choice: list[Any] = Field(min_length=1)
    when: dict[str, list[Any]] = Field({})

    @property
    def encoded(self) -> dict[Value, Any]:
        """What stands for each value in KerasTuner, which takes plain values of one kind: else it is their YAML."""
        kinds = {type(value) for value in self.choice}
        if kinds == {int, float}:
            return {float(value): float(value) for value in self.choice}
        if len(kinds) == 1 and kinds <= {bool, int, float, str}:
            return {value: value for value in self.choice}
        return {_flow(value): value for value in self.choice}

    @property
    def edges(self) -> Sequence[Any]:
        """The values that must each be possible."""
        return self.choice


class Range(Section):
    low: float | int
    high: float | int
    step: float | int | None = Field(None, gt=0)
    scale: Literal["linear", "log"] = "linear"
    when: dict[str, list[Any]] = Field({})

    @model_validator(mode="after")
    def _ascends(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.scale == "log" and self.low <= 0:
            raise ValueError(f"low {self.low} must be above 0 for scale: log")
        if self.scale == "log" and self.step is not None and self.step <= 1:
            raise ValueError(f"step {self.step} must be above 1 for scale: log, where it is a factor")
        return self

    @property
    def edges(self) -> Sequence[Any]:
        """The values that must each be possible."""
        return (self.low, self.high)


class Layers(Section):
    layers: list[int] = Field(min_length=1)
    each: Choice | Range
    when: dict[str, list[Any]] = Field({})

    @model_validator(mode="after")
    def _counts(self) -> Layers:
        if min(self.layers) < 1 or max(self.layers) > 16:
            raise ValueError(f"layers {self.layers} must each be from 1 to 16")
        return self

    @property
    def edges(self) -> Sequence[Any]:
        """The values that must each be possible."""
        return [[value] * max(self.layers) for value in self.each.edges]


Dimension = Choice | Range | Layers


@dataclass(frozen=True)
class Space:
    """What is searched, by the names of settings, and where the search starts."""

    dimensions: Mapping[str, Dimension]
    start: Settings

    def settings(self, values: Values) -> Settings:
        """The start with KerasTuner's `values` laid over it. Raises UserError where they do not go together."""
        tree = self.start.model_dump(mode="json")
        for name, dimension in self.dimensions.items():
            if isinstance(dimension, Layers):
                count = values.get(f"{name}.layers")
                if count is not None:
                    _put(tree, name, [_decoded(dimension.each, values[f"{name}.{n + 1}"]) for n in range(int(count))])
            elif name in values:
                _put(tree, name, _decoded(dimension, values[name]))
        return parse_settings(tree, "these settings do not go together")

    def start_values(self) -> dict[str, Value]:
        """The start as KerasTuner's values, the nearest where the space does not hold it."""
        tree = self.start.model_dump(mode="json")
        values: dict[str, Value] = {}
        for name, dimension in self.dimensions.items():
            value = _get(tree, name)
            if isinstance(dimension, Layers):
                widths = list(value)
                count = min(dimension.layers, key=lambda number: abs(number - len(widths)))
                values[f"{name}.layers"] = count
                for index in range(max(dimension.layers)):
                    own = widths[min(index, len(widths) - 1)] if widths else None
                    values[f"{name}.{index + 1}"] = _nearest(dimension.each, own)
            else:
                values[name] = _nearest(dimension, value)
        return values

    @property
    def holds_start(self) -> bool:
        """Whether the start itself is one of the points of the space."""
        return self.settings(self.start_values()) == self.start


def load_space(named: str, start: Settings, comparable: bool) -> Space:
    """Read and check a space file, or one of `tuner/spaces` by its name.

    Args:
        start: where the search starts.
        comparable: whether losses will be compared, so that all must be those of the same frames and kind of head.

    Raises UserError that lists every mistake at once.
    """
    own = SPACES / f"{named}.yaml"
    file = own if own.is_file() else Path(named)
    if not file.is_file():
        names = sorted(path.stem for path in SPACES.glob("*.yaml"))
        raise UserError(f"there is no space {named}{did_you_mean(named, names)}; there are: {', '.join(names)}")
    tree = read_tree(file)
    if not tree:
        raise UserError(f"{file} names no setting to search")
    dimensions: dict[str, Dimension] = {}
    wrong: list[str] = []
    for name, declared in tree.items():
        found = _dimension(str(name), declared, wrong)
        if found is not None:
            dimensions[str(name)] = found
            wrong += _impossible(str(name), found, start)
            if comparable:
                wrong += _incomparable(str(name), found)
    for name, found in dimensions.items():
        wrong += _unmet(name, found, dimensions)
    if wrong:
        raise UserError(to_mend(str(file), wrong))
    # KerasTuner wants to know a condition's setting before what depends on it.
    return Space(dict(sorted(dimensions.items(), key=lambda item: bool(item[1].when))), start)


def _dimension(name: str, declared: Any, wrong: list[str]) -> Dimension | None:
    """What a file says of a setting; None, and lines in `wrong`, where that is no dimension."""
    names = [one for one in setting_names(Settings) if not one.startswith(NOT_SEARCHED)]
    if name.startswith(NOT_SEARCHED) and name in setting_names(Settings):
        wrong.append(f"{name} is not for a search to choose")
        return None
    if name not in names:
        wrong.append(f"{name} is no setting{did_you_mean(name, names)}")
        return None
    tree = {"choice": declared} if isinstance(declared, list) else declared
    if not isinstance(tree, dict):
        wrong.append(f"{name}: write what it may be, as [8, 16] or {{low: 1, high: 9}}, not {declared!r}")
        return None
    kind: type[Dimension] = Layers if "layers" in tree or "each" in tree else Choice if "choice" in tree else Range
    if kind is Layers and isinstance(tree.get("each"), list):
        tree = {**tree, "each": {"choice": tree["each"]}}
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        wrong += [f"{name}.{line}" if not line.startswith("settings") else f"{name}{line.removeprefix('settings')}"
                  for line in mistakes(error, kind)]  # fmt: skip
        return None


def _impossible(name: str, dimension: Dimension, start: Settings) -> Iterator[str]:
    """Values that are never possible; whether they go together with others is seen when they are tried."""
    if isinstance(_get(start.model_dump(mode="json"), name), list) and isinstance(dimension, Range):
        yield f"{name} is a list: write {{layers: [1, 2], each: {{low: …, high: …}}}}, or a choice of lists"
        return
    for value in dimension.edges:
        tree = start.model_dump(mode="json")
        _put(tree, name, value)
        try:
            Settings.model_validate(tree)
        except ValidationError as error:
            if all(item["type"] != "value_error" for item in error.errors()):
                yield mistakes(error, Settings)[0]


def _unmet(name: str, dimension: Dimension, dimensions: Mapping[str, Dimension]) -> Iterator[str]:
    """Conditions on what is not searched, or depends on something itself, or is never so."""
    for other, values in dimension.when.items():
        parent = dimensions.get(other)
        if not isinstance(parent, Choice) or parent.when:
            yield f"{name}.when: {other} must be one of the choices of this file, without a `when` of its own"
        elif missing := [value for value in values if value not in parent.choice]:
            yield f"{name}.when: {other} is never {', '.join(map(repr, missing))}"


def _incomparable(name: str, dimension: Dimension) -> Iterator[str]:
    errors = {"mse", "spectral", "gan"}  # the others' losses are likelihoods
    mixed = name == "model.head.kind" and isinstance(dimension, Choice) and bool(errors & set(dimension.choice))
    if name.startswith("frames.") or mixed:
        yield f"{name}: validation losses of these do not compare; search it with tuner.objective=unlikeness"


def _decoded(dimension: Choice | Range, value: Value) -> Any:
    if isinstance(dimension, Choice):
        return dimension.encoded[value]
    return value if isinstance(value, int | str) else rounded(value)


def rounded(number: float) -> float:
    """To six digits: nobody wants to read more in a config."""
    return float(f"{number:.6g}")


def _nearest(dimension: Choice | Range, value: Any) -> Value:
    """The member of a dimension that is nearest to a value, as KerasTuner has it."""
    if isinstance(dimension, Choice):
        encoded = dimension.encoded
        for key, meant in encoded.items():
            if meant == value:
                return key
        numbers = [key for key in encoded if isinstance(key, int | float) and not isinstance(key, bool)]
        if numbers and isinstance(value, int | float):
            return min(numbers, key=lambda key: abs(key - value))
        return next(iter(encoded))
    low, high = dimension.low, dimension.high
    number = min(max(value, low), high) if isinstance(value, int | float) else low
    if dimension.step is not None and dimension.scale == "linear":
        number = low + dimension.step * round((number - low) / dimension.step)
        number = number if number <= high else number - dimension.step
    return number if isinstance(number, int) else rounded(number)


def _flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _get(tree: Mapping[str, Any], name: str) -> Any:
    place: Any = tree
    for part in name.split("."):
        place = place[part]
    return place


def _put(tree: dict[str, Any], name: str, value: Any) -> None:
    *sections, last = name.split(".")
    place = tree
    for section in sections:
        place = place[section]
    place[last] = value
