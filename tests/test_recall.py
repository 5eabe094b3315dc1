"""Recall: draws are heard through the song's own frames, in another order than the song's, and go on across blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn import bars, recall
from sonicrnn.bars import Bars
from sonicrnn.calibration import Calibration
from sonicrnn.config import FrameSettings, ModelSettings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.free_run import FreeRun
from sonicrnn.generator import Generator
from sonicrnn.models import SongModel
from sonicrnn.passages import Passages
from sonicrnn.places import NEIGHBOURS, Places, loneliness, motion
from sonicrnn.recall import ARRAYS, FOLLOW_SECONDS, NUMBERS, PLACES, Recall, make_recall
from sonicrnn.song import Normaliser

RATE = 16_000
STEP_SECONDS, HOP = 0.05, 16
Samples = npt.NDArray[np.float32]


@pytest.fixture
def units() -> Samples:
    return np.random.default_rng(2).standard_normal([400, 12]).astype(np.float32)


@pytest.fixture
def nearest_only(monkeypatch: Any) -> None:
    """Neither time nor balance is kept: what is left is easier to foretell."""
    monkeypatch.setattr(recall, "KEEPS_TIME", 0.0)
    monkeypatch.setattr(recall, "BALANCES", 0.0)


def of_units(
    units: Samples,
    begins: tuple[int, ...] = (0,),
    lonely: Samples | None = None,
    bar: float = 0.0,
    repeats: float = 0.0,
) -> Recall:
    places = Places(units, np.zeros(len(units)) if lonely is None else lonely)
    first = np.arange(len(units)) + np.cumsum(np.isin(np.arange(len(units)), begins))
    rows = np.zeros([first[-1] + 1, HOP], np.int16)
    return recall_of(places, rows, first, 1.0, HOP, round(HOP / STEP_SECONDS), bar, repeats)


def recall_of(
    places: Places,
    rows: Samples,
    first: Samples,
    scale: float,
    frame_length: int,
    rate: int,
    bar: float = 0.0,
    repeats: float = 0.0,
) -> Recall:
    """With bars of some seconds and two beats, if there are any, each so far as the one before it."""
    place = STEP_SECONDS * np.arange(len(first)) % (bar or 1.0)
    passages = Passages(rows, first, scale, frame_length, rate)
    in_bars = Bars(place, np.full(places.points.shape[1], repeats**2), bar / 2, bar, STEP_SECONDS)
    in_bars.repeats.assign(1.0)
    return Recall(places, motion(places.points, STEP_SECONDS), passages, in_bars)


def sound_of(made: Recall, frames: Samples, known: Samples | None = None) -> tf.Tensor:
    """Frames [pieces, time, dimension], as they are heard: [pieces, samples]."""
    return made.passages.sound(made.told(tf.constant(frames)), None if known is None else tf.constant(known))


def walk(made: Recall, drawn: Samples, uniform: float = 0.5, leaves: float = 1.0, where: float = 0.0) -> list[int]:
    """The units chosen for draws [time, dimension] of one piece; the last three as `choose` takes them."""
    state, chosen, choose = made.begin(tf.constant(1)), [], tf.function(made.choose)
    for draw in drawn:
        _, state = choose(tf.constant(draw[None]), state, tf.constant([[uniform, leaves, where]]))
        chosen.append(int(state.last[0]))
    return chosen


@pytest.mark.parametrize("beat", [0.0, 1.3])
def test_the_beat_goes_on_where_the_song_keeps_one(units: Samples, beat: float) -> None:
    """Whatever is drawn, and however often passages change: each unit begins where the beat has come to."""
    made = of_units(units, bar=2 * beat)
    drawn = np.random.default_rng(3).standard_normal([120, 12]).astype(np.float32)
    chosen = np.array(walk(made, drawn))
    assert np.sum(np.diff(chosen) != 1) > 10
    off = (STEP_SECONDS * (chosen - chosen[0] - np.arange(120)) + 0.65) % 1.3 - 0.65
    in_step = np.mean(np.abs(off) < 0.06)
    if beat:
        assert in_step > 0.9
    else:
        assert in_step < 0.4


@pytest.mark.parametrize("bar", [0.0, 1.6])
def test_a_bar_is_as_the_one_before_it_in_other_words(bar: float) -> None:
    """Of a song that says four things again and again, each of them in a bar; draws say nothing."""
    random = np.random.default_rng(4)
    said = np.tile(random.standard_normal([4, 32, 12]), [8, 1, 1]).reshape(-1, 12)
    units = (said + 0.3 * random.standard_normal(said.shape)).astype(np.float32)
    drawn = random.standard_normal([320, 12]).astype(np.float32)
    chosen = np.array(walk(of_units(units, bar=bar, repeats=0.7), drawn))
    alike = np.corrcoef(units[chosen[32:]].ravel(), units[chosen[:-32]].ravel())[0, 1]
    assert np.mean(chosen[32:] == chosen[:-32]) < 0.1  # what was just heard stands back
    if bar:
        assert alike > 0.25
    else:
        assert alike < 0.05


@pytest.mark.usefixtures("nearest_only")
def test_the_nearest_frame_takes_the_place_of_a_draw(units: Samples) -> None:
    made = of_units(units)
    wanted = [7, 300, 120]
    drawn = units[wanted] + 0.2
    assert walk(made, drawn) == wanted
    frame, _ = made.choose(tf.constant(drawn[:1]), made.begin(tf.constant(1)), tf.constant([[0.5, 1.0, 0.0]]))
    np.testing.assert_array_equal(frame[0], units[7])


@pytest.mark.usefixtures("nearest_only")
def test_of_two_frames_as_near_the_songs_next_one_is_chosen(units: Samples) -> None:
    units[200] = units[51]
    draws = np.stack([units[50] + 0.2, units[51] + 0.2, units[50] + 0.2])
    assert walk(of_units(units), draws[:2]) == [50, 51]
    # Where another passage begins at the next frame, the song's order says nothing of it.
    assert walk(of_units(units, (0, 51)), draws[:2])[1] == 200


@pytest.mark.usefixtures("nearest_only")
def test_the_songs_own_order_is_followed_for_moments_only(units: Samples) -> None:
    """Even where every draw asks for the song itself, another passage is taken up before a second is over."""
    ring = np.concatenate([units[:40], units[:40] + 0.3])  # a second telling of the same, a little different
    drawn = np.concatenate([ring[:40] + 0.01] * 3)
    chosen = np.array(walk(of_units(ring, (0, 40)), drawn, uniform=0.2))
    jumps = np.flatnonzero(np.diff(chosen) != 1)
    longest = np.diff(np.concatenate([[0], jumps + 1, [len(chosen)]])).max()
    assert longest * STEP_SECONDS < 1.5 * FOLLOW_SECONDS[1]


@pytest.mark.usefixtures("nearest_only")
def test_what_was_just_heard_stands_back(units: Samples) -> None:
    units[200:205] = units[50:55] + 0.6
    drawn = np.concatenate([units[50:55] + 0.29] * 2)
    first, second = np.split(np.array(walk(of_units(units), drawn, uniform=0.5)), 2)
    assert list(first) == [50, 51, 52, 53, 54]
    assert second[0] == 200


@pytest.mark.usefixtures("nearest_only")
def test_a_thread_that_was_left_is_not_taken_up_again_at_once(units: Samples, monkeypatch: Any) -> None:
    """Every draw asks for the song as it goes on: whoever leaves it for a moment must not come back to its thread."""
    drawn = units[50:85]

    def back_on_it() -> int:
        chosen = np.array(walk(of_units(units), drawn, uniform=0.0))
        left = int(np.argmax(chosen != np.arange(50, 85)))
        return int(np.sum(chosen[left:] == np.arange(50 + left, 85)))

    assert back_on_it() == 0
    monkeypatch.setattr(recall, "STALE_SECONDS", 0.01)
    assert back_on_it() > 0


def test_what_comes_next_is_in_time_with_what_was_heard(monkeypatch: Any) -> None:
    """A song whose bars of 8 frames are much alike; draws that do not care which frame it is."""
    random = np.random.default_rng(4)
    bar = random.standard_normal([8, 12])
    units = (np.tile(bar, [50, 1]) + 0.5 * random.standard_normal([400, 12])).astype(np.float32)
    drawn = np.zeros([160, 12], np.float32) + 0.3 * random.standard_normal([160, 12]).astype(np.float32)

    def in_time() -> float:
        """The share of jumps that keep the beat."""
        chosen = np.array(walk(of_units(units), drawn))[40:]
        advance = np.diff(chosen)
        return float(np.mean(advance[advance != 1] % 8 == 1))

    assert in_time() > 0.7
    monkeypatch.setattr(recall, "KEEPS_TIME", 0.0)
    assert in_time() < 0.4


def test_the_piece_follows_the_songs_course(units: Samples, monkeypatch: Any) -> None:
    """Half of the song is loud, half is quiet; the draws are rather loud throughout."""
    monkeypatch.setattr(recall, "KEEPS_TIME", 0.0)
    units *= 0.3
    units[:200] += 1
    units[200:] -= 1
    drawn = np.full([400, 12], 0.5, np.float32)

    def heard(**chance: float) -> tuple[float, float]:
        """The means of what is heard of the first and of the last third."""
        found = units[walk(of_units(units), drawn, **chance)].mean(1)
        return float(found[:133].mean()), float(found[-133:].mean())

    loud, quiet = heard()
    assert loud > 0.6
    assert quiet < -0.4
    assert heard(where=0.5)[0] < -0.4  # where the course is begun
    monkeypatch.setattr(recall, "FORM_SECONDS", 0.01)  # and always left again for the same place
    assert heard(leaves=0.5)[1] > 0.4
    monkeypatch.setattr(recall, "BALANCES", 0.0)
    assert heard(where=0.5)[0] > 0.6


def test_pieces_side_by_side_do_not_hear_one_another(units: Samples) -> None:
    made = of_units(units)
    random = np.random.default_rng(5)
    drawn = random.standard_normal([20, 3, 12]).astype(np.float32)
    state, together = made.begin(tf.constant(3)), []
    for draw in drawn:
        chance = [[0.1, 1.0, 0.0], [0.5, 1.0, 0.0], [0.9, 1.0, 0.0]]
        _, state = made.choose(tf.constant(draw), state, tf.constant(chance))
        together.append(state.last.numpy())
    for piece, uniform in enumerate((0.1, 0.5, 0.9)):
        assert walk(made, drawn[:, piece], uniform) == [int(units[piece]) for units in together]


@pytest.mark.usefixtures("nearest_only")
def test_frames_that_are_unlike_all_others_are_lonely_and_get_their_turn(units: Samples) -> None:
    units[:200] *= 0.1
    lonely = loneliness(units)
    assert lonely[200:].min() > 5 * lonely[:200].max()
    halfway = 0.45 * units[300:301]
    assert walk(of_units(units), halfway)[0] < 200
    assert walk(of_units(units, lonely=lonely), halfway) == [300]


def test_loneliness_is_the_mean_distance_of_the_nearest(units: Samples) -> None:
    far = np.square(units[:, None] - units[None]).sum(-1)
    expected = np.sort(far, 1)[:, : NEIGHBOURS].mean(1)
    np.testing.assert_allclose(loneliness(units), expected, rtol=1e-4)


def test_motion_leaves_out_what_lasts_and_spreads_as_widely(units: Samples) -> None:
    """Where only 16 of 20 figures ever move quickly, the distances in motion are those of the 16."""
    random = np.random.default_rng(6)
    quick = random.standard_normal([500, 16])
    slow = np.linspace(-3, 3, 500)[:, None] * random.standard_normal(4)
    found = motion(np.concatenate([quick, slow], 1).astype(np.float32), STEP_SECONDS).points
    assert found.shape == (500, 16)
    between = np.square(found[:50, None] - found[None, :50]).sum(-1)
    expected = np.square(quick[:50, None] - quick[None, :50]).sum(-1)
    assert np.corrcoef(between.ravel(), expected.ravel())[0, 1] > 0.99
    whole = quick.var(0).sum() + slow.var(0).sum()
    assert found.var(0).sum() == pytest.approx(whole, rel=1e-3)


# In a free run --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def music(small_song: Samples) -> Samples:
    return small_song[: 8 * RATE]


@pytest.fixture(scope="module")
def encoding(music: Samples) -> Encoding:
    settings = FrameSettings(kind="stft", frame_length=512, hop=128, parts=12, recall=True, phase_steps=8)
    return fit_encoding(music, settings, RATE, Normaliser(0, float(music.std())))


@pytest.fixture(scope="module")
def made(music: Samples, encoding: Encoding) -> Recall:
    return make_recall(encoding.encode(tf.constant(music[None]))[0].numpy(), music, encoding)


@pytest.fixture(scope="module")
def generator(encoding: Encoding, made: Recall) -> Generator:
    model = SongModel(encoding.dimension, ModelSettings.model_validate({"widths": [16]}), 1)
    model.build((None, None, encoding.dimension))
    return Generator(FreeRun(model, encoding, recall=made), Calibration())


def test_in_the_songs_order_its_own_samples_are_heard(music: Samples, encoding: Encoding, made: Recall) -> None:
    assert made.count == encoding.frame_count(len(music))
    heard = sound_of(made, made.units.points[None, 5:90])[0]
    expected = music[5 * 128 : 5 * 128 + len(heard)]
    np.testing.assert_allclose(heard[100:-100], expected[100:-100], atol=0.01)


def test_one_passage_is_faded_into_the_other(units: Samples) -> None:
    wave = (-1) ** np.arange(HOP)
    rows = (np.repeat([100, 300], [201, 203])[:, None] * wave).astype(np.int16)  # its second half is louder
    first = np.concatenate([np.arange(198), np.arange(201, 401)])
    places = Places(units[:398], np.zeros(398))
    made = recall_of(places, rows, first, 0.01, 4 * HOP, round(HOP / STEP_SECONDS))
    order = np.concatenate([np.arange(100, 120), np.arange(300, 320)])
    heard = np.tile(wave, 43) * sound_of(made, units[order][None])[0].numpy()
    reach = made.passages.reach * HOP
    np.testing.assert_allclose(heard[HOP : 20 * HOP - reach], 1.0, atol=1e-4)
    np.testing.assert_allclose(heard[23 * HOP + reach : -HOP], 3.0, atol=1e-4)
    steps = np.diff(heard[HOP:-HOP])
    assert np.all(steps >= -1e-4)
    assert steps.max() < 0.1


def test_where_passages_that_do_not_fit_meet_little_power_is_lost(units: Samples) -> None:
    """Noise that gives way to other noise every 15 frames: a plain cross-fade would lose up to half of its power."""
    random = np.random.default_rng(7)
    rows = (3000 * random.standard_normal([403, 64])).astype(np.int16)
    places = Places(units, np.zeros(400))
    made = recall_of(places, rows, np.arange(400), 1e-4, 256, round(64 / STEP_SECONDS))
    order = (np.arange(300) % 15 + 37 * (np.arange(300) // 15) % 380).astype(int)
    heard = sound_of(made, units[order][None])[0].numpy()[: 300 * 64].reshape(20, 15, 64)[1:-1]
    power = np.square(heard).mean((0, 2)) / 0.3**2  # from one meeting to the next
    assert power.min() > 0.7
    assert power.max() < 1.1


def test_known_audio_takes_the_place_of_the_first_frames(music: Samples, made: Recall) -> None:
    """All of it is heard as it is, but for its end, which the frames after it fade in from."""
    known = music[None, 40_000 : 40_000 + 512 + 10 * 128]
    heard = sound_of(made, made.units.points[None, 5:90], known)[0]
    np.testing.assert_allclose(heard[100 : known.shape[1] - 512], known[0, 100:-512], atol=1e-4)
    alone = sound_of(made, made.units.points[None, 5:90])[0]
    np.testing.assert_allclose(heard[known.shape[1] :], alone[known.shape[1] :], atol=1e-4)


def test_an_offset_that_comes_and_goes_with_the_passages_is_taken_off(units: Samples) -> None:
    """Of two passages with offsets of their own, heard in turns, no offset is left, and the sound is."""
    time = np.arange(401 * HOP).reshape(401, HOP)
    sound = 1000 * np.sin(2 * np.pi * time / HOP)
    rows = (sound + np.repeat([-4000, 6000], [200, 201])[:, None]).astype(np.int16)
    made = recall_of(Places(units, np.zeros(400)), rows, np.arange(400), 1e-4, HOP, 320)
    order = np.concatenate([np.arange(start, start + 50) for start in (10, 220, 70, 280, 130, 340)])
    heard = sound_of(made, units[order][None])[0].numpy()
    assert abs(heard[100 * HOP :].mean()) < 0.01
    assert (1e-4 * rows[order]).mean() > 0.09
    np.testing.assert_allclose(heard[-3 * HOP :], 1e-4 * rows[387:390].ravel() - 0.6, atol=0.01)


def test_a_long_part_is_kept_by_passages_from_its_begin_to_its_end(
    music: Samples, encoding: Encoding, monkeypatch: Any
) -> None:
    monkeypatch.setattr(recall, "MOST_UNITS", 300)
    monkeypatch.setattr(recall, "PASSAGE_SECONDS", 0.8)
    rows = encoding.encode(tf.constant(music[None]))[0].numpy()
    made = make_recall(rows, music, encoding)
    assert 200 <= made.count <= 300
    starts = np.flatnonzero(made.passages.begins.numpy())
    assert list(np.diff(starts)) == [100] * (len(starts) - 1)
    np.testing.assert_array_equal(made.units.points[:100], rows[:100])
    np.testing.assert_array_equal(made.units.points[-100:], rows[-100:])
    passages = made.passages.cuts()
    assert len(passages) == len(starts)
    np.testing.assert_allclose(passages[0][: 90 * 128], music[: 90 * 128], atol=1e-4)
    heard = sound_of(made, rows[None, -100:])[0]
    expected = music[(len(rows) - 100) * 128 :][: len(heard)]
    np.testing.assert_allclose(heard[100:-2000], expected[100:-2000], atol=0.01)


def test_every_frame_of_a_free_run_is_one_of_the_songs(music: Samples, generator: Generator, made: Recall) -> None:
    run = generator.free_run
    parameters, states = run.listen(run.encode(tf.constant(music[None, : 2 * RATE])))
    drawn, _, (_, recalled) = run.draw(
        parameters, states, tf.constant(0), tf.constant(200), tf.constant([1.0]), tf.constant([3], tf.int32)
    )
    assert drawn.shape == (1, 200)
    assert drawn[0, -1] == recalled.last[0]
    points = made.units.points[None]
    np.testing.assert_array_equal(run.heard(tf.constant(points[:, drawn[0].numpy()])), drawn)


def test_blocks_go_on_with_what_was_heard(music: Samples, generator: Generator) -> None:
    prime = music[None, : 2 * RATE]
    run = generator.free_run
    one = [tf.constant([1.0]), tf.constant([3], tf.int32)]
    parameters, states = run.listen(run.encode(tf.constant(prime)))
    whole, _, _ = run.draw(parameters, states, tf.constant(0), tf.constant(150), *one)
    first, parameters, states = run.draw(parameters, states, tf.constant(0), tf.constant(70), *one)
    second, _, _ = run.draw(parameters, states, tf.constant(70), tf.constant(80), *one)
    np.testing.assert_array_equal(np.concatenate([first, second], 1), whole)
    audio = generator.generate(prime, 3.21)
    assert audio.shape == (1, round(3.21 * RATE))
    np.testing.assert_array_equal(audio, generator.generate(prime, 3.21))
    blocks = list(generator.stream(prime, 3.21, block_seconds=0.5))
    assert len(blocks) > 5
    np.testing.assert_allclose(np.concatenate(blocks, 1), audio, atol=1e-5)


def run_lengths(generator: Generator, prime: Samples) -> float:
    """For how many steps free runs follow the song's order, on average."""
    run, seeds = generator.free_run, tf.range(4)
    heard = run.listen(run.encode(tf.constant(np.repeat(prime, 4, 0))))
    drawn = run.draw(*heard, tf.constant(0), tf.constant(300), tf.ones([4]), seeds)[0].numpy()
    return float(drawn.size / (np.diff(drawn, axis=1) != 1).sum())


