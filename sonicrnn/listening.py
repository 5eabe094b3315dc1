"""The end of a training: pieces at several temperatures, their scores, and the page to listen to them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sonicrnn import quality
from sonicrnn.clock import clock
from sonicrnn.config import dump_settings
from sonicrnn.distances import log_mel_floor
from sonicrnn.drawing import save_figure
from sonicrnn.files import write_json
from sonicrnn.form import MOMENT_SECONDS, SHORTEST_SECONDS, moments, unlikeness
from sonicrnn.generator import RunGenerator, load_generator
from sonicrnn.levels import Samples, level
from sonicrnn.original import read_original
from sonicrnn.originality import STRETCH_SECONDS
from sonicrnn.pictures import self_similarities
from sonicrnn.report import Beside, Piece, score_rows, score_verdicts, write_report
from sonicrnn.run import Run
from sonicrnn.scores import Scores, as_json
from sonicrnn.song import Song

EXCERPT_SECONDS = 20.0
NEAREST, LONGEST_NEAREST_SECONDS = 3, 8.0  # passages on the page
PIECE_SECONDS = 60.0  # at the run's own temperature, scored
OTHER_SECONDS = 20.0
LONGEST_FORM_SECONDS = 1200.0
OTHERS = (-0.2, 0.15)  # colder and warmer than the run's own temperature


def write_page(run: Run, report: Callable[[str], None] = print) -> None:
    """Generate, evaluate, and write `scores.json` and `listen.html` into the run folder."""
    generator = load_generator(run.folder)
    own = generator.temperature
    seed = generator.settings.seed
    report(f"temperature {own:g}; generating {PIECE_SECONDS:g} s to listen to")
    piece, heard = generator.piece(generator.primes("validation", [seed])[0], PIECE_SECONDS, own, seed)
    scores = _scores(generator, piece, report)
    write_report(
        run.page,
        f"{generator.song.name}, and more of it",
        _facts(generator),
        _pieces(generator, heard),
        score_rows(scores) if scores else None,
        _history(run),
        dump_settings(generator.settings),
        verdicts=score_verdicts(scores) if scores else None,
        nearest=_nearest(generator, heard, scores["pieces"]["free run"]) if scores else (),
    )
    report(f"listen: {run.page.resolve()}")


def _scores(generator: RunGenerator, piece: np.ndarray, report: Callable[[str], None]) -> dict[str, Any] | None:
    """The scores of the piece as `scores.json` has them; None for a song that is too short to judge by."""
    try:
        scores = score(generator, {"free run": piece})
    except ValueError as error:
        report(f"no scores: {error}")
        return None
    for verdict in scores.verdicts["free run"]:
        report(f"  {'+' if verdict.good else '!'} {verdict.text}")
    found = as_json(scores)
    write_json(generator.run.scores, found)
    return found


def score(generator: RunGenerator, pieces: Mapping[str, Samples]) -> Scores:
    """The scores of pieces of a run, beside their references. Raises ValueError for a piece under 3 s."""
    song = generator.song
    training, held_out = song.part("training"), song.samples[song.parts["validation"][0] :]
    excerpt = held_out[: round(PIECE_SECONDS * song.sample_rate)]
    return quality.evaluate(
        pieces,
        training,
        held_out,
        song.sample_rate,
        hop=generator.encoding.step,
        frames=generator.reconstruct(excerpt),
        song_seconds=song.left_out / song.sample_rate,
        seed=generator.settings.seed,
    )


def draw_form(file: Path, song: Song, pieces: Mapping[str, Samples]) -> bool:
    """Draw how like each moment is to each other, of the song and each piece; False where these are too short."""
    rate, training = song.sample_rate, song.part("training")
    sounds = {"the song": training, **pieces}
    heard = {name: one[: round(LONGEST_FORM_SECONDS * rate)] for name, one in sounds.items()}
    if min(map(len, heard.values())) < SHORTEST_SECONDS * rate:
        return False
    dbfs, floor_db = level(heard["the song"], rate), log_mel_floor([heard["the song"]], rate)
    alike = {name: -unlikeness(moments(one, rate, dbfs, floor_db)) for name, one in heard.items()}
    save_figure(file, self_similarities(alike, MOMENT_SECONDS, "likeness: less the distance in dB"))
    return True


def _nearest(generator: RunGenerator, piece: Samples, found: Mapping[str, Any]) -> list[Beside]:
    """What was copied, the longest first, and then the likeliest stretches, beside what they are like."""
    chosen: list[Mapping[str, float]] = []
    for one in [*found["copied"], *({**closest, "seconds": STRETCH_SECONDS} for closest in found["closest"])]:
        apart = all(abs(one["piece_seconds"] - other["piece_seconds"]) >= STRETCH_SECONDS for other in chosen)
        if apart and len(chosen) < NEAREST:
            chosen.append(one)
    return [_beside(generator, piece, one, one in found["copied"]) for one in chosen]


def _beside(generator: RunGenerator, piece: Samples, found: Mapping[str, float], copied: bool) -> Beside:
    song, length = generator.song, min(found["seconds"], LONGEST_NEAREST_SECONDS)
    rate, start = heard_rate(generator), round(found["piece_seconds"] * heard_rate(generator))
    of_song = round(found["song_seconds"] * song.sample_rate) - song.left_out
    return Beside(
        f"{found['likeness']:.2f} alike" + (f", {found['seconds']:.0f} s copied" if copied else ""),
        Piece(f"Free run, {clock(found['piece_seconds'])}", piece[start : start + round(length * rate)], rate),
        Piece(
            f"The song, {clock(found['song_seconds'])}",
            as_recorded(generator, of_song, of_song + round(length * song.sample_rate)),
            rate,
        ),
    )


def heard_rate(generator: RunGenerator) -> int:
    """Hz, of pieces as they are heard: the recording's where there is a master."""
    master = generator.plays()
    return master.sample_rate if master else generator.encoding.sample_rate


