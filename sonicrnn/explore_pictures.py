"""Which pictures of a song are drawn, with the words under them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from sonicrnn import measures, pictures
from sonicrnn.clock import clock
from sonicrnn.explore_facts import PULSATION_WINDOW_SECONDS, Facts, self_similarity
from sonicrnn.explore_suggest import SAME_SOUND
from sonicrnn.explore_words import ends_words, pulsation_words

Samples = npt.NDArray[Any]

WHOLE, ENDS, GROWING, MINUTES = "The whole song", "Start and end", "Longer and longer", "Chosen minutes"
FIRST_SECONDS = (1, 5, 10, 30, 60, 120)
CHOSEN_MINUTES = (2, 3, 5, 10, 35, 100, -20, -5, -1)  # negative: from the end


@dataclass(frozen=True)
class Picture:
    """One picture of the page: its section, its file's name without suffix, the figure, and what it shows in words."""

    section: str
    name: str
    figure: Figure
    alt: str  # for those who do not see it
    caption: str = ""


def pictures_of(samples: Samples, rate: int, facts: Facts) -> Iterator[Picture]:
    """Draw the pictures of a song one after the other, so that only one figure stands in memory."""
    yield from _whole(samples, rate, facts)
    yield from _ends(samples, rate, facts)
    for seconds in FIRST_SECONDS:
        if seconds * rate <= len(samples):
            title = f"First {_span(seconds)}"
            yield _excerpt(samples, facts, GROWING, f"first-{seconds}s", title, 0, seconds * rate)
    for minute in CHOSEN_MINUTES:
        if abs(minute) * 60 * rate <= len(samples):
            start = (minute - 1) * 60 * rate if minute > 0 else len(samples) + minute * 60 * rate
            name = f"minute-{minute}" if minute > 0 else f"minute-last-{-minute}"
            yield _excerpt(samples, facts, MINUTES, name, _minute(minute), start, start + 60 * rate)


def _whole(samples: Samples, rate: int, facts: Facts) -> Iterator[Picture]:
    length = clock(facts.seconds)
    yield Picture(
        WHOLE,
        "whole",
        pictures.waveform(samples, rate, "Waveform"),
        f"Waveform of the whole song, {length} long, peak {facts.peak:.2f}.",
    )
    yield Picture(
        WHOLE,
        "level",
        pictures.level_curves({"song": samples}, rate, "Level"),
        f"Level along the song: nine seconds in ten lie between {facts.quiet:.0f} and {facts.loud:.0f} dBFS.",
    )
    yield Picture(
        WHOLE,
        "pulsation",
        pictures.curve_along(
            facts.pulsations.seconds,
            facts.pulsations.per_minute,
            "per minute",
            "Pulsation",
            marks=[part.per_minute for part in facts.stretches],
        ),
        "Pulsations per minute along the song: " + (pulsation_words(facts) or "none that are clear") + ".",
        f"The period of the loudness in windows of {PULSATION_WINDOW_SECONDS:.0f} s; a gap where there is none. "
        "Jumps by two or three are the same beat counted at another level.",
    )
    yield Picture(
        WHOLE,
        "spectrogram",
        pictures.spectrogram(samples, rate, "Spectrogram"),
        f"Spectrogram of the whole song: half of the energy lies under {facts.spectra.edge(0.5):.0f} Hz, "
        f"99 % under {facts.spectra.edge(0.99):.0f} Hz.",
    )
    matrix = self_similarity(facts.spectra)
    yield Picture(
        WHOLE,
        "self-similarity",
        pictures.self_similarity(matrix, facts.spectra.hop_seconds, "Self-similarity"),
        f"Self-similarity: likeness of each moment to each other, in steps of {facts.spectra.hop_seconds:.2g} s.",
        "Bright where two moments have like harmony and colour: blocks are sections, diagonal stripes repetitions.",
    )
    yield Picture(
        WHOLE,
        "coherence",
        pictures.curve_along(
            facts.coherence.seconds,
            facts.coherence.correlation,
            "correlation",
            "How long a sound stays the same",
            marks=[SAME_SOUND],
            time_label="later by",
        ),
        f"Autocorrelation of the spectrum: under {SAME_SOUND} after {facts.coherence.holds(SAME_SOUND):.2f} s.",
        "Likeness of the spectrum to itself later. Peaks are repetitions; above the dashed line it is one sound.",
    )


def _ends(samples: Samples, rate: int, facts: Facts) -> Iterator[Picture]:
    head = min(len(samples), max(2 * facts.lead_in, rate // 4))
    yield Picture(
        ENDS,
        "lead-in",
        pictures.waveform(samples[:head], rate, "Start", marks=[facts.lead_in / rate]),
        f"Waveform of the first {head / rate:.2f} s: {ends_words(facts)[0]}.",
        ends_words(facts)[0].capitalize() + ".",
    )
    tail = min(len(samples), max(3 * facts.fade_out, 3 * rate))
    start = len(samples) - tail
    marks = [(len(samples) - facts.fade_out) / rate] if facts.fade_out else []
    yield Picture(
        ENDS,
        "fade",
        pictures.waveform(samples[start:], rate, "End", start_seconds=start / rate, marks=marks),
        f"Waveform of the last {tail / rate:.1f} s: {ends_words(facts)[1]}.",
        ends_words(facts)[1].capitalize() + ".",
    )


def _excerpt(samples: Samples, facts: Facts, section: str, name: str, title: str, start: int, stop: int) -> Picture:
    rate, part = facts.rate, np.asarray(samples[start:stop])
    alt = f"Waveform: {title.lower()}; level {measures.level(part, rate):.0f} dBFS"
    found = measures.pulsation(part, rate) if len(part) >= 30 * rate else None
    if found and found.strength >= 0.3:
        alt += f", about {found.per_minute:.0f} pulsations a minute"
    heading = f"{title} ({clock(start / rate)} to {clock(stop / rate)})" if section == MINUTES else title
    figure = pictures.waveform(part, rate, heading, start_seconds=start / rate, limit=facts.peak)
    return Picture(section, name, figure, alt + ".")


def _span(seconds: int) -> str:
    if seconds < 60:
        return "second" if seconds == 1 else f"{seconds} seconds"
    return "minute" if seconds == 60 else f"{seconds // 60} minutes"


def _minute(number: int) -> str:
    if number == -1:
        return "Last minute"
    place = abs(number)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10 if place % 100 not in (11, 12, 13) else 0, "th")
    return f"{place}{ending} minute" + (" from the end" if number < 0 else "")
