"""The encoding: made of the training part alone, the same in blocks as in one piece, and the way back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn import encoding as encoding_module
from sonicrnn.config import FrameSettings
from sonicrnn.encoding import Encoding, encoded_blocks
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.song import Normaliser

RATE = 16_000
Samples = npt.NDArray[np.float32]

KINDS: dict[str, dict[str, Any]] = {
    "waveform": {"kind": "waveform", "frame_length": 400},
    "waveform overlapping": {"kind": "waveform", "frame_length": 400, "hop": 250},
    "mdct": {"kind": "mdct", "frame_length": 256},
    "stft": {"kind": "stft", "frame_length": 256},
    "stft, odd hop": {"kind": "stft", "frame_length": 256, "hop": 100},
    "stft, components": {"kind": "stft", "frame_length": 256, "components": 40},
    "stft, stack": {"kind": "stft", "frame_length": 256, "stack": 3},
    "stft, parts": {"kind": "stft", "frame_length": 256, "parts": 12},
    "stft, stack and components": {"kind": "stft", "frame_length": 256, "stack": 3, "components": 50},
}


@pytest.fixture(params=list(KINDS))
def made(request: pytest.FixtureRequest) -> FrameSettings:
    return FrameSettings(**KINDS[request.param])


@pytest.fixture
def part(small_song: Samples) -> Samples:
    """8 s of music and noise, at a level and with an offset of its own."""
    random = np.random.default_rng(3)
    return (0.3 * small_song[: 8 * RATE] + 0.01 * random.standard_normal(8 * RATE) + 0.02).astype(np.float32)


def fitted(part: Samples, made: FrameSettings) -> Encoding:
    return fit_encoding(part, made, RATE, Normaliser(float(part.mean()), float(part.std())))


def encoded(encoding: Encoding, samples: Samples) -> Samples:
    """All frames of [samples], in one piece."""
    return encoding.encode(tf.constant(samples[None]))[0].numpy()


# Sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [0, 255, 256, 399, 400, 401, 650, 767, 768, 4000, 4999])
def test_the_sizes_are_what_the_arithmetic_says(made: FrameSettings, samples: int) -> None:
    encoding = Encoding(made, RATE, Normaliser(0, 1))
    count = encoding.frame_count(samples)
    if count:  # nothing is ever encoded of what does not hold one frame
        assert encoding.raw(tf.zeros([1, samples])).shape[1] == count
        assert samples >= (count - 1) * encoding.step + encoding.span
    assert samples < count * encoding.step + encoding.span


def test_decoded_audio_is_as_long_as_what_its_frames_look_at(made: FrameSettings, part: Samples) -> None:
    encoding = fitted(part, made)
    frames = encoded(encoding, part[:5000])
    decoded = encoding.decode(tf.constant(frames[None]))
    assert decoded.shape == (1, (len(frames) - 1) * encoding.step + encoding.span)


def test_a_stack_is_neighbouring_spectra_in_their_order_under_a_window(part: Samples) -> None:
    one = Encoding(FrameSettings(kind="stft", frame_length=256), RATE, Normaliser(0, 1))
    three = Encoding(FrameSettings(kind="stft", frame_length=256, stack=3), RATE, Normaliser(0, 1))
    samples = tf.constant(part[None, :3000])
    single, stacked = one.raw(samples)[0].numpy(), three.raw(samples)[0].numpy()
    assert stacked.shape == (len(single) // 3 - 1, 6 * 129)
    window = np.sin(np.pi * (np.arange(6) + 0.5) / 6)[:, None]
    for index, frame in enumerate(stacked):
        expected = window * single[3 * index : 3 * index + 6]
        np.testing.assert_allclose(frame.reshape(6, 129), expected, atol=1e-5)
    assert three.step == 3 * one.step
    assert three.span == 256 + 5 * 64


# There and back ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["waveform", "waveform overlapping", "mdct"])
def test_samples_come_back_from_frames_that_keep_everything(kind: str, part: Samples) -> None:
    encoding = fitted(part, FrameSettings(**KINDS[kind]))
    decoded = encoding.decode(tf.constant(encoded(encoding, part)[None]))[0].numpy()
    inner = slice(encoding.overlap, len(decoded) - encoding.overlap)
    np.testing.assert_allclose(decoded[inner], part[: len(decoded)][inner], atol=2e-6)


@pytest.mark.parametrize("kind", ["stft", "stft, stack"])
def test_log_magnitudes_come_back_from_their_scaling(kind: str, part: Samples) -> None:
    encoding = fitted(part, FrameSettings(**KINDS[kind]))
    raw = encoding.raw(encoding.normalise(tf.constant(part[None])))
    np.testing.assert_allclose(encoding.colour(encoding.whiten(raw)), raw, atol=1e-4)


def test_stft_frames_come_back_as_audio_with_their_magnitudes(part: Samples) -> None:
    """In level too: the normaliser is undone after the phases are found."""
    encoding = fitted(part, FrameSettings(kind="stft", frame_length=512, phase_steps=32))
    decoded = encoding.decode(tf.constant(encoded(encoding, part)[None]))[0].numpy()
    inner = slice(encoding.overlap, len(decoded) - encoding.overlap)
    assert np.std(decoded[inner]) == pytest.approx(np.std(part[inner]), rel=0.1)
    wanted, got = np.exp(encoded(encoding, part)), np.exp(encoded(encoding, decoded))
    assert np.sum(np.square(got - wanted)) < 0.04 * np.sum(np.square(wanted))


def test_components_are_the_principal_ones(part: Samples) -> None:
    """Against the singular value decomposition of the frames themselves."""
    encoding = fitted(part, FrameSettings(**KINDS["stft, components"]))
    raw = encoding.raw(encoding.normalise(tf.constant(part[None])))[0].numpy().astype(np.float64)
    centred = raw - raw.mean(0)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    kept = vectors[:40]
    np.testing.assert_allclose(
        encoding.colour(encoding.whiten(tf.constant(raw, tf.float32))), raw.mean(0) + centred @ kept.T @ kept, atol=5e-3
    )
    lost = np.sum(np.square(encoding.colour(encoding.whiten(tf.constant(raw, tf.float32))) - raw))
    assert lost == pytest.approx(np.sum(np.square(values[40:])), rel=1e-3)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "waveform" not in kind])
def test_frames_of_the_training_part_have_unit_variance(kind: str, part: Samples) -> None:
    encoding = fitted(part, FrameSettings(**KINDS[kind]))
    frames = encoded(encoding, part).astype(np.float64)
    assert frames.shape[1] == encoding.dimension
    np.testing.assert_allclose(np.square(frames).mean(0), 1, atol=0.02)
    if kind != "mdct":  # whose coefficients have no mean of their own: what a part happens to have is not taken off
        np.testing.assert_allclose(frames.mean(0), 0, atol=0.01)
    if "components" in kind:
        np.testing.assert_allclose(np.cov(frames.T), np.eye(encoding.dimension), atol=0.05)


def test_waveform_frames_are_the_normalised_samples(part: Samples) -> None:
    encoding = fitted(part, FrameSettings(**KINDS["waveform"]))
    frames = encoded(encoding, part)
    np.testing.assert_allclose(frames[3], (part[1200:1600] - part.mean()) / part.std(), atol=1e-5)
    assert frames.std() == pytest.approx(1, abs=0.01)


def test_silence_in_some_figure_gives_finite_frames() -> None:
    """A tone has coefficients that never move: nothing is divided by zero, nothing blown up."""
    time = np.arange(2 * RATE) / RATE
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    tone[: RATE // 2] = 0
    for kind in KINDS.values():
        encoding = fit_encoding(tone, FrameSettings(**kind), RATE, Normaliser(0, 1))
        frames = encoded(encoding, tone)
        assert np.all(np.isfinite(frames))
        assert np.abs(frames).max() < 100
        assert np.all(np.isfinite(encoding.decode(tf.constant(frames[None, :50]))))


# Parts ------------------------------------------------------------------------------------------------------------


def test_frames_of_parts_come_back_as_sums_of_them(part: Samples) -> None:
    encoding = fitted(part, FrameSettings(kind="stft", frame_length=256, parts=24))
    plain = Encoding(FrameSettings(kind="stft", frame_length=256), RATE, encoding.normaliser)
    wanted = np.exp(plain.raw(plain.normalise(tf.constant(part[None])))[0])
    frames = encoding.encode(tf.constant(part[None]))
    assert frames.shape[-1] == encoding.dimension == 24
    got = np.exp(encoding.spectra_of(frames)[0])
    assert np.sum(np.square(got - wanted)) < 0.03 * np.sum(np.square(wanted))


def test_no_figure_of_a_part_lies_above_the_ceiling_and_none_sounds_louder(part: Samples) -> None:
    encoding = fitted(part, FrameSettings(**KINDS["stft, parts"]))
    frames = encoded(encoding, part)
    assert encoding.ceiling is not None
    np.testing.assert_allclose(frames.max(0), encoding.ceiling, atol=0.05)
    highest = encoding.spectra_of(tf.constant(encoding.ceiling[None, None]))
    np.testing.assert_allclose(encoding.spectra_of(tf.constant(encoding.ceiling[None, None] + 3)), highest, atol=1e-5)
    assert fitted(part, FrameSettings(**KINDS["stft"])).ceiling is None


def test_the_transition_is_the_best_linear_guess(part: Samples) -> None:
    encoding = fitted(part, FrameSettings(**KINDS["stft, parts"]))
    frames = encoded(encoding, part).astype(np.float64)
    assert encoding.transition is not None
    left = np.mean(np.square(frames[1:] - frames[:-1] @ encoding.transition))
    assert left < 0.8 * np.mean(np.square(frames[1:] - frames[:-1]))
    best = np.linalg.lstsq(frames[:-1], frames[1:], rcond=None)[0]
    assert left < 1.05 * np.mean(np.square(frames[1:] - frames[:-1] @ best))


def test_more_parts_than_spectra_are_refused(part: Samples) -> None:
    with pytest.raises(UserError, match="needs as many spectra"):
        fitted(part[:5000], FrameSettings(kind="stft", frame_length=256, parts=100))


# Statistics of the training part alone ----------------------------------------------------------------------------


def test_nothing_beyond_the_part_is_looked_at(made: FrameSettings, part: Samples) -> None:
    poisoned = np.concatenate([part, np.full(RATE, np.nan, np.float32)])
    clean, other = fitted(part.copy(), made), fitted(poisoned[: len(part)], made)
    for name in ("mean", "analysis", "synthesis"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(other, name))


@pytest.mark.parametrize("kind", ["mdct", "stft", "stft, components"])
def test_the_statistics_are_the_same_however_the_part_is_read(
    kind: str, part: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = FrameSettings(**KINDS[kind])
    whole = fitted(part, settings)
    monkeypatch.setattr(encoding_module, "BLOCK_SECONDS", 1)
    blocks = fitted(part, settings)
    # An eigenvector's sign is free, so what the figures do together is compared.
    raw = whole.raw(whole.normalise(tf.constant(part[None, :4000])))
    np.testing.assert_allclose(blocks.colour(blocks.whiten(raw)), whole.colour(whole.whiten(raw)), atol=1e-3)


@pytest.mark.parametrize("samples", [768, 16_000, 16_640, 50_001])
def test_frames_in_blocks_are_those_of_the_whole(
    made: FrameSettings, part: Samples, samples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = fitted(part, made)
    monkeypatch.setattr(encoding_module, "BLOCK_SECONDS", 1)
    blocks = list(encoded_blocks(encoding.encode, encoding, part[:samples]))
    assert all(len(block) == len(blocks[0]) for block in blocks[:-1])
    np.testing.assert_allclose(np.concatenate(blocks), encoded(encoding, part[:samples]), atol=1e-4)


def test_a_part_of_less_than_two_frames_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match=r"holds 1 frames of 256 samples.*longer recording"):
        fit_encoding(np.ones(300, np.float32), FrameSettings(kind="stft", frame_length=256), RATE, Normaliser(0, 1))


# Kept in a folder -------------------------------------------------------------------------------------------------


def test_what_is_saved_loads_to_the_same_encoding(made: FrameSettings, part: Samples, tmp_path: Path) -> None:
    encoding = fitted(part, made)
    encoding.save(tmp_path)
    loaded = Encoding.load(tmp_path)
    assert (loaded.settings, loaded.sample_rate, loaded.normaliser) == (made, RATE, encoding.normaliser)
    assert loaded.dimension == encoding.dimension
    np.testing.assert_array_equal(encoded(loaded, part[:4000]), encoded(encoding, part[:4000]))
    frames = tf.constant(encoded(encoding, part[:4000])[None])
    np.testing.assert_array_equal(loaded.decode(frames), encoding.decode(frames))
    facts = json.loads((tmp_path / "statistics.json").read_text(encoding="utf-8"))
    assert facts["dimension"] == encoding.dimension
    assert (tmp_path / "projection.npz").exists() == (made.kind != "waveform")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("kind", ["waveform", "mdct"])
@pytest.mark.parametrize(
    ("file", "spoil"),
    [
        ("statistics.json", Path.unlink),
        ("statistics.json", cut),
        ("statistics.json", lambda path: path.write_text("{}")),
        ("statistics.json", lambda path: path.write_text("[]")),
        ("projection.npz", Path.unlink),
        ("projection.npz", cut),
        ("projection.npz", lambda path: path.write_bytes(b"")),
    ],
)
def test_a_folder_that_lost_something_is_a_users_error(
    kind: str, file: str, spoil: Callable[[Path], None], part: Samples, tmp_path: Path
) -> None:
    fitted(part, FrameSettings(**KINDS[kind])).save(tmp_path)
    if not (tmp_path / file).exists():
        pytest.skip("waveform frames have no such file")
    spoil(tmp_path / file)
    with pytest.raises(UserError, match="is no whole run"):
        Encoding.load(tmp_path)
