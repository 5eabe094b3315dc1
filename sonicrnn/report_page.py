"""The HTML of the listening page: plain, readable without its script, and with nothing fetched from anywhere."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Chart:
    """A picture: its data address, its width and height in pixels, what it shows in words, and what to say of it."""

    picture: str
    size: tuple[int, int]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Player:
    """A piece: the data address of its sound, its spectrogram, and where in that picture time begins and ends (0–1)."""

    title: str
    caption: str
    sound: str
    chart: Chart
    time_span: tuple[float, float]


@dataclass(frozen=True)
class Pair:
    """Two sounds to compare, side by side: a heading, and by caption the data address of each."""

    title: str
    sounds: Mapping[str, str]


def page(
    title: str,
    facts: Mapping[str, str],
    players: Sequence[Player],
    charts: Mapping[str, Chart],
    scores: Mapping[str, Mapping[str, float | int | str | None]] | None,
    verdicts: Mapping[str, Sequence[tuple[bool, str]]],
    commands: Mapping[str, str],
    settings: Mapping[str, str],
    note: str = "",
    pairs: Sequence[Pair] = (),
) -> str:
    """The whole page. Every string is the user's and is escaped here, and only here."""
    sections = {
        "Listen": _listen(players, note),
        **{heading: _figure(chart) for heading, chart in charts.items()},
        "Scores": _verdicts(verdicts) + (_scores(scores) if scores else ""),
        "Is it new?": _pairs(pairs),
        "Make more": _commands(commands),
        "Settings": _settings(settings),
    }
    body = "\n".join(
        f'<section aria-labelledby="s{number}">\n<h2 id="s{number}">{escape(heading)}</h2>\n{content}\n</section>'
        for number, (heading, content) in enumerate(sections.items())
        if content
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        # The page may show what it holds and run its one script: nothing from outside, whatever a name contains.
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; media-src data:; '
        f"style-src '{_digest(_STYLE)}'; script-src '{_digest(_SCRIPT)}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n<h1>{escape(title)}</h1>\n{_facts(facts)}\n</header>\n<main>\n{body}\n</main>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def number_text(value: float | int | str | None) -> str:
    """A value as the table shows it: three digits that mean something, a real minus, a dash for none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        value = "0" if value == 0 else f"{value:.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"
        return value.replace("-", "−")
    return str(value).replace("-", "−") if isinstance(value, int) else value


def _facts(facts: Mapping[str, str]) -> str:
    pairs = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return "<dl>" + "\n".join(pairs) + "</dl>" if facts else ""


def _listen(players: Sequence[Player], note: str) -> str:
    parts = [f"<p>{escape(note)}</p>"] if note else []
    for number, player in enumerate(players, 1):
        start, stop = player.time_span
        caption = f"<p>{escape(player.caption)}</p>\n" if player.caption else ""
        audio = f'<audio controls preload="metadata" aria-labelledby="p{number}" src="{escape(player.sound)}"></audio>'
        picture = f'<div class="time" data-start="{start:.5f}" data-stop="{stop:.5f}">{_image(player.chart)}</div>'
        parts.append(
            f'<article aria-labelledby="p{number}">\n<h3 id="p{number}">{number}. {escape(player.title)}</h3>\n'
            f"{caption}{audio}\n{picture}\n</article>"
        )
    return "\n".join(parts) or "<p>This run has made nothing yet.</p>"


def _pairs(pairs: Sequence[Pair]) -> str:
    parts = []
    for number, pair in enumerate(pairs, 1):
        sides = "\n".join(
            f'<div><p id="n{number}{side}">{escape(caption)}</p>\n<audio controls preload="metadata" '
            f'aria-labelledby="n{number} n{number}{side}" src="{escape(sound)}"></audio></div>'
            for side, (caption, sound) in zip("ab", pair.sounds.items(), strict=True)
        )
        parts.append(
            f'<article aria-labelledby="n{number}">\n<h3 id="n{number}">{escape(pair.title)}</h3>\n'
            f'<div class="pair">\n{sides}\n</div>\n</article>'
        )
    words = "<p>The passages of the piece that are most like one of the song, each beside that one.</p>\n"
    return words + "\n".join(parts) if parts else ""


def _figure(chart: Chart) -> str:
    # A phone scrolls a picture sideways rather than shrink its labels; the keyboard reaches it as well.
    caption = f"\n<p>{escape(chart.caption)}</p>" if chart.caption else ""
    return f'<div class="wide line" tabindex="0" role="group" aria-label="Picture">{_image(chart)}</div>{caption}'


def _image(chart: Chart) -> str:
    width, height = chart.size
    return f'<img src="{escape(chart.picture)}" alt="{escape(chart.alt)}" width="{width}" height="{height}">'


def _verdicts(verdicts: Mapping[str, Sequence[tuple[bool, str]]]) -> str:
    parts = []
    for name, lines in verdicts.items():
        items = "\n".join(
            f'<li class="{"good" if good else "bad"}">{"✓" if good else "✗"} {escape(text)}</li>'
            for good, text in lines
        )
        parts.append(f"<h3>{escape(name)}</h3>\n<ul>\n{items}\n</ul>\n")
    return "".join(parts)


def _scores(scores: Mapping[str, Mapping[str, float | int | str | None]]) -> str:
    columns = list(dict.fromkeys(name for row in scores.values() for name in row))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    rows = []
    for name, row in scores.items():
        cells = "".join(f"<td>{escape(number_text(row.get(column)))}</td>" for column in columns)
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    body = "\n".join(rows)
    return (
        '<div class="wide" tabindex="0" role="group" aria-label="Table of scores">\n<table>\n'
        f'<thead><tr><th scope="col">Figure</th>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>'
    )


def _commands(commands: Mapping[str, str]) -> str:
    return "\n".join(f"<h3>{escape(what)}</h3>\n{_code(command)}" for what, command in commands.items())


def _settings(settings: Mapping[str, str]) -> str:
    """What opens on a click, by its title."""
    return "\n".join(
        f"<details><summary>{escape(title)}</summary>{_code(text)}</details>" for title, text in settings.items()
    )


def _code(text: str) -> str:
    return f'<pre tabindex="0"><code>{escape(text)}</code></pre>'


def _digest(text: str) -> str:
    """How a content security policy names one allowed text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


# Playing one stops the others; a line goes along the spectrogram, and a click there moves the sound.
_SCRIPT = """
"use strict";
const players = [...document.querySelectorAll("audio")];
document.addEventListener("play", event => players.forEach(one => one === event.target || one.pause()), true);
for (const time of document.querySelectorAll(".time")) {
  const audio = time.parentElement.querySelector("audio");
  const start = Number(time.dataset.start), span = Number(time.dataset.stop) - start;
  const line = time.appendChild(document.createElement("i"));
  const follow = () => {
    line.style.left = 100 * (start + span * (audio.currentTime / audio.duration || 0)) + "%";
    if (!audio.paused) requestAnimationFrame(follow);
  };
  for (const happened of ["play", "seeked", "timeupdate", "loadedmetadata"]) audio.addEventListener(happened, follow);
  follow();
  time.addEventListener("click", event => {
    const box = time.firstElementChild.getBoundingClientRect();
    const place = ((event.clientX - box.left) / box.width - start) / span;
    if (audio.duration) audio.currentTime = audio.duration * Math.min(1, Math.max(0, place));
  });
}
"""

_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f5f5f6; --ink: #1d1d20; --soft: #5c5c63; --rule: #dcdce0;
  --accent: #0060a0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #131316; --raised: #1e1e22; --ink: #e9e9ec; --soft: #a6a6ae; --rule: #36363c; --accent: #7cc0f4; }
  .line img { filter: invert(0.926) hue-rotate(180deg); }
  .time img { filter: brightness(0.86); }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 62rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 1rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 1rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 0; overflow-wrap: anywhere; }
