"""Every measurement on signals whose answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonicrnn import levels, measures

RATE = 16_000
Floats = npt.NDArray[np.float64]


def seconds(length: float, rate: int = RATE) -> Floats:
    return np.arange(round(length * rate)) / rate


def noise(length: float, seed: int = 0, level: float = 0.1) -> Floats:
    return level * np.random.default_rng(seed).standard_normal(round(length * RATE))


def sine(length: float, hertz: float = 440.0, rate: int = RATE) -> Floats:
    return np.sin(2 * np.pi * hertz * seconds(length, rate))


def notes(per_second: float, length: float) -> Floats:
    """Struck tones that die away, evenly spaced."""
    samples = np.zeros(round(length * RATE))
    for index in range(round(length * per_second)):
        start = round(index * RATE / per_second)
        time = seconds(0.2)[: len(samples) - start]
        samples[start : start + len(time)] += (
            0.3 * np.sin(2 * np.pi * (300 + 40 * (index % 5)) * time) * np.exp(-15 * time) * (1 - time / 0.2)
        )
    return samples


# Levels


def test_level_of_known_signals() -> None:
    assert measures.level(sine(2), RATE) == pytest.approx(-3.01, abs=0.01)
    assert measures.level(np.sign(sine(2) + 1e-9), RATE) == pytest.approx(0.0, abs=0.01)
    assert measures.level(0.1 * sine(2), RATE) == pytest.approx(-23.01, abs=0.01)
    assert measures.level(np.zeros(100), RATE) == measures.FLOOR_DBFS
    assert measures.level(np.zeros(0), RATE) == measures.FLOOR_DBFS


def test_a_constant_is_silence_and_does_not_lift_the_level() -> None:
    assert measures.level(np.full(RATE, 0.5), RATE) == measures.FLOOR_DBFS
    assert measures.level(0.1 * sine(2) + 0.5, RATE) == pytest.approx(-23.01, abs=0.01)
    wanders = np.repeat([0.5, -0.2, 0.3, 0.0], RATE)  # as between the sections of a song
    assert measures.level(0.1 * sine(4) + wanders, RATE) == pytest.approx(-23.01, abs=0.01)
    assert measures.level_curve(0.1 * sine(4) + 0.5, RATE) == pytest.approx(-23.01, abs=0.01)


@given(st.floats(-40, 0), st.integers(1, 60_000))
@settings(deadline=None, max_examples=30)
def test_level_follows_the_gain(gain: float, count: int) -> None:
    samples = noise(4)[: count + 1]
    louder = measures.level(samples * 10 ** (gain / 20), RATE)
    assert louder == pytest.approx(measures.level(samples, RATE) + gain, abs=1e-6)


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(1, 700))
@settings(deadline=None, max_examples=40)
def test_every_sample_is_in_a_window_and_every_window_right(count: int, window: int, hop: int) -> None:
    hop = min(hop, window)
    samples = noise(1, seed=count)[:count]
    powers = levels.window_powers(samples, window, hop)
    starts = np.arange(len(powers)) * hop
    assert starts[-1] + window >= count  # the last one reaches the end
    assert len(powers) == 1 or starts[-2] + window < count  # and is the first that does
    expected = [samples[start : start + window].var() for start in starts]
    assert powers == pytest.approx(np.array(expected), abs=1e-12)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = np.clip(12 * noise(6), -1, 1)
    before = [levels.level_curve(samples, RATE, 0.3, 0.1), levels.clipping(samples), levels.level(samples, RATE)]
    monkeypatch.setattr(levels, "_BLOCK", 7001)
    assert levels.level_curve(samples, RATE, 0.3, 0.1) == pytest.approx(before[0])
    assert levels.clipping(samples) == before[1] > 0.01
    assert levels.level(samples, RATE) == pytest.approx(before[2])


@pytest.mark.parametrize("slope", [-30.0, -2.0, 0.0, 12.0])
def test_trend_of_a_steady_change(slope: float) -> None:
    samples = noise(60) * 10 ** (slope * seconds(60) / 60 / 20)
    assert measures.level_trend(samples, RATE) == pytest.approx(slope, abs=0.2)


def test_trend_is_not_moved_by_one_rest_but_by_a_fade() -> None:
    samples = noise(60)
    samples[-2 * RATE :] = 0
    assert measures.level_trend(samples, RATE) == pytest.approx(0.0, abs=0.3)
    for falls_silent in (50, 40, 20, 10):
        samples[falls_silent * RATE :] = 0
        assert measures.level_trend(samples, RATE) < (-50 if 10 < falls_silent < 50 else 0.3)


def test_trend_of_a_long_song_stays_quick_and_right() -> None:
    rate = 1000
    samples = np.random.default_rng(0).standard_normal(3600 * rate) * 10 ** (-np.arange(3600 * rate) / rate / 60 / 20)
    assert measures.level_trend(samples, rate) == pytest.approx(-1.0, abs=0.02)


def test_silence_share_and_longest_stretch() -> None:
    samples = noise(10)
    samples[3 * RATE : 6 * RATE] = 0
    found = measures.silence(samples, RATE)
    assert found.longest_seconds == pytest.approx(3.0, abs=0.11)
    assert found.share == pytest.approx(5 / 19)  # windows at 3.0, 3.5 … 5.0 of those at 0.0 … 9.0
    assert measures.silence(np.zeros(3 * RATE), RATE).share == 1.0
    assert measures.silence(noise(3), RATE).longest_seconds == 0.0


def test_silence_is_judged_by_the_median_or_a_given_threshold() -> None:
    samples = noise(10, level=1.0)
    samples[3 * RATE : 6 * RATE] *= 0.003  # 50 dB down
    assert measures.silence(samples, RATE).longest_seconds == pytest.approx(3.0, abs=0.11)
    assert measures.silence(samples, RATE, threshold_dbfs=-60).longest_seconds == 0.0


def test_clipping_counts_runs_only() -> None:
    assert measures.clipping(sine(1)) == 0.0  # touches full scale with one sample at a time
    samples = np.zeros(1000)
    samples[100:110], samples[200:205], samples[300:302] = 1.0, -1.0, 1.0
    assert measures.clipping(samples) == pytest.approx(15 / 1000)
    assert measures.clipping(np.clip(3 * sine(1), -1, 1)) > 0.5


def test_dc_offset_has_a_sign() -> None:
    assert measures.dc_offset(sine(1) - 0.02) == pytest.approx(-0.02, abs=1e-6)
    assert measures.dc_offset(np.zeros(0)) == 0.0


# The ends of a song


def breathing(length: float, per_minute: float, phase: float, seed: int) -> Floats:
    """Chords with a slow pulsation and a little noise."""
    time, random = seconds(length), np.random.default_rng(seed)
    chord = sum(np.sin(2 * np.pi * hertz * time + random.uniform(0, 6)) for hertz in (110, 165, 220.5, 277, 331))
    pulse = 0.6 + 0.35 * np.sin(2 * np.pi * per_minute / 60 * time + phase)
    return np.asarray(0.06 * chord * pulse + 0.003 * random.standard_normal(len(time)))


@pytest.mark.parametrize("phase", [0.0, 1.6, 3.1, 4.7])
@pytest.mark.parametrize(("per_minute", "bend"), [(9.0, 0), (14.0, 0), (14.0, 1)])
def test_lead_in_and_fade_of_pulsating_music(phase: float, per_minute: float, bend: int) -> None:
    song = breathing(60, per_minute, phase, seed=1)
    song[:2000] = 0
    song[-20_000:] *= np.linspace(1, 0, 20_000) if bend == 0 else np.cos(np.linspace(0, np.pi / 2, 20_000)) ** 2
    lead_in, fade_out = measures.silence_ends(song, RATE)
    assert lead_in == pytest.approx(2000, abs=3)
    assert fade_out == pytest.approx(20_000, rel=0.15)


@pytest.mark.parametrize("fade_seconds", [0.5, 4.0, 12.0])
def test_fades_of_other_lengths_and_silence_after_them(fade_seconds: float) -> None:
    song, length = breathing(80, 11.0, 1.0, seed=2), round(fade_seconds * RATE)
    song[-length:] *= np.linspace(1, 0, length)
    whole = np.concatenate([song, np.zeros(8000)])
    assert measures.silence_ends(song, RATE)[1] == pytest.approx(length, rel=0.35)
    assert measures.silence_ends(whole, RATE)[1] == pytest.approx(length + 8000, rel=0.35)


def test_what_is_no_fade() -> None:
    cut = breathing(60, 9.0, 0.5, seed=3)
    assert measures.silence_ends(cut, RATE)[1] == 0
    time = seconds(180)
    chord = sum(np.sin(2 * np.pi * hertz * time) for hertz in (110, 220.3, 277, 330.1)) / 8
    for dying in (6.9, 3.0):  # to −60 dB and −26 dB
        assert measures.silence_ends(chord * np.exp(-dying * time / 180), RATE)[1] == 0
    partials = [
        np.sin(2 * np.pi * hertz * time) * np.exp(-k * time / 90) for k, hertz in enumerate((110, 220, 331, 440))
    ]
    assert measures.silence_ends(np.sum(partials, axis=0) / 8, RATE)[1] == 0
    assert measures.silence_ends(noise(1), RATE) == (0, 0)  # too short to tell


def test_ends_of_silence_and_of_a_cut_with_silence_after_it() -> None:
    assert measures.silence_ends(np.zeros(5000), RATE) == (5000, 0)
    song = np.concatenate([np.zeros(700), noise(30), np.zeros(RATE)])
    lead_in, fade_out = measures.silence_ends(song, RATE)
    assert lead_in == pytest.approx(700, abs=3)
    assert fade_out == pytest.approx(RATE, abs=3)


# Spectrum


def test_flatness_of_noise_and_of_a_sine() -> None:
    assert measures.spectral_flatness(noise(5), RATE) == pytest.approx(np.exp(-np.euler_gamma), abs=0.02)
    assert measures.spectral_flatness(0.5 * sine(5), RATE) < 1e-4
    assert measures.long_term_flatness(noise(20), RATE) == pytest.approx(1.0, abs=0.02)
    assert np.isnan(measures.spectral_flatness(np.zeros(RATE), RATE)) or measures.level(np.zeros(RATE)) == -120


def test_flatness_leaves_out_silent_frames() -> None:
    samples = noise(10)
    samples[: 6 * RATE] = 0
    assert measures.spectral_flatness(samples, RATE) == pytest.approx(0.5615, abs=0.03)
    assert np.isnan(measures.spectral_flatness(np.zeros(2 * RATE), RATE))
    assert np.isnan(measures.long_term_flatness(np.zeros(2 * RATE), RATE))


def test_power_adds_up() -> None:
    samples = noise(5)
    power = np.concatenate(list(measures.power_frames(samples, RATE)))
    assert 10 * np.log10(power.sum(axis=1).mean()) == pytest.approx(measures.level(samples, RATE), abs=0.1)
    assert measures.long_term_spectrum(samples, RATE).sum() == pytest.approx(samples.var(), rel=0.02)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
def test_log_mel_is_in_dbfs_and_puts_a_sine_into_its_band(rate: int) -> None:
    frames = measures.log_mel(sine(2, 1000.0, rate), rate, floor_db=-100)
    assert frames.shape[1] == 64
    assert frames.dtype == np.float32
    assert 10 * np.log10((10 ** (frames / 10)).sum(axis=1).mean()) == pytest.approx(-3.01, abs=0.1)
    edges = 700 * (10 ** (np.linspace(0, 1, 66) * np.log10(1 + rate / 2 / 700)) - 1)
    band = int(frames.mean(axis=0).argmax())
    assert edges[band] - 40 < 1000 < edges[band + 2] + 40
    hop = measures.frame_and_hop(rate)[1]
    assert hop / rate == pytest.approx(0.016, rel=0.01)


def test_log_mel_floor() -> None:
    samples = np.concatenate([noise(1), np.zeros(RATE)])
    relative = measures.log_mel(samples, RATE)
    assert relative.max() - relative.min() == pytest.approx(80, abs=0.01)
    assert measures.log_mel(samples, RATE, floor_db=-70).min() == pytest.approx(-70, abs=1e-3)
    assert measures.log_mel(np.zeros(10), RATE).shape == (1, 64)


@pytest.mark.parametrize("bands", [8, 40, 64, 128])
def test_no_mel_band_is_empty(bands: int) -> None:
    assert (measures.log_mel(noise(2), RATE, bands).mean(axis=0) > -60).all()


# Rhythm


@pytest.mark.parametrize("per_minute", [4.0, 9.0, 14.0, 40.0])
@pytest.mark.parametrize("trend_db", [0.0, -20.0])
def test_pulsation_of_swelling_noise(per_minute: float, trend_db: float) -> None:
    time = seconds(60)
    samples = noise(60) * (1 + 0.6 * np.sin(2 * np.pi * per_minute / 60 * time)) * 10 ** (trend_db * time / 60 / 20)
    found = measures.pulsation(samples, RATE)
    assert found.per_minute == pytest.approx(per_minute, rel=0.03)
    assert found.strength > 0.8
    assert measures.pulsation_rate(samples, RATE) == found.per_minute


def test_no_pulsation_where_nothing_pulsates() -> None:
    assert measures.pulsation(np.zeros(60 * RATE), RATE).per_minute == 0.0
    assert measures.pulsation(noise(1), RATE).per_minute == 0.0
    assert measures.pulsation(noise(60), RATE).strength < 0.5


@pytest.mark.parametrize("rate", [11_025, 16_000, 48_000])
def test_pulsation_at_other_rates(rate: int) -> None:
    time = seconds(40, rate)
    samples = np.sin(2 * np.pi * 300 * time) * (1 + 0.5 * np.sin(2 * np.pi * 12 / 60 * time)) / 3
    assert measures.pulsation_rate(samples, rate) == pytest.approx(12, rel=0.03)


@pytest.mark.parametrize("per_second", [0.5, 2.0, 5.0])
def test_onset_rate_of_notes(per_second: float) -> None:
    assert measures.onset_rate(notes(per_second, 30), RATE) == pytest.approx(per_second, abs=0.1)


def test_the_onset_rate_of_a_long_song_is_that_of_minutes_all_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    song = np.concatenate([notes(2.0, 60), notes(5.0, 120), np.zeros(60 * RATE)])
    assert measures.usual_onset_rate(song, RATE) == measures.onset_rate(song, RATE) == pytest.approx(3.0, rel=0.03)
    monkeypatch.setattr("sonicrnn.rhythm.LONGEST_WHOLE_SECONDS", 200)
    assert measures.usual_onset_rate(song, RATE) == pytest.approx(3.0, rel=0.03)
    monkeypatch.setattr("sonicrnn.rhythm._MINUTES", 2)
    assert measures.usual_onset_rate(song, RATE) == pytest.approx(1.0, rel=0.03)  # of its first and its last alone


def test_no_onsets_in_steady_noise_and_silence() -> None:
    assert measures.onset_rate(noise(30), RATE) < 0.1
    assert measures.onset_rate(np.zeros(30 * RATE), RATE) == 0.0


@pytest.mark.parametrize("hertz", [0.2, 2.0, 10.0])
def test_modulation_spectrum_peaks_where_the_loudness_moves(hertz: float) -> None:
    samples = noise(60) * (1 + 0.6 * np.sin(2 * np.pi * hertz * seconds(60)))
    paces, power = measures.modulation_spectrum(samples, RATE)
    assert paces[0] == pytest.approx(0.05)
    assert paces[-1] == pytest.approx(20.0)
    assert paces[power.argmax()] == pytest.approx(hertz, rel=0.13)
    assert np.sort(power)[-2] < power.max() - 10 or hertz < 1
    assert (measures.modulation_spectrum(np.zeros(RATE), RATE)[1] == -80).all()


@pytest.mark.parametrize("period", [40, 256, 1000])
def test_clicks_at_frame_borders(period: int) -> None:
    music = breathing(30, 9.0, 0.0, seed=4)
    assert abs(measures.border_clicks(music, RATE, period)) < 1.0
    steps = np.repeat(0.01 * np.random.default_rng(0).standard_normal(len(music) // period + 1), period)[: len(music)]
    clicking = measures.border_clicks(music + steps, RATE, period)
    assert clicking > 6
    # At another period, one that shares no borders, they do not count.
    assert measures.border_clicks(music + steps, RATE, period + 7) < clicking / 2


def test_clicks_that_are_all_there_is_and_none_where_nothing_is() -> None:
    steps = np.repeat(np.random.default_rng(0).uniform(-1, 1, 200), 500)
    assert measures.border_clicks(steps, RATE, 500) > 50
    assert measures.border_clicks(np.zeros(RATE), RATE, 256) == 0.0
    assert measures.border_clicks(noise(1), RATE, RATE // 4) == 0.0  # too few periods
    with pytest.raises(ValueError, match="too short"):
        measures.border_clicks(noise(1), RATE, 4)


def test_measures_read_mapped_float32_songs(tmp_path: object) -> None:
    path = f"{tmp_path}/song.f32"
    noise(3).astype(np.float32).tofile(path)
    mapped = np.memmap(path, np.float32, "r")
    assert measures.level(mapped, RATE) == pytest.approx(-20, abs=0.1)
    assert measures.log_mel(mapped, RATE).shape == (184, 64)