def as_recorded(generator: RunGenerator, start: int, stop: int) -> Samples:
    """Some samples of the song, as its pieces are heard: in mono, or with the recording's channels at its rate."""
    song = generator.song
    if generator.plays() is None:
        return song.samples[start:stop]
    return read_original(song, start, min(stop, len(song.samples)), heard_rate(generator))


def _pieces(generator: RunGenerator, piece: np.ndarray) -> list[Piece]:
    rate, own = heard_rate(generator), generator.temperature
    start = generator.song.parts["test"][0]
    test = generator.song.part("test")[: round(EXCERPT_SECONDS * generator.encoding.sample_rate)]
    pieces = [
        Piece(
            "The song itself",
            as_recorded(generator, start, start + len(test)),
            rate,
            "From its last tenth, which the training never saw.",
        ),
        Piece(
            "Through the frames and back",
            generator.reconstruct_master(test) if generator.plays() else generator.reconstruct(test),
            rate,
            "The same seconds, taken apart into the model's frames and put together again: the best this kind can do.",
        ),
        Piece(f"Free run, temperature {own:.2f}", piece, rate, "What the model makes by itself; the scores are its."),
    ]
    if not generator.free_run.model.head.noise_size:
        return pieces  # without chance there is no temperature
    seed = generator.settings.seed
    others = [max(0.1, own + difference) for difference in OTHERS]
    prime = generator.primes("validation", [seed])[0]
    made = [generator.piece(prime, OTHER_SECONDS, temperature, seed)[1] for temperature in others]
    words = ("colder: more regular, duller", "warmer: more surprising, rougher")
    return pieces + [
        Piece(f"Free run, temperature {temperature:.2f}", samples, rate, word)
        for temperature, samples, word in zip(others, made, words, strict=True)
    ]


def _facts(generator: RunGenerator) -> dict[str, str]:
    song, history = generator.song, _history(generator.run) or {}
    minutes = (history.get("seconds") or [0.0])[-1] / 60
    return {
        "Song": song_words(song),
        "Frames": f"{generator.encoding.settings.kind}, {generator.encoding.step} samples a step",
        "Model": f"{generator.free_run.model.count_params():,} weights, {generator.settings.model.head.kind} head",
        "Training": f"{minutes:.1f} min, {len(history.get('epoch', []))} epochs",
        "Temperature": f"{generator.temperature:.2f}",
    }


def song_words(song: Song) -> str:
    """Its name, length and rate."""
    return f"{song.name}, {len(song.samples) / song.sample_rate / 60:.1f} min at {song.sample_rate} Hz"


def _history(run: Run) -> dict[str, list[float]] | None:
    """The columns of `history.csv`."""
    if not run.history.is_file():
        return None
    with run.history.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in rows[0]} if rows else None
