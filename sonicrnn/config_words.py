"""What is said of a tree of settings: its mistakes, what differs between two, and what there is to set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sonicrnn.settings_file import did_you_mean


def mistakes(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """A line for every setting that is wrong in a tree of this kind, with how to mend it."""
    names = setting_names(kind)
    # A value that may be of several kinds has an error for each of them: the first one tells enough.
    return list({_key(item): _explain(item, names) for item in reversed(error.errors())}.values())[::-1]


def to_mend(where: str, lines: Sequence[str]) -> str:
    """The message about all mistakes in one place."""
    return "\n  ".join([f"{where}: {len(lines)} setting{'s' * (len(lines) > 1)} to mend:", *lines])


def differences(old: BaseModel, new: BaseModel) -> list[str]:
    """Lines `a.b: old -> new` for every setting that differs."""
    before, after = dict(_leaves(old.model_dump())), dict(_leaves(new.model_dump()))
    return [f"{key}: {before[key]!r} -> {after[key]!r}" for key in before if before[key] != after[key]]


def describe(settings: BaseModel) -> str:
    """Every setting with its default and its meaning, a line each."""
    return "\n".join(_describe(settings, ""))


def setting_names(kind: type[BaseModel]) -> list[str]:
    """`section.name` of every setting, then the names of the sections."""
    return [*_names(kind, ""), *kind.model_fields]


def _key(error: Any) -> str:
    """The setting that one of pydantic's errors is about, without the kinds of value that its location also names."""
    parts = [str(part) for part in error["loc"]]
    if error["type"] != "extra_forbidden":
        parts = [part for part in parts if part not in ("str", "float") and not part.startswith(("literal[", "list["))]
    return ".".join(parts) or "settings"


def _explain(error: Any, names: Sequence[str]) -> str:
    """One line for one of pydantic's errors; `names` are those that there are."""
    key = _key(error)
    if error["type"] == "extra_forbidden":
        return f"{key} is no setting{did_you_mean(key, names)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{key}: {message}"
    return f"{key}: {message[0].lower()}{message[1:]}, not {error['input']!r}"


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _names(kind: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _describe(section: BaseModel, prefix: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            yield from _describe(value, f"{prefix}{name}.")
        else:
            choices = _choices(field.annotation)
            meaning = "; ".join(text for text in (field.description or "", choices) if text)
            yield f"{prefix}{name}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}".ljust(40) + meaning


def _choices(annotation: Any) -> str:
    """The words that a setting takes, `a | b`; empty where it takes others than listed words."""
    if get_origin(annotation) is Literal:
        return " | ".join(get_args(annotation))
    return ""
