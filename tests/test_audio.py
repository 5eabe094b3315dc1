"""Short files read whole, and pieces written: 16 bits, rounded, clipped, whole or not there."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sonicrnn.audio import decode, read_audio, to_int16, write_audio
from sonicrnn.errors import UserError

Samples = npt.NDArray[np.float32]


def test_read_audio_is_what_decode_makes(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((7 * 48_000, 2)), 48_000)
    got = read_audio(path, 16_000)
    np.testing.assert_array_equal(got, np.load(decode([path], 16_000, tmp_path / "cache", "soundfile").path_of_pcm))
    assert got.dtype == np.float32
    with pytest.raises(UserError, match="not audio"):
        read_audio(__file__, 16_000)


@pytest.mark.parametrize("suffix", ["wav", "FLAC"])
def test_written_file_holds_the_samples_as_16_bits(tmp_path: Path, suffix: str) -> None:
    samples = np.array([0.0, 0.5, -0.25, 1.0, -1.0, 1.7, -9.0, 1 / 32768, 0.6 / 32768, -0.4 / 32768], np.float32)
    path = tmp_path / "new" / f"piece.{suffix}"
    write_audio(path, samples, 22_050)
    got, rate = soundfile.read(path, dtype="int16")
    assert (rate, soundfile.info(path).subtype) == (22_050, "PCM_16")
    assert got.tolist() == [0, 16384, -8192, 32767, -32768, 32767, -32768, 1, 1, 0]


def test_conversion_to_int16_is_no_cast_that_is_thrown_away() -> None:
    # `samples.astype("int16")` without an assignment leaves floats, and a bare cast leaves silence.
    samples = np.sin(np.arange(1000) / 20)
    got = to_int16(samples)
    assert got.dtype == np.int16
    assert np.abs(got).max() == 32767
    assert np.abs(got / 32768 - samples).max() <= 1 / 32768


@settings(deadline=None)
@given(hnp.arrays(np.float32, st.integers(0, 50), elements=st.floats(-(2.0**99), 2.0**99, width=32)))
def test_to_int16_never_wraps(samples: Samples) -> None:
    got = to_int16(samples)
    inside = np.clip(samples.astype(np.float64), -1, 32767 / 32768)
    assert np.abs(got / 32768 - inside).max(initial=0) <= 0.5 / 32768


def test_16_bits_survive_reading_and_writing(tmp_path: Path) -> None:
    values = np.arange(-32768, 32768).astype(np.int16)
    soundfile.write(tmp_path / "all.wav", values, 16_000)
    write_audio(tmp_path / "again.wav", read_audio(tmp_path / "all.wav", 16_000), 16_000)
    np.testing.assert_array_equal(soundfile.read(tmp_path / "again.wav", dtype="int16")[0], values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_number_is_not_written(tmp_path: Path, bad: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinity"):
        write_audio(tmp_path / "a.wav", [0.0, bad], 16_000)
    assert list(tmp_path.iterdir()) == []


def test_wrong_shape_type_and_suffix_are_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must be \[n\], not \[2, 3\]"):
        write_audio(tmp_path / "a.wav", np.zeros((2, 3)), 16_000)
    with pytest.raises(TypeError, match="floating point"):
        to_int16(np.zeros(3, np.int32))
    with pytest.raises(UserError, match=r"must end in .wav or .flac"):
        write_audio(tmp_path / "a.mp3", np.zeros(3), 16_000)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_while_writing_keeps_the_old_file(tmp_path: Path) -> None:
    write_audio(tmp_path / "a.flac", np.zeros(5), 16_000)
    code = "import sys, signal, resource, numpy as np\nfrom sonicrnn.audio import write_audio\n"
    code += (
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (99_000, 99_000))\n"
    )
    code += "try: write_audio(sys.argv[1], np.random.default_rng(0).random(400_000), 16000)\n"
    code += "except OSError as error: sys.exit(error.errno)"
    for name in ("a.flac", "b.wav"):
        assert (
            subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False).returncode == errno.ENOSPC
        )
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]
    assert soundfile.info(tmp_path / "a.flac").frames == 5
