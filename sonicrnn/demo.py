"""The built-in song: about five minutes of slow synthesised music, the same on every run.

A D minor pad breathes: each swell carries one chord, about 9 swells a minute for the first eight chords and
about 14 a minute from then on. Over the pad stand a bass, bells, a flute and plucked chord tones, which come
and go with the sections; all of it rings in one reverb. Two four-chord cycles return to the end, so the last
tenths of the song use the notes and colours of the first ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sonicrnn.files import written_beside

SAMPLE_RATE = 16_000
LEAD_IN = 2_000  # silent samples at the start
FADE_OUT = 20_000  # samples over which the end falls to silence
SLOW_PULSATION = 9.0  # swells a minute in the first SLOW_PULSES chords
FAST_PULSATION = 14.0  # and after them
SLOW_PULSES = 8
STEPS = 8  # a swell is divided into eight steps, on which melody notes start

LEVEL_DBFS = -16.0
PEAK_DBFS = -1.5
LOOP = 1 << 18  # samples of a pad tone before it repeats (16 s)
CROSS_FADE = int(0.6 * SAMPLE_RATE)  # from chord to chord

Samples = npt.NDArray[np.float64]

# A chord is a bass note and five voices, as MIDI note numbers (69 = 440 Hz). Neighbours share or step.
Chord = tuple[int, tuple[int, int, int, int, int]]
D_MINOR_9: Chord = (38, (53, 57, 60, 64, 69))
B_FLAT_MAJOR_9: Chord = (34, (53, 57, 60, 62, 65))
F_MAJOR_9: Chord = (41, (52, 55, 57, 60, 67))
C_ADD_9: Chord = (36, (52, 55, 60, 62, 67))
G_MINOR_9: Chord = (43, (53, 57, 58, 62, 65))
A_MINOR_11: Chord = (33, (52, 55, 60, 62, 67))

CYCLES: dict[str, tuple[Chord, ...]] = {
    "A": (D_MINOR_9, B_FLAT_MAJOR_9, F_MAJOR_9, C_ADD_9),
    "B": (G_MINOR_9, D_MINOR_9, B_FLAT_MAJOR_9, A_MINOR_11),
}
FORM = "AA" + "AABAABABAABABA"  # the first two cycles are the slow ones
LAYERS = ("", "bells") + ("plucks", "plucks bells", "flute", "flute plucks") * 4

# Melodies in the pentatonic scale on D (D F G A C), a list of (step, note) for each chord of a cycle.
BELLS: dict[str, tuple[tuple[tuple[int, int], ...], ...]] = {
    "A": (((0, 81), (4, 84)), ((0, 86), (5, 84)), ((0, 81), (4, 79)), ((0, 79), (5, 74))),
    "B": (((2, 77), (5, 79)), ((0, 81), (4, 77)), ((0, 74), (4, 77), (6, 79)), ((0, 79), (4, 72))),
}
# The flute holds its notes: (step, note, steps).
FLUTE: dict[str, tuple[tuple[tuple[int, int, int], ...], ...]] = {
    "A": (((0, 69, 6), (6, 72, 2)), ((0, 74, 8),), ((0, 72, 4), (4, 69, 4)), ((0, 67, 8),)),
    "B": (((0, 74, 6), (6, 72, 2)), ((0, 69, 8),), ((0, 65, 4), (4, 67, 4)), ((0, 67, 5), (5, 72, 3))),
}
PLUCK_ORDER = (0, 2, 1, 3, 2, 4, 3, 1)  # the voice of the chord that each step plucks


@dataclass(frozen=True)
class Pulse:
    """One swell with its chord. `start` and `stop` in samples of the song; the shape differs from swell to swell."""

    start: int
    stop: int
    cycle: int
    place: int  # of the chord in its cycle
    chord: Chord
    skew: float  # below 1 the peak comes early, above 1 late
    floor: float  # gain between swells, where the peak is 1
    last: bool = False

    def step(self, number: float) -> int:
        """The sample at which a step (0 to STEPS) starts."""
        return self.start + round(number * (self.stop - self.start) / STEPS)


def demo_song() -> tuple[npt.NDArray[np.float32], int]:
    """Synthesise the song.

    Returns:
        samples: [n] float32 within ±1, mono, LEAD_IN zeros first, the last FADE_OUT samples fading to zero.
        sample_rate: 16000 Hz.
    """
    random = np.random.Generator(np.random.PCG64(2016))
    pulses = list(_pulses(random))
    length = pulses[-1].stop
    swell = _swell(pulses, length)
    dry = _pads(pulses, swell, random)
    dry += _bass(pulses, swell)
    dry += _air(swell, random)
    dry += _bells(pulses, length, random)
    dry += _flute(pulses, swell, random)
    dry += _plucks(pulses, length, random)
    return _finish(_reverberate(dry, random)), SAMPLE_RATE


def write_demo(cache: Path) -> Path:
    """Write the song as a 16-bit WAV into `cache` unless it is there already; returns its path."""
    import soundfile

    edition = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:8]  # another score is another file
    path = Path(cache) / f"built-in-song-{edition}.wav"
    if not path.exists():
        samples, rate = demo_song()
        with written_beside(path) as beside:
            soundfile.write(beside, np.rint(samples * 32767).astype(np.int16), rate, subtype="PCM_16")
    return path


def _pulses(random: np.random.Generator) -> Iterator[Pulse]:
    """The score as swells: every chord of every cycle, and the first chord once more to end on."""
    position = LEAD_IN
    for number in range(4 * len(FORM) + 1):
        cycle, place = min(number // 4, len(FORM) - 1), number % 4
        last = number == 4 * len(FORM)
        rate = SLOW_PULSATION if number < SLOW_PULSES else FAST_PULSATION
        seconds = 60 / rate * random.uniform(0.97, 1.03)
        length = round(seconds * SAMPLE_RATE)
        if last:
            length = length // 2 + FADE_OUT  # the fade is the fall of the last swell
        chord = D_MINOR_9 if last else CYCLES[FORM[cycle]][place]
        skew, floor = random.uniform(0.75, 1.3), random.uniform(0.2, 0.3)
        yield Pulse(position, position + length, cycle, place, chord, skew, floor, last)
        position += length


def _swell(pulses: list[Pulse], length: int) -> Samples:
    """The gain of the breathing layers, [length], from about 0.25 between swells to 1 at their peaks."""
    gain = np.zeros(length)
    for pulse in pulses:
        phase = np.arange(pulse.stop - pulse.start) / (pulse.stop - pulse.start)
        rise = np.sin(np.pi * phase**pulse.skew) ** 1.5
        if pulse.last:
            rise[np.argmax(rise) :] = 1.0
        gain[pulse.start : pulse.stop] = pulse.floor + (1 - pulse.floor) * rise
    # Neighbouring floors differ: a moving mean of 50 ms joins them without a corner.
    width = SAMPLE_RATE // 20
    total = np.cumsum(np.concatenate([np.full(width, gain[LEAD_IN]), gain[LEAD_IN:]]))
    gain[LEAD_IN:] = (total[width:] - total[:-width]) / width
    return gain


def _frequency(note: float) -> float:
    return float(440.0 * 2 ** ((note - 69) / 12))


def _held(pulse: Pulse) -> tuple[slice, Samples]:
    """Where a held note of this pulse sounds, and its gain there: it meets the neighbours' in a cross-fade."""
    attack = CROSS_FADE // 12 if pulse.start == LEAD_IN else CROSS_FADE
    release = 0 if pulse.last else CROSS_FADE
    gain = np.ones(pulse.stop + release - pulse.start)
    gain[:attack] = np.sin(np.pi / 2 * np.arange(attack) / attack) ** 2
    if release:
        gain[-release:] = np.cos(np.pi / 2 * np.arange(release) / release) ** 2
    return slice(pulse.start, pulse.stop + release), gain


