"""The page `explore.html`: one file that opens from the disk, with every picture inside it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from sonicrnn.explore_suggest import Suggestion


@dataclass(frozen=True)
class Shown:
    """A finished picture: `png` bytes of this `width` and `height` in pixels, and its words."""

    section: str
    name: str
    png: bytes
    width: int
    height: int
    alt: str
    caption: str


def page(
    name: str,
    summary: str,
    rows: Sequence[tuple[str, str]],
    observations: Sequence[str],
    suggestions: Sequence[Suggestion],
    command: str,
    shown: Sequence[Shown],
) -> str:
    """The whole page as HTML. `rows` are the facts; `command` is what the suggested overrides are added to."""
    sections = [(title, list(group)) for title, group in groupby(shown, key=lambda picture: picture.section)]
    links = ["Facts", "What one sees", "Suggestions", *(title for title, _ in sections)]
    body = "\n".join(
        [
            f"<header><h1>{escape(name)}</h1>\n<p>{escape(summary)}</p></header>",
            '<nav aria-label="Sections"><ul>',
            *(f'<li><a href="#{_anchor(title)}">{escape(title)}</a></li>' for title in links),
            "</ul></nav>\n<main>",
            _section("Facts", _table(rows)),
            _section("What one sees", "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in observations) + "</ul>"),
            _section("Suggestions", _suggestions(suggestions, command)),
            *(_section(title, "\n".join(_figure(one) for one in group)) for title, group in sections),
            "</main>",
        ]
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(name)} - a look at the song</title>\n<style>{_STYLE}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _section(title: str, content: str) -> str:
    return f'<section id="{_anchor(title)}">\n<h2>{escape(title)}</h2>\n{content}\n</section>'


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = (f'<tr><th scope="row">{escape(key)}</th><td>{escape(value)}</td></tr>' for key, value in rows)
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _suggestions(suggestions: Sequence[Suggestion], command: str) -> str:
    parts = ["<p>Lengths that follow from the figures above. The first is the one to start with.</p>"]
    for number, one in enumerate(suggestions):
        line = " ".join([command, *one.overrides])
        parts.append(f"<h3>{escape(one.kind)} frames{' (recommended)' if number == 0 else ''}</h3>")
        parts.append(f'<pre tabindex="0"><code>{escape(line)}</code></pre>')
        parts.append(f"<p>{escape(' '.join(one.reasons))}</p>")
    return "\n".join(parts)


def _figure(one: Shown) -> str:
    data = base64.b64encode(one.png).decode("ascii")
    image = (
        f'<img src="data:image/png;base64,{data}" alt="{escape(one.alt)}" width="{one.width}" height="{one.height}">'
    )
    caption = f"\n<figcaption>{escape(one.caption)}</figcaption>" if one.caption else ""
    # A phone scrolls a picture sideways rather than shrink its labels; the keyboard reaches it as well.
    wide = f'<div class="wide" tabindex="0" role="group" aria-label="{escape(one.name)}">{image}</div>'
    return f'<figure id="{escape(one.name)}">{wide}{caption}</figure>'


_STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: #fff; color: #222;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; margin: 0.5rem 0 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 0.6rem; padding-top: 0.6rem; border-top: 1px solid #ddd; }
h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem; }
header p { margin: 0.2rem 0 0; color: #555; }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.3rem 1.2rem; }
a { color: #0060a0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid #eee; }
th { font-weight: 600; width: 13rem; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
pre { background: #f4f4f4; padding: 0.7rem; overflow-x: auto; font-size: 0.9rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
figure { margin: 0 0 1.2rem; }
figcaption { color: #555; font-size: 0.9rem; }
.wide { overflow-x: auto; }
.wide img { display: block; max-width: 100%; min-width: min(40rem, 170vw); height: auto; }
:focus-visible { outline: 3px solid #0072b2; outline-offset: 2px; }
@media (max-width: 34rem) { th { width: 8rem; } body { padding: 0.7rem; } }
"""
