"""The master plays what the model's own sound is, with the channels and the rate of the recording."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import tensorflow as tf

from sonicrnn import generate
from sonicrnn.calibration import Calibration
from sonicrnn.config import SongSettings
from sonicrnn.errors import UserError
from sonicrnn.generator import RunGenerator, load_generator
from sonicrnn.master import Master, make_master, through
from sonicrnn.rendering import rendered
from sonicrnn.song import Song, open_song
from sonicrnn.stream import Made
from tests.small_runs import RECALLED, make_run

Samples = npt.NDArray[np.float32]
RATE = 16_000


def song_at(folder: Path, recording: Samples, rate: int) -> Song:
    """All of it is the training part, but for a second at its end."""
    soundfile.write(folder / "song.wav", recording, rate, subtype="FLOAT")
    settings = SongSettings(
        path=str(folder / "song.wav"), cache=str(folder / "cache"), trim=False, split=(0.8, 0.1, 0.1)
    )
    return open_song(settings, lambda line: None)


def at_rate(samples: Samples, rate: int) -> Samples:
    import soxr

    return np.asarray(soxr.resample(samples, RATE, rate, quality="VHQ"), np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Path:
    """A run with a recall, and `song-RATE.npz`, masters of one recording at several rates: right is half of left."""
    folder = tmp_path_factory.mktemp("master")
    song = song_at(folder, small_song, RATE)
    make_run(folder / "run", np.asarray(song.part("training")), RECALLED)
    encoding = load_generator(folder / "run").encoding
    for rate in (48_000, 44_100):
        mono = at_rate(small_song, rate)
        recorded = song_at(folder, np.stack([mono, mono / 2], 1), rate)
        master = make_master(recorded, encoding)
        assert master is not None
        master.save(folder / f"song-{rate}.npz")
    return folder


@pytest.fixture(scope="module")
def plain(folder: Path) -> RunGenerator:
    return load_generator(folder / "run")


def test_both_are_cross_faded_as_the_song_asks_for(folder: Path, tmp_path: Path) -> None:
    run = shutil.copytree(folder / "run", tmp_path / "run")
    shutil.copy(folder / "song-48000.npz", run / "master.npz")
    found = Calibration.load(run / "calibration.json")
    replace(found, fade=0.5).save(run / "calibration.json")
    generator = load_generator(run)
    assert generator.master
    assert generator.free_run.recall
    steps = round(0.5 * RATE / 256)
    assert [one.reach for one in (generator.free_run.recall.passages, *generator.master.passages)] == [steps] * 3


def with_master(plain: RunGenerator, folder: Path, rate: int) -> RunGenerator:
    made = replace(plain, master=Master.load(folder / f"song-{rate}.npz"))
    vars(made)["graphs"] = plain.graphs  # they do not hang on the master, and take seconds to make
    return made


@pytest.mark.parametrize("rate", [48_000, 44_100])
def test_it_is_the_models_own_sound(plain: RunGenerator, folder: Path, rate: int) -> None:
    """Brought back to the model's rate it is the very piece: the same passages, seams and levels at the same times."""
    import soxr

    generator = with_master(plain, folder, rate)
    prime = generator.primes("validation", [3])[0]
    mono, wide = generator.piece(prime, 9.0, 0.8, 3)
    assert wide.shape == (9 * rate, 2)
    back = soxr.resample(wide[:, 0].astype(np.float64), rate, RATE, quality="VHQ")
    # At the very start the one goes on from the prime's own samples, the other from the units alone.
    settled, reach = slice(3 * RATE, 9 * RATE - 400), np.abs(mono).max()
    assert np.abs(back[settled] - mono[settled]).max() < 0.05 * reach
    assert np.corrcoef(back[settled], mono[settled])[0, 1] > 0.9995
    np.testing.assert_allclose(wide[RATE:, 1], wide[RATE:, 0] / 2, atol=0.02 * reach)


def test_blocks_change_nothing(plain: RunGenerator, folder: Path) -> None:
    """A piece that is written block by block is the one that is made at once."""
    generator = with_master(plain, folder, 44_100)
    prime = generator.primes("validation", [3])[0]
    _, whole = generator.piece(prime, 12.0, 0.8, 3)
    blocks = list(generator.stream_master(prime, 12.0, 0.8, 3))
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    shorter = np.concatenate(list(generator.stream_master(prime, 7.3, 0.8, 3)))
    assert len(shorter) == round(7.3 * 44_100)
    np.testing.assert_allclose(shorter[:-1000], whole[: len(shorter) - 1000], atol=1e-5)