p { margin: 0.1rem 0 0; color: var(--soft); max-width: 46rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(11rem, 42%), 1fr)); gap: 0.7rem 1.4rem;
  margin: 0; }
dt { color: var(--soft); font-size: 0.85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
article { padding: 1rem; margin: 0 0 1.2rem; background: var(--raised); border-radius: 0.6rem; }
audio { display: block; width: 100%; margin: 0.7rem 0; }
img { display: block; width: 100%; height: auto; border-radius: 0.3rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); gap: 0 1.4rem; }
.time { position: relative; cursor: crosshair; }
.time i { position: absolute; top: 0; bottom: 0; width: 2px; margin-left: -1px; background: #1e90ff;
  pointer-events: none; }
ul { list-style: none; margin: 0.3rem 0 1.2rem; padding: 0; }
li { padding-left: 1.15rem; text-indent: -1.15rem; }
.bad { font-weight: 600; }
.wide { overflow-x: auto; }
.wide img { min-width: 40rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.4rem 0.7rem; text-align: right; border-bottom: 1px solid var(--rule); }
thead th { vertical-align: bottom; color: var(--soft); font-weight: 600; min-width: 5.5rem; }
th:first-child { position: sticky; left: 0; text-align: left; background: var(--ground); padding-left: 0; }
tbody th { font-weight: 500; min-width: 9rem; }
pre { margin: 0.3rem 0 1.2rem; padding: 0.8rem; background: var(--raised); border-radius: 0.4rem; font-size: 0.9rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; color: var(--accent); padding: 0.3rem 0; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
@media (max-width: 34rem) { body { padding-top: 1rem; } h1 { font-size: 1.5rem; } article { padding: 0.8rem; } }
@media print { audio, .time i { display: none; } }
"""
