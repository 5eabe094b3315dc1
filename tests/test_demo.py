"""The built-in song is what its description says; every figure is measured here from the samples alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonicrnn.demo import FADE_OUT, LEAD_IN, SAMPLE_RATE, demo_song, write_demo

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def song() -> Floats:
    samples, rate = demo_song()
    assert rate == SAMPLE_RATE == 16_000
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    return samples.astype(np.float64)


def decibels(power: Floats) -> Floats:
    return 10 * np.log10(power + 1e-12)


def loudness(samples: Floats, window: int = 1600) -> Floats:
    """RMS level in dBFS of consecutive windows of 0.1 s."""
    whole = samples[: samples.size // window * window]
    return decibels(np.mean(whole.reshape(-1, window) ** 2, axis=1))


def pulsations_per_minute(samples: Floats) -> float:
    """The first strong peak of the loudness envelope's autocorrelation, between 3 s and 12 s."""
    envelope = np.convolve(loudness(samples), np.ones(10) / 10, mode="valid")
    envelope -= envelope.mean()
    correlation = np.correlate(envelope, envelope, mode="full")[envelope.size - 1 :]
    lag = next(k for k in range(30, 120) if correlation[k - 1] < correlation[k] > correlation[k + 1])
    assert correlation[lag] > 0.3 * correlation[0]
    return 600 / lag


def test_is_about_five_minutes_at_a_healthy_level(song: Floats) -> None:
    assert 280 <= song.size / SAMPLE_RATE <= 320
    assert -18.0 <= decibels(np.mean(song**2)) <= -14.0
    assert 0.5 < np.max(np.abs(song)) < 10 ** (-1 / 20)
    assert abs(np.mean(song)) < 1e-4


def test_lead_in_is_silent_and_the_sound_starts_at_once(song: Floats) -> None:
    assert not song[:LEAD_IN].any()
    assert decibels(np.mean(song[LEAD_IN : LEAD_IN + 800] ** 2)) > -45


def test_end_fades_to_zero_over_its_last_samples(song: Floats) -> None:
    before = np.mean(song[-2 * FADE_OUT : -FADE_OUT] ** 2)
    quarters = np.mean(song[-FADE_OUT:].reshape(4, -1) ** 2, axis=1)
    assert np.all(np.diff(quarters) < 0)
    assert quarters[0] > 0.4 * before
    assert quarters[3] < 0.01 * before
    assert song[-1] == 0.0
    assert np.max(np.abs(song[-100:])) < 1e-4


def test_pulsates_nine_then_fourteen_times_a_minute(song: Floats) -> None:
    assert pulsations_per_minute(song[LEAD_IN : 53 * SAMPLE_RATE]) == pytest.approx(9, abs=0.8)
    for start in range(55, 290 - 60, 40):
        part = song[start * SAMPLE_RATE : (start + 60) * SAMPLE_RATE]
        assert pulsations_per_minute(part) == pytest.approx(14, abs=0.8)


def test_swells_are_deep_but_never_silent_and_not_all_alike(song: Floats) -> None:
    level = loudness(song[LEAD_IN + SAMPLE_RATE : -FADE_OUT])
    assert 6 < np.percentile(level, 95) - np.percentile(level, 5) < 20
    assert level.min() > -40
    swells = level[590 : 590 + 53 * 43].reshape(-1, 43)  # about one swell a row
    assert np.std(np.max(swells, axis=1)) > 0.3


def test_spectrum_reaches_from_the_bass_to_six_kilohertz(song: Floats) -> None:
    frames = song[: song.size // 4096 * 4096].reshape(-1, 4096) * np.hanning(4096)
    power = np.mean(np.abs(np.fft.rfft(frames)) ** 2, axis=0)
    frequency = np.fft.rfftfreq(4096, 1 / SAMPLE_RATE)

    def band(low: float, high: float) -> float:
        return float(decibels(power[(frequency >= low) & (frequency < high)].mean()))

    strongest = decibels(power).max()
    assert band(50, 200) > strongest - 20
    assert all(band(low, low + 500) > strongest - 65 for low in range(500, 6_000, 500))
    assert band(0, 15) < strongest - 30


def test_has_no_clicks(song: Floats) -> None:
    """A click is a jump: the second difference would stand far out of what surrounds it."""
    bend = np.abs(np.diff(song, 2))
    blocks = bend[: bend.size // 400 * 400].reshape(-1, 400)
    typical = np.sqrt(np.mean(blocks**2, axis=1)) + 1e-3
    assert np.max(blocks.max(axis=1) / typical) < 8


def test_last_fifth_uses_the_chords_of_what_came_before(song: Floats) -> None:
    """Each second of the end has a near likeness in the first 80 %, far nearer than a second of another key."""
    seconds = song[: song.size // SAMPLE_RATE * SAMPLE_RATE].reshape(-1, SAMPLE_RATE) * np.hanning(SAMPLE_RATE)
    spectrum = np.abs(np.fft.rfft(seconds))[:, 50:1500]  # 1 Hz a bin
    pitch = np.rint(12 * np.log2(np.arange(50, 1500) / 440)).astype(int) % 12
    chroma = np.stack([np.sum(spectrum[:, pitch == p] ** 2, axis=1) for p in range(12)], axis=1) ** 0.5
    chroma /= np.linalg.norm(chroma, axis=1, keepdims=True) + 1e-9
    split = int(0.8 * len(chroma))
    nearest = (chroma[split:-2] @ chroma[:split].T).max(axis=1)
    strange = (np.roll(chroma[split:-2], 6, axis=1) @ chroma[:split].T).max(axis=1)
    assert nearest.min() > 0.9
    assert np.median(nearest) > 0.97 > np.median(strange)


def test_another_process_makes_the_same_bits(song: Floats) -> None:
    code = "import hashlib; from sonicrnn.demo import demo_song; print(hashlib.sha256(demo_song()[0]).hexdigest())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(song.astype(np.float32).tobytes()).hexdigest()


def test_is_written_once_into_the_cache(tmp_path: Path, song: Floats) -> None:
    path = write_demo(tmp_path / "cache")
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == SAMPLE_RATE
    assert soundfile.info(path).subtype == "PCM_16"
    np.testing.assert_allclose(samples, song * 32767, atol=0.51)  # rounded, not cut
    written = path.stat().st_mtime_ns
    assert write_demo(tmp_path / "cache") == path
    assert path.stat().st_mtime_ns == written
    assert list(path.parent.iterdir()) == [path]
