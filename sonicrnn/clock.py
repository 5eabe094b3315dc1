"""Times as people read them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03, or 5:12."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
