"""What a stream is asked for, whoever asks: a query's parameters or a message's fields."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from tensorflow_serving.apis.model_pb2 import ModelSpec

from serving.failures import invalid

OWN = -1.0  # a temperature under 0 is the model's own
FIELDS = ("model", "version", "label", "temperature", "seed")  # of whatever asks for a stream
NO_PRIME = np.zeros(0, np.float32)  # takes one of the model's own


@dataclass(frozen=True)
class Wish:
    """What a stream is asked for.

    Attributes:
        spec: the model's name, and its version or label.
        temperature: to begin with.
        seed: the same seed gives the same stream.
        prime: [samples] float32 at the model's rate, -1 to 1, that the stream goes on from.
    """

    spec: ModelSpec
    temperature: float
    seed: int
    prime: np.ndarray


def wish(asked: Mapping[str, Any], name: str, prime: np.ndarray = NO_PRIME) -> Wish:
    """Of those of FIELDS that are given; what is not: the model `name`, its newest version, a seed by chance.

    Raises:
        Failure: a field is not of its kind.
    """
    spec = ModelSpec(name=_text(asked.get("model", name), "model"))
    if "version" in asked and "label" in asked:
        raise invalid("a version is named by its number or by its label, not by both")
    if "version" in asked:
        spec.version.value = _whole(asked["version"], "version", 0, 2**63 - 1)
    if "label" in asked:
        spec.version_label = _text(asked["label"], "label")
    seed = asked["seed"] if "seed" in asked else secrets.randbelow(2**31)
    seed = _whole(seed, "seed", -(2**31), 2**31 - 1)
    return Wish(spec, temperature(asked.get("temperature", OWN)), seed, prime)


def temperature(value: Any) -> float:
    """As a field of a request. What is too hot the model itself refuses. Raises Failure."""
    if type(value) not in (int, float) or not abs(value) < 1e9:
        raise invalid(f"temperature must be a number, not {shown(value)}")
    return float(value)


def refuse_unknown(asked: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Raises Failure that names what was asked for and is not known."""
    if unknown := [shown(name) for name in asked if name not in known]:
        raise invalid(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")


def shown(value: Any) -> str:
    """A value in a message."""
    try:
        text = json.dumps(value, default=str)
    except RecursionError:
        text = 81 * "["
    return text if len(text) <= 80 else f"{text[:80]}…"


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise invalid(f"{name} must be a whole number from {least} to {most}, not {shown(value)}")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise invalid(f"{name} must be a name, not {shown(value)}")
    return value
