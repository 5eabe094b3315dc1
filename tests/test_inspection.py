"""What a file is, from its ends: whole files pass, damaged ones are told from them before anything is decoded."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonicrnn.inspection import Header, UnusableFile, inspect_file

FORMATS = {
    "a.wav": ("WAV", "PCM_16"),
    "b.wav": ("WAV", "FLOAT"),
    "c.wav": ("WAVEX", "PCM_24"),
    "d.flac": ("FLAC", "PCM_16"),
    "e.ogg": ("OGG", "VORBIS"),
    "f.opus": ("OGG", "OPUS"),
    "g.mp3": ("MP3", "MPEG_LAYER_III"),
    "h.aiff": ("AIFF", "PCM_16"),
}


def write(path: Path, container: str, coding: str, rate: int = 48000, seconds: float = 3.0) -> Path:
    noise = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * rate), 2))
    soundfile.write(path, noise, rate, format=container, subtype=coding)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_whole_file_is_described(tmp_path: Path, name: str) -> None:
    container, coding = FORMATS[name]
    path = write(tmp_path / name, container, coding)
    assert inspect_file(path) == Header(path, container, coding, 48000, 2, 144000)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("name", FORMATS)
def test_cut_off_file_is_told(tmp_path: Path, name: str, share: float) -> None:
    path = write(tmp_path / name, *FORMATS[name])
    whole = path.read_bytes()
    path.write_bytes(whole[: round(share * len(whole))])
    with pytest.raises(UnusableFile, match="cut off before its end: copy or download it again"):
        inspect_file(path)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFF024])
def test_wav_from_a_pipe_does_not_know_its_length(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.wav", "WAV", "PCM_16")
    data = bytearray(path.read_bytes())
    data[4:8] = struct.pack("<I", length)
    place = data.index(b"data") + 4
    data[place : place + 4] = struct.pack("<I", length)
    path.write_bytes(data)
    if length:
        assert inspect_file(path).frames == 144000
    else:  # that is what the header of a recording says that was never finished
        with contextlib.suppress(UnusableFile):
            inspect_file(path)


def test_flac_from_a_pipe_does_not_know_its_length(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "FLAC", "PCM_16")
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of the number of samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    header = inspect_file(path)
    assert (header.frames, header.seconds) == (None, 0.0)


def test_flac_that_promises_too_much_is_refused(tmp_path: Path) -> None:
    # tensorflow-io would wait for the rest for ever.
    path = write(tmp_path / "a.flac", "FLAC", "PCM_16")
    data = bytearray(path.read_bytes())
    data[22:26] = struct.pack(">I", 144123)
    path.write_bytes(data)
    with pytest.raises(UnusableFile, match="cut off"):
        inspect_file(path)


def test_tag_before_an_mp3_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III")
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 0x27, 0x10]) + bytes(5008)  # 0x27 · 128 + 0x10 bytes follow
    tagged = tmp_path / "tagged.mp3"
    tagged.write_bytes(tag + path.read_bytes())
    assert inspect_file(tagged).frames == 144000
    tagged.write_bytes(tag + path.read_bytes()[: -path.stat().st_size // 2])
    with pytest.raises(UnusableFile, match="cut off"):
        inspect_file(tagged)


def test_absurd_rate_is_a_damaged_header(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", "WAV", "PCM_16")
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", 7)
    path.write_bytes(data)
    with pytest.raises(UnusableFile, match="its header says 7 Hz"):
        inspect_file(path)


def test_foreign_audio_says_how_to_convert_it(tmp_path: Path) -> None:
    path = tmp_path / "my song.m4a"
    path.write_bytes(b"\0\0\0\x20ftypM4A and more")
    with pytest.raises(UnusableFile, match=r'convert it first, e.g. ffmpeg -i "my song.m4a" "my song.flac"'):
        inspect_file(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from(
        [b"", b"RIFF", b"RIFF\xff\xff\0\0WAVEfmt ", b"FORM", b"fLaC", b"OggS", b"ID3\x04", b"\xff\xfb\x90"]
    ),
    rest=st.binary(max_size=400),
)
def test_no_bytes_make_it_fail_otherwise(tmp_path: Path, start: bytes, rest: bytes) -> None:
    path = tmp_path / "any.wav"
    path.write_bytes(start + rest)
    with contextlib.suppress(UnusableFile):
        inspect_file(path)


def test_mp3_decoder_stays_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.mp3", "MP3", "MPEG_LAYER_III")
    data = path.read_bytes()
    path.write_bytes(data[:9000] + bytes(5000) + data[9000:])  # the decoder has much to say about the hole
    with contextlib.suppress(UnusableFile):
        inspect_file(path)
    assert capfd.readouterr().err == ""
