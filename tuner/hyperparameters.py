"""A space in KerasTuner's terms."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import keras_tuner

from tuner.space import Choice, Layers, Range, Space, Value, rounded


def declare(space: Space) -> keras_tuner.HyperParameters:
    """The hyperparameters of a space, by the names of its settings; of layers `NAME.layers` and `NAME.1`, `NAME.2`, …

    Their defaults are where the search starts.
    """
    hyperparameters = keras_tuner.HyperParameters()
    defaults = space.start_values()
    for name, dimension in space.dimensions.items():
        with contextlib.ExitStack() as conditions:
            for other, values in dimension.when.items():
                parent = space.dimensions[other]
                assert isinstance(parent, Choice)
                wanted = [encoded for encoded, meant in parent.encoded.items() if meant in values]
                conditions.enter_context(hyperparameters.conditional_scope(other, wanted))
            if isinstance(dimension, Layers):
                _declare_layers(hyperparameters, name, dimension, defaults)
            else:
                _declare_one(hyperparameters, name, dimension, defaults[name])
    return hyperparameters


def _declare_layers(
    hyperparameters: keras_tuner.HyperParameters, name: str, dimension: Layers, defaults: Mapping[str, Value]
) -> None:
    counts = sorted(set(dimension.layers))
    hyperparameters.Choice(f"{name}.layers", counts, default=defaults[f"{name}.layers"])
    for index in range(1, max(counts) + 1):
        with hyperparameters.conditional_scope(f"{name}.layers", [count for count in counts if count >= index]):
            _declare_one(hyperparameters, f"{name}.{index}", dimension.each, defaults[f"{name}.{index}"])


def _declare_one(
    hyperparameters: keras_tuner.HyperParameters, name: str, dimension: Choice | Range, default: Value
) -> None:
    if isinstance(dimension, Choice):
        hyperparameters.Choice(name, list(dimension.encoded), default=default)
        return
    whole = all(isinstance(edge, int) for edge in (dimension.low, dimension.high)) and isinstance(default, int)
    kind: Any = hyperparameters.Int if whole else hyperparameters.Float
    kind(name, dimension.low, dimension.high, step=dimension.step, sampling=dimension.scale, default=default)


def tidy(values: Mapping[str, Value]) -> dict[str, Value]:
    """Drawn values without needless digits."""
    return {name: rounded(value) if isinstance(value, float) else value for name, value in values.items()}
