"""Frames and back: round trips, and each transform against its slow, obvious definition."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from sonicrnn import frames

Floats = npt.NDArray[np.float64]


def noise(*shape: int, seed: int = 0) -> npt.NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def decibels(error: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The energy of an error relative to that of what it is an error of."""
    return float(10 * np.log10(np.sum(np.square(error)) / np.sum(np.square(reference)) + 1e-20))


# How many ---------------------------------------------------------------------------------------------------------


@given(st.integers(0, 500), st.integers(1, 100), st.integers(1, 100))
def test_frames_are_counted_as_they_are_cut(samples: int, frame_length: int, hop: int) -> None:
    starts = [start for start in range(0, samples, hop) if start + frame_length <= samples]
    assert frames.frame_count(samples, frame_length, hop) == len(starts)
    covered = starts[-1] + frame_length if starts else 0
    assert frames.samples_of(len(starts), frame_length, hop) == covered


# Waveform ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_length", [40, 1000, 40_000])
def test_waveform_frames_without_overlap_are_the_samples_themselves(frame_length: int) -> None:
    samples = noise(2, 3 * frame_length + 7)
    made = frames.waveform_frames(tf.constant(samples), frame_length, frame_length)
    assert made.shape == (2, 3, frame_length)
    np.testing.assert_array_equal(made[1, 2], samples[1, 2 * frame_length : 3 * frame_length])
    np.testing.assert_array_equal(frames.waveform_samples(made, frame_length), samples[:, : 3 * frame_length])


