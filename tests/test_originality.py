"""Copies are found wherever they are, and nothing else is called one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from sonicrnn import originality
from sonicrnn.originality import Nearest, copy_threshold, judge, nearest, pictured

RATE = 16_000
FLOOR = -80.0
Floats = npt.NDArray[np.float64]


def melody(length: float, seed: int, rate: int = RATE) -> Floats:
    """Notes of random pitch, start and length over a soft chord."""
    random, time = np.random.default_rng(seed), np.arange(round(length * rate)) / rate
    samples = 0.03 * np.sin(2 * np.pi * 110 * time) + 0.001 * random.standard_normal(len(time))
    for start in np.sort(random.uniform(0, length - 1, round(3 * length))):
        note = np.arange(round(random.uniform(0.2, 0.9) * rate)) / rate
        hertz = 220 * 2 ** (random.integers(0, 30) / 12)
        tone = (
            sum(np.sin(2 * np.pi * k * hertz * note) / k for k in (1, 2, 3))
            * np.exp(-4 * note)
            * np.minimum(1, 100 * note)
        )
        first = round(start * rate)
        samples[first : first + len(note)] += 0.1 * tone * (1 - note / note[-1])
    return samples


@pytest.fixture(scope="module")
def song() -> Floats:
    song = melody(150, seed=0)
    song.setflags(write=False)
    return song


def resynthesised(samples: Floats) -> Floats:
    """The same magnitudes with other phases: random ones, made consistent by 15 Griffin-Lim steps."""

    def stft(signal: Floats) -> npt.NDArray[np.complex128]:
        return np.asarray(scipy.signal.stft(signal, RATE, nperseg=1024, noverlap=768)[2])

    def back(spectrum: npt.NDArray[np.complex128]) -> Floats:
        return np.asarray(scipy.signal.istft(spectrum, RATE, nperseg=1024, noverlap=768)[1])

    magnitude = np.abs(stft(samples))
    phase = np.exp(2j * np.pi * np.random.default_rng(0).uniform(size=magnitude.shape))
    for _ in range(15):
        again = stft(back(magnitude * phase))[:, : magnitude.shape[1]]
        phase = again / np.maximum(np.abs(again), 1e-9)
    return back(magnitude * phase)[: len(samples)]


def look_for(piece: Floats, song: Floats, rate: int = RATE) -> list[Nearest]:
    return nearest([pictured(piece, rate, FLOOR)], song, rate, FLOOR)[0]


@pytest.mark.parametrize("offset", [0, 64, 128, 200, 300])
def test_a_verbatim_copy_is_found_at_its_place(song: Floats, offset: int) -> None:
    start = 70 * RATE + offset
    for found in look_for(song[start : start + 6 * RATE], song):
        assert found.likeness > 0.98
        assert found.song_seconds == pytest.approx(70 + offset / RATE + found.piece_seconds, abs=0.02)


def test_a_copy_across_the_edge_of_a_block_and_at_the_very_end(song: Floats) -> None:
    for start in (118.3, 119.7, 146.0):
        first = round(start * RATE)
        found = look_for(song[first : first + 4 * RATE], song)
        assert min(one.likeness for one in found) > 0.97
        assert found[0].song_seconds == pytest.approx(start, abs=0.02)


@pytest.mark.parametrize("change", ["quieter", "resynthesised", "noisy", "brighter"])
def test_a_disguised_copy_is_one(song: Floats, change: str) -> None:
    copy = song[40 * RATE + 77 : 48 * RATE + 77]
    disguised = {
        "quieter": lambda: 0.5 * copy,
        "resynthesised": lambda: resynthesised(copy),
        "noisy": lambda: copy + 0.1 * copy.std() * np.random.default_rng(1).standard_normal(len(copy)),
        "brighter": lambda: scipy.signal.lfilter([1, -0.5], [1], copy),
    }[change]()
    found = look_for(np.asarray(disguised), song)
    assert np.median([one.likeness for one in found]) > 0.93
    assert judge(found, threshold=0.85).copied_seconds > 6.5


def test_other_music_noise_and_silence_are_no_copies(song: Floats) -> None:
    others = [melody(10, seed=9), 0.05 * np.random.default_rng(0).standard_normal(10 * RATE), np.zeros(10 * RATE)]
    for piece, most in zip(others, (0.75, 0.4, 0.01), strict=True):
        assert max(one.likeness for one in look_for(piece, song)) < most


def test_pieces_are_looked_for_together_as_alone(song: Floats) -> None:
    pieces = [song[9 * RATE : 14 * RATE], melody(5, seed=3)]
    together = nearest([pictured(piece, RATE, FLOOR) for piece in pieces], song, RATE, FLOOR)
    for found, piece in zip(together, pieces, strict=True):
        alone = look_for(piece, song)
        assert [one.song_seconds for one in found] == [one.song_seconds for one in alone]
        assert [one.likeness for one in found] == pytest.approx([one.likeness for one in alone], abs=1e-5)


def test_blocks_do_not_show(song: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    piece = melody(5, seed=3)
    before = look_for(piece, song)
    monkeypatch.setattr(originality, "_SONG_SECONDS_AT_ONCE", 7)
    after = look_for(piece, song)
    assert [one.song_seconds for one in after] == [one.song_seconds for one in before]
    assert [one.likeness for one in after] == pytest.approx([one.likeness for one in before], abs=1e-5)


@pytest.mark.parametrize("rate", [8000, 44_100])
def test_copies_at_other_rates(rate: int) -> None:
    song = melody(20, seed=5, rate=rate)
    found = look_for(song[7 * rate + 33 : 11 * rate + 33], song, rate)
    assert min(one.likeness for one in found) > 0.97
    assert found[0].song_seconds == pytest.approx(7.0, abs=0.02)


def test_too_short_a_piece_or_song(song: Floats) -> None:
    with pytest.raises(ValueError, match="too short"):
        pictured(song[:RATE], RATE, FLOOR)
    assert all(one.likeness == -1 for one in look_for(song[: 3 * RATE], song[:RATE]))


def test_threshold_follows_the_song_within_its_bounds() -> None:
    def alike(likeness: float) -> list[Nearest]:
        return [Nearest(0.0, 0.0, likeness)] * 20

    assert copy_threshold(alike(0.5)) == 0.9
    assert copy_threshold(alike(0.93)) == pytest.approx(0.93)
    assert copy_threshold(alike(0.99)) == 0.95
    assert copy_threshold([]) == 0.9


def test_passages_join_what_goes_on_and_nothing_else() -> None:
    stretches = [Nearest(0.5 * index, 60 + 0.5 * index, 0.99) for index in range(9)]  # 0 to 6 s
    stretches += [Nearest(4.5 + 0.5 * index, 10 + 0.5 * index, 0.97) for index in range(3)]  # from another place
    stretches += [Nearest(10.0, 3.0, 0.2)]
    found = judge(stretches, threshold=0.9)
    assert found.copied_seconds == pytest.approx(7.5)
    assert [(one.piece_seconds, one.song_seconds, one.seconds) for one in found.passages] == [
        (0, 60, 6.0),
        (4.5, 10, 3.0),
    ]
    assert found.nearest == stretches[0]
    assert judge(stretches, threshold=0.995).passages == ()


@given(st.lists(st.booleans(), min_size=1, max_size=60))
@settings(deadline=None, max_examples=60)
def test_copied_seconds_are_the_time_that_stretches_cover(copied: list[bool]) -> None:
    stretches = [Nearest(0.5 * index, 0.5 * index, 0.99 if is_copy else 0.1) for index, is_copy in enumerate(copied)]
    covered = {step for index, is_copy in enumerate(copied) if is_copy for step in range(index, index + 4)}
    assert judge(stretches, threshold=0.9).copied_seconds == pytest.approx(0.5 * len(covered))
