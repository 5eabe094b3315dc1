"""What is found by looking at a song: levels, ends, pulsation along the song, spectrum, likeness, coherence.

Samples are mono, [n] float32, full scale ±1.0, and may be mapped from the disk: everything reads them in blocks or
in excerpts spread evenly over the song, so that hours cost seconds.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sonicrnn import measures

Floats = npt.NDArray[np.float64]
Samples = npt.NDArray[Any]

PULSATION_WINDOW_SECONDS = 30.0
_SAME_RATE, _SHORTEST_STRETCH_SECONDS = 0.15, 20.0
CLEAR_PULSATION = 0.3  # strength under which the loudness moves without a period worth naming
SIMILARITY_STEPS = 400
LOWEST_HERTZ = 20.0  # under this it is offset and rumble, not sound
_SPECTRUM_SECONDS = 0.25
_SPECTRA_A_STEP = 40
_COHERENCE_EXCERPTS, _COHERENCE_SECONDS = 12, 24.0
_ONSET_MINUTES = 10
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Pulsations:
    """Pulsation in windows along the song, [k] each: their centres, the rates (nan: none) and how clear they are."""

    seconds: Floats
    per_minute: Floats
    strength: Floats


@dataclass(frozen=True)
class Stretch:
    """A part of the song with one pulsation rate, in seconds."""

    start: float
    stop: float
    per_minute: float


@dataclass(frozen=True)
class Spectra:
    """Mean power spectra of `steps` equal parts of the song: `power` [steps, bins], `hertz` [bins]."""

    power: Floats
    hertz: Floats
    hop_seconds: float

    @property
    def audible(self) -> Floats:
        """Energy of each bin from 20 Hz up, 0 below: [bins]."""
        return np.where(self.hertz >= LOWEST_HERTZ, self.power.sum(axis=0), 0.0)

    @property
    def rumble(self) -> float:
        """Share (0..1) of all energy that lies under 20 Hz."""
        total = float(self.power.sum())
        return 1.0 - float(self.audible.sum()) / total if total > 0 else 0.0

    def share_under(self, hertz: float) -> float:
        """Share (0..1) of the audible energy below a frequency."""
        audible = self.audible
        return float(audible[self.hertz < hertz].sum() / max(audible.sum(), 1e-30))

    def edge(self, share: float) -> float:
        """The frequency in Hz under which this share of the audible energy lies; 0 for silence."""
        total = np.cumsum(self.audible)
        return float(self.hertz[np.searchsorted(total, share * total[-1])]) if total[-1] > 0 else 0.0


@dataclass(frozen=True)
class Coherence:
    """How like the spectrum at one moment is to that `seconds` later: `correlation` [lags], 1 at once, 0 unrelated."""

    seconds: Floats
    correlation: Floats

    def holds(self, at_least: float) -> float:
        """Seconds until the correlation first falls under `at_least` (the last lag if it never does)."""
        below = np.flatnonzero(self.correlation < at_least)
        return float(self.seconds[below[0] if len(below) else -1])


@dataclass(frozen=True)
class Facts:
    """What the page and the terminal say of a song. Times in seconds, levels in dBFS, ends in samples."""

    samples: int
    rate: int
    level: float
    peak: float
    offset: float
    quiet: float  # level that 95 % of the seconds exceed
    loud: float  # level that 5 % do
    clipped: float
    longest_silence: float
    lead_in: int
    fade_out: int
    notes_a_second: float
    pulsations: Pulsations
    spectra: Spectra
    coherence: Coherence

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def stretches(self) -> list[Stretch]:
        return stretches(self.pulsations)

    @property
    def pulsation(self) -> float:
        """Pulsations per minute of the song's longest stretch with one rate, 0 when there is none."""
        longest = max(self.stretches, key=lambda part: part.stop - part.start, default=None)
        return longest.per_minute if longest else 0.0