def _pad_tone(frequency: float, random: np.random.Generator) -> tuple[Samples, Samples]:
    """A dark and a bright loop of one note, [LOOP] each, in phase with one another.

    Each partial is a narrow band of noise instead of a line, so that the note sounds like many players
    (the PADsynth algorithm, Nasca Octavian Paul, 2006).
    """
    bins = np.arange(LOOP // 2 + 1) * (SAMPLE_RATE / LOOP)  # Hz
    dark, bright = np.zeros_like(bins), np.zeros_like(bins)
    for partial in range(1, int(7_000 / frequency) + 1):
        centre = frequency * partial
        width = 0.35 + 0.0028 * centre  # Hz; about 5 cents for the high partials
        near = slice(*np.searchsorted(bins, [centre - 4 * width, centre + 4 * width]))
        shape = np.exp(-0.5 * ((bins[near] - centre) / width) ** 2) / np.sqrt(width)
        dark[near] += shape * partial**-1.7
        bright[near] += shape * partial**-0.85 / (1 + (centre / 4_500) ** 4) * (1 - 0.9 / partial)
    phases = np.exp(2j * np.pi * random.random(bins.size))
    scale = 1 / np.sqrt(2 * np.sum(dark**2))
    return np.fft.irfft(dark * phases) * scale * LOOP, np.fft.irfft(bright * phases) * scale * LOOP


def _pads(pulses: list[Pulse], swell: Samples, random: np.random.Generator) -> Samples:
    """The chords, [n]: loops of each voice, opened by the swell and by two slow, unrelated movements."""
    notes = sorted({note for pulse in pulses for note in pulse.chord[1]})
    tones = {note: _pad_tone(_frequency(note), random) for note in notes}
    dark, bright = np.zeros(swell.size), np.zeros(swell.size)
    for pulse in pulses:
        where, gain = _held(pulse)
        loop = np.arange(where.start, where.stop) % LOOP
        for note in pulse.chord[1]:
            dark[where] += gain * tones[note][0][loop]
            bright[where] += gain * tones[note][1][loop]
    seconds = np.arange(swell.size) / SAMPLE_RATE
    opening = 0.55 + 0.25 * np.sin(2 * np.pi * seconds / 23.0) + 0.15 * np.sin(2 * np.pi * seconds / 37.0 + 1.0)
    return np.asarray(0.14 * swell * (dark + 1.1 * opening * swell * bright))


def _bass(pulses: list[Pulse], swell: Samples) -> Samples:
    """The roots of the chords, [n], with enough overtones for a small loudspeaker."""
    bass = np.zeros(swell.size)
    for pulse in pulses:
        where, gain = _held(pulse)
        turns = _frequency(pulse.chord[0]) / SAMPLE_RATE * np.arange(where.start, where.stop)
        for partial, amplitude in enumerate((1.0, 0.6, 0.3, 0.14, 0.06), start=1):
            bass[where] += amplitude * gain * np.sin(2 * np.pi * partial * turns)
    return np.asarray(0.22 * np.sqrt(swell) * bass)


def _air(swell: Samples, random: np.random.Generator) -> Samples:
    """Soft breath between 1.5 and 6 kHz that comes with the swells, [n]."""
    bins = np.arange(LOOP // 2 + 1) * (SAMPLE_RATE / LOOP)
    shape = np.exp(-0.5 * (np.log2(np.maximum(bins, 1.0) / 3_000) / 0.6) ** 2)
    noise = np.fft.irfft(shape * np.exp(2j * np.pi * random.random(bins.size)))
    noise /= np.std(noise)
    return np.asarray(0.025 * (0.1 + 0.9 * swell**2) * noise[np.arange(swell.size) % LOOP])


def _add(track: Samples, start: int, note: Samples) -> None:
    """Add a note to the track, cut at the track's end (which fades, so that nothing clicks)."""
    part = track[start : start + note.size]
    part += note[: part.size]


def _struck(note: int, ratios: tuple[float, ...], seconds: float) -> Samples:
    """A struck tone, [n], peak about 1: partials at these ratios, the higher the shorter and the softer."""
    time = np.arange(int(1.6 * seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = np.zeros(time.size)
    for order, ratio in enumerate(ratios):
        frequency = _frequency(note) * ratio
        if frequency < 7_200:
            tone += 0.55**order * np.exp(-6.9 / seconds * time * ratio**0.7) * np.sin(2 * np.pi * frequency * time)
    tone *= np.minimum(time / 0.006, 1.0)  # the stroke is soft: 6 ms
    tone *= np.minimum((time[-1] - time) / 0.05, 1.0)
    return np.asarray(tone / np.max(np.abs(tone)))


def _bells(pulses: list[Pulse], length: int, random: np.random.Generator) -> Samples:
    """The bell melody, [length]; some later notes are left out, and others sound an octave higher."""
    notes = sorted({note for phrases in BELLS.values() for phrase in phrases for _, note in phrase})
    tones = {n: _struck(n, (1.0, 2.0, 2.76, 4.07, 5.4), 4.0) for note in notes for n in (note, note + 12)}
    track = np.zeros(length)
    _add(track, LEAD_IN, 0.4 * tones[74])  # one stroke opens the song
    for pulse in pulses:
        if "bells" not in LAYERS[pulse.cycle] and not pulse.last:
            continue
        for order, (step, note) in enumerate(BELLS[FORM[pulse.cycle]][pulse.place]):
            absent, high, softness = random.random() < 0.15, random.random() < 0.12, random.uniform(0.75, 1.0)
            if order == 0 or not absent:
                _add(track, pulse.step(step), 0.36 * softness * tones[note + 12 * high])
    return track


def _flute(pulses: list[Pulse], swell: Samples, random: np.random.Generator) -> Samples:
    """The flute melody, [n], which leans into the swells."""
    track = np.zeros(swell.size)
    for pulse in pulses:
        if "flute" not in LAYERS[pulse.cycle] or pulse.last:
            continue
        for step, note, steps in FLUTE[FORM[pulse.cycle]][pulse.place]:
            start, stop = pulse.step(step), pulse.step(step + steps)
            _add(track, start, 0.26 * _blown(note, stop - start + SAMPLE_RATE // 4, random))
    return np.asarray(track * np.sqrt(swell))


def _blown(note: int, samples: int, random: np.random.Generator) -> Samples:
    """One flute note, [samples]: few partials, a vibrato that grows, some breath; soft at both ends."""
    time = np.arange(samples) / SAMPLE_RATE
    vibrato = np.minimum(time / 1.2, 1.0) * np.sin(2 * np.pi * 4.7 * time + random.uniform(0, 6))
    turns = np.cumsum(_frequency(note) * (1 + 0.0035 * vibrato)) / SAMPLE_RATE
    tone = np.zeros(samples)
    for partial, amplitude in enumerate((1.0, 0.42, 0.26, 0.1, 0.06, 0.03), start=1):
        tone += amplitude * (1 + 0.12 * vibrato) * np.sin(2 * np.pi * partial * turns)
    # Breath: slow noise (below some 200 Hz) on the second and third partial is a band of noise around each.
    breath = np.convolve(random.standard_normal(samples), np.hanning(80) / 6, mode="same")
    tone += 0.06 * breath * (np.sin(4 * np.pi * turns) + np.sin(6 * np.pi * turns))
    return np.asarray(tone * np.minimum(time / 0.18, 1.0) * np.minimum((time[-1] - time) / 0.25, 1.0))


def _plucks(pulses: list[Pulse], length: int, random: np.random.Generator) -> Samples:
    """Plucked chord tones on every step, an octave above the pad, [length]; louder where the swell is."""
    notes = sorted({note + 12 for pulse in pulses for note in pulse.chord[1]})
    tones = {note: _struck(note, (1.0, 2.0, 3.0, 5.8), 1.5) for note in notes}
    track = np.zeros(length)
    for pulse in pulses:
        if "plucks" not in LAYERS[pulse.cycle] or pulse.last:
            continue
        for step, voice in enumerate(PLUCK_ORDER):
            loudness = 0.28 * random.uniform(0.8, 1.0) * (0.35 + 0.65 * np.sin(np.pi * (step + 0.5) / STEPS))
            _add(track, pulse.step(step), loudness * tones[pulse.chord[1][voice] + 12])
    return track


def _reverberate(dry: Samples, random: np.random.Generator) -> Samples:
    """The dry sound and a room of 2.6 s in which the treble dies first, [n]."""
    size = 1 << 17
    time = np.arange(int(2.6 * SAMPLE_RATE)) / SAMPLE_RATE
    noise = np.fft.rfft(random.standard_normal(time.size))
    bins = np.fft.rfftfreq(time.size, 1 / SAMPLE_RATE)
    room = np.zeros(time.size)
    for centre, seconds in ((150.0, 2.6), (700.0, 2.4), (2_500.0, 1.7), (6_000.0, 1.0)):
        band = np.exp(-0.5 * (np.log2(np.maximum(bins, 20.0) / centre) / 0.9) ** 2)
        room += np.fft.irfft(noise * band, time.size) * np.exp(-6.9 * time / seconds)
    room *= np.minimum(time / 0.03, 1.0) * 0.45 / np.sqrt(np.sum(room**2))
    room[0] = 0.9  # the dry sound
    response = np.fft.rfft(room, size)
    step = size - room.size + 1
    wet = np.zeros(dry.size + size)
    for start in range(0, dry.size, step):
        wet[start : start + size] += np.fft.irfft(np.fft.rfft(dry[start : start + step], size) * response, size)
    return wet[: dry.size]


def _finish(song: Samples) -> npt.NDArray[np.float32]:
    """Silence before the first note, the fade at the end, and the level: [n] float32."""
    song[:LEAD_IN] = 0.0
    song[-FADE_OUT:] *= np.cos(np.pi / 2 * np.arange(1, FADE_OUT + 1) / FADE_OUT) ** 2
    song[-1] = 0.0
    song *= 10 ** (LEVEL_DBFS / 20) / np.sqrt(np.mean(song[LEAD_IN:] ** 2))
    peak = np.max(np.abs(song))
    ceiling = 10 ** (PEAK_DBFS / 20)
    if peak > ceiling:
        song *= ceiling / peak
    return song.astype(np.float32)
