"""Parts: found again in spectra that were mixed from them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.parts import activations, find_parts

Floats = npt.NDArray[np.float32]


@pytest.fixture
def notes() -> Floats:
    """Five notes of other partials, [5, 80], each of sum 1."""
    made = np.full([5, 80], 1e-4)
    for index in range(5):
        for partial in (1, 2, 3):
            made[index, (index + 5) * partial] = 1 / partial
    return (made / made.sum(1, keepdims=True)).astype(np.float32)


@pytest.fixture
def levels() -> Floats:
    """[300, 5]: notes that come and go one by one and together."""
    random = np.random.default_rng(4)
    return (random.uniform(0.1, 3, [300, 5]) * (random.uniform(size=[300, 5]) < 0.4)).astype(np.float32)


def test_how_loud_each_note_is_is_heard(notes: Floats, levels: Floats) -> None:
    heard = activations(tf.constant(levels @ notes), tf.constant(notes)).numpy()
    np.testing.assert_allclose(heard, levels, atol=0.03)


def test_a_spectrum_is_heard_the_same_wherever_it_stands(notes: Floats, levels: Floats) -> None:
    whole = activations(tf.constant(levels @ notes), tf.constant(notes)).numpy()
    alone = activations(tf.constant(levels[40:41] @ notes), tf.constant(notes)).numpy()
    np.testing.assert_allclose(alone[0], whole[40], atol=1e-5)


def test_notes_are_found_in_their_mixtures(notes: Floats, levels: Floats) -> None:
    found = find_parts(levels @ notes, 5)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-4)
    likeness = (found / np.linalg.norm(found, axis=1, keepdims=True)) @ (
        notes / np.linalg.norm(notes, axis=1, keepdims=True)
    ).T
    assert sorted(likeness.argmax(0)) == list(range(5))
    assert likeness.max(0).min() > 0.97


def test_the_same_spectra_and_seed_give_the_same_parts(notes: Floats, levels: Floats) -> None:
    np.testing.assert_array_equal(find_parts(levels @ notes, 4, 7), find_parts(levels @ notes, 4, 7))
    assert np.abs(find_parts(levels @ notes, 4, 7) - find_parts(levels @ notes, 4, 8)).max() > 1e-3


def test_silence_has_no_part_in_it(notes: Floats) -> None:
    heard = activations(tf.zeros([3, 80]), tf.constant(notes)).numpy()
    assert np.all(np.isfinite(heard))
    assert heard.max() < 1e-4
    parts = find_parts(np.zeros([20, 80], np.float32), 3)
    assert np.all(np.isfinite(parts))
