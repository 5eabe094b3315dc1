"""Takes: of several continuations, the one most like the song goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from sonicrnn.beside import Beside
from sonicrnn.calibration import Calibration
from sonicrnn.config import FrameSettings, ModelSettings
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.free_run import FreeRun
from sonicrnn.generator import Generator
from sonicrnn.models import SongModel
from sonicrnn.portrait import Portrait
from sonicrnn.song import Normaliser
from sonicrnn.takes import ROUNDS

RATE = 16_000
Samples = npt.NDArray[np.float32]


class Wanted(Portrait):
    """A song that wants each section louder than the last one was, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(0.0, 0.0, 1.0, 0.0, [], -80.0, 0.9, 0.0)
        object.__setattr__(self, "asked", [])

    def unlike(self, samples: Samples, rate: int, best: float = math.inf) -> float:
        self.asked.append(samples)  # type: ignore[attr-defined]
        return -float(np.square(samples).mean())


class Patient(Wanted):
    """A song that finds fault with every take but those that it is told to like, by their number."""

    def __init__(self, likes: Sequence[int] = (), fault: float = 10.0) -> None:
        super().__init__()
        object.__setattr__(self, "likes", likes)
        object.__setattr__(self, "fault", fault)

    def unlike(self, samples: Samples, rate: int, best: float = math.inf) -> float:
        off = super().unlike(samples, rate)
        return off + self.fault * (len(self.asked) not in self.likes)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def generator(small_song: Samples) -> Generator:
    music = small_song[: 6 * RATE]
    encoding = fit_encoding(
        music, FrameSettings(kind="waveform", frame_length=200), RATE, Normaliser(0, float(music.std()))
    )
    model = SongModel(200, ModelSettings.model_validate({"widths": [12], "head": {"kind": "gaussian"}}), 1)
    model.build((None, None, 200))
    return Generator(FreeRun(model, encoding), Calibration())


@pytest.fixture
def choosing(generator: Generator) -> Generator:
    return judged_by(Wanted(), generator)


@pytest.fixture
def primes(small_song: Samples) -> Samples:
    return np.stack([small_song[:4000], small_song[30_000:34_000]])


def judged_by(song: Portrait, generator: Generator) -> Generator:
    return Generator(generator.free_run, replace(generator.calibration, portrait=song))


def asked(generator: Generator) -> list[Samples]:
    return generator.calibration.portrait.asked  # type: ignore[union-attr,no-any-return]


def test_the_piece_is_the_take_that_is_most_like_the_song(choosing: Generator, primes: Samples) -> None:
    made = choosing.generate(primes[:1], 2.0, 1.0, [7], takes=3)
    section = len(asked(choosing)[0])
    assert made.shape == (1, 2 * RATE)
    assert len(asked(choosing)) == 3
    loudest = max(asked(choosing), key=lambda one: float(np.square(one).mean()))
    np.testing.assert_array_equal(made[0], loudest[: 2 * RATE])
    assert section >= 2 * RATE
    assert len({one.tobytes() for one in asked(choosing)}) == 3


def test_the_first_take_is_the_piece_without_takes(generator: Generator, choosing: Generator, primes: Samples) -> None:
    choosing.generate(primes[:1], 2.0, 1.0, [7], takes=3)
    alone = generator.generate(primes[:1], 2.0, 1.0, [7])
    np.testing.assert_allclose(asked(choosing)[0][: 2 * RATE], alone[0], atol=1e-5)


