"""The facts of a song in words: the table, and what the pictures show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from sonicrnn.clock import clock
from sonicrnn.explore_facts import Facts
from sonicrnn.explore_suggest import SAME_SOUND

if TYPE_CHECKING:
    from sonicrnn.song import Song

SHORTEST_LEAD_IN_SECONDS = 0.01  # a few samples of silence are a first wave that rises from zero


def table(song: Song, facts: Facts) -> list[tuple[str, str]]:
    """The facts as rows of name and value, files first, length second."""
    names = [Path(file.path).name for file in song.files]
    files = ", ".join(names) if len(names) <= 8 else f"{len(names)} files, {names[0]} to {names[-1]}"
    kinds = sorted({(file.sample_rate, file.channels) for file in song.files})
    sources = ", ".join(f"{rate} Hz × {channels}" for rate, channels in kinds)
    peak_level = f"{20 * math.log10(facts.peak):.1f} dBFS" if facts.peak > 0 else "silence"
    spectrum = facts.spectra
    under = [hertz for hertz in (100, 200, 500, 1_000, 2_000, 4_000, 8_000, 16_000) if hertz < facts.rate / 2]
    return [
        ("Files", files),
        ("Length", f"{clock(facts.seconds)} ({facts.samples:,} samples)"),
        ("Rate", f"{facts.rate} Hz, mono (files: {sources})"),
        ("Level", f"{facts.level:.1f} dBFS RMS"),
        ("Peak", f"{facts.peak:.3f} ({peak_level})"),
        (
            "Dynamic range",
            f"{facts.loud - facts.quiet:.1f} dB ({facts.quiet:.1f} to {facts.loud:.1f} dBFS, 9 seconds of 10)",
        ),
        ("DC offset", f"{100 * facts.offset:.2f} % of full scale"),
        ("Clipped samples", f"{100 * facts.clipped:.4f} %"),
        ("Longest silence", f"{facts.longest_silence:.1f} s"),
        ("Start and end", "; ".join(ends_words(facts))),
        ("Pulsation", pulsation_words(facts) or "none that is clear"),
        ("Note starts", f"{facts.notes_a_second:.1f} a second"),
        (
            "Half of the energy",
            f"under {spectrum.edge(0.5):.0f} Hz (90 %: {spectrum.edge(0.9):.0f}, 99 %: {spectrum.edge(0.99):.0f} Hz)",
        ),
        (
            "Energy from 20 Hz up",
            ", ".join(f"under {hertz} Hz {100 * spectrum.share_under(hertz):.1f} %" for hertz in under),
        ),
    ]


def observations(facts: Facts) -> list[str]:
    """What the pictures show, in sentences."""
    start, end = ends_words(facts)
    lines = [f"{start[0].upper()}{start[1:]}, and at the end {end}."]
    words = pulsation_words(facts)
    lines.append(f"Pulsation: {words}." if words else "The loudness moves, but with no clear period.")
    held = facts.coherence.holds(SAME_SOUND)
    lines.append(f"A sound stays the same for about {held:.2g} s, then it has become another.")
    if facts.spectra.rumble > 0.1:
        lines.append(
            f"{100 * facts.spectra.rumble:.0f} % of the energy lies under 20 Hz, where nobody hears it: offset or "
            "rumble. It takes room and a model's attention; a high-pass at 20 Hz in an audio editor takes it away."
        )
    if abs(facts.offset) > 0.005:
        lines.append(f"The waveform does not swing about zero but about {facts.offset:+.3f}.")
    if facts.clipped > 1e-5:
        lines.append(f"{100 * facts.clipped:.3f} % of the samples are clipped: a cleaner copy would sound better.")
    if facts.longest_silence > 3:
        lines.append(f"The longest silence lasts {facts.longest_silence:.0f} s; a model learns silence, too.")
    return lines


def ends_words(facts: Facts) -> tuple[str, str]:
    """What was found at the start and at the end, in words."""
    lead_in, fade_out, rate = facts.lead_in, facts.fade_out, facts.rate
    start, end = "the sound starts at once", "there is no fade"
    if lead_in >= rate * SHORTEST_LEAD_IN_SECONDS:
        start = f"the sound starts {lead_in:,} samples in ({lead_in / rate:.3g} s)"
    if fade_out:
        end = f"it fades out over the last {fade_out:,} samples ({fade_out / rate:.3g} s)"
    return start, end


def pulsation_words(facts: Facts) -> str:
    """The stretches of the song by their rates, "" when there are none."""
    parts = facts.stretches
    if len(parts) == 1:
        return f"about {parts[0].per_minute:.1f} a minute"
    return ", ".join(f"about {part.per_minute:.1f} from {clock(part.start)} to {clock(part.stop)}" for part in parts)
