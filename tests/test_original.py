"""The recording as it was made: the right samples, at any place, rate and number of channels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonicrnn.config import SongSettings
from sonicrnn.errors import UserError
from sonicrnn.original import own_channels, own_rate, read_original
from sonicrnn.song import Song, open_song

Samples = npt.NDArray[np.float32]
RATE = 16_000


def stereo(rate: int, seconds: float = 6.0) -> Samples:
    """[n, 2]: tones that swell, other ones left and right, below 6 kHz."""
    time = np.arange(round(rate * seconds)) / rate
    left = np.sin(2 * np.pi * 300 * time) * np.sin(2 * np.pi * 0.31 * time)
    right = np.sin(2 * np.pi * (500 + 100 * time) * time)
    return (0.4 * np.stack([left, right], 1)).astype(np.float32)


def song_of(folder: Path, *recordings: tuple[Samples, int], trim: bool = False) -> Song:
    paths = []
    for number, (samples, rate) in enumerate(recordings):
        paths.append(str(folder / f"{number}.wav"))
        soundfile.write(paths[-1], samples, rate, subtype="FLOAT")
    return open_song(SongSettings(path=paths, cache=str(folder / "cache"), trim=trim), lambda line: None)


def test_at_its_own_rate_it_is_the_file(tmp_path: Path) -> None:
    recording = stereo(48_000)
    song = song_of(tmp_path, (recording, 48_000))
    assert (own_rate(song), own_channels(song)) == (48_000, 2)
    np.testing.assert_array_equal(read_original(song, 16_000, 40_000, 48_000), recording[48_000:120_000])


@pytest.mark.parametrize("own", [44_100, 22_050, 11_025, 16_000])
def test_at_another_rate_each_sample_keeps_its_time(tmp_path: Path, own: int) -> None:
    song = song_of(tmp_path, (stereo(own), own))
    expected = stereo(48_000)
    for start, stop in ((16_000, 40_000), (16_001, 48_123)):
        read = read_original(song, start, stop, 48_000)
        np.testing.assert_allclose(read, expected[3 * start : 3 * stop], atol=2e-3)


def test_it_is_what_the_model_hears(tmp_path: Path) -> None:
    """The mean of its channels, at the model's rate, where the decoded song has the same samples."""
    song = song_of(tmp_path, (stereo(44_100), 44_100))
    read = read_original(song, 30_000, 60_000, RATE)
    np.testing.assert_allclose(read.mean(1), song.samples[30_000:60_000], atol=1e-3)


def test_what_was_left_out_at_the_start_is_not_counted(tmp_path: Path) -> None:
    quiet = np.zeros([48_000, 2], np.float32)
    song = song_of(tmp_path, (np.concatenate([quiet, stereo(48_000)]), 48_000), trim=True)
    assert song.left_out > 15_000
    read = read_original(song, 0, 32_000, RATE)
    np.testing.assert_allclose(read.mean(1), song.samples[:32_000], atol=1e-3)


def test_files_of_other_kinds_follow_each_other(tmp_path: Path) -> None:
    """A mono file sounds in both channels; the passage reaches over where they meet."""
    mono = stereo(16_000, 2.0)[:, 1]
    song = song_of(tmp_path, (stereo(48_000, 2.0), 48_000), (mono, 16_000))
    read = read_original(song, 16_000, 48_000, 48_000)
    assert read.shape == (96_000, 2)
    np.testing.assert_array_equal(read[:48_000], stereo(48_000, 2.0)[48_000:])
    np.testing.assert_allclose(read[49_000:, 0], read[49_000:, 1])
    np.testing.assert_allclose(
        read[49_000:-1000, 0], stereo(48_000, 2.0)[1000 : -49_000 + 48_000, 1][:46_000], atol=2e-3
    )


def test_more_than_two_channels_are_heard_as_their_mean(tmp_path: Path) -> None:
    recording = np.repeat(stereo(16_000), 2, 1) * [1.0, 1.0, 0.5, 0.5]
    song = song_of(tmp_path, (recording, 16_000))
    assert own_channels(song) == 1
    read = read_original(song, 0, 32_000, RATE)
    np.testing.assert_allclose(read[:, 0], recording[:32_000].mean(1), atol=1e-6)


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    song = song_of(tmp_path, (stereo(16_000), 16_000))
    (tmp_path / "0.wav").unlink()
    with pytest.raises(UserError, match="cannot be read any more"):
        read_original(song, 0, 16_000, RATE)
