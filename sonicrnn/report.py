"""The listening page `listen.html`: what a run sounds like, beside what it was trained on, in one file."""

from __future__ import annotations

import base64
import io
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from sonicrnn import pictures
from sonicrnn.audio import to_int16
from sonicrnn.drawing import png_bytes
from sonicrnn.files import write_text
from sonicrnn.report_page import Chart, Pair, Player, number_text, page

Floats = npt.NDArray[np.floating[Any]]
Value = float | int | str | None

# Base64 characters of sound that keep the page under 8 MB with its pictures: some four minutes of FLAC at 16 kHz.
SOUND_BUDGET = 5_500_000
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MP3_LOSSES = (0.0, 0.2, 0.4)  # of two channels at 48 kHz 320, 257 and 193 kbit/s


@dataclass(frozen=True, eq=False)
class Piece:
    """Something to listen to: `samples` [n] or [n, channels], full scale ±1.0, at `sample_rate` Hz, and its words."""

    title: str
    samples: Floats
    sample_rate: int
    caption: str = ""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / self.sample_rate

    @property
    def mono(self) -> Floats:
        """The mean of its channels, [n]."""
        return self.samples if self.samples.ndim == 1 else self.samples.mean(1)


@dataclass(frozen=True)
class Beside:
    """A passage of the piece, the one of the song that is most like it, and what is to be said of them."""

    title: str
    piece: Piece
    song: Piece


@dataclass(frozen=True)
class Sound:
    """An encoded piece: the bytes of a file and their media type."""

    content: bytes
    media_type: str


def write_report(
    path: str | os.PathLike[str],
    title: str,
    facts: Mapping[str, str],
    pieces: Sequence[Piece],
    scores: Mapping[str, Mapping[str, Value]] | None,
    history: Mapping[str, Sequence[float | None]] | None,
    settings_yaml: str,
    *,
    verdicts: Mapping[str, Sequence[tuple[bool, str]]] | None = None,
    commands: Mapping[str, str] | None = None,
    nearest: Sequence[Beside] = (),
    settings_title: str = "All settings of this run",
) -> None:
    """Write the page, whole or not at all. It holds all that it shows and opens from the disk.

    Args:
        path: of the page; the commands on it speak of the run in its folder.
        facts: name and value, shown in order at the top.
        pieces: the players, in order; all at one rate, so that one picture can show their levels.
        scores: a row for each figure: its name, then a value for each column's name. None leaves the table out.
        history: as `pictures.learning_curves` takes it. None leaves the curves out.
        settings_yaml: the settings of the run, under `settings_title`.
        verdicts: by piece, what the scores say in words, and whether each is good news.
        commands: what each command does, and the command; None writes those that make more of the run's folder.
        nearest: passages to compare, in order.

    Raises:
        ValueError: a piece holds NaN or infinity, or the pieces' rates differ.
    """
    if len({piece.sample_rate for piece in pieces}) > 1:
        raise ValueError("the pieces of one page must have one sample rate")
    passages = [passage for pair in nearest for passage in (pair.piece, pair.song)]
    encoded = encode_all([*pieces, *passages])
    sounds, of_passages = encoded[: len(pieces)], encoded[len(pieces) :]
    write_text(
        path,
        page(
            title=title,
            facts=facts,
            players=[_player(piece, sound) for piece, sound in zip(pieces, sounds, strict=True)],
            charts=_charts(pieces, history),
            scores=scores,
            verdicts=verdicts or {},
            commands=commands if commands is not None else _commands(Path(path).parent),
            settings={settings_title: settings_yaml},
            note=_note(sounds),
            pairs=_pairs(nearest, of_passages),
        ),
    )


def score_rows(content: Mapping[str, Any]) -> dict[str, dict[str, Value]]:
    """The figures of a `scores.json` as `write_report` takes them: pieces first, then the song, then the references."""
    rows: dict[str, dict[str, Value]] = {}
    for figure in content["figures"].values():
        name = f"{figure['title']} ({figure['unit']})" if figure["unit"] else figure["title"]
        low, high = figure["song"]
        song = None if low is None or high is None else f"{number_text(low)} to {number_text(high)}"
        rows[name] = {**figure["pieces"], "the song's own windows": song, **figure["references"]}
    return rows


def score_verdicts(content: Mapping[str, Any]) -> dict[str, list[tuple[bool, str]]]:
    """The verdicts of a `scores.json` as `write_report` takes them."""
    return {name: [(one["good"], one["text"]) for one in of["verdicts"]] for name, of in content["pieces"].items()}


def encode_all(pieces: Sequence[Piece], budget: int = SOUND_BUDGET) -> list[Sound]:
    """Every piece as FLAC, or every one as MP3, as good as `budget` characters of base64 allow, where FLAC takes more.

    Both play from the disk in the browsers of today (Ogg does not before Safari 18.4). FLAC is half of
    a WAV file and changes nothing: a click that is heard was made by the model. MP3, at its best, is a fifth of it.
    """
    encoded = [encode_flac(piece) for piece in pieces]
    for loss in MP3_LOSSES:
        if sum(len(sound.content) for sound in encoded) * 4 / 3 <= budget:
            break
        encoded = [encode_mp3(piece, loss) for piece in pieces]
    return encoded


