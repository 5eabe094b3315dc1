"""The listening page holds what it says: every sound and picture in it is decoded, and a browser plays it."""

from __future__ import annotations

import base64
import io
import itertools
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from sonicrnn.originality import Nearest, Originality
from sonicrnn.report import (
    MP3_LOSSES,
    Beside,
    Piece,
    encode_all,
    encode_flac,
    encode_mp3,
    score_rows,
    score_verdicts,
    write_report,
)
from sonicrnn.report_page import number_text
from sonicrnn.scores import Figure, Row, Scores, Verdict, as_json

if TYPE_CHECKING:
    from conftest import WatchedPage

RATE = 16_000
NASTY = 'Björk & "Söhne" <script>alert(1)</script> $x_$ \'/..'
VOID = {"meta", "img", "br", "link", "input", "hr"}
Report = Callable[..., Path]


@dataclass
class Seen(HTMLParser):
    """The elements of a page in order, and the text inside each; refuses a page whose tags do not nest."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    text: dict[str, list[str]] = field(default_factory=dict)
    open_tags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open_tags.append(tag)
            self.text.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open_tags:
            self.text[self.open_tags[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def seen(path: Path) -> Seen:
    parser = Seen()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open_tags == []
    return parser


def content(address: str) -> tuple[str, bytes]:
    """The media type and the bytes of a data address."""
    match = re.fullmatch(r"data:([a-z]+/[a-z0-9]+);base64,([A-Za-z0-9+/]+=*)", address)
    assert match is not None, address[:60]
    return match[1], base64.b64decode(match[2], validate=True)


def decoded(address: str) -> tuple[npt.NDArray[np.float64], int]:
    _, data = content(address)
    samples, rate = soundfile.read(io.BytesIO(data))
    return samples, rate


@pytest.fixture(scope="module")
def pieces(small_song: npt.NDArray[np.float32]) -> list[Piece]:
    noise = 0.1 * np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32)
    return [
        Piece("The song itself", small_song[: 4 * RATE], RATE, "a real excerpt"),
        Piece(NASTY, noise, RATE, NASTY),
        Piece("Silence", np.zeros(2 * RATE, np.float32), RATE),
    ]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, pieces: list[Piece]) -> Report:
    def make(**changes: Any) -> Path:
        path: Path = tmp_path_factory.mktemp("run") / "my run" / "listen.html"
        arguments: dict[str, Any] = {
            "title": NASTY,
            "facts": {"Song": NASTY, "Rate": "16 kHz"},
            "pieces": pieces,
            "scores": {"level (dBFS)": {"piece": -20.04, NASTY: None}, "silent": {"piece": False, "copy": "–"}},
            "history": {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.5], "val_loss": [3.1, None, float("nan")]},
            "settings_yaml": f"name: {NASTY}\nseed: 7\n",
        }
        write_report(path, **(arguments | changes))
        return path

    return make


@pytest.fixture(scope="module")
def full(report: Report) -> Path:
    return report()


def test_every_sound_in_the_page_is_the_piece_to_the_last_bit(full: Path, pieces: list[Piece]) -> None:
    addresses = [audio["src"] for audio in seen(full).all("audio")]
    assert len(addresses) == len(pieces)
    for address, piece in zip(addresses, pieces, strict=True):
        assert content(address)[0] == "audio/flac"
        samples, rate = decoded(address)
        assert rate == RATE
        assert len(samples) == len(piece.samples)
        assert np.abs(samples - piece.samples).max() <= 0.5001 / 32768


def test_every_picture_is_a_png_of_the_size_it_says_with_words_for_it(full: Path) -> None:
    images = seen(full).all("img")
    assert len(images) == 3 + 2  # a spectrogram for each piece, levels, learning
    for image in images:
        kind, data = content(image["src"])
        assert kind == "image/png"
        picture = Image.open(io.BytesIO(data))
        picture.load()
        assert picture.size == (int(image["width"]), int(image["height"]))
        assert len(image["alt"]) > 40
    assert "4 s from left to right" in images[0]["alt"]
    assert "silence" in images[2]["alt"]
    assert "loss from 3 to 1.5" in images[4]["alt"]
    assert "val_loss from 3.1 to 3.1" in images[4]["alt"]


def test_no_word_of_the_users_becomes_markup(full: Path) -> None:
    page = seen(full)
    assert "<script>alert" not in full.read_text(encoding="utf-8")
    assert len(page.all("script")) == 1
    assert page.text["title"] == [NASTY]
    assert page.text["h1"] == [NASTY]
    assert f"2. {NASTY}" in page.text["h3"]
    assert NASTY in page.text["p"]
    assert page.text["dd"] == [NASTY, "16 kHz"]
    assert any(NASTY in alt["alt"] for alt in page.all("img"))
    assert NASTY in page.text["th"]
    assert f"name: {NASTY}\nseed: 7\n" in page.text["code"]


def test_the_page_asks_for_nothing_from_outside(full: Path) -> None:
    page = seen(full)
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; style-src 'sha256-")
    assert page.all("link") == []
    assert not [attributes for _, attributes in page.elements if attributes.get("src", "data:")[:5] != "data:"]
    assert not [
        attributes for _, attributes in page.elements if {"href", "srcset", "style", "onclick"} & set(attributes)
    ]
    assert not re.search(r"url\(|@import", full.read_text(encoding="utf-8"))


def test_it_can_be_read_by_ear_and_by_keyboard(full: Path) -> None:
    page = seen(full)
    assert page.all("html") == [{"lang": "en"}]
    headings = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    labelled = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    assert set(labelled) <= set(ids)
    for audio in page.all("audio"):
        assert {"controls", "aria-labelledby"} <= set(audio)
    for scrolled in (attributes for _, attributes in page.elements if attributes.get("class", "").startswith("wide")):
        assert scrolled["tabindex"] == "0"


def test_the_table_has_a_row_for_each_figure_and_a_dash_for_what_is_not_known(full: Path) -> None:
    page = seen(full)
    assert page.text["th"] == ["Figure", "piece", NASTY, "copy", "level (dBFS)", "silent"]
    assert page.text["td"] == ["−20", "–", "–", "no", "–", "–"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (0.0, "0"),
        (-0.0, "0"),
        (-3.14159, "−3.14"),
        (0.00123456, "0.00123"),
        (99.96, "100"),
        (12345.6, "12346"),
        (-1.5e-7, "1.5e−07"),
        (float("-inf"), "−inf"),
        (-12, "−12"),
        (True, "yes"),
        ("a-b", "a-b"),
    ],
)
def test_numbers_are_written_as_people_write_them(value: float | str | None, text: str) -> None:
    assert number_text(value) == (f"−{text}" if value == -1.5e-7 else text)


def test_the_scores_of_an_evaluation_become_rows_and_words(report: Report) -> None:
    originality = Originality(0.0, 0.4, Nearest(0.0, 10.0, 0.4), ())
    row = Row(
        Figure("trend", "level trend", "dB/min"), {"piece": -1.5}, {"held-out": 0.25, "copy": math.nan}, -2.0, 3.0
    )
    bare = Row(Figure("likeness", "likeness", ""), {"piece": 0.5}, {"held-out": math.nan}, math.nan, math.nan)
    said: dict[str, tuple[Verdict, ...]] = {
        "piece": (Verdict(True, "keeps its level"), Verdict(False, "is too <fast>"))
    }
    found = as_json(Scores(RATE, 5.0, 5.0, 0.9, (row, bare), {"piece": originality}, said))
    page = seen(report(pieces=[], scores=score_rows(found), verdicts=score_verdicts(found)))
    assert page.text["th"] == [
        "Figure", "piece", "the song's own windows", "held-out", "copy", "level trend (dB/min)", "likeness"
    ]  # fmt: skip
    assert page.text["td"] == ["−1.5", "−2 to 3", "0.25", "–", "0.5", "–", "–", "–"]
    assert page.text["li"] == ["✓ keeps its level", "✗ is too <fast>"]


def test_passages_stand_side_by_side_and_can_be_heard(report: Report, pieces: list[Piece]) -> None:
    names = "Free run, 0:03", "Song, 1:10"
    first, second = (Piece(f"{name} {NASTY}", pieces[0].samples[:RATE], RATE) for name in names)
    nearest = [Beside("0.93 alike", first, second), Beside("0.7", second, first)]
    page = seen(report(pieces=pieces[:1], nearest=nearest))
    assert "Is it new?" in page.text["h2"]
    assert "0.93 alike" in page.text["h3"]
    sounds = page.all("audio")
    assert len(sounds) == 5
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    assert all(set(sound["aria-labelledby"].split()) <= ids for sound in sounds)
    for sound in sounds[1:]:
        samples, rate = decoded(sound["src"])
        assert len(samples) == rate == RATE
    assert [text for text in page.text["p"] if text.startswith("Free run, 0:03")] == [first.title] * 2


def test_parts_that_are_not_there_leave_no_heading(report: Report) -> None:
    page = seen(report(pieces=[], scores=None, history=None, facts={}))
    assert page.text["h2"] == ["Listen", "Make more", "Settings"]
    assert page.all("audio") == page.all("img") == page.all("dl") == []
    assert seen(report(pieces=[], scores={}, history={"loss": []})).text["h2"] == page.text["h2"]


def test_the_commands_are_for_this_run_and_can_be_pasted(full: Path, report: Report) -> None:
    commands = seen(full).text["code"][:3]
    assert (
        commands[0] == f"python -m sonicrnn.generate '{full.parent}' --seconds 60 --temperature 0.9 --seed 7 --count 4"
    )
    assert "--continue my.wav" in commands[1]
    assert commands[2].startswith("python -m sonicrnn.evaluate '")
    own = seen(report(pieces=[], commands={"Sing": "sing <loud>"}))
    assert own.text["code"][0] == "sing <loud>"


def test_a_run_under_the_working_folder_is_named_from_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    write_report(tmp_path / "runs" / "my" / "listen.html", "t", {}, [], None, None, "")
    assert " runs/my --seconds" in seen(tmp_path / "runs/my/listen.html").text["code"][0]


def test_it_is_written_whole_or_not_at_all(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "listen.html"
    path.write_text("what was there")
    broken = Piece("broken", np.array([0.0, np.nan], np.float32), RATE)
    with pytest.raises(ValueError, match="NaN"):
        write_report(path, "t", {}, [broken], None, None, "")
    assert [one.name for one in tmp_path.iterdir()] == ["listen.html"]
    assert path.read_text() == "what was there"


def test_pieces_of_two_rates_are_refused(report: Report, pieces: list[Piece]) -> None:
    with pytest.raises(ValueError, match="one sample rate"):
        report(pieces=[pieces[0], Piece("other", pieces[0].samples, 8_000)])


def test_too_much_sound_for_one_page_becomes_mp3_and_says_so(report: Report) -> None:
    # Noise is what FLAC can do least with: 3 minutes of it are over the budget.
    noise = Piece("noise", 0.3 * np.random.default_rng(1).standard_normal(175 * RATE).astype(np.float32), RATE)
    path = report(pieces=[noise], history=None, scores=None)
    assert path.stat().st_size < 8_000_000
    page = seen(path)
    assert any("hold MP3" in text for text in page.text["p"])
    (address,) = (audio["src"] for audio in page.all("audio"))
    assert content(address)[0] == "audio/mpeg"
    samples, rate = decoded(address)
    assert rate == RATE
    assert abs(len(samples) / rate - noise.seconds) < 0.1


def test_mp3_with_more_loss_is_smaller(pieces: list[Piece]) -> None:
    stereo = Piece("stereo", np.random.default_rng(1).uniform(-0.5, 0.5, [96_000, 2]).astype(np.float32), 48_000)
    for piece in (pieces[0], stereo):
        sizes = [len(encode_mp3(piece, loss).content) for loss in MP3_LOSSES]
        assert sizes[0] > 1.2 * sizes[1] > 1.4 * sizes[2]


def test_mp3_sounds_like_the_piece(pieces: list[Piece]) -> None:
    sound = encode_mp3(pieces[0])
    samples, _ = soundfile.read(io.BytesIO(sound.content))
    length = min(len(samples), len(pieces[0].samples))
    difference = samples[:length] - pieces[0].samples[:length]
    assert np.mean(difference**2) < 0.01 * np.mean(pieces[0].samples ** 2)  # −20 dB


def test_the_budget_is_for_all_pieces_together(pieces: list[Piece]) -> None:
    sizes = [len(encode_flac(piece).content) * 4 / 3 for piece in pieces]
    assert {sound.media_type for sound in encode_all(pieces, budget=int(sum(sizes)) + 1)} == {"audio/flac"}
    assert {sound.media_type for sound in encode_all(pieces, budget=int(sum(sizes)) - 1)} == {"audio/mpeg"}


@pytest.mark.parametrize(("rate", "expected"), [(7_000, 8_000), (16_000, 16_000), (20_000, 22_050), (96_000, 48_000)])
def test_mp3_takes_the_next_rate_that_it_has(rate: int, expected: int) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate)).astype(np.float32)
    samples, found = soundfile.read(io.BytesIO(encode_mp3(Piece("tone", tone, rate)).content))
    assert found == expected
    assert len(samples) / found == pytest.approx(2.0, abs=0.1)
    spectrum = np.abs(np.fft.rfft(samples[:found]))
    assert int(spectrum.argmax()) == 440


def test_what_lies_beyond_full_scale_is_clipped_and_never_wraps() -> None:
    wave = Piece("loud", np.array([0.0, 1.5, -1.5, 1.0, -1.0], np.float32), RATE)
    samples, _ = soundfile.read(io.BytesIO(encode_flac(wave).content), dtype="int16")
    assert samples.tolist() == [0, 32767, -32768, 32767, -32768]


# In a browser


def until(page: Any, expression: str, seconds: float = 60) -> None:
    """Wait for a condition of the page; from outside, because the page's policy forbids to evaluate strings in it."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        time.sleep(0.02)


