"""Does the yardstick measure? Scores of sounds whose place is known, for songs of yours (prints Markdown).

    python -m benchmarks.yardstick first.ogg second.ogg third.ogg

Each song is split as a training splits it. Scored are its validation and its test part, which nothing was learnt from;
these with white noise, or noise of the song's spectrum, mixed in; the song cut into grains that stand in random order;
the next song of the list; noises; and what a cap must catch: a copy, loops and near-silence. About a minute a song.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sonicrnn.audio import read_audio
from sonicrnn.judge import Judge, Score, make_judge
from sonicrnn.levels import Floats, Samples, level
from sonicrnn.song import split
from sonicrnn.spectrum import long_term_spectrum
from sonicrnn.yardstick import noise_like

RATE = 16_000
SHARES = (0.8, 0.1, 0.1)
SECONDS = 40.0
SNRS = (40, 30, 20, 10, 5, 0)
GRAINS = (1.0, 0.5, 0.25, 0.1)  # seconds
VIEWS = ("network_sound", "network_movement", "log_mel_sound", "log_mel_movement")


def main() -> None:
    """Print a table for each song."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.yardstick", description="See the module's head.")
    parser.add_argument("songs", nargs="+", metavar="SONG", help="two files or more, of half a minute at the least")
    files = parser.parse_args().songs
    songs = [read_audio(file, RATE) for file in files]
    for index, (file, song) in enumerate(zip(files, songs, strict=True)):
        print(f"\n{Path(file).stem}\n")
        _table(song, songs[(index + 1) % len(songs)])


def _table(song: Samples, other: Samples) -> None:
    parts = split(len(song), SHARES)
    training, held_out = song[: parts["training"][1]], song[parts["validation"][0] :]
    judge = make_judge(training, held_out, RATE)
    names = [name.replace("_", " ") for name in VIEWS if name in {scale.name for scale in judge.scales}]
    print("| sound | score | 95 % interval | without caps | capped by | " + " | ".join(names) + " |")
    print("| --- " * (5 + len(names)) + "|")
    print(_line("held-out", judge.score_held_out()), flush=True)
    real = {name: song[slice(*parts[name])] for name in ("validation", "test")}
    for name, samples in real.items():
        print(_line(f"{name} part alone", _uncopied(judge, samples)), flush=True)
    for name, samples in _sounds(training, held_out, other):
        known = judge.copies.look_in_training(samples) if "+" in name else None  # else all would be a copy
        print(_line(name, judge.score(samples, known)), flush=True)


def _uncopied(judge: Judge, samples: Samples) -> Score:
    """The score of held-out audio, which is not to be found in itself."""
    return judge.score(samples, judge.copies.look_in_training(samples))


def _sounds(training: Samples, held_out: Samples, other: Samples) -> Iterator[tuple[str, Samples]]:
    random, spectrum = np.random.default_rng(7), long_term_spectrum(training, RATE)
    white, length, dbfs = np.ones_like(spectrum), round(SECONDS * RATE), level(training, RATE)
    for name, shape in (("white noise", white), ("noise of the song's spectrum", spectrum)):
        for snr in SNRS:
            noise = noise_like(shape, len(held_out), RATE, level(held_out, RATE) - snr, random)
            yield f"held-out + {name}, {snr} dB under it", held_out + noise
    for seconds in GRAINS:
        yield f"grains of {seconds:g} s in random order", _grains(training, seconds, length, random)
    yield "another song, its start", other[:length]
    yield "another song, its end", other[-length:]
    yield "white noise", noise_like(white, length, RATE, dbfs, random)
    yield "noise of the song's spectrum", noise_like(spectrum, length, RATE, dbfs, random)
    hertz = np.maximum(20.0, np.fft.rfftfreq(2 * len(spectrum) - 2, 1.0 / RATE))
    yield "pink noise", noise_like(1.0 / hertz, length, RATE, dbfs, random)
    yield "brown noise", noise_like(1.0 / hertz**2, length, RATE, dbfs, random)
    middle = training[len(training) // 2 :]
    yield "copy of the training part", middle[:length]
    yield "half a copy, half the other song", np.concatenate([middle[: length // 2], other[length : 3 * length // 2]])
    yield "loop of 8 s", np.tile(held_out[: 8 * RATE], 5)
    yield "loop of 1 s", np.tile(held_out[:RATE], 40)
    yield "loop of 50 ms, a hum", np.tile(held_out[: RATE // 20], 800)
    yield "held-out, 36 dB fainter", held_out * 10 ** (-36 / 20)
    yield "silence", np.zeros(length)


def _grains(song: Samples, seconds: float, length: int, random: np.random.Generator) -> Floats:
    """Passages of the song in random order, with 10 ms of crossfade."""
    grain, fade = round(seconds * RATE), RATE // 100
    window = np.minimum(1.0, np.minimum(np.arange(grain + fade), np.arange(grain + fade)[::-1]) / fade)
    made = np.zeros(length + grain + fade)
    for start in range(0, length, grain):
        at = random.integers(0, len(song) - grain - fade)
        made[start : start + grain + fade] += song[at : at + grain + fade] * window
    return made[:length]


def _line(name: str, score: Score) -> str:
    places = [f"{score.seen[view].place:.2f}" for view in VIEWS if view in score.seen]
    bounds = f"{score.low:.0f}–{score.high:.0f}"
    cells = [name, f"**{score.value:.0f}**", bounds, f"{score.likeness:.0f}", score.capped_by or "", *places]
    return "| " + " | ".join(cells).replace("-0.00", "0.00") + " |"


if __name__ == "__main__":
    main()