def test_the_songs_order_may_be_followed_for_longer(music: Samples, generator: Generator, made: Recall) -> None:
    prime, lengths = music[None, : 2 * RATE], []
    for longer in (0.5, 1.0, 2.0):
        made.longer.assign(longer)
        lengths.append(run_lengths(generator, prime))
    made.longer.assign(1.0)
    assert lengths[1] > 1.3 * lengths[0]
    assert lengths[2] > 1.1 * lengths[1]  # a model before training draws what the song does not go on with


def test_it_is_saved_and_a_spoiled_file_is_told(made: Recall, tmp_path: Path) -> None:
    file = tmp_path / "recall.npz"
    alike = np.linspace(0, 1, made.dimension)
    in_bars = Bars(made.step_seconds * np.arange(made.count) % 1.5, alike, 0.5, 1.5, made.step_seconds)
    made = Recall(made.units, made.motion, made.passages, in_bars)
    made.save(file)
    loaded = Recall.load(file)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(loaded.passages, name), getattr(made.passages, name))
    for name in PLACES:
        np.testing.assert_array_equal(getattr(loaded, name).points, getattr(made, name).points)
        np.testing.assert_array_equal(getattr(loaded, name).lonely, getattr(made, name).lonely)
    for name in NUMBERS:
        assert getattr(loaded.passages, name) == getattr(made.passages, name)
    for name in bars.ARRAYS:
        np.testing.assert_array_equal(getattr(loaded.bars, name), getattr(made.bars, name))
    assert (loaded.bars.beat, loaded.bars.bar, loaded.bars.steps) == (0.5, 1.5, made.bars.steps)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="train the run again"):
        Recall.load(file)