@pytest.mark.browser
def test_every_sound_plays_from_the_disk_and_one_stops_the_other(
    full: Path, pieces: list[Piece], watched_page: WatchedPage
) -> None:
    page = watched_page.page
    page.goto(full.as_uri())
    until(page, "[...document.querySelectorAll('audio')].every(one => one.readyState >= 1)")
    durations = page.evaluate("[...document.querySelectorAll('audio')].map(one => one.duration)")
    assert durations == pytest.approx([piece.seconds for piece in pieces], abs=0.01)
    for number in range(len(pieces)):
        page.locator("audio").nth(number).focus()
        page.keyboard.press("Space")  # the browser's own control, by keyboard
        until(page, f"document.querySelectorAll('audio')[{number}].currentTime > 0.3")
        playing = page.evaluate("[...document.querySelectorAll('audio')].map(one => !one.paused)")
        assert playing == [other == number for other in range(len(pieces))]
    assert watched_page.complaints == []
    assert watched_page.outside_requests() == []


@pytest.mark.browser
def test_mp3_plays_as_well(report: Report, pieces: list[Piece], watched_page: WatchedPage, monkeypatch: Any) -> None:
    monkeypatch.setattr("sonicrnn.report.encode_all", lambda some: encode_all(some, budget=0))
    page = watched_page.page
    page.goto(report(pieces=pieces[:1]).as_uri())
    assert page.locator("audio").get_attribute("src").startswith("data:audio/mpeg;")
    page.evaluate("document.querySelector('audio').play()")
    until(page, "document.querySelector('audio').currentTime > 0.3")
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(pieces[0].seconds, abs=0.1)
    assert watched_page.complaints == []


