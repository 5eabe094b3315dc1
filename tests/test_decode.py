"""Decoding a song: every format, both decoders side by side, bad recordings, and the cache."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonicrnn import audio
from sonicrnn.audio import Decoded, decode, to_int16
from sonicrnn.errors import UserError

Samples = npt.NDArray[np.float32]

# Where tensorflow-io is installed it must load: its tests are skipped only where it is not.
needs_tensorflow_io = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_io") is None, reason="no tensorflow-io for this Python"
)
PCM = {"a.wav": "PCM_16", "b.wav": "PCM_24", "c.wav": "FLOAT", "d.flac": "PCM_16", "e.flac": "PCM_24"}
LOSSY = {"f.ogg": "VORBIS", "g.mp3": "MPEG_LAYER_III"}
OTHERS = {
    "h.opus": "OPUS",
    "i.aiff": "PCM_16",
    "j.wav": "PCM_U8",
    "k.wav": "PCM_32",
    "l.wav": "DOUBLE",
    "m.wav": "ULAW",
}


def music(seconds: float = 2.0, rate: int = 48_000, channels: int = 2) -> npt.NDArray[np.float64]:
    """[n, channels]: another tone in each channel, and noise."""
    at = np.arange(round(seconds * rate))[:, None] / rate
    noise = np.random.default_rng(5).standard_normal((len(at), channels))
    return 0.3 * np.sin(2 * np.pi * 330 * (1 + np.arange(channels)) * at) + 0.05 * noise


def write(path: Path, coding: str, samples: npt.ArrayLike, rate: int = 48_000) -> Path:
    container = {".opus": "OGG", ".mp3": "MP3", ".aiff": "AIFF"}.get(path.suffix)
    soundfile.write(path, samples, rate, subtype=coding, format=container)
    return path


def pcm_of(decoded: Decoded) -> Samples:
    mapped = np.load(decoded.path_of_pcm, mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert mapped.dtype == np.float32
    assert mapped.shape == (decoded.samples,)
    return np.array(mapped)


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.square(samples.astype(np.float64)).mean()))


@pytest.mark.parametrize("name", PCM | LOSSY | OTHERS)
def test_every_format_becomes_mono_by_the_mean(tmp_path: Path, name: str) -> None:
    coding = (PCM | LOSSY | OTHERS)[name]
    stereo = music()
    path = write(tmp_path / name, coding, stereo)
    decoded = decode([path], None, tmp_path / "cache", "soundfile")
    got, wanted = pcm_of(decoded), stereo.mean(axis=1)
    assert (decoded.sample_rate, len(got)) == (48_000, 96_000)
    (file,) = decoded.files
    assert (file.path, file.sample_rate, file.channels, file.seconds, file.decoder) == (
        path,
        48_000,
        2,
        2.0,
        "soundfile",
    )
    share_of_error = {"VORBIS": 0.2, "OPUS": 0.3, "MPEG_LAYER_III": 0.2, "PCM_U8": 0.05, "ULAW": 0.05}.get(coding, 2e-4)
    assert rms(got - wanted) < share_of_error * rms(wanted)


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 96_000])
def test_any_rate_and_channel_count(tmp_path: Path, rate: int, channels: int) -> None:
    at = np.arange(2 * rate) / rate
    tone = np.repeat(0.5 * np.sin(2 * np.pi * 440 * at)[:, None], channels, axis=1)
    decoded = decode([write(tmp_path / "a.wav", "PCM_16", tone, rate)], 16_000, tmp_path / "cache", "soundfile")
    wanted = 0.5 * np.sin(2 * np.pi * 440 * np.arange(32_000) / 16_000)
    assert np.abs(pcm_of(decoded) - wanted)[500:-500].max() < 1e-4


def test_rate_of_the_first_file_is_taken_when_none_is_asked(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{rate}.wav", "PCM_16", music(1, rate), rate) for rate in (22_050, 44_100, 8_000)]
    decoded = decode(paths, None, tmp_path / "cache", "soundfile")
    assert (decoded.sample_rate, decoded.samples) == (22_050, 3 * 22_050)
    assert [file.sample_rate for file in decoded.files] == [22_050, 44_100, 8_000]


@pytest.mark.parametrize("asked", [None, 16_000])
def test_a_recording_in_pieces_is_that_recording(tmp_path: Path, asked: int | None) -> None:
    whole = music(3, 44_100, 1)
    one = decode([write(tmp_path / "whole.flac", "PCM_16", whole, 44_100)], asked, tmp_path / "cache", "soundfile")
    cuts = [0, 12_345, 13_000, 100_001, len(whole)]
    pieces = [
        write(tmp_path / f"{start}.flac", "PCM_16", whole[start:stop], 44_100)
        for start, stop in itertools.pairwise(cuts)
    ]
    several = decode(pieces, asked, tmp_path / "cache", "soundfile")
    np.testing.assert_array_equal(pcm_of(several), pcm_of(one))


def test_wav_and_flac_from_a_pipe(tmp_path: Path) -> None:
    samples = to_int16(music())
    wav = bytearray(write(tmp_path / "a.wav", "PCM_16", samples).read_bytes())
    wav[4:8] = wav[40:44] = b"\xff\xff\xff\xff"
    flac = bytearray(write(tmp_path / "a.flac", "PCM_16", samples).read_bytes())
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    (tmp_path / "pipe.wav").write_bytes(wav)
    (tmp_path / "pipe.flac").write_bytes(flac)
    wanted = pcm_of(decode([tmp_path / "a.wav"], None, tmp_path / "cache", "soundfile"))
    for name in ("pipe.wav", "pipe.flac"):
        decoded = decode([tmp_path / name], None, tmp_path / "cache", "soundfile")
        np.testing.assert_array_equal(pcm_of(decoded), wanted)
        assert decoded.files[0].seconds == 2.0


# The two decoders.


@needs_tensorflow_io
@pytest.mark.parametrize("name", PCM | LOSSY)
@pytest.mark.parametrize("channels", [1, 2])
def test_decoders_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, channels: int) -> None:
    coding = (PCM | LOSSY)[name]
    monkeypatch.setattr("sonicrnn.decode.BLOCK", 1 << 15)
    path = write(tmp_path / name, coding, music(2.3, 44_100, channels), 44_100)  # four blocks
    graph = decode([path], None, tmp_path / "graph", "tensorflow-io")
    plain = decode([path], None, tmp_path / "plain", "soundfile")
    assert (graph.files[0].decoder, plain.files[0].decoder) == ("tensorflow-io", "soundfile")
    if name in PCM:
        np.testing.assert_array_equal(pcm_of(graph), pcm_of(plain))
    else:
        assert np.abs(pcm_of(graph) - pcm_of(plain)).max() < 2.0**-15


@needs_tensorflow_io
@pytest.mark.parametrize(("name", "rate"), [("d.flac", 44_100), ("f.ogg", 48_000), ("g.mp3", 22_050)])
def test_decoders_agree_after_resampling(tmp_path: Path, name: str, rate: int) -> None:
    path = write(tmp_path / name, (PCM | LOSSY)[name], music(9, rate), rate)
    graph = pcm_of(decode([path], 16_000, tmp_path / "graph", "tensorflow-io"))
    plain = pcm_of(decode([path], 16_000, tmp_path / "plain", "soundfile"))
    assert len(graph) == len(plain)
    assert 20 * np.log10(rms(graph - plain) / rms(plain)) < -60


@needs_tensorflow_io
@pytest.mark.parametrize("name", OTHERS)
def test_what_tensorflow_io_cannot_read_goes_to_soundfile(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, OTHERS[name], music())
    graph = decode([path], None, tmp_path / "graph", "tensorflow-io")
    assert graph.files[0].decoder == "soundfile"
    np.testing.assert_array_equal(pcm_of(graph), pcm_of(decode([path], None, tmp_path / "plain", "soundfile")))


@needs_tensorflow_io
def test_damaged_flac_is_refused_by_both(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", "PCM_16", music(8))
    data = bytearray(path.read_bytes())
    for place in range(len(data) // 2, len(data) // 2 + 6000, 1500):
        data[place] ^= 0x10
    path.write_bytes(data)
    for decoder in ("tensorflow-io", "soundfile"):
        with pytest.raises(UserError, match=r"a.flac is unusable, (damaged|cannot be decoded)"):
            decode([path], None, tmp_path / "cache", decoder)
    assert list((tmp_path / "cache").iterdir()) == []


@needs_tensorflow_io
def test_decoding_in_the_graph_writes_nothing_on_the_terminal(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", "VORBIS", music())
    code = "import sys, pathlib; from sonicrnn.audio import decode\n"
    code += "got = decode([pathlib.Path(sys.argv[1])], 16000, pathlib.Path(sys.argv[2]))\nprint(got.files[0].decoder)"
    quiet = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, env=quiet, check=True)
    assert (done.stdout, done.stderr) == ("tensorflow-io\n", "")


def test_without_tensorflow_io_nothing_of_tensorflow_is_imported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.ogg", "VORBIS", music())
    code = "import sys, pathlib; from sonicrnn import audio, song\n"
    code += "audio.decode([pathlib.Path(sys.argv[1])], 16000, pathlib.Path(sys.argv[2]), 'soundfile')\n"
    code += "assert not [name for name in sys.modules if name.startswith('tensorflow')]"
    subprocess.run([sys.executable, "-c", code, str(path), str(tmp_path / "cache")], check=True)


def test_decoder_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio, "tensorflow_io_loads", lambda: False)
    with pytest.raises(UserError, match="tensorflow-io does not load here"):
        decode([write(tmp_path / "a.wav", "PCM_16", music())], None, tmp_path, "tensorflow-io")


# Bad recordings.


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"there is no file .*gone.wav: check the path"):
        decode([tmp_path / "gone.wav"], None, tmp_path / "cache")


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (music(0.9), r"too short, 0.90 s: give at least 1 s"),
        (np.zeros(96_000), r"silent, nothing in it reaches −80 dBFS: give a recording that sounds"),
        (np.full(96_000, 0.9e-4), r"silent"),
        (np.append(music(2, channels=1)[:, 0], np.nan), r"no numbers \(2.00 s from its start\): save it anew as 16"),
        (np.insert(music(9, channels=1)[:, 0], 384_000, -np.inf), r"no numbers \(8.00 s from its start\)"),
        (5e4 * music(), r"reaches \d+ × full scale"),
    ],
)
def test_bad_samples(tmp_path: Path, samples: npt.NDArray[np.float64], message: str) -> None:
    path = write(tmp_path / "bad.wav", "FLOAT", samples)
    with pytest.raises(UserError, match=r"bad.wav is .*" + message):
        decode([path], 16_000, tmp_path / "cache", "soundfile")
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("name", ["f.ogg", "h.opus", "d.flac"])
def test_damage_in_the_middle_is_found(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, (PCM | LOSSY | OTHERS)[name], music(20))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5000] = bytes(5000)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"is unusable, (damaged|cannot be decoded).*: copy or download it again"):
        decode([path], 16_000, tmp_path / "cache", "soundfile")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_end_told_a_little_too_late_is_no_damage(tmp_path: Path) -> None:
    # So long that Opus, which begins 312 samples early, fills its last packet, 960 samples.
    path = write(tmp_path / "h.opus", "OPUS", music(95_688 / 48_000))
    whole = decode([path], 48_000, tmp_path / "cache").samples
    end_later(path, 10)
    assert soundfile.info(path).frames == whole + 10
    assert decode([path], 48_000, tmp_path / "cache").samples == whole
    end_later(path, 48_000)
    with pytest.raises(UserError, match=r"is unusable, damaged 2\.0 s from its start"):
        decode([path], 48_000, tmp_path / "cache")


def end_later(path: Path, samples: int) -> None:
    """Let an Ogg file say that it ends so much later: in its last page, whose checksum is made anew (RFC 3533)."""
    data = bytearray(path.read_bytes())
    page = data.rfind(b"OggS")
    position = int.from_bytes(data[page + 6 : page + 14], "little")
    data[page + 6 : page + 14] = (position + samples).to_bytes(8, "little")
    data[page + 22 : page + 26] = bytes(4)
    checksum = 0
    for byte in data[page:]:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    data[page + 22 : page + 26] = checksum.to_bytes(4, "little")
    path.write_bytes(data)


# The cache.


def test_second_time_nothing_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.ogg", "VORBIS", music())
    first = decode([path], 16_000, tmp_path / "cache", "soundfile")
    monkeypatch.setattr(audio, "blocks", lambda *_: pytest.fail("decoded again"))
    moved = path.rename(tmp_path / "b.ogg")  # the content counts, not the name
    second = decode([moved], 16_000, tmp_path / "cache")
    assert (second.content_hash, second.path_of_pcm) == (first.content_hash, first.path_of_pcm)
    assert second.files[0].path == moved


def test_hash_tells_bytes_order_and_rate_apart(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{n}.wav", "PCM_16", n / 10 * music()) for n in (1, 2))
    cache = tmp_path / "cache"
    keys = [decode(paths, rate, cache, "soundfile").content_hash for paths, rate in (
        ([one], None), ([one], 16_000), ([one, two], None), ([two, one], None), ([one, one], None)
    )]  # fmt: skip
    assert len(set(keys)) == 5


@pytest.mark.parametrize("damage", ["shorter", "no note", "odd note"])
def test_damaged_cache_is_made_anew(tmp_path: Path, damage: str) -> None:
    path = write(tmp_path / "a.wav", "PCM_16", music())
    first = decode([path], None, tmp_path / "cache", "soundfile")
    wanted, note = pcm_of(first), first.path_of_pcm.with_suffix(".json")
    if damage == "shorter":
        first.path_of_pcm.write_bytes(first.path_of_pcm.read_bytes()[:-4])
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text(json.dumps([1, 2]))
    np.testing.assert_array_equal(pcm_of(decode([path], None, tmp_path / "cache", "soundfile")), wanted)


def decoding_process(path: Path, cache: Path, before: str = "") -> subprocess.Popen[str]:
    code = f"import sys, pathlib, resource, signal\nfrom sonicrnn import audio, errors\n{before}\n"
    code += "song, cache = map(pathlib.Path, sys.argv[1:])\n"
    code += "errors.run_command(lambda _: audio.decode([song], 16000, cache, 'soundfile'))"
    command = [sys.executable, "-c", code, str(path), str(cache)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_two_processes_decode_the_same_song_at_once(tmp_path: Path) -> None:
    path, cache = write(tmp_path / "a.flac", "PCM_16", music(60)), tmp_path / "cache"
    both = [decoding_process(path, cache) for _ in range(2)]
    assert [(process.communicate()[1], process.returncode) for process in both] == [("", 0)] * 2
    there = decode([path], 16_000, cache, "soundfile")
    assert sorted(cache.iterdir()) == [there.path_of_pcm.with_suffix(".json"), there.path_of_pcm]
    np.testing.assert_array_equal(pcm_of(there), pcm_of(decode([path], 16_000, tmp_path / "other", "soundfile")))


def test_full_disk_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of a file fails a write in the same way as a full disk.
    limit = (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))"
    )
    process = decoding_process(write(tmp_path / "a.flac", "PCM_16", music(30)), tmp_path / "cache", limit)
    said = process.communicate()[1]
    assert process.returncode == 2
    assert said.startswith("sonicrnn: the disk is full")
    assert f"the decoded song goes into {tmp_path / 'cache'}; song.cache names another folder" in said
    assert len(said.splitlines()) == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_what_a_killed_process_left_is_removed_in_time(tmp_path: Path) -> None:
    cache, key = tmp_path / "cache", "0123456789abcdef" * 2
    cache.mkdir()
    old, fresh, foreign = cache / f".{key}-abc.npy", cache / f".{key}-xyz.npy", cache / ".others-1.npy"
    for path in (old, fresh, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    decode([write(tmp_path / "a.wav", "PCM_16", music())], None, cache, "soundfile")
    assert (old.exists(), fresh.exists(), foreign.exists()) == (False, True, True)


def test_memory_does_not_grow_with_the_song(tmp_path: Path) -> None:
    peaks = []
    for minutes in (1, 6):
        path = write(tmp_path / f"{minutes}.wav", "PCM_16", np.tile(music(10), (6 * minutes, 1)))
        tracemalloc.start()
        decode([path], 16_000, tmp_path / "cache", "soundfile")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] < 30e6  # the samples themselves are 23 MB, of stereo at 48 kHz 138 MB
