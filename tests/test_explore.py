"""Exploring a song: the measured facts, the suggestions, the page, and the command from end to end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from PIL import Image

from sonicrnn import explore, explore_facts, explore_pictures, explore_words
from sonicrnn.config import parse_settings
from sonicrnn.errors import UserError
from sonicrnn.explore_facts import Facts, Pulsations, Stretch, gather
from sonicrnn.explore_page import Shown, page
from sonicrnn.explore_suggest import Suggestion, suggest

RATE = 8_000
Samples = npt.NDArray[np.float32]


def breathing(seconds: float, per_minute: float, hertz: float = 220.0) -> Samples:
    """A tone with overtones whose loudness swells `per_minute` times a minute."""
    instants = np.arange(int(seconds * RATE)) / RATE
    swell = 0.3 + 0.7 * np.sin(np.pi * per_minute / 60 * instants) ** 2
    tone = sum(np.sin(2 * np.pi * hertz * k * instants) / k for k in range(1, 6))
    return (0.2 * swell * tone).astype(np.float32)


def song_of_two_halves() -> Samples:
    """0.5 s of silence, 80 s with 12 swells a minute, 80 s with 20 at another pitch, a fade of 2 s."""
    samples = np.concatenate([np.zeros(RATE // 2, np.float32), breathing(80, 12), breathing(80, 20, 330.0)])
    samples[-2 * RATE :] *= np.linspace(1, 0, 2 * RATE, dtype=np.float32)
    return samples


@pytest.fixture(scope="module")
def facts() -> Facts:
    return gather(song_of_two_halves(), RATE)


def test_facts_are_those_of_the_song(facts: Facts) -> None:
    samples = song_of_two_halves()
    assert facts.seconds == pytest.approx(160.5)
    assert facts.peak == pytest.approx(np.abs(samples).max())
    assert facts.level == pytest.approx(10 * np.log10(np.mean(samples.astype(np.float64) ** 2)), abs=0.05)
    assert facts.lead_in == pytest.approx(RATE // 2, abs=80)
    assert RATE < facts.fade_out < 3 * RATE  # it ends in a swell, which hides its start
    assert facts.clipped == 0
    assert 5 < facts.loud - facts.quiet < 15


def test_pulsation_is_followed_along_the_song(facts: Facts) -> None:
    first, second = facts.stretches
    assert first.per_minute == pytest.approx(12, rel=0.05)
    assert second.per_minute == pytest.approx(20, rel=0.05)
    assert first.stop == second.start == pytest.approx(80, abs=12)
    assert "about 12" in explore_words.pulsation_words(facts)


def test_noise_has_no_pulsation() -> None:
    noise = 0.1 * np.random.default_rng(3).normal(size=90 * RATE).astype(np.float32)
    found = gather(noise, RATE)
    assert found.pulsation == 0
    assert found.stretches == []
    assert any("no clear period" in line for line in explore_words.observations(found))


def test_stretches_pass_over_gaps_and_single_windows() -> None:
    rates = np.array([9, 9, 9, np.nan, 9, 9, 40, 9, 9, 14, 14, 14, 14, 14, 14], np.float64)
    found = explore_facts.stretches(Pulsations(15 + 5.0 * np.arange(15), rates, np.ones(15)))
    assert found == [Stretch(0.0, 57.5, 9.0), Stretch(57.5, 100.0, 14.0)]
    nothing = Pulsations(np.arange(4.0), np.full(4, np.nan), np.zeros(4))
    assert explore_facts.stretches(nothing) == []


def test_energy_is_counted_from_the_audible_up() -> None:
    instants = np.arange(20 * RATE) / RATE
    samples = 0.2 * np.sin(2 * np.pi * 100 * instants) + 0.1 * np.sin(2 * np.pi * 1_000 * instants) + 0.5
    found = gather(samples.astype(np.float32), RATE)
    assert found.spectra.share_under(500) == pytest.approx(0.8, abs=0.01)
    assert found.spectra.edge(0.5) == pytest.approx(100, abs=8)
    assert found.spectra.edge(0.9) == pytest.approx(1_000, abs=8)
    assert found.spectra.rumble > 0.8
    assert found.offset == pytest.approx(0.5, abs=1e-3)
    assert any("+0.5" in line for line in explore_words.observations(found))
    assert any("under 20 Hz" in line for line in explore_words.observations(found))


def test_self_similarity_tells_the_halves_apart(facts: Facts) -> None:
    matrix = explore_facts.self_similarity(facts.spectra)
    steps = len(matrix)
    assert matrix.shape == (steps, steps)
    assert steps <= explore_facts.SIMILARITY_STEPS
    np.testing.assert_allclose(np.diag(matrix)[10:-10], 1, atol=1e-6)
    half = round(steps * 80.5 / 160.5)
    within = (matrix[5:half, 5:half].mean() + matrix[half + 3 : -8, half + 3 : -8].mean()) / 2
    assert within > matrix[5:half, half + 3 : -8].mean() + 0.5


def test_coherence_says_how_long_a_sound_stays() -> None:
    random = np.random.default_rng(1)
    notes = [np.repeat(random.choice([200, 400, 800, 1600]), RATE // 2) for _ in range(80)]
    samples = (0.3 * np.sin(2 * np.pi * np.cumsum(np.concatenate(notes)) / RATE)).astype(np.float32)
    held = explore_facts.coherence(samples, RATE)
    # Three notes of four differ from the one before: the likeness falls to a quarter or less over half a second.
    assert 0.05 < held.holds(0.7) < 0.4
    assert 0.25 < held.holds(0.3) < 0.9
    assert explore_facts.coherence(breathing(60, 12), RATE).holds(0.3) > held.holds(0.3)


@pytest.mark.parametrize("seconds", [0.05, 1.0, 20.0, 160.5])
def test_suggestions_are_settings_that_can_be_trained_with(seconds: float, facts: Facts) -> None:
    if seconds < 160:
        facts = gather(breathing(seconds, 12), RATE)
    kinds = []
    for one in suggest(facts):
        tree: dict[str, dict[str, object]] = {}
        for override in one.overrides:
            key, value = override.split("=")
            section, name = key.split(".")
            tree.setdefault(section, {})[name] = json.loads(value) if value[0] in "0123456789n" else value
        settings = parse_settings(tree, "suggestion")
        kinds.append(settings.frames.kind)
        if seconds >= 20:  # the sequence and its target fit into a tenth of the song
            hop = settings.frames.hop_length
            needed = settings.data.sequence_length * hop + settings.frames.frame_length
            assert needed <= 0.1 * facts.samples
    assert kinds == ["stft", "mdct", "waveform"]


def test_a_sequence_spans_whole_pulsations(facts: Facts) -> None:
    long = replace(gather(breathing(60, 12, 50), RATE), samples=facts.samples * 20)  # room enough
    period = 60 / long.pulsation
    for one in suggest(long):
        length = dict(override.split("=") for override in one.overrides)
        span = int(length["data.sequence_length"]) * int(length["frames.hop"]) / RATE
        assert span / period == pytest.approx(round(span / period), abs=0.05)
        assert span >= 4
        assert any("pulsation" in reason for reason in one.reasons)


def test_lower_tones_ask_for_longer_frames(facts: Facts) -> None:
    def frame(hertz: float) -> int:
        found = suggest(gather(breathing(60, 12, hertz), RATE))[0]
        return int(next(line for line in found.overrides if "frame_length" in line).split("=")[1])

    assert frame(50) > frame(200) >= 64


def test_the_pictures_that_a_song_has_room_for() -> None:
    names = {one.name for one in explore_pictures.pictures_of(*_silence(125))}
    assert {"first-1s", "first-5s", "first-10s", "first-30s", "first-60s", "first-120s", "minute-2"} <= names
    assert {"minute-last-1", "whole", "spectrogram", "self-similarity", "pulsation", "lead-in", "fade"} <= names
    assert not {"minute-3", "minute-last-5"} & names
    assert not {"first-1s", "minute-last-1"} & {one.name for one in explore_pictures.pictures_of(*_silence(0.5))}


def _silence(seconds: float) -> tuple[Samples, int, Facts]:
    samples = np.zeros(int(seconds * 1_000), np.float32)
    return samples, 1_000, gather(samples, 1_000)


def test_minutes_are_cut_where_they_are_named() -> None:
    assert [explore_pictures._minute(k) for k in (2, 3, 5, 10, 35, 100, -20, -5, -1)] == [
        "2nd minute",
        "3rd minute",
        "5th minute",
        "10th minute",
        "35th minute",
        "100th minute",
        "20th minute from the end",
        "5th minute from the end",
        "Last minute",
    ]
    samples = np.arange(150_000, dtype=np.float32) / 150_000  # 2:30 at 1000 Hz; each sample tells its place
    shown = {one.name: one for one in explore_pictures.pictures_of(samples, 1_000, gather(samples, 1_000))}
    second, last = (shown[name].figure.axes[0] for name in ("minute-2", "minute-last-1"))
    assert second.get_xlim() == (60, 120)
    assert last.get_xlim() == (90, 150)
    assert last.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(1.0, abs=1e-3)
    assert last.get_ylim() == second.get_ylim()  # one scale, so that they compare


class Checker(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_page_escapes_names_and_links_its_sections() -> None:
    shown = [Shown("The whole song", "whole", b"png", 10, 5, 'a "quoted" <alt>', "caption")]
    text = page("<b>x</b> & y", "sum", [("k", "<v>")], ["a < b"], [Suggestion("stft", ("a=1",), ("why",))], "go", shown)
    assert "<b>x</b>" not in text
    assert "<v>" not in text
    checker = Checker()
    checker.feed(text)
    assert checker.all("img")[0]["alt"] == 'a "quoted" <alt>'
    anchors = {attributes.get("id") for _, attributes in checker.tags}
    assert all(link["href"][1:] in anchors for link in checker.all("a") if link["href"])


@pytest.mark.parametrize(
    ("paths", "rate", "expected"),
    [
        (["my.ogg"], "16000", "song.path=my.ogg"),
        (["a: b #1.ogg", "c.ogg"], "own", "song.path=['a: b #1.ogg', c.ogg] song.sample_rate=null"),
        ([], "8000", "song.sample_rate=8000"),
    ],
)
def test_suggested_command_names_the_song_as_yaml(paths: list[str], rate: str, expected: str) -> None:
    import shlex

    words = shlex.split(explore._training_command(paths, rate))
    assert " ".join(words[4:]) == expected


def run_command(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "SONICRNN_CACHE": str(folder / "cache"), "PYTHONPATH": str(Path(__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "sonicrnn.explore", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
        timeout=280,
    )


@pytest.mark.slow
def test_command_from_end_to_end(tmp_path: Path) -> None:
    stereo = np.stack([song_of_two_halves(), 0.5 * song_of_two_halves()], axis=1)
    soundfile.write(tmp_path / "my song.wav", stereo, RATE)
    done = run_command("my song.wav", "--sample-rate", "own", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "explore" / "my-song"
    assert re.search(r"Length +2:4[01]", done.stdout)
    assert "8000 Hz" in done.stdout
    assert "data.sequence_length=" in done.stdout

    checker = Checker()
    text = (folder / "explore.html").read_text(encoding="utf-8")
    checker.feed(text)
    assert checker.all("html")[0]["lang"] == "en"
    assert len(checker.all("h1")) == 1
    assert checker.all("meta")[1]["name"] == "viewport"
    images = checker.all("img")
    assert len(images) >= 14
    assert all(image["alt"] and image["src"] and image["src"].startswith("data:image/png;base64,") for image in images)
    assert not re.search(r'(src|href)="(?!data:|#)', text)  # self-contained
    assert len(text) < 2_500_000

    pictures = sorted(folder.glob("*.png"))
    assert len(pictures) == len(images)
    assert {path.suffix for path in folder.iterdir()} == {".png", ".html"}
    for path in pictures:
        assert np.std(np.asarray(Image.open(path).convert("L"))) > 3, path.name


def test_out_chooses_the_folder_and_several_files_are_one_song(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SONICRNN_CACHE", str(tmp_path / "cache"))
    for number in (1, 2):
        soundfile.write(tmp_path / f"part{number}.flac", breathing(6, 20), RATE)
    explore.main(["part1.flac", "part2.flac", "--out", "looks/here", "--sample-rate", "4000"])
    said = capsys.readouterr().out
    assert (tmp_path / "looks/here/explore.html").exists()
    assert not (tmp_path / "explore").exists()
    assert re.search(r"Files +part1.flac, part2.flac", said)
    assert re.search(r"Length +0:12 \(48,", said)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.wav"], "missing.wav"),
        (["text.wav"], "text.wav"),
        (["--sample-rate", "fast", "text.wav"], "sample_rate"),
        (["--sample-rate", "10", "text.wav"], "sample_rate"),
        (["--out", "text.wav", "text.wav"], "--out"),
        (["--colour", "text.wav"], "--colour"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(arguments: list[str], word: str, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    done = run_command(*arguments, folder=tmp_path)
    assert done.returncode == 2
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "explore").exists()


def test_wrong_arguments_are_refused_in_this_process_too(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sample_rate"):
        explore.main(["x.wav", "--sample-rate", "fast"])


def test_help_is_quick(tmp_path: Path) -> None:
    start = time.perf_counter()
    done = run_command("--help", folder=tmp_path)
    assert done.returncode == 0
    assert "--sample-rate" in done.stdout
    assert time.perf_counter() - start < 3  # well under one second on a machine that does nothing else


def test_nothing_here_loads_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; from sonicrnn import explore, explore_facts, explore_page, explore_pictures, explore_words;"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert done.stdout.strip() == "False"