@pytest.mark.browser
def test_a_click_on_the_spectrogram_moves_the_sound_to_that_time(full: Path, watched_page: WatchedPage) -> None:
    page = watched_page.page
    page.goto(full.as_uri())
    until(page, "document.querySelector('audio').readyState >= 1")
    picture = page.locator(".time").first
    start, stop = (float(picture.get_attribute(f"data-{name}")) for name in ("start", "stop"))
    assert 0 < start < 0.2
    assert 0.7 < stop < 1
    box = picture.bounding_box()
    page.mouse.click(box["x"] + box["width"] * (start + 0.75 * (stop - start)), box["y"] + box["height"] / 2)
    until(page, "Math.abs(document.querySelector('audio').currentTime - 3) < 0.05")  # 3/4 of 4 s
    line = page.locator(".time i").first.bounding_box()
    assert line["x"] + 1 == pytest.approx(box["x"] + box["width"] * (start + 0.75 * (stop - start)), abs=3)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")])
def test_it_fits_a_phone_and_follows_the_light(full: Path, watched_page: WatchedPage, width: int, scheme: str) -> None:
    page = watched_page.page
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto(full.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    light = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)[0]")
    ink = page.evaluate("getComputedStyle(document.body).color.match(/[0-9]+/g).map(Number)[0]")
    assert (light > 200 and ink < 60) if scheme == "light" else (light < 60 and ink > 200)
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")


@pytest.mark.browser
def test_without_script_all_of_it_is_still_there(full: Path, chromium: Any) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(full.as_uri())
    assert page.locator("audio[controls]").count() == 3
    assert page.locator("table").is_visible()
    page.locator("summary").click()
    assert page.locator("details pre").is_visible()
    context.close()