def encode_flac(piece: Piece) -> Sound:
    """The piece as a 16-bit FLAC file. Raises ValueError for NaN or infinity."""
    file = io.BytesIO()
    soundfile.write(file, to_int16(piece.samples), piece.sample_rate, format="FLAC", subtype="PCM_16")
    return Sound(file.getvalue(), "audio/flac")


def encode_mp3(piece: Piece, loss: float = MP3_LOSSES[0]) -> Sound:
    """The piece as an MP3 file, at the next rate that MP3 has; `loss` from 0, the best, to 1, the smallest.

    Raises ValueError for NaN or infinity.
    """
    rate = next((rate for rate in MP3_RATES if rate >= piece.sample_rate), MP3_RATES[-1])
    samples = to_int16(piece.samples)
    if rate != piece.sample_rate:
        samples = soxr.resample(samples, piece.sample_rate, rate)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="MP3", bitrate_mode="CONSTANT", compression_level=loss)
    return Sound(file.getvalue(), "audio/mpeg")


def _player(piece: Piece, sound: Sound) -> Player:
    figure = pictures.spectrogram(piece.mono, piece.sample_rate)
    png = png_bytes(figure)
    box = figure.axes[0].get_position()  # known since it was drawn
    return Player(
        title=piece.title,
        caption=piece.caption,
        sound=data_address(sound.content, sound.media_type),
        chart=_chart(
            png,
            f"Spectrogram of {piece.title}: {piece.seconds:.3g} s from left to right, pitch from low to high, "
            f"brighter is louder; its mean level is {_level(piece.mono)}.",
        ),
        time_span=(box.x0, box.x1),
    )


def _pairs(nearest: Sequence[Beside], sounds: Sequence[Sound]) -> list[Pair]:
    """`sounds` of the piece and of the song in turn."""
    addresses = iter(data_address(sound.content, sound.media_type) for sound in sounds)
    return [
        Pair(pair.title, {passage.title: next(addresses) for passage in (pair.piece, pair.song)}) for pair in nearest
    ]


def _charts(pieces: Sequence[Piece], history: Mapping[str, Sequence[float | None]] | None) -> dict[str, Chart]:
    """The pictures that are about all pieces, by their headings."""
    charts = {}
    if pieces:
        # By the numbers of the headings: titles in a legend would take the room of the curves.
        named = {f"{number}": piece.mono for number, piece in enumerate(pieces, 1)}
        levels = ", ".join(f"{number}. {_level(piece.mono)}" for number, piece in enumerate(pieces, 1))
        picture = png_bytes(pictures.level_curves(named, pieces[0].sample_rate))
        alt = f"Level over time of every piece, by its number. Mean levels: {levels}."
        charts["Levels"] = _chart(picture, alt, "Each curve is the piece of that number above.")
    if history and any(len(column) for column in history.values()):
        rows = max(len(column) for column in history.values())
        picture = png_bytes(pictures.learning_curves(history))
        charts["Learning"] = _chart(picture, f"Learning curves over {rows} epochs: {_ends(history)}.")
    return charts


def _chart(png: bytes, alt: str, caption: str = "") -> Chart:
    return Chart(data_address(png, "image/png"), _pixels(png), alt, caption)


def _ends(history: Mapping[str, Sequence[float | None]]) -> str:
    """Where each loss began and ended, in words."""
    parts = []
    for name, column in history.items():
        known = [value for value in column if value is not None and math.isfinite(value)]
        if "loss" in name and known:
            parts.append(f"{name} from {known[0]:.3g} to {known[-1]:.3g}")
    return ", ".join(parts) or "no losses noted"


def _level(samples: Floats) -> str:
    power = float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
    return f"{10 * math.log10(power):.1f} dBFS" if power > 0 else "silence"


def _commands(folder: Path) -> dict[str, str]:
    """Commands that make more of the run in `folder`, as typed from where this one was."""
    shown = os.path.relpath(folder) if folder.resolve().is_relative_to(Path.cwd()) else str(folder)
    run = shlex.quote(shown)
    return {
        "Four new minutes": f"python -m sonicrnn.generate {run} --seconds 60 --temperature 0.9 --seed 7 --count 4",
        "Go on from a recording of your own": f"python -m sonicrnn.generate {run} --seconds 60 --continue my.wav",
        "Measure again": f"python -m sonicrnn.evaluate {run}",
    }


def _note(sounds: Sequence[Sound]) -> str:
    if any(sound.media_type == "audio/mpeg" for sound in sounds):
        return "The players hold MP3, to keep this page small; the exact files are in the folder audio beside it."
    return ""


def _pixels(png: bytes) -> tuple[int, int]:
    """Width and height, which stand at a fixed place in every PNG file."""
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")


def data_address(content: bytes, media_type: str) -> str:
    """`content` as an address that holds it."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
