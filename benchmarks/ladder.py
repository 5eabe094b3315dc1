"""The ladder from the seeds' model to the recommended one, each rung trained on your song as long as the others.

    python -m benchmarks.ladder my.ogg --minutes 3

writes the table of docs/ladder.md and docs/ladder.png, the spectrograms of the rungs' pieces. Each rung is a process on
one core: it trains, makes two pieces of a minute as `generate` does, and measures them as `evaluate` does. A stopped
command goes on where it was; a rung is kept until its settings are others.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonicrnn.config import Settings, load_settings, parse_settings
from sonicrnn.errors import UserError, run_command
from sonicrnn.files import write_json, write_text, written_beside
from sonicrnn.listing import find_files

RUNGS = (
    Path("configs/seeds/base.yaml"),
    *(
        Path(f"configs/ladder/{name}.yaml")
        for name in ("drawn", "spectra", "spectra-drawn", "parts", "untrained", "recall")
    ),
    Path("configs/gru.yaml"),
)
PAGE, PICTURE = Path("docs/ladder.md"), Path("docs/ladder.png")
BEGIN, END = "<!-- The table is written by `python -m benchmarks.ladder`. -->", "<!-- End of the table. -->"
SEEDS, SECONDS, SHOWN_SECONDS = (11, 12), 60.0, 20.0
ROW, SPECTROGRAM = "rung.json", "rung.png"  # in the run folder
# And with how many decimals.
FIGURES = {"score": 0, "told": 0, "level": 1, "flatness": 2, "onsets": 2, "speed": 2, "beat": 2, "copied": 0}
HEADINGS = (
    "rung", "steps", "weights", "score", "told, %", "level, dB", "flatness, ×", "note starts, ×", "pace, ×", "beat, ×",
    "copied, s",
    "temperature", "a minute takes, s",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the rungs that are missing, the table and the picture."""
    options = _parser().parse_args(arguments)
    if options.rung:
        _climb(_settings(Path(options.rung), options))
        return
    find_files(options.song)
    core = max(os.sched_getaffinity(0))
    for file in RUNGS:
        if _made(file, options) is None:
            command = [sys.executable, "-m", "benchmarks.ladder", options.song, "--minutes", str(options.minutes)]
            command += ["--runs", options.runs, "--rung", str(file)]
            done = subprocess.run(command, check=False, preexec_fn=lambda: os.sched_setaffinity(0, [core]))
            if done.returncode:
                raise UserError(f"{file} could not be made: the lines above say why; the same command goes on")
        write_page({file: row for file in RUNGS if (row := _made(file, options))}, Path(options.runs))
    print(f"table: {PAGE}")


def write_page(rows: Mapping[Path, Mapping[str, Any]], runs: Path) -> None:
    """Put the table into the page in place of the one that is there, and the spectrograms into one picture."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    write_text(PAGE, f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{rest.partition(END)[2]}")
    _stack([runs / file.stem / SPECTROGRAM for file in rows], PICTURE)


def table(rows: Mapping[Path, Mapping[str, Any]]) -> str:
    """A line for each rung; of its two pieces the mean, and of the score both."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "| --- " + "| ---: " * (len(HEADINGS) - 1) + "|"]
    for file, row in rows.items():
        figures = {key: [value for value in row["figures"][key] if value is not None] for key in FIGURES}
        means = {
            key: f"{statistics.mean(values):.{FIGURES[key]}f}" if values else "–" for key, values in figures.items()
        }
        means["score"] = f"**{means['score']}** ({', '.join(f'{value:.0f}' for value in figures['score'])})"
        link = f"[{file.stem}]({os.path.relpath(file, PAGE.parent)})"
        costs = [f"{row['steps']:,.0f}", f"{row['weights'] / 1e6:.2f} M"]
        ends = [f"{row['temperature']:.2f}", f"{row['minute_seconds']:.1f}"]
        lines.append("| " + " | ".join([link, *costs, *means.values(), *ends]) + " |")
    return "\n".join(lines)


def _stack(files: Sequence[Path], target: Path) -> None:
    """Pictures of one size, one under the other."""
    from PIL import Image

    pictures = [Image.open(file).convert("RGB") for file in files]
    whole = Image.new("RGB", (max(one.width for one in pictures), sum(one.height for one in pictures)), "white")
    top = 0
    for one in pictures:
        whole.paste(one, (0, top))
        top += one.height
    buffer = io.BytesIO()
    whole.quantize(128).save(buffer, "PNG", optimize=True)
    with written_beside(target) as beside:
        beside.write_bytes(buffer.getvalue())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ladder", description="See the module's head.")
    parser.add_argument("song", help="a recording of two minutes or more")
    parser.add_argument("--minutes", type=float, default=3.0, help="of training for each rung (default: 3)")
    parser.add_argument("--runs", default="runs/ladder", help="folder of the rungs' runs (default: runs/ladder)")
    parser.add_argument("--rung", help=argparse.SUPPRESS)
    return parser


def _settings(file: Path, options: argparse.Namespace) -> Settings:
    shared = {"song.path": json.dumps(options.song), "runs": json.dumps(options.runs), "name": file.stem}
    shared |= {"train.minutes": options.minutes, "wandb.mode": "disabled", "train.audio_minutes": 1000}
    return load_settings(file, [f"{name}={value}" for name, value in shared.items()])


def _made(file: Path, options: argparse.Namespace) -> dict[str, Any] | None:
    """A rung that was made with these very settings; None where there is none."""
    place = Path(options.runs) / file.stem / ROW
    try:
        row: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        made = parse_settings(row["settings"], where=str(place))
    except (FileNotFoundError, UserError):
        return None
    return row if made == _settings(file, options) else None


def _climb(settings: Settings) -> None:
    """Train and measure one rung, in this process; leaves a row and a spectrogram in its run folder."""
    from sonicrnn.generator import load_generator
    from sonicrnn.listening import score
    from sonicrnn.pictures import save_figure, spectrogram
    from sonicrnn.scores import as_json
    from sonicrnn.training import fit

    run = fit(settings, then=lambda run: None)
    assert run is not None, "one process is the chief"
    generator = load_generator(run.folder)
    primes = generator.primes("validation", SEEDS)
    generator.generate(primes[:1], 1.0, seeds=SEEDS[:1], takes=1)  # makes the graphs
    pieces, begin = {}, time.perf_counter()
    for prime, seed in zip(primes, SEEDS, strict=True):
        pieces[f"seed {seed}"] = generator.generate(prime[None], SECONDS, seeds=[seed])[0]
    minute_seconds = (time.perf_counter() - begin) / len(SEEDS)
    figures = as_json(score(generator, pieces))["figures"]
    rate = generator.encoding.sample_rate
    shown = pieces[f"seed {SEEDS[0]}"][: round(SHOWN_SECONDS * rate)]
    save_figure(run.folder / SPECTROGRAM, spectrogram(shown, rate, title=str(settings.name)), dots_per_inch=60)
    history = run.history.read_text(encoding="utf-8").splitlines()
    steps = float(dict(zip(history[0].split(","), history[-1].split(","), strict=True))["step"])
    row = {
        "settings": settings.model_dump(mode="json"),
        "steps": steps,
        "weights": generator.free_run.model.count_params(),
        "temperature": generator.temperature,
        "minute_seconds": minute_seconds,
        "figures": {key: list(figures[key]["pieces"].values()) for key in FIGURES},
    }
    write_json(run.folder / ROW, row)


if __name__ == "__main__":
    run_command(main)