def test_every_section_goes_on_from_the_best_of_the_one_before(
    generator: Generator, choosing: Generator, primes: Samples, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sonicrnn.pieces.SECTION_SECONDS", 0.5)
    made = np.concatenate(list(choosing.stream(primes[:1], 3.0, 1.0, [7], takes=2, block_seconds=0.5)), 1)[0]
    section, sections = RATE // 2, math.ceil(3.0 / 0.5)
    assert len(asked(choosing)) == 2 * sections
    chosen = 0
    for index in range(sections):
        pair = asked(choosing)[2 * index : 2 * index + 2]
        assert {len(one) for one in pair} == {section}
        best = max(pair, key=lambda one: float(np.square(one).mean()))
        np.testing.assert_array_equal(made[index * section : (index + 1) * section], best)
        chosen += best is pair[1]
    assert 0 < chosen < sections
    # The first take goes on with the piece's own seed from where the best take left off.
    alone = generator.generate(primes[:1], 3.0, 1.0, [7])[0]
    same = [np.array_equal(alone[at : at + section], made[at : at + section]) for at in range(0, 3 * RATE, section)]
    assert not all(same)


def test_pieces_choose_for_themselves(choosing: Generator, primes: Samples) -> None:
    together = choosing.generate(primes, 1.0, [0.7, 1.2], [5, 6], takes=3)
    for index, (temperature, seed) in enumerate([(0.7, 5), (1.2, 6)]):
        alone = choosing.generate(primes[index : index + 1], 1.0, temperature, [seed], takes=3)
        np.testing.assert_allclose(together[index], alone[0], atol=1e-5)


def test_takes_are_drawn_until_one_is_good(generator: Generator, primes: Samples) -> None:
    choosing = judged_by(Patient(likes=[5]), generator)
    made = choosing.generate(primes[:1], 1.0, 1.0, [7], takes=2)
    assert len(asked(choosing)) == 6  # three rounds of two
    np.testing.assert_array_equal(made[0], asked(choosing)[4][:RATE])
    assert len({one.tobytes() for one in asked(choosing)}) == 6


def test_where_no_take_is_good_the_best_of_all_rounds_goes_on(
    generator: Generator, primes: Samples, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sonicrnn.pieces.SECTION_SECONDS", 0.5)
    choosing = judged_by(Patient(), generator)
    made = np.concatenate(list(choosing.stream(primes[:1], 3.0, 1.0, [7], takes=2, block_seconds=0.5)), 1)[0]
    of_a_section, section = ROUNDS * 2, RATE // 2
    assert len(asked(choosing)) == 6 * of_a_section
    rounds = set()
    for index in range(6):
        takes = asked(choosing)[index * of_a_section : (index + 1) * of_a_section]
        best = max(range(of_a_section), key=lambda take: float(np.square(takes[take]).mean()))
        np.testing.assert_array_equal(made[index * section : (index + 1) * section], takes[best])
        rounds.add(best // 2)
    assert len(rounds) > 1


def test_takes_are_held_against_the_song_where_they_could_be_the_best(
    generator: Generator, primes: Samples, monkeypatch: Any
) -> None:
    """And the one that is unlike its samples is not, however much it is like the song else."""
    looked: list[Samples] = []

    class FirstIsNot(Beside):
        def __init__(self, looks: Portrait, passages: Sequence[Samples], rate: int):
            self._looks, self._rate = looks, rate
            np.testing.assert_array_equal(passages[0], primes[0])

        def told_copied_repeated(self, samples: Samples) -> float:
            looked.append(samples)
            return 0.0 if len(looked) > 1 else 6.0

    monkeypatch.setattr("sonicrnn.pieces.Beside", FirstIsNot)
    monkeypatch.setattr(Generator, "cuts", property(lambda self: [primes[0]]))
    choosing = judged_by(Wanted(), generator)
    made = choosing.generate(primes[:1], 1.0, 1.0, [7], takes=16)
    loudness = [-float(np.square(one).mean()) for one in asked(choosing)]
    falls = np.minimum.accumulate(loudness[1:])
    assert looked[0] is asked(choosing)[0]
    assert len(looked) == 1 + len(np.unique(falls)) < 16
    best = 1 + int(np.argmin(loudness[1:]))
    np.testing.assert_array_equal(made[0], asked(choosing)[best][:RATE])


def test_pieces_that_are_good_are_left_alone_by_later_rounds(generator: Generator, primes: Samples) -> None:
    choosing = judged_by(Patient(likes=[2, 5, 7]), generator)
    first, second = choosing.generate(primes, 1.0, 1.0, [5, 6], takes=2)
    # Two takes of each, the first piece is content; two more of the second, and again.
    assert len(asked(choosing)) == 6
    np.testing.assert_array_equal(first, asked(choosing)[1][:RATE])
    np.testing.assert_array_equal(second, asked(choosing)[4][:RATE])
    alone = judged_by(Patient(likes=[3]), generator).generate(primes[1:], 1.0, 1.0, [6], takes=2)[0]
    np.testing.assert_allclose(second, alone, atol=1e-5)


def test_many_takes_are_drawn_some_at_a_time(generator: Generator, primes: Samples, monkeypatch: Any) -> None:
    whole, cut = (judged_by(Patient(), generator) for _ in range(2))
    together = whole.generate(primes, 0.3, 1.0, [5, 6], takes=2)
    monkeypatch.setattr("sonicrnn.takes.MOST_AT_ONCE", 2)
    np.testing.assert_allclose(cut.generate(primes, 0.3, 1.0, [5, 6], takes=2), together, atol=1e-5)
    assert len(asked(cut)) == len(asked(whole)) == 2 * 2 * ROUNDS


def test_a_piece_of_more_than_a_section_begins_as_a_longer_one(
    choosing: Generator, primes: Samples, monkeypatch: Any
) -> None:
    monkeypatch.setattr("sonicrnn.pieces.SECTION_SECONDS", 0.2)
    short, long = (choosing.generate(primes[:1], seconds, 1.0, [9], takes=2) for seconds in (0.3, 1.0))
    np.testing.assert_array_equal(short[0], long[0, : round(0.3 * RATE)])


def test_one_take_is_the_piece_itself(generator: Generator, choosing: Generator, primes: Samples) -> None:
    alone = generator.generate(primes, 0.5, 1.0, [1, 2])
    np.testing.assert_array_equal(alone, choosing.generate(primes, 0.5, 1.0, [1, 2], takes=1))
    assert not asked(choosing)


def test_without_a_portrait_there_is_nothing_to_choose_by(generator: Generator, primes: Samples) -> None:
    with pytest.raises(UserError, match="takes"):
        generator.generate(primes, 0.5, 1.0, [1, 2], takes=4)
