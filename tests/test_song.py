"""The song as a whole: found, trimmed, split before any statistic, normalised."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sonicrnn import song as song_module
from sonicrnn.clock import clock
from sonicrnn.config import SongSettings
from sonicrnn.errors import UserError
from sonicrnn.song import (
    PARTS,
    Normaliser,
    Song,
    Statistics,
    cache_folder,
    find_ends,
    normaliser,
    open_song,
    part_statistics,
    song_name,
    split,
    statistics,
)

Samples = npt.NDArray[np.float32]

RATE = 8_000
KINDS = ("std", "minmax", "none")


def tone(seconds: float, level: float = 0.3) -> Samples:
    at = np.arange(round(seconds * RATE)) / RATE
    return (level * np.cos(2 * np.pi * 220 * at) * (0.8 + 0.2 * np.sin(2 * np.pi * at))).astype(np.float32)


def opened(path: Path | list[Path] | None, tmp_path: Path, **changed: object) -> tuple[Song, list[str]]:
    named = [str(one) for one in path] if isinstance(path, list) else None if path is None else str(path)
    wanted = SongSettings.model_validate({"path": named, "sample_rate": RATE, "cache": str(tmp_path / "c"), **changed})
    said: list[str] = []
    return open_song(wanted, said.append), said


def write(path: Path, samples: npt.ArrayLike, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def song_of(samples: Samples, shares: tuple[float, float, float] = (0.8, 0.1, 0.1)) -> Song:
    return Song(samples, RATE, "song", "0", [], 0, 0, split(len(samples), shares))


# Opening.


def test_song_is_mapped_split_and_told_in_one_line(tmp_path: Path) -> None:
    samples = tone(10)
    song, said = opened(write(tmp_path / "my piece.wav", samples), tmp_path)
    assert isinstance(song.samples, np.memmap)
    np.testing.assert_array_equal(song.samples, samples)
    assert (song.name, song.sample_rate, song.lead_in, song.fade_out) == ("my piece", RATE, 0, 0)
    assert song.parts == {"training": (0, 64_000), "validation": (64_000, 72_000), "test": (72_000, 80_000)}
    np.testing.assert_array_equal(song.part("validation"), samples[64_000:72_000])
    assert said == ["my piece: 0:10 at 8000 Hz, mono, from my piece.wav (8000 Hz × 1)"]


def test_folder_is_one_song_in_order_and_refused_files_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "an album"
    pieces = {f"{number}.wav": tone(2, number / 30) for number in (10, 9, 2)}
    for name, samples in pieces.items():
        write(folder / name, samples)
    (folder / "cover.jpg").write_text("picture")
    (folder / "empty.wav").touch()
    song, said = opened(folder, tmp_path, trim=False)
    np.testing.assert_array_equal(song.samples, np.concatenate([pieces[name] for name in ("2.wav", "9.wav", "10.wav")]))
    assert song.name == "an album"
    assert [file.path.name for file in song.files] == ["2.wav", "9.wav", "10.wav"]
    assert "from 2.wav, 9.wav, 10.wav" in said[0]
    assert said[1:] == ["refused 2 of 5 files: cover.jpg (not audio), empty.wav (empty (0 bytes))"]


def test_many_files_are_told_by_their_first_and_last(tmp_path: Path) -> None:
    for number in range(12):
        write(tmp_path / "album" / f"{number}.wav", tone(0.5))
    _, said = opened(tmp_path / "album", tmp_path)
    assert "from 0.wav, 1.wav, … 11.wav (12 files) (8000 Hz × 1)" in said[0]


@pytest.mark.parametrize("trim", [True, False])
def test_silence_at_the_start_and_fade_at_the_end(tmp_path: Path, trim: bool) -> None:
    random = np.random.default_rng(0)
    lead, length, fade = RATE // 2, 40 * RATE, 3 * RATE
    music = (0.1 * random.standard_normal(length)).astype(np.float32)
    music[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
    song, said = opened(
        write(tmp_path / "a.wav", np.concatenate([np.zeros(lead, np.float32), music])), tmp_path, trim=trim
    )
    assert song.lead_in == pytest.approx(lead, abs=20)
    assert song.fade_out == pytest.approx(fade, rel=0.3)
    assert "0.50 s of silence at the start" in said[0]
    assert said[0].endswith("fade at the end left out" if trim else "fade at the end kept")
    assert len(song.samples) == lead + length - (song.lead_in + song.fade_out if trim else 0)
    assert song.parts["test"][1] == len(song.samples)


def test_ends_of_a_long_song_are_found_without_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song_module, "_ENDS_SECONDS", 30)
    samples = (0.1 * np.random.default_rng(0).standard_normal(RATE * 300)).astype(np.float32)
    samples[:RATE] = 0
    samples[31 * RATE : -31 * RATE] = np.nan  # whoever read this would answer with it
    lead_in, fade_out = find_ends(samples, RATE)
    assert (lead_in, fade_out) == (pytest.approx(RATE, abs=20), 0)


def test_silence_that_is_longer_than_what_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(song_module, "_ENDS_SECONDS", 30)
    samples = (0.1 * np.random.default_rng(0).standard_normal(RATE * 300)).astype(np.float32)
    samples[: 40 * RATE] = 0
    assert find_ends(samples, RATE)[0] == pytest.approx(40 * RATE, abs=20)


def test_built_in_song(tmp_path: Path) -> None:
    song, said = opened(None, tmp_path, sample_rate=16_000)
    assert song.name == "demo"
    assert len(song.samples) > 200 * 16_000
    assert song.lead_in == pytest.approx(2000, abs=100)
    assert "from the built-in song" in said[0]


def test_bad_song_ends_in_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file or folder"):
        opened(tmp_path / "gone.wav", tmp_path)
    with pytest.raises(UserError, match="is silent"):
        opened(write(tmp_path / "a.wav", np.zeros(3 * RATE)), tmp_path)
    with pytest.raises(
        UserError, match=r"cache folder .*a.wav cannot be used \(File exists\): name another with song.cache"
    ):
        opened(tmp_path / "a.wav", tmp_path, cache=str(tmp_path / "a.wav"))


@pytest.mark.parametrize(
    ("path", "taken", "name"),
    [
        (None, ["/c/built-in.wav"], "demo"),
        ("/m/Nebula 2.ogg", ["/m/Nebula 2.ogg"], "Nebula 2"),
        ("/m/*.ogg", ["/m/1.ogg", "/m/2.ogg"], "m"),
        (["/m/n/1.ogg", "/m/2.ogg"], ["/m/n/1.ogg", "/m/2.ogg"], "n"),
        ("/", ["/1.ogg", "/2.ogg"], "song"),
    ],
)
def test_name(path: str | list[str] | None, taken: list[str], name: str) -> None:
    assert song_name(path, [Path(one) for one in taken]) == name


def test_name_of_a_folder_that_is_named_by_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "album").mkdir()
    monkeypatch.chdir(tmp_path / "album")
    assert song_name(".", [Path("1.wav")]) == "album"


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("SONICRNN_CACHE", "/own")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folder(SongSettings(cache="~/here")) == Path("/home/me/here")
    assert cache_folder(SongSettings()) == Path("/own")
    monkeypatch.delenv("SONICRNN_CACHE")
    assert cache_folder(SongSettings()) == Path("/shared/sonicrnn")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder(SongSettings()) == Path("/home/me/.cache/sonicrnn")


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.6, 312, 3723)] == ["0:00", "1:00", "5:12", "1:02:03"]


# The split.

shares = st.tuples(*[st.floats(0.01, 1)] * 3).map(lambda three: tuple(share / sum(three) for share in three))


@settings(deadline=None)
@given(samples=st.integers(1, 2_000_000_000), shares=shares)
def test_split_covers_every_sample_once(samples: int, shares: tuple[float, float, float]) -> None:
    assume(min(shares) * samples >= 2)
    parts = split(samples, shares)
    assert tuple(parts) == PARTS
    borders = [parts[name] for name in PARTS]
    assert (borders[0][0], borders[-1][1]) == (0, samples)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(borders))
    for (start, stop), share in zip(borders, shares, strict=True):
        assert stop > start
        assert abs(stop - start - share * samples) <= 1.001


def test_empty_part_is_told() -> None:
    with pytest.raises(
        UserError, match=r"the validation part of 100 samples is empty: give it a larger share in song.split"
    ):
        split(100, (0.99, 0.001, 0.009))


def test_split_comes_before_any_statistic() -> None:
    samples = tone(10)
    known = part_statistics(song_of(samples))["training"]
    samples[len(samples) * 8 // 10 :] = 100.0  # what comes after the training part
    assert part_statistics(song_of(samples))["training"] == known


# Statistics and normalisers.


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_reading_the_whole_song_leaves_no_memory_behind(tmp_path: Path) -> None:
    def resident() -> int:  # kB of mapped files
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssFile"))

    np.save(tmp_path / "song.npy", np.random.default_rng(0).random(25_000_000, np.float32))
    song = song_of(np.load(tmp_path / "song.npy", mmap_mode="r"))
    before = resident()
    figures = part_statistics(song)
    assert resident() - before < 20_000  # the song is 100 MB
    assert song.samples.sum() == pytest.approx(sum(one.mean * one.samples for one in figures.values()), rel=1e-4)
    assert resident() - before > 90_000
    song.forget()
    assert resident() - before < 20_000


arrays = hnp.arrays(np.float32, st.integers(10, 300), elements=st.floats(-2, 2, width=32, allow_subnormal=False))


@settings(deadline=None)
@given(samples=arrays, block=st.integers(1, 100))
def test_statistics_in_blocks_are_those_of_the_whole(samples: Samples, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(song_module, "_BLOCK", block)
        got = statistics(samples)
    wide = samples.astype(np.float64)
    assert got.mean == pytest.approx(wide.mean(), abs=1e-12)
    assert got.std == pytest.approx(wide.std(), abs=1e-12, rel=1e-9)
    assert (got.minimum, got.maximum, got.samples) == (wide.min(), wide.max(), len(wide))


def test_statistics_of_a_small_signal_on_a_large_offset() -> None:
    samples = (1000 + 0.001 * np.random.default_rng(0).standard_normal(3_000_000)).astype(np.float32)
    assert statistics(samples).std == pytest.approx(samples.astype(np.float64).std(), rel=1e-9)


@settings(deadline=None)
@given(samples=arrays, kind=st.sampled_from(KINDS), part=st.sampled_from(PARTS))
def test_normaliser_has_an_inverse(samples: Samples, kind: str, part: str) -> None:
    song = song_of(samples)
    training = song.part("training")
    assume(np.ptp(training) > 1e-3)
    by = normaliser(part_statistics(song), kind, part)
    there = by.apply(song.part(part))
    assert there.dtype == np.float32
    assert np.abs(by.invert(there) - song.part(part)).max() <= 4 * np.finfo(np.float32).eps * 4


@settings(deadline=None)
@given(samples=arrays, part=st.sampled_from(PARTS))
def test_minmax_fills_and_never_leaves_its_range(samples: Samples, part: str) -> None:
    song = song_of(samples)
    assume(np.ptp(song.part("training")) > 1e-3)
    by = normaliser(part_statistics(song), "minmax", part)
    there = by.apply(song.part(part).astype(np.float64))
    assert np.abs(there).max() <= 1 + 1e-12
    if part == "training":
        assert (there.min(), there.max()) == (pytest.approx(-1), pytest.approx(1))


def test_minmax_takes_the_wider_of_a_part_and_the_training_part() -> None:
    figures = {
        "training": Statistics(0.0, 0.1, -0.5, 0.5, 80),
        "validation": Statistics(0.0, 0.1, -0.2, 0.9, 10),
        "test": Statistics(0.0, 0.1, -0.3, 0.3, 10),
    }
    assert normaliser(figures, "minmax", "training") == Normaliser(0.0, 0.5)
    assert normaliser(figures, "minmax", "validation") == Normaliser(pytest.approx(0.2), pytest.approx(0.7))
    assert normaliser(figures, "minmax", "test") == Normaliser(0.0, 0.5)


@pytest.mark.parametrize("part", PARTS)
def test_std_is_the_training_parts_for_all(part: str) -> None:
    song = song_of(tone(10) + np.linspace(0, 1, 10 * RATE, dtype=np.float32))
    figures = part_statistics(song)
    training = song.part("training").astype(np.float64)
    assert normaliser(figures, "std", part) == Normaliser(pytest.approx(training.mean()), pytest.approx(training.std()))
    assert normaliser(figures, "none", part) == Normaliser(0.0, 1.0)


def test_statistics_of_the_whole_song_leak_what_is_held_out_into_the_normaliser() -> None:
    samples = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    samples[900:] = 9 * samples[900:] + 2
    song = song_of(samples)
    honest = normaliser(part_statistics(song), "std", "training")
    leaky = [normaliser(part_statistics(song, leak=True), "std", part) for part in song.parts]
    assert leaky == [Normaliser(pytest.approx(samples.mean(), abs=1e-6), pytest.approx(samples.std()))] * 3
    assert leaky[0].scale > 2 * honest.scale


@pytest.mark.parametrize("kind", ["std", "minmax"])
def test_constant_training_part_is_told(kind: str) -> None:
    samples = tone(10)
    samples[: 8 * RATE] = 0
    with pytest.raises(UserError, match="training part of the song is silent or constant"):
        normaliser(part_statistics(song_of(samples)), kind, "training")
    assert normaliser(part_statistics(song_of(samples)), "none", "training").apply(samples) is not None
