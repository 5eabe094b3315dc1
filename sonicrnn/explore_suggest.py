"""Frame and sequence lengths that suit a song, each with its reason, as overrides for a training command."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sonicrnn.explore_facts import Facts

SAME_SOUND = 0.7  # coherence down to which a frame holds one sound
TYPICAL_LOWEST_HERTZ = 60.0  # where a song has no bass to measure
SHORTEST_FRAME, LONGEST_FRAME = 0.032, 0.256  # seconds of an stft or mdct frame
SEQUENCE_SECONDS = (4.0, 12.0)
LONGEST_SEQUENCE = 512  # steps: beyond, training slows more than the longer memory is worth


@dataclass(frozen=True)
class Suggestion:
    """`kind` of frames, the `overrides` that choose it, and why these lengths: a sentence for each."""

    kind: str
    overrides: tuple[str, ...]
    reasons: tuple[str, ...]


def suggest(facts: Facts) -> list[Suggestion]:
    """One suggestion for each kind of frames, the recommended one (stft) first."""
    frame, frame_reason = _spectral_frame(facts)
    seconds, sequence_reason = _sequence_seconds(facts)
    waveform = _waveform_frame(facts)
    return [
        _suggestion(facts, "stft", frame, frame // 4, seconds, (frame_reason, sequence_reason)),
        _suggestion(facts, "mdct", frame, frame // 2, seconds, (frame_reason, sequence_reason)),
        _suggestion(
            facts,
            "waveform",
            waveform,
            waveform,
            seconds,
            (
                f"{waveform} samples, {_milliseconds(waveform, facts)}, hold two periods of the lowest tones.",
                sequence_reason,
            ),
        ),
    ]


def _suggestion(facts: Facts, kind: str, frame: int, hop: int, seconds: float, reasons: tuple[str, str]) -> Suggestion:
    sequence, limits = _steps(facts, hop, seconds)
    # What belongs to stft frames alone would be refused with another kind.
    plain = () if kind == "stft" else ("frames.parts=null",)
    lengths = (f"frames.frame_length={frame}", f"frames.hop={hop}", f"data.sequence_length={sequence}")
    return Suggestion(kind, (f"frames.kind={kind}", *plain, *lengths), (*reasons, *limits))


def _spectral_frame(facts: Facts) -> tuple[int, str]:
    """Samples of a spectrum's frame: long enough for the bass, no longer than the sound stays the same."""
    lowest = _lowest_hertz(facts)
    wanted, holds = 4.0 / lowest, facts.coherence.holds(SAME_SOUND)
    seconds = min(max(min(wanted, max(holds, 0.032)), SHORTEST_FRAME), LONGEST_FRAME)
    frame = max(16, 2 ** round(math.log2(seconds * facts.rate)))
    holding = f"the sound stays the same for {1000 * holds:.0f} ms"
    return frame, (
        f"The lowest tones lie near {lowest:.0f} Hz, and to tell neighbours apart takes four periods, "
        f"{1000 * wanted:.0f} ms; {f'but {holding} only' if holds < wanted else f'{holding}, which allows it'}. "
        f"The nearest power of two is {frame} samples, {_milliseconds(frame, facts)}."
    )


def _waveform_frame(facts: Facts) -> int:
    frame = 2.0 / _lowest_hertz(facts) * facts.rate
    return max(40, min(4_000, 10 * round(frame / 10)))


def _lowest_hertz(facts: Facts) -> float:
    """Where the bass begins: 2 % of the audible energy lies under it."""
    edge = facts.spectra.edge(0.02)
    return min(max(edge, 40.0), 400.0) if edge else TYPICAL_LOWEST_HERTZ


def _sequence_seconds(facts: Facts) -> tuple[float, str]:
    """How much time a sequence should span: whole pulsations, if the song has any."""
    shortest, longest = SEQUENCE_SECONDS
    if facts.pulsation:
        period = 60.0 / facts.pulsation
        count = max(1, math.ceil(shortest / period))
        if period > longest:
            return longest, (
                f"A pulsation lasts {period:.1f} s, longer than a sequence well can: train with data.order=streams, "
                "which carries the state from one sequence to the next."
            )
        times = "one pulsation" if count == 1 else f"{count} pulsations"
        return count * period, f"A sequence spans {times}, {count * period:.1f} s ({facts.pulsation:.1f} a minute)."
    return 6.0, "The loudness has no clear pulsation: a sequence spans 6 s, some phrases of most music."


def _steps(facts: Facts, hop: int, seconds: float) -> tuple[int, tuple[str, ...]]:
    """Frames of a sequence, and what kept it from spanning `seconds`."""
    wanted = max(1, round(seconds * facts.rate / hop))
    # A tenth of the song validates: a sequence and its target have to fit there several times.
    room = max(1, (facts.samples - facts.lead_in - facts.fade_out) // 10 // hop // 3)
    steps = min(wanted, LONGEST_SEQUENCE, room)
    if steps == wanted:
        return steps, ()
    span = f"{steps} frames, {steps * hop / facts.rate:.2g} s"
    if steps == room:
        return steps, (f"It is cut to {span}: the song is short, and a tenth of it has to hold several sequences.",)
    return steps, (f"It is cut to {span}: longer ones train slowly; data.order=streams carries the state beyond.",)


def _milliseconds(samples: int, facts: Facts) -> str:
    return f"{1000 * samples / facts.rate:.0f} ms"
