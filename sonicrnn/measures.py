"""The measurements by their names, in one place: what a signal is, told in numbers. numpy and scipy alone.

`levels` has how loud, `ends` where the song starts and ends, `spectrum` what it is made of, `rhythm` how it moves.
All take mono samples [n] (any float type, full scale ±1.0, mapped from the disk or not) and compute in float64.
"""

from __future__ import annotations

from sonicrnn.ends import silence_ends
from sonicrnn.levels import (
    FLOOR_DBFS,
    Silence,
    clipping,
    dc_offset,
    decibels,
    level,
    level_curve,
    level_trend,
    silence,
    silence_threshold,
)
from sonicrnn.rhythm import (
    Pulsation,
    border_clicks,
    envelope,
    modulation_spectrum,
    onset_rate,
    onset_strength,
    pulsation,
    pulsation_rate,
    usual_onset_rate,
)
from sonicrnn.spectrum import (
    bin_hertz,
    frame_and_hop,
    log_mel,
    long_term_flatness,
    long_term_spectrum,
    power_frames,
    spectral_flatness,
)

__all__ = [
    "FLOOR_DBFS",
    "Pulsation",
    "Silence",
    "bin_hertz",
    "border_clicks",
    "clipping",
    "dc_offset",
    "decibels",
    "envelope",
    "frame_and_hop",
    "level",
    "level_curve",
    "level_trend",
    "log_mel",
    "long_term_flatness",
    "long_term_spectrum",
    "modulation_spectrum",
    "onset_rate",
    "onset_strength",
    "power_frames",
    "pulsation",
    "pulsation_rate",
    "silence",
    "silence_ends",
    "silence_threshold",
    "spectral_flatness",
    "usual_onset_rate",
]
