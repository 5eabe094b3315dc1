"""Phases by their gradients: of sounds for which the theory says what they are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from benchmarks.phase_gradient import differences, integrate, phases
from sonicrnn import frames

RATE, LENGTH, HOP = 16_000, 512, 64
Floats = npt.NDArray[np.float64]
TIME = np.arange(RATE) / RATE


def spectra(samples: Floats) -> npt.NDArray[np.complex64]:
    found: npt.NDArray[np.complex64] = frames.spectra(tf.constant(samples[None], tf.float32), LENGTH, HOP)[0].numpy()
    return found


def convergence(magnitude: Floats, angles: Floats) -> float:
    """How far the magnitudes of the sound with these phases are from those wanted, in dB."""
    made = tf.constant((magnitude * np.exp(1j * angles))[None], tf.complex64)
    heard = np.abs(spectra(frames.spectra_samples(made, LENGTH, HOP)[0].numpy()))
    return float(20 * np.log10(np.linalg.norm(heard - magnitude) / np.linalg.norm(magnitude)))


@pytest.mark.parametrize(
    "samples",
    [
        np.sin(2 * np.pi * 1003.7 * TIME),
        np.sin(2 * np.pi * (500 * TIME + 1200 * TIME**2)),  # from 500 Hz up to 2900
        np.sin(2 * np.pi * 440 * TIME) + 0.3 * np.sin(2 * np.pi * 2000 * TIME),
        np.where(np.arange(RATE) % 2000 == 700, 1.0, 0.0),
    ],
    ids=["sine", "chirp", "two sines", "clicks"],
)
def test_sounds_come_back_far_better_than_by_random_phases(samples: Floats) -> None:
    magnitude = np.abs(spectra(samples)).astype(np.float64)
    random = np.random.default_rng(1).uniform(-np.pi, np.pi, magnitude.shape)
    assert convergence(magnitude, random) > -10
    assert convergence(magnitude, phases(magnitude, LENGTH, HOP)) < -20


def test_differences_are_those_of_the_sounds_own_phases() -> None:
    """Of a sine, near its bin, in time; of a click, near its frame, in frequency: the wrong way round it were -2.7."""
    sine = spectra(np.sin(2 * np.pi * 1003.7 * TIME))
    peak = round(1003.7 * LENGTH / RATE)
    in_time = differences(np.abs(sine).astype(np.float64), LENGTH, HOP)[0][100, peak]
    assert in_time % (2 * np.pi) == pytest.approx(2 * np.pi * 1003.7 * HOP / RATE % (2 * np.pi), abs=0.02)
    click = spectra(np.where(np.arange(RATE) == 8100, 1.0, 0.0))
    frame = (8100 - LENGTH // 2) // HOP
    in_frequency = differences(np.abs(click).astype(np.float64), LENGTH, HOP)[1][frame, 100]
    assert in_frequency == pytest.approx(
        -2 * np.pi * (8100 - frame * HOP) / LENGTH, abs=0.08
    )  # the wrong way round: -2.7


def test_exact_differences_are_added_up_to_the_phases_themselves() -> None:
    """But for the angle at which each sound begins, one for all where nothing is silent."""
    random = np.random.default_rng(2)
    wanted, loud = random.uniform(-9, 9, [30, 20]), random.uniform(0.1, 1, [30, 20])
    found = integrate(loud, np.diff(wanted, axis=0), np.diff(wanted, axis=1))
    np.testing.assert_allclose(found - found[0, 0], wanted - wanted[0, 0], atol=1e-9)


def test_the_loud_is_told_before_the_faint() -> None:
    """Two ways lead from one end to the other: by loud bins, with right differences, or by a faint one."""
    loud = np.array([[1.0, 0.9], [0.1, 0.8], [0.5, 0.7]])
    in_time = np.array([[100.0, 1.0], [100.0, 1.0]])
    in_frequency = np.array([[0.0], [50.0], [0.0]])
    found = integrate(loud, in_time, in_frequency)
    np.testing.assert_allclose(found[:, 1] - found[0, 0], [0, 1, 2])
    assert found[2, 0] - found[0, 0] == pytest.approx(2)


def test_silence_has_random_phases_and_the_same_each_time() -> None:
    silent = np.zeros([5, 9])
    angles = phases(silent, 16, 4)
    assert len(np.unique(angles)) == angles.size
    np.testing.assert_array_equal(angles, phases(silent, 16, 4))
