"""Options of the commands that are out of their range: all of them at once."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

from sonicrnn.errors import UserError


def out_of_range(options: argparse.Namespace, ranges: Mapping[str, tuple[float, float]]) -> list[str]:
    """A line for each option that was given and does not lie between its least and its most."""
    return [
        f"--{name.replace('_', '-')} {_said(value)} must lie between {_said(least)} and {_said(most)}"
        for name, (least, most) in ranges.items()
        if (value := getattr(options, name)) is not None and not least <= value <= most
    ]


def refuse(wrong: Sequence[str]) -> None:
    """Raises UserError that lists all that is wrong with the options, if anything is."""
    if wrong:
        raise UserError("\n  ".join(["options to mend:", *wrong]))


def _said(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"
