"""Trees of settings as people write them: YAML files, the files that these name as `base`, and `a.b=c` overrides.

What is read is not checked here: `config` does that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sonicrnn.errors import UserError


def read_tree(file: Path, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The file's tree laid over that of the file it names as `base` (relative to itself).

    Raises UserError for a file that is not there or holds no tree; `seen` are the files that named this one.
    """
    if file.resolve() in seen:
        raise UserError(f"{file} is its own base: remove one of the `base:` lines")
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"there is no config {file}{_did_you_mean_file(file)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the config {file} cannot be read: {error}") from None
    tree = _read_yaml(text, str(file)) or {}
    if not isinstance(tree, dict):
        raise UserError(f"{file} must hold `name: value` lines, not a {type(tree).__name__}")
    base = tree.pop("base", None)
    if base is None:
        return tree
    return _merge(read_tree(file.parent / str(base), (*seen, file.resolve())), tree)


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Set what `a.b=c` names in a tree, without checking it. Raises UserError where it is written otherwise."""
    key, equals, value = override.partition("=")
    if not equals or not key.strip() or not value.strip():
        raise UserError(f"{override!r} is no override: write it as section.name=value, e.g. train.minutes=10")
    *sections, name = key.strip().split(".")
    place = tree
    for section in sections:
        inner = place.get(section)
        place[section] = dict(inner) if isinstance(inner, dict) else {}
        place = place[section]
    place[name] = _override_value(value.strip())


def did_you_mean(word: str, candidates: Sequence[str]) -> str:
    """`; did you mean X?` for the nearest candidate; empty where none is near."""
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.6)
    if not close:  # the right name in the wrong section
        close = [name for name in candidates if name.split(".")[-1] == word.split(".")[-1]][:1]
    return f"; did you mean {close[0]}?" if close else ""


class _Loader(yaml.SafeLoader):
    """YAML whose numbers are what people expect: PyYAML itself takes `1e-4` for a string."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+0123456789.")
)


def _read_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise UserError(f"{where} is no YAML: {' '.join(str(error).split())}") from None


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _override_value(text: str) -> Any:
    """What `text` says in YAML; the text itself where it is none, or only by chance, as in `*.ogg` or `A: b.ogg`."""
    try:
        value = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError:
        return text
    mistaken = (value is None and text.startswith("#")) or (isinstance(value, dict) and not text.startswith("{"))
    return text if mistaken else value


def _did_you_mean_file(file: Path) -> str:
    there = sorted(str(path) for path in file.parent.glob("*.yaml")) if file.parent.is_dir() else []
    return did_you_mean(str(file), there) or (f"; there are: {', '.join(there)}" if there else "")
