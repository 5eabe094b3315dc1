"""Change of rate: exact lengths, no seams between blocks, and the graph's result against soxr's."""

from __future__ import annotations

import importlib.util

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonicrnn.resample import GraphResampler, Resampler, SoxrResampler, Unchanged, make_resampler

Samples = npt.NDArray[np.float32]

RATES = [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000), (96_000, 16_000), (12_345, 16_000)]
RATES += [(44_100, 15_999), (44_100, 48_000), (192_000, 8_000)]
needs_tensorflow = pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="no TensorFlow here")


def noise(samples: int) -> Samples:
    return (0.2 * np.random.default_rng(3).standard_normal(samples)).astype(np.float32)


def resampled(resampler: Resampler, samples: Samples, block: int) -> Samples:
    pieces = [resampler.push(samples[start : start + block]) for start in range(0, len(samples), block)]
    return np.concatenate([*pieces, resampler.finish()])


def error_db(got: Samples, wanted: Samples) -> float:
    away = got.astype(np.float64) - wanted
    return float(10 * np.log10(np.square(away).mean() / np.square(wanted.astype(np.float64)).mean()))


@given(samples=st.integers(0, 40_000), block=st.integers(500, 50_000), rates=st.sampled_from(RATES))
@settings(max_examples=40, deadline=None)
def test_length_is_that_of_the_time(samples: int, block: int, rates: tuple[int, int]) -> None:
    got = resampled(make_resampler(*rates, in_graph=False), noise(samples), block)
    assert abs(len(got) * rates[0] - samples * rates[1]) <= rates[0] / 2
    assert got.dtype == np.float32


@pytest.mark.parametrize("block", [1_000, 4_096, 44_100])
def test_blocks_leave_no_seam(block: int) -> None:
    samples = noise(100_000)
    whole = resampled(SoxrResampler(44_100, 16_000), samples, len(samples))
    np.testing.assert_array_equal(resampled(SoxrResampler(44_100, 16_000), samples, block), whole)


def test_tone_keeps_its_place_and_level() -> None:
    time = np.arange(44_100 * 2) / 44_100
    got = resampled(SoxrResampler(44_100, 16_000), np.sin(2 * np.pi * 1000 * time).astype(np.float32), 30_000)
    wanted = np.sin(2 * np.pi * 1000 * np.arange(32_000) / 16_000)
    assert np.abs(got - wanted)[500:-500].max() < 1e-4


def test_tone_above_the_new_range_is_gone() -> None:
    time = np.arange(44_100 * 2) / 44_100
    got = resampled(SoxrResampler(44_100, 16_000), np.sin(2 * np.pi * 9000 * time).astype(np.float32), 30_000)
    assert np.abs(got[500:-500]).max() < 1e-6


def test_equal_rates_change_nothing() -> None:
    samples = noise(1000)
    assert isinstance(make_resampler(16_000, 16_000, in_graph=True), Unchanged)
    np.testing.assert_array_equal(resampled(make_resampler(16_000, 16_000, in_graph=True), samples, 300), samples)


@needs_tensorflow
@pytest.mark.parametrize("rates", RATES)
def test_graph_agrees_with_soxr_on_white_noise(rates: tuple[int, int]) -> None:
    # White noise is the hardest case: it is full of what the filter cuts off. −60 dB is promised.
    samples = noise(round(1.3 * max(rates[0], 300_000)))  # more than one block
    wanted = resampled(SoxrResampler(*rates), samples, 50_000)
    got = resampled(GraphResampler(*rates), samples, 70_000)
    assert len(got) == len(wanted)
    assert error_db(got, wanted) < -110


@needs_tensorflow
@pytest.mark.parametrize("samples", [0, 1, 159, 5_000, 400_000])
def test_graph_at_any_length(samples: int) -> None:
    wanted = resampled(SoxrResampler(44_100, 16_000), noise(samples), 50_000)
    got = resampled(GraphResampler(44_100, 16_000), noise(samples), 33_333)
    np.testing.assert_allclose(got, wanted, atol=1e-6)


@needs_tensorflow
def test_graph_leaves_no_seam_between_blocks() -> None:
    samples = noise(1_000_000)
    got = [resampled(GraphResampler(48_000, 16_000), samples, block) for block in (100_000, 1_000_000)]
    np.testing.assert_array_equal(got[0], got[1])
    away = np.abs(got[0] - resampled(SoxrResampler(48_000, 16_000), samples, 50_000))
    assert away.max() < 1e-6
