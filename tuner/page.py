"""The page of a search: one HTML file with all in it, readable without a network and without a script."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from sonicrnn.clock import clock
from sonicrnn.config_words import differences
from tuner.folder import SearchFolder
from tuner.results import Result, best_settings, failed, ranked, search_columns
from tuner.settings import SearchSettings
from tuner.space import Space


def search_page(
    search: SearchFolder, settings: SearchSettings, space: Space, results: Sequence[Result], title: str
) -> str:
    """The whole page. Every string that is not ours is escaped here, and only here."""
    best = ranked(results)
    sections = {
        "Best": _best(search, space, best, results, title),
        "All trials in one picture": _picture(search) if best else "",
        "Trials": _table(space, best, title),
        "Failed trials": _failed(failed(results)),
        "Space": f"<pre tabindex='0'><code>{escape(search.space.read_text(encoding='utf-8'))}</code></pre>",
    }
    name = escape(f"Search {search.folder.name}")
    body = "\n".join(f"<section><h2>{heading}</h2>\n{text}\n</section>" for heading, text in sections.items() if text)
    made = settings.tuner
    facts = (
        f"{len(best)} trials completed, {len(failed(results))} failed; {made.algorithm}, {made.epochs} epochs a trial; "
        f"{clock(sum(one.figures.get('seconds', 0.0) for one in results))} of training in all"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{name}</h1>\n<p>{escape(facts)}</p></header>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _best(search: SearchFolder, space: Space, best: Sequence[Result], results: Sequence[Result], title: str) -> str:
    if not best:
        return "<p>No trial completed: the reasons are below.</p>"
    start = results[0].objective
    beside = f", where the search started {start:.4f}" if start is not None else ""
    changed = differences(space.start, best_settings(space, best[0]))
    lines = "\n".join(changed) or "nothing: the search found none better than where it started"
    return (
        f"<p>Trial {escape(best[0].trial)}: {escape(title)} {best[0].objective:.4f}{beside}.</p>\n"
        f"<h3>What it changes</h3>\n<pre tabindex='0'><code>{escape(lines)}</code></pre>\n"
        f"<h3>Train with it</h3>\n"
        f"<pre tabindex='0'><code>python -m sonicrnn.fit {escape(str(search.best))}</code></pre>"
    )


def _picture(search: SearchFolder) -> str:
    data = base64.b64encode(search.picture.read_bytes()).decode("ascii")
    alt = "An axis for each setting, a line for each trial; the best is thick and orange, failed ones are dotted."
    return f'<div class="wide" tabindex="0"><img alt="{alt}" src="data:image/png;base64,{data}"></div>\n<p>{alt}</p>'


def _table(space: Space, best: Sequence[Result], title: str) -> str:
    names = search_columns(space)
    figures = {"validation_loss": "validation loss", "epochs": "epochs", "weights": "weights", "seconds": "seconds",
               "memory_mb": "peak MB"}  # fmt: skip
    if title == figures["validation_loss"]:
        del figures["validation_loss"]
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in ["trial", title, *names, *figures.values()])
    rows = []
    for one in best:
        cells = [one.trial, f"{one.objective:.4f}", *(str(one.values.get(name, "–")) for name in names)]
        cells += [f"{one.figures[name]:,.4g}" if name in one.figures else "–" for name in figures]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    body = "\n".join(rows)
    return (
        f'<div class="wide" tabindex="0"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n'
        "</table></div>"
    )


def _failed(results: Sequence[Result]) -> str:
    rows = "\n".join(f"<dt>Trial {escape(one.trial)}</dt><dd>{escape(one.reason)}</dd>" for one in results)
    return f"<dl>\n{rows}\n</dl>" if rows else ""


_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f5f5f6; --ink: #1d1d20; --soft: #5c5c63; --rule: #dcdce0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #131316; --raised: #1e1e22; --ink: #e9e9ec; --soft: #a6a6ae; --rule: #36363c; }
  img { filter: invert(0.926) hue-rotate(180deg); }
}
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 70rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1, h2, h3, dd { overflow-wrap: anywhere; }
h2 { margin: 2.4rem 0 0.8rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
p { color: var(--soft); }
.wide { overflow-x: auto; }
img { display: block; max-width: none; min-width: 40rem; width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.35rem 0.6rem; text-align: right; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); vertical-align: bottom; }
tbody tr:first-child { font-weight: 600; }
pre { padding: 0.8rem; background: var(--raised); border-radius: 0.4rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
dt { font-weight: 600; }
dd { margin: 0 0 0.6rem; white-space: pre-wrap; }
"""