def test_what_is_played_in_one_go_and_in_parts_is_the_same(folder: Path) -> None:
    master = Master.load(folder / "song-48000.npz")
    plays = master.passages[0]
    units = np.concatenate([np.arange(start, start + 30) for start in (200, 40, 500, 120, 333, 90, 610)]).astype(
        np.int32
    )
    lead = plays.reach + plays.frame_length // plays.hop - 1

    def made(drawn: npt.NDArray[np.int32]) -> Made:
        return Made(np.zeros([1, 0]), drawn[None], np.ones([1, len(drawn) * 256], np.float32))

    once = np.concatenate(list(rendered(master, units[:lead], [made(units[lead:])])))
    parts = [made(part) for part in np.split(units[lead:], [3, 50, 51, 140])]
    np.testing.assert_allclose(np.concatenate(list(rendered(master, units[:lead], parts))), once, atol=1e-5)
    np.testing.assert_allclose(through(master, units)[: len(once)], once[: len(units) * plays.hop], atol=1e-5)


def test_a_recording_that_is_heard_as_it_is_has_none(plain: RunGenerator, tmp_path: Path, small_song: Samples) -> None:
    assert make_master(song_at(tmp_path, small_song, RATE), plain.encoding) is None
    assert make_master(song_at(tmp_path, at_rate(small_song, 8_000), 8_000), plain.encoding) is None


def test_of_a_long_song_the_same_passages_are_kept(
    plain: RunGenerator, tmp_path: Path, small_song: Samples, monkeypatch: Any
) -> None:
    """Those of the recall, whose units are spread over the song."""
    from sonicrnn import recall
    from sonicrnn.recall import make_recall

    monkeypatch.setattr(recall, "MOST_UNITS", 300)
    monkeypatch.setattr(recall, "PASSAGE_SECONDS", 1.6)
    encoding = plain.encoding
    mono = at_rate(small_song, 48_000)
    song = song_at(tmp_path, np.stack([mono, -mono / 2], 1), 48_000)
    part = np.asarray(song.part("training"))
    own = make_recall(encoding.encode(tf.constant(small_song[None, : len(part)]))[0].numpy(), small_song, encoding)
    master = make_master(song, encoding)
    assert master is not None
    left, right = master.passages
    assert left.count == own.count == 300
    np.testing.assert_array_equal(left.first, own.passages.first)
    rows = left.scale * left.rows.numpy().astype(np.float32)
    heard = (
        own.passages.scale * own.passages.rows.numpy()[20]
    )  # of the left channel; the model heard both as their mean
    np.testing.assert_allclose(rows[20, ::3], heard, atol=2e-3)
    np.testing.assert_allclose(right.scale * right.rows.numpy(), -rows / 2, atol=1e-4)


def test_a_spoiled_file_is_told(folder: Path, tmp_path: Path) -> None:
    spoiled = tmp_path / "master.npz"
    spoiled.write_bytes((folder / "song-48000.npz").read_bytes()[:2000])
    with pytest.raises(UserError, match=r"master\.npz cannot be read"):
        Master.load(spoiled)


def test_generate_writes_the_recordings_sound_or_mono(folder: Path, tmp_path: Path) -> None:
    run = folder / "run"
    (run / "master.npz").write_bytes((folder / "song-44100.npz").read_bytes())
    try:
        generate.main([str(run), "--seconds", "2", "--out", str(tmp_path / "wide"), "--format", "flac"])
        generate.main([str(run), "--seconds", "2", "--out", str(tmp_path / "mono"), "--mono"])
    finally:
        (run / "master.npz").unlink()
    found = {file.parent.name: soundfile.info(file) for file in tmp_path.glob("*/*")}
    assert (found["wide"].samplerate, found["wide"].channels, found["wide"].frames) == (44_100, 2, 88_200)
    assert (found["mono"].samplerate, found["mono"].channels, found["mono"].frames) == (RATE, 1, 32_000)