@given(st.integers(40, 3000), st.floats(0.5, 1), st.integers(1, 6), st.integers(0, 50))
@settings(deadline=None, max_examples=40)
def test_overlapping_waveform_frames_give_their_waveform_back(
    frame_length: int, share: float, count: int, rest: int
) -> None:
    hop = max(-(-frame_length // 2), round(frame_length * share))
    covered = frames.samples_of(count, frame_length, hop)
    samples = noise(1, covered + min(rest, hop - 1))
    made = frames.waveform_frames(tf.constant(samples), frame_length, hop)
    assert made.shape == (1, count, frame_length)
    np.testing.assert_array_equal(made[0, count - 1], samples[0, covered - frame_length : covered])
    back = frames.waveform_samples(made, hop).numpy()
    assert back.shape == (1, covered)
    np.testing.assert_allclose(back, samples[:, :covered], atol=1e-6)


@pytest.mark.parametrize("frame_length", [40, 1000, 40_000])
def test_long_and_short_waveform_frames_give_their_waveform_back_under_the_greatest_overlap(frame_length: int) -> None:
    samples = noise(1, 4 * frame_length)
    back = frames.waveform_samples(
        frames.waveform_frames(tf.constant(samples), frame_length, frame_length // 2), frame_length // 2
    )
    np.testing.assert_allclose(back, samples, atol=1e-6)


def test_frames_that_disagree_are_cross_faded_and_not_cut() -> None:
    """Frames of 0, 1 and 0, as a model may draw them: the waveform goes from one to the other without a step."""
    made = tf.stack([tf.zeros(100), tf.ones(100), tf.zeros(100)])[None]
    back = frames.waveform_samples(made, hop=60)[0].numpy()
    assert np.abs(np.diff(back)).max() == pytest.approx(1 / 40, rel=1e-3)
    assert back.max() == pytest.approx(1)
    assert np.all(back[:60] == 0)
    assert np.all(back[120:160] > 0)  # the second fade


@pytest.mark.parametrize("join", ["fade", "average", "last"])
def test_however_frames_are_joined_their_waveform_comes_back(join: frames.Join) -> None:
    samples = noise(2, 5 * 60 + 40)
    made = frames.waveform_frames(tf.constant(samples), 100, 60)
    np.testing.assert_allclose(frames.waveform_samples(made, 60, join), samples, atol=1e-6)


def test_where_frames_disagree_the_average_is_heard_or_the_last_samples_of_each_alone() -> None:
    made = tf.stack([tf.zeros(100), tf.ones(100), tf.fill([100], 5.0)])[None]
    average, last = (frames.waveform_samples(made, 60, join)[0].numpy() for join in ("average", "last"))
    np.testing.assert_allclose(average, np.repeat([0, 0.5, 1, 3, 5], [60, 40, 20, 40, 60]))
    np.testing.assert_allclose(last, np.repeat([0, 1, 5], [100, 60, 60]))  # each but the first: its last 60


# MDCT -------------------------------------------------------------------------------------------------------------


def naive_mdct(samples: Floats, hop: int) -> Floats:
    """The definition, a sum over all samples for every coefficient."""
    n, k = np.arange(2 * hop), np.arange(hop)
    window = np.sin(np.pi / 2 * np.sin(np.pi * (n + 0.5) / (2 * hop)) ** 2)
    basis = np.sqrt(2 / hop) * np.cos(np.pi / hop * np.outer(k + 0.5, n + 0.5 + hop / 2))
    starts = range(0, len(samples) - 2 * hop + 1, hop)
    return np.stack([basis @ (window * samples[start : start + 2 * hop]) for start in starts])


@pytest.mark.parametrize("hop", [8, 64, 250])
def test_mdct_frames_are_those_of_the_definition(hop: int) -> None:
    samples = noise(1, 7 * hop + 3)
    made = frames.mdct_frames(tf.constant(samples), hop)[0].numpy()
    expected = naive_mdct(samples[0].astype(np.float64), hop)
    assert made.shape == expected.shape == (6, hop)
    # The sign of the whole transform is a convention.
    sign = np.sign(np.sum(made * expected))
    np.testing.assert_allclose(sign * made, expected, atol=2e-5)


@given(st.integers(4, 300), st.integers(1, 12), st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_mdct_frames_give_their_waveform_back(half: int, count: int, rest: int) -> None:
    hop = 2 * half
    samples = noise(2, (count + 1) * hop + min(rest, hop - 1))
    made = frames.mdct_frames(tf.constant(samples), hop)
    assert made.shape == (2, count, hop)
    back = frames.mdct_samples(made).numpy()
    assert back.shape == (2, (count + 1) * hop)
    np.testing.assert_allclose(back[:, hop:-hop], samples[:, hop : count * hop], atol=1e-5)


def test_mdct_is_orthonormal_so_noise_stays_white() -> None:
    samples = noise(1, 64 * 4001)
    made = frames.mdct_frames(tf.constant(samples), 64)[0].numpy()
    covariance = np.cov(made.T)
    np.testing.assert_allclose(np.diag(covariance), 1, atol=0.12)  # five times its standard error
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 0.09
    inner = np.pad(noise(1, 640), ((0, 0), (64, 64)))
    energy = float(tf.reduce_sum(tf.square(frames.mdct_frames(tf.constant(inner), 64))))
    assert energy == pytest.approx(np.sum(np.square(inner)), rel=1e-5)


# STFT -------------------------------------------------------------------------------------------------------------


def window_of(frame_length: int) -> Floats:
    """Periodic Hann, its energy 1."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame_length) / frame_length)
    return window / np.sqrt(np.sum(window**2))


def naive_spectra(samples: Floats, frame_length: int, hop: int) -> npt.NDArray[np.complex128]:
    """The discrete Fourier transform of each frame as a matrix product."""
    n = np.arange(frame_length)
    dft = np.exp(-2j * np.pi * np.outer(np.arange(frame_length // 2 + 1), n) / frame_length)
    starts = range(0, len(samples) - frame_length + 1, hop)
    return np.stack([dft @ (window_of(frame_length) * samples[start : start + frame_length]) for start in starts])


def naive_samples(spectra: npt.NDArray[np.complex128], frame_length: int, hop: int) -> Floats:
    """The waveform whose spectra are nearest: windowed frames added up, over the squared windows added up."""
    total = np.zeros((len(spectra) - 1) * hop + frame_length)
    weight = np.zeros_like(total)
    window = window_of(frame_length)
    for index, spectrum in enumerate(spectra):
        place = slice(index * hop, index * hop + frame_length)
        total[place] += window * np.fft.irfft(spectrum, frame_length)
        weight[place] += window**2
    return total / np.maximum(weight, 1e-3 / frame_length)


def naive_griffin_lim(
    magnitude: Floats,
    start: npt.NDArray[np.complex128],
    known: npt.NDArray[np.complex128],
    frame_length: int,
    hop: int,
    steps: int,
) -> Floats:
    """Algorithm 2 of Perraudin, Balazs and Søndergaard (2013), momentum 0.99, word for word.

    The first spectra, those of a waveform that is known, stay as they are.
    """
    current = before = np.concatenate([known, start[len(known) :]])
    for _ in range(steps):
        projected = naive_spectra(naive_samples(current, frame_length, hop), frame_length, hop)
        accelerated = projected + 0.99 * (projected - before)
        current, before = magnitude * accelerated / np.abs(accelerated), projected
        current[: len(known)] = known
    return naive_samples(current, frame_length, hop)


@pytest.mark.parametrize(("frame_length", "hop"), [(32, 8), (64, 32), (100, 30)])
def test_stft_frames_are_those_of_the_definition(frame_length: int, hop: int) -> None:
    samples = noise(1, 500)
    expected = naive_spectra(samples[0].astype(np.float64), frame_length, hop)
    made = frames.spectra(tf.constant(samples), frame_length, hop)[0].numpy()
    np.testing.assert_allclose(made, expected, atol=1e-5)
    logarithms = frames.stft_frames(tf.constant(samples), frame_length, hop)[0].numpy()
    np.testing.assert_allclose(logarithms, 0.5 * np.log(np.abs(expected) ** 2 + 1e-6), atol=1e-3)


@pytest.mark.parametrize(("frame_length", "hop"), [(32, 8), (64, 32), (100, 30)])
def test_spectra_give_their_waveform_back_but_for_the_very_edge(frame_length: int, hop: int) -> None:
    samples = noise(2, 20 * hop + frame_length)
    back = frames.spectra_samples(frames.spectra(tf.constant(samples), frame_length, hop), frame_length, hop).numpy()
    assert back.shape == samples.shape
    np.testing.assert_allclose(back[:, hop:-hop], samples[:, hop:-hop], atol=1e-4)


def test_noise_of_unit_variance_has_magnitudes_near_one_and_silence_has_the_floor() -> None:
    """The floor stands 60 dB below such noise whatever the frame length."""
    for frame_length in (64, 1024):
        power = tf.square(tf.abs(frames.spectra(tf.constant(noise(1, 200_000)), frame_length, frame_length)))
        assert float(tf.reduce_mean(power)) == pytest.approx(1, abs=0.05)
        silence = frames.stft_frames(tf.zeros([1, 4096]), frame_length, frame_length // 4).numpy()
        np.testing.assert_allclose(silence, np.log(frames.MAGNITUDE_FLOOR), rtol=1e-5)


@given(st.floats(2e-3, 1e4))
def test_a_magnitude_above_the_floor_comes_back_from_its_logarithm(magnitude: float) -> None:
    back = float(frames.magnitude_of(frames.log_magnitude(tf.constant(magnitude))))
    assert back == pytest.approx(magnitude, rel=1e-4)


@pytest.mark.parametrize("drawn", [-100.0, -7.0, 0.0, 10.0])
def test_whatever_logarithm_a_model_draws_has_a_magnitude(drawn: float) -> None:
    magnitude = float(frames.magnitude_of(tf.constant(drawn)))
    assert 0 <= magnitude <= np.exp(drawn) * 1.001
    silent = frames.stft_samples(tf.fill([1, 5, 33], -100.0), 64, 16, steps=3)
    assert np.all(silent.numpy() == 0)


@pytest.mark.parametrize("known_samples", [0, 200])
def test_griffin_lim_is_the_published_algorithm(known_samples: int) -> None:
    frame_length, hop = 64, 16
    samples, other = noise(1, 600), noise(1, known_samples, seed=1)
    target = frames.stft_frames(tf.constant(samples), frame_length, hop)
    known = tf.constant(other) if known_samples else None
    made = frames.stft_samples(target, frame_length, hop, steps=5, known=known)[0].numpy()
    magnitude = frames.magnitude_of(target)[0].numpy().astype(np.float64)
    angles = tf.random.stateless_uniform(magnitude.shape, [frame_length, hop], 0, 2 * np.pi)  # always the same ones
    heard = naive_spectra(other[0].astype(np.float64), frame_length, hop) if known_samples else magnitude[:0] * 1j
    expected = naive_griffin_lim(magnitude, magnitude * np.exp(1j * angles.numpy()), heard, frame_length, hop, steps=5)
    assert decibels(made - expected, expected) < -60


def convergence(samples: npt.NDArray[np.float32], made: tf.Tensor, frame_length: int, hop: int) -> float:
    """dB of the magnitudes' error, of what was made of magnitudes alone."""
    wanted = np.abs(frames.spectra(tf.constant(samples), frame_length, hop).numpy())
    got = np.abs(frames.spectra(made, frame_length, hop).numpy())
    return decibels(got - wanted, wanted)


def test_griffin_lim_comes_near_to_the_wanted_magnitudes_and_nearer_with_more_steps(
    small_song: npt.NDArray[np.float32],
) -> None:
    samples = small_song[None, : 2 * 16_000] / small_song.std()
    target = frames.stft_frames(tf.constant(samples), 1024, 256)
    error = [convergence(samples, frames.stft_samples(target, 1024, 256, steps), 1024, 256) for steps in (0, 8, 32, 80)]
    assert error[0] > -10
    assert error == sorted(error, reverse=True)
    assert error[2] < -17
    assert error[3] < -20


@pytest.mark.parametrize("frequency", [110.0, 440.0, 3000.0])
def test_a_tone_stays_at_its_frequency_and_level(frequency: float) -> None:
    rate, time = 16_000, np.arange(32_000) / 16_000
    samples = np.sin(2 * np.pi * frequency * time).astype(np.float32)[None]
    target = frames.stft_frames(tf.constant(samples), 1024, 256)
    made = frames.stft_samples(target, 1024, 256, steps=64)[0].numpy()
    inner = made[2000:-2000] * np.hanning(len(made) - 4000)
    spectrum = np.abs(np.fft.rfft(inner, 8 * len(inner)))
    assert np.argmax(spectrum) * rate / (8 * len(inner)) == pytest.approx(frequency, abs=1.0)
    assert np.std(made[2000:-2000]) == pytest.approx(np.sqrt(0.5), rel=0.1)


def test_what_is_known_of_a_waveform_stays_and_the_rest_goes_on_from_it() -> None:
    time = np.arange(8192) / 8192
    samples = (np.sin(2 * np.pi * 300 * time * (1 + time)) + 0.02 * noise(8192)).astype(np.float32)[None]
    target = frames.stft_frames(tf.constant(samples), 256, 64)
    whole = frames.stft_samples(target, 256, 64, steps=16, known=tf.constant(samples))[0].numpy()
    assert decibels(whole[64:-64] - samples[0, 64:-64], samples[0, 64:-64]) < -80
    begun = frames.stft_samples(target, 256, 64, steps=16, known=tf.constant(samples[:, :4096]))[0].numpy()
    assert decibels(begun[64:3840] - samples[0, 64:3840], samples[0, 64:3840]) < -80
    assert np.corrcoef(begun[4096:4160], samples[0, 4096:4160])[0, 1] > 0.5  # in phase
    unknown = frames.stft_samples(target, 256, 64, steps=16)[0].numpy()
    assert decibels(unknown[64:3000] - samples[0, 64:3000], samples[0, 64:3000]) > -10


def test_more_known_audio_than_frames_is_no_harm() -> None:
    samples = noise(1, 1024)
    target = frames.stft_frames(tf.constant(samples[:, :512]), 256, 64)
    made = frames.stft_samples(target, 256, 64, steps=2, known=tf.constant(samples))
    assert made.shape == (1, 512)


def test_pieces_do_not_depend_on_their_neighbours_nor_on_chance() -> None:
    target = frames.stft_frames(tf.constant(noise(3, 2000)), 256, 64)
    together = frames.stft_samples(target, 256, 64, steps=4).numpy()
    again = frames.stft_samples(target, 256, 64, steps=4).numpy()
    alone = frames.stft_samples(target[1:2], 256, 64, steps=4).numpy()
    np.testing.assert_array_equal(together, again)
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)