def gather(samples: Samples, rate: int) -> Facts:
    """Measure a song. Raises ValueError for no samples."""
    if not len(samples):
        raise ValueError("a song needs samples")
    lead_in, fade_out = measures.silence_ends(samples, rate)
    levels = measures.level_curve(samples[lead_in:] if lead_in < len(samples) else samples, rate)
    return Facts(
        samples=len(samples),
        rate=rate,
        level=measures.level(samples, rate),
        peak=peak(samples),
        offset=measures.dc_offset(samples),
        quiet=float(np.percentile(levels, 5)),
        loud=float(np.percentile(levels, 95)),
        clipped=measures.clipping(samples),
        longest_silence=measures.silence(samples, rate).longest_seconds,
        lead_in=lead_in,
        fade_out=fade_out,
        notes_a_second=_notes_a_second(samples, rate),
        pulsations=pulsations_along(samples, rate),
        spectra=spectra_along(samples, rate),
        coherence=coherence(samples, rate),
    )


def peak(samples: Samples) -> float:
    """The largest absolute sample."""
    blocks = (samples[start : start + _BLOCK] for start in range(0, len(samples), _BLOCK))
    return max((float(np.abs(block).max()) for block in blocks), default=0.0)


def pulsations_along(samples: Samples, rate: int) -> Pulsations:
    """Pulsations per minute in windows of 30 s (or the whole of a shorter song), at most some 300 of them."""
    window = min(len(samples), round(PULSATION_WINDOW_SECONDS * rate))
    hop = max(round(5.0 * rate), (len(samples) - window) // 300)
    starts = range(0, len(samples) - window + 1, hop)
    found = [measures.pulsation(samples[start : start + window], rate) for start in starts]
    strength = np.array([one.strength for one in found])
    rates = np.array([one.per_minute for one in found])
    rates[(strength < CLEAR_PULSATION) | (rates <= 0)] = np.nan
    return Pulsations((np.array(starts) + window / 2) / rate, rates, strength)


def stretches(pulsations: Pulsations) -> list[Stretch]:
    """Parts of the song that keep one rate within 15 % for 20 s or more, in order.

    Windows without a clear rate and short excursions belong to the part around them. The change between two parts
    is put midway between their windows.
    """
    centres, rates = pulsations.seconds, pulsations.per_minute
    hop = float(centres[1] - centres[0]) if len(centres) > 1 else 1.0
    enough = min(len(centres), max(3, round(_SHORTEST_STRETCH_SECONDS / hop)))
    parts: list[list[int]] = []
    for index in np.flatnonzero(np.isfinite(rates)):
        _join(parts, [int(index)], rates)
    while parts and min(map(len, parts)) < enough:  # the shortest goes first, so that what it parted grows together
        parts.remove(min(parts, key=len))
        rest, parts = parts, []
        for part in rest:
            _join(parts, part, rates)
    borders = [(centres[a[-1]] + centres[b[0]]) / 2 for a, b in itertools.pairwise(parts)]
    half = float(centres[0]) if len(centres) else 0.0  # of a window: the first one starts at 0
    starts = [max(0.0, centres[parts[0][0]] - half), *borders] if parts else []
    stops = [*borders, centres[parts[-1][-1]] + half] if parts else []
    return [
        Stretch(float(start), float(stop), float(np.median(rates[part])))
        for start, stop, part in zip(starts, stops, parts, strict=True)
    ]


def _join(parts: list[list[int]], windows: list[int], rates: Floats) -> None:
    """Add windows to the last part if they have its rate, else as a new part."""
    if parts and abs(np.median(rates[windows]) / np.median(rates[parts[-1]]) - 1) < _SAME_RATE:
        parts[-1].extend(windows)
    else:
        parts.append(windows)


def spectra_along(samples: Samples, rate: int, steps: int = SIMILARITY_STEPS) -> Spectra:
    """Mean power spectra of at most `steps` equal parts, each from up to 40 windows of a quarter of a second."""
    size = 1 << max(6, round(np.log2(_SPECTRUM_SECONDS * rate)))
    window = np.hanning(size + 1)[:-1]
    steps = int(min(steps, max(1, len(samples) // (size // 2))))
    edges = np.linspace(0, len(samples), steps + 1)
    power = np.empty((steps, size // 2 + 1))
    for step in range(steps):
        first = int(edges[step])
        last = max(first, min(int(edges[step + 1]), len(samples)) - size)
        count = min(_SPECTRA_A_STEP, 1 + 4 * (last - first) // size)
        places = np.linspace(first, last, count).astype(np.int64)
        block = np.stack([_padded(samples[place : place + size], size) for place in places])  # [count, size]
        power[step] = np.mean(np.abs(np.fft.rfft(block * window)) ** 2, axis=0)
    return Spectra(power, np.fft.rfftfreq(size, 1 / rate), len(samples) / rate / steps)


def self_similarity(spectra: Spectra) -> Floats:
    """How like each part is to each other, [steps, steps] in −1..1: the cosine of their pitch classes and colours.

    Half of the likeness is of chroma (12 pitch classes of 80 to 2000 Hz), half of the level of 40 bands a third of an
    octave or so wide, each about its mean over the song (Foote 1999).
    """
    return np.asarray(0.5 * _cosines(_chroma(spectra)) + 0.5 * _cosines(_colour(spectra)))


def coherence(samples: Samples, rate: int) -> Coherence:
    """Autocorrelation of the log-mel frames at lags up to 12 s, over excerpts spread over the song.

    The level of each band is taken about its mean over all excerpts, so that 1 means "the same sound" and 0 means "no
    more alike than any two moments of the song".
    """
    length = min(len(samples), round(_COHERENCE_SECONDS * rate))
    count = int(min(_COHERENCE_EXCERPTS, max(1, len(samples) // length)))
    starts = np.linspace(0, len(samples) - length, count).astype(np.int64)
    excerpts = [measures.log_mel(samples[start : start + length], rate, 40).astype(np.float64) for start in starts]
    floor = max(float(part.max()) for part in excerpts) - 80.0
    excerpts = [np.maximum(part, floor) for part in excerpts]
    mean = np.mean([part.mean(axis=0) for part in excerpts], axis=0)  # [bands]
    excerpts = [part - mean for part in excerpts]
    hop_seconds = measures.frame_and_hop(rate)[1] / rate
    if len(excerpts[0]) < 2:
        return Coherence(np.array([hop_seconds]), np.zeros(1))
    lags = np.unique(np.geomspace(1, max(1, len(excerpts[0]) // 2), 200).astype(np.int64))
    power = max(float(np.mean([np.mean(part**2) for part in excerpts])), 1e-12)
    products = [np.mean([np.mean(part[:-lag] * part[lag:]) for part in excerpts]) for lag in lags]
    return Coherence(lags * hop_seconds, np.array(products) / power)


def _notes_a_second(samples: Samples, rate: int) -> float:
    """Note starts per second: the median over up to ten minutes spread over the song."""
    length = min(len(samples), 60 * rate)
    count = int(min(_ONSET_MINUTES, max(1, len(samples) // length)))
    starts = np.linspace(0, len(samples) - length, count).astype(np.int64)
    return float(np.median([measures.onset_rate(samples[start : start + length], rate) for start in starts]))


def _chroma(spectra: Spectra) -> Floats:
    heard = np.flatnonzero((spectra.hertz > 80) & (spectra.hertz < 2_000))
    pitch = np.rint(12 * np.log2(spectra.hertz[heard] / 440)).astype(np.int64) % 12
    power = np.sqrt(spectra.power[:, heard])
    chroma = np.stack([power[:, pitch == number].sum(axis=1) for number in range(12)], axis=1)  # [steps, 12]
    chroma /= np.maximum(chroma.sum(axis=1, keepdims=True), 1e-12)
    return np.asarray(chroma - chroma.mean(axis=0))


def _colour(spectra: Spectra) -> Floats:
    top = max(spectra.hertz[-1], 120.0)
    edges = np.searchsorted(spectra.hertz, np.geomspace(60.0, top, 41))
    bands = [spectra.power[:, a : max(a + 1, b)].sum(axis=1) for a, b in itertools.pairwise(edges)]
    levels = measures.decibels(np.stack(bands, axis=1) + 1e-9)  # [steps, 40]
    levels = np.maximum(levels, levels.max() - 80.0)
    return np.asarray(levels - levels.mean(axis=0))


def _cosines(rows: Floats) -> Floats:
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return np.asarray(unit @ unit.T)


def _padded(samples: Samples, size: int) -> Floats:
    return np.pad(np.asarray(samples, np.float64), (0, size - len(samples)))
