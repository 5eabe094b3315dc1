"""The free run: what it makes, where that begins and ends, and that blocks, neighbours and chance change nothing.

Besides small real models there are three whose every frame is known beforehand: one that repeats its input, one that
plays from a script, and one that is an autoregressive process of the first order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from sonicrnn.calibration import Calibration
from sonicrnn.config import FrameSettings, ModelSettings
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.free_run import BALANCE_SECONDS, BALANCES, DRAW_LIMIT, FreeRun
from sonicrnn.generator import Generator
from sonicrnn.heads import MeanSquaredError
from sonicrnn.mixture import GaussianMixture
from sonicrnn.models import SongModel
from sonicrnn.song import Normaliser
from sonicrnn.sounding import LIMIT, limited
from sonicrnn.spreads import LOG_SCALE_RANGE

RATE = 16_000
Samples = npt.NDArray[np.float32]
Small = Callable[..., Generator]  # of the fixture `small`

KINDS: dict[str, dict[str, Any]] = {
    "waveform": {"kind": "waveform", "frame_length": 200},
    "waveform overlapping": {"kind": "waveform", "frame_length": 200, "hop": 130},
    "mdct": {"kind": "mdct", "frame_length": 256},
    "stft": {"kind": "stft", "frame_length": 512, "hop": 128},
    "stft, stack": {"kind": "stft", "frame_length": 512, "hop": 128, "stack": 3},
}
EXACT = ["waveform", "waveform overlapping", "mdct"]  # kinds whose samples follow from their frames alone


class Known:
    """A model whose state is how many frames it has heard, and the last of them."""

    def __init__(self, head: MeanSquaredError | GaussianMixture):
        self.head, self.dimension = head, head.dimension

    def follow(self, inputs: tf.Tensor, states: None) -> tuple[tf.Tensor, list[list[tf.Tensor]]]:
        count = tf.fill([tf.shape(inputs)[0]], tf.shape(inputs)[1])
        return self.parameters(inputs[:, -1], count)[:, None], [[count]]

    def advance(self, frame: tf.Tensor, states: list[list[tf.Tensor]]) -> tuple[tf.Tensor, list[list[tf.Tensor]]]:
        count = states[0][0] + 1
        return self.parameters(frame, count), [[count]]

    def parameters(self, frame: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        """[batch, dimension], frames heard so far [batch] -> parameters of the next one [batch, parameter]."""
        raise NotImplementedError


class Parrot(Known):
    """Predicts that the last frame comes again."""

    def parameters(self, frame: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return frame


class Counter(Known):
    """Predicts the last frame, plus a little."""

    def parameters(self, frame: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return frame + 0.001


class Player(Known):
    """Predicts the frame of a script, [time, dimension], that stands where it is."""

    def __init__(self, script: Samples):
        super().__init__(MeanSquaredError(script.shape[1]))
        self.script = tf.constant(script)

    def parameters(self, frame: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.script, tf.minimum(count, len(self.script) - 1))


def plain(kind: str) -> Encoding:
    """An encoding that scales nothing, for waveform frames."""
    return Encoding(FrameSettings(**KINDS[kind]), RATE, Normaliser(0, 1))


def fitted(kind: str, samples: Samples) -> Encoding:
    return fit_encoding(samples, FrameSettings(**KINDS[kind]), RATE, Normaliser(0, float(samples.std())))


def small_generator(encoding: Encoding, head: str = "mixture", seed: int = 1) -> Generator:
    """A real model, as it is before any training."""
    settings = ModelSettings.model_validate({"widths": [12, 10], "head": {"kind": head, "mixtures": 3, "width": 8}})
    model = SongModel(encoding.dimension, settings, seed)
    model.build((None, None, encoding.dimension))
    return Generator(FreeRun(model, encoding), Calibration())


def generator_of(model: Known, encoding: Encoding) -> Generator:
    return Generator(FreeRun(model, encoding), Calibration())  # type: ignore[arg-type]


def in_blocks(generator: Generator, primes: Samples, seconds: float, block_seconds: float, **named: Any) -> Samples:
    return np.concatenate(list(generator.stream(primes, seconds, block_seconds=block_seconds, **named)), 1)


@pytest.fixture(scope="module")
def music(small_song: Samples) -> Samples:
    return small_song[: 6 * RATE]


@pytest.fixture(scope="module")
def small(music: Samples) -> Small:
    """The small generator of a kind of frames and a head, whose graphs are made once for all tests."""
    return functools.cache(lambda kind, head="mixture": small_generator(fitted(kind, music), head))


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# Where it begins and ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("prime_samples", [2000, 2061])
@pytest.mark.parametrize("kind", EXACT)
def test_a_model_that_knows_the_song_goes_on_with_its_very_next_sample(
    kind: str, prime_samples: int, music: Samples
) -> None:
    """Nothing of the prime is in the output, nothing between the prime and the output is lost, all is at its pace."""
    encoding = fitted(kind, music)
    overlap = encoding.span - encoding.step
    prime = music[:prime_samples]
    used = (prime_samples - overlap) % encoding.step  # what the first whole frame does not reach
    script = encoding.encode(tf.constant(music[None, used:]))[0].numpy()
    assert np.abs(script).max() < DRAW_LIMIT
    made = generator_of(Player(script), encoding).generate(prime[None], 0.5)
    np.testing.assert_allclose(made[0], music[prime_samples : prime_samples + RATE // 2], atol=1e-5)


def test_what_it_makes_of_magnitudes_alone_goes_on_in_the_primes_phase(music: Samples) -> None:
    encoding = fitted("stft", music)
    script = encoding.encode(tf.constant(music[None]))[0].numpy()
    prime_samples = 384 + 60 * 128  # whole steps
    made = generator_of(Player(script), encoding).generate(music[None, :prime_samples], 0.5)[0]
    expected = music[prime_samples : prime_samples + RATE // 2]
    assert np.corrcoef(made[:256], expected[:256])[0, 1] > 0.75
    assert np.std(made) == pytest.approx(np.std(expected), rel=0.15)


@pytest.mark.parametrize("seconds", [0.0001, 0.05, 0.3, 0.43217])
def test_a_piece_has_exactly_the_samples_that_were_asked_for(
    kind: str, seconds: float, small: Small, music: Samples
) -> None:
    generator = small(kind)
    for block_seconds in (0.04, 20.0):
        made = in_blocks(generator, music[None, :4000], seconds, block_seconds)
        assert made.shape == (1, round(seconds * RATE))
        assert made.dtype == np.float32
        assert np.all(np.isfinite(made))
        assert np.abs(made).max() <= 1


def test_the_prime_is_never_in_the_output() -> None:
    """Every sample of the prime says where it stood; a model that repeats its input may repeat its last frame only."""
    prime = (np.arange(4000, dtype=np.float32) / 10_000)[None]
    made = generator_of(Parrot(MeanSquaredError(200)), plain("waveform")).generate(prime, 0.1)
    np.testing.assert_array_equal(made[0], np.tile(prime[0, -200:], 8))
    overlapping = generator_of(Parrot(MeanSquaredError(200)), plain("waveform overlapping")).generate(prime, 0.1)
    used = prime[0, -200:].min()
    assert overlapping.min() >= used


def test_a_frame_of_output_is_one_frame_of_the_model() -> None:
    """The seeds' worst bug put a whole example where a frame belongs: audio that was 50 to 100 times too fast."""
    prime = np.zeros([1, 1000], np.float32)
    made = generator_of(Counter(MeanSquaredError(200)), plain("waveform")).generate(prime, 1.0)
    np.testing.assert_allclose(made[0], 0.001 * (1 + np.arange(RATE) // 200), rtol=1e-4)


@pytest.mark.parametrize("kind", ["waveform", "waveform overlapping"])
def test_a_tone_keeps_its_pitch(kind: str) -> None:
    """A model that has learnt a tone by heart goes on with it at the very same frequency."""
    encoding = plain(kind)
    frequency = RATE / encoding.step * 7  # whole periods in a step: the same frame comes again and again
    tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(3 * RATE) / RATE).astype(np.float32)
    prime = tone[: 200 + 20 * encoding.step]
    made = generator_of(Parrot(MeanSquaredError(200)), encoding).generate(prime[None], 1.0)[0]
    np.testing.assert_allclose(made, tone[len(prime) : len(prime) + RATE], atol=2e-3)
    assert np.argmax(np.abs(np.fft.rfft(made))) == pytest.approx(frequency, abs=1)


def test_a_prime_shorter_than_a_frame_is_refused(kind: str, small: Small, music: Samples) -> None:
    generator = small(kind)
    span = generator.encoding.span
    generator.generate(music[None, :span], 0.05)
    with pytest.raises(UserError, match=f"shorter than one frame of {span} samples"):
        generator.generate(music[None, : span - 1], 0.05)


# In blocks or in one piece ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("block_seconds", [0.001, 0.05, 0.111])
def test_blocks_are_the_whole(kind: str, block_seconds: float, small: Small, music: Samples) -> None:
    generator = small(kind)
    seconds = 0.4 if block_seconds > 0.01 else 0.15
    named: dict[str, Any] = {"seeds": [3, 4], "temperature": [0.5, 1.0]}
    primes = np.stack([music[:4000], music[5000:9000]])
    whole = generator.generate(primes, seconds, **named)
    np.testing.assert_allclose(in_blocks(generator, primes, seconds, block_seconds, **named), whole, atol=2e-6)


def test_a_short_piece_is_the_beginning_of_a_long_one(kind: str, small: Small, music: Samples) -> None:
    generator = small(kind)
    short, long = (in_blocks(generator, music[None, :4000], seconds, 0.1) for seconds in (0.23, 0.46))
    np.testing.assert_allclose(short, long[:, : short.shape[1]], atol=2e-6)


def log_spectra(samples: Samples) -> npt.NDArray[np.float64]:
    """[time, bins] in dB, under a window that is not the encoding's."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, 400)[::100] * np.blackman(400)
    return 20 * np.log10(np.abs(np.fft.rfft(windows)) + 1e-3)


@pytest.mark.parametrize("kind", ["stft", "stft, stack"])
def test_blocks_of_magnitudes_join_without_a_seam(kind: str, music: Samples) -> None:
    """Phases are found anew in each block, so samples differ; the sound and its smoothness at the joints may not."""
    encoding = fitted(kind, music)
    used = (4000 - encoding.span + encoding.step) % encoding.step
    script = encoding.encode(tf.constant(music[None, used:]))[0].numpy()
    generator = generator_of(Player(script), encoding)
    whole = generator.generate(music[None, :4000], 3.0)[0]
    block = 10 * encoding.step
    blocks = in_blocks(generator, music[None, :4000], 3.0, block / RATE)[0]
    assert len(blocks) == len(whole)
    wanted = log_spectra(music[4000 : 4000 + len(whole)])
    error_whole = np.abs(log_spectra(whole) - wanted).mean(1)
    error_blocks = np.abs(log_spectra(blocks) - wanted).mean(1)
    assert error_blocks.mean() < 1.15 * error_whole.mean()
    # A joint is heard as a step: curvature of the waveform there against that of everywhere.
    overlap = encoding.span - encoding.step
    seams = np.arange(block - overlap, len(blocks) - 2, block)
    curvature = np.abs(np.diff(blocks, 2))
    near = np.stack([curvature[seams + offset] for offset in (-2, -1, 0)]).max(0)
    assert np.median(near) < np.quantile(curvature, 0.9)
    assert near.max() <= curvature.max()
    windows = [max(0, (seam - 200) // 100) for seam in seams]
    assert np.mean(error_blocks[windows]) < 1.25 * error_whole.mean()


def test_the_graph_of_the_loop_is_made_once_for_blocks_of_any_length(music: Samples) -> None:
    generator = small_generator(fitted("mdct", music))
    for seconds in (0.1, 0.21, 0.33, 0.47):
        in_blocks(generator, music[None, :4000], seconds, 0.1)
    assert generator.free_run.draw.experimental_get_tracing_count() <= 2


def test_the_begin_of_a_piece_and_its_blocks_are_drawn_by_one_graph(music: Samples) -> None:
    """Making it takes longer than to draw a minute."""
    generator = small_generator(fitted("stft", music))
    made = generator.generate(music[None, :4000], 1.0)
    assert generator.graphs.sounding.lead > 0
    assert made.shape == (1, RATE)
    assert generator.free_run.draw.experimental_get_tracing_count() == 1


# Chance -----------------------------------------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_piece_and_another_seed_another(kind: str, small: Small, music: Samples) -> None:
    generator = small(kind)
    prime = music[None, :4000]
    one, same, other = (generator.generate(prime, 0.1, seeds=[seed]) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 0.01


def test_a_piece_does_not_depend_on_its_neighbours(small: Small, music: Samples) -> None:
    generator = small("mdct")
    primes = np.stack([music[start : start + 4000] for start in (0, 9000, 20_000)])
    together = generator.generate(primes, 0.2, [0.3, 0.8, 1.2], [5, 6, 7])
    backwards = generator.generate(primes[::-1], 0.2, [1.2, 0.8, 0.3], [7, 6, 5])[::-1]
    np.testing.assert_allclose(backwards, together, atol=1e-6)
    for index, (temperature, seed) in enumerate(((0.3, 5), (0.8, 6), (1.2, 7))):
        alone = generator.generate(primes[index : index + 1], 0.2, temperature, [seed])
        # Products of one row and of three may round differently, and a free run carries that on.
        np.testing.assert_allclose(alone[0], together[index], atol=1e-3)


def test_the_noise_of_a_step_is_the_same_wherever_a_block_begins_and_like_no_other(small: Small) -> None:
    free_run = small("mdct").free_run
    seeds = tf.constant([1, 2, 2**31 - 1])
    whole = free_run._noise(0, 300, seeds).numpy()
    assert whole.shape == (300, 3, free_run.model.head.noise_size)
    for first, count in ((0, 1), (63, 2), (64, 64), (100, 150), (299, 1)):
        np.testing.assert_array_equal(free_run._noise(first, count, seeds), whole[first : first + count])
    rows = whole.reshape(900, -1)
    correlation = np.corrcoef(rows)
    assert np.abs(correlation[np.triu_indices(900, 1)]).max() < 0.55  # chance alone; a copy would be 1
    assert rows.mean() == pytest.approx(0, abs=0.02)
    assert rows.std() == pytest.approx(1, abs=0.02)


def test_without_noise_two_seeds_make_the_same_piece(small: Small, music: Samples) -> None:
    for head, temperature in (("mse", 1.0), ("mixture", 0.0), ("gan", 0.0)):
        generator = small("mdct", head)
        made = [generator.generate(music[None, :4000], 0.1, temperature, [seed]) for seed in (1, 2)]
        np.testing.assert_allclose(made[0], made[1], atol=1e-6)


def test_one_wild_draw_is_held_within_bounds() -> None:
    """Twelve standard deviations out, where the song never was, the next draws would stay there."""
    model = Player(np.full([50, 200], 12.0, np.float32))
    run = FreeRun(model, plain("waveform"))  # type: ignore[arg-type]
    frames, _, _ = run.draw(tf.fill([1, 200], -12.0), ([[tf.constant([0])]], ()), 0, 3, tf.ones([1]), tf.constant([1]))
    np.testing.assert_array_equal(frames[0, :, 0], [-DRAW_LIMIT, DRAW_LIMIT, DRAW_LIMIT])


class Drifting(Known):
    """Predicts a little more each time: by itself it comes to rest at 3.0, far from the song's mean, which is 0."""

    def parameters(self, frame: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        return 0.9 * frame + 0.3


@pytest.mark.parametrize(("kind", "ends"), [("stft", 0.3 / (1 - 0.9 + BALANCES)), ("waveform", 3.0)])
def test_spectra_that_drift_off_are_brought_back(kind: str, ends: float, music: Samples) -> None:
    """The frame that it rests at is 0.9 of itself, and 0.3, less what the balance makes up for."""
    encoding = fit_encoding(music, FrameSettings(**KINDS[kind]), RATE, Normaliser(0.0, float(music.std())))
    run = FreeRun(Drifting(MeanSquaredError(encoding.dimension)), encoding)  # type: ignore[arg-type]
    parameters, states = run.listen(tf.zeros([2, 4, encoding.dimension]))
    steps = round(12 * BALANCE_SECONDS * RATE / encoding.step)
    drawn, _, _ = run.draw(parameters, states, tf.constant(0), tf.constant(steps), tf.ones([2]), tf.constant([1, 2]))
    low = drawn[:, -1, 2:6]  # as high as this no frame of the song may have been
    np.testing.assert_allclose(
        low, np.minimum(ends, run.ceiling * np.ones(encoding.dimension))[2:6] + 0 * low, atol=0.02
    )


@pytest.mark.parametrize("persistence", [0.0, 0.5, 0.9])
def test_the_noise_of_draws_is_as_much_like_that_before_it_as_asked_for(persistence: float, music: Samples) -> None:
    run = small_generator(fitted("stft", music)).free_run
    run.persistence.assign(persistence)
    noise = run._noise(tf.constant(3), tf.constant(400), tf.constant([5, 6])).numpy()
    assert noise.std() == pytest.approx(1, abs=0.02)
    for lag in (1, 2, 4):
        assert np.mean(noise[lag:] * noise[:-lag]) == pytest.approx(persistence**lag, abs=0.02)
    later = run._noise(tf.constant(103), tf.constant(50), tf.constant([5, 6]))
    np.testing.assert_allclose(later, noise[100:150], atol=1e-6)


def test_loud_samples_are_bent_and_never_clipped() -> None:
    samples = np.linspace(-3, 3, 60_001, dtype=np.float32)
    bent = limited(tf.constant(samples)).numpy()
    quiet = np.abs(samples) <= LIMIT
    np.testing.assert_array_equal(bent[quiet], samples[quiet])
    assert np.abs(bent).max() <= 1
    assert np.diff(bent).min() > -2e-7  # but for rounding
    assert np.abs(np.diff(bent)).max() <= np.diff(samples).max() * 1.01  # no step anywhere, no corner upwards
    assert bent.dtype == np.float32


# The fade to silence ----------------------------------------------------------------------------------------------

PULL = 0.95  # of the process x' = PULL * x + sqrt(1 - PULL²) * noise, whose variance is 1


class Process(Known):
    """What a model that has learnt that process perfectly predicts."""

    def parameters(self, frame: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
        mean = PULL * frame
        if isinstance(self.head, MeanSquaredError):
            return mean
        low, high = LOG_SCALE_RANGE
        share = (0.5 * np.log(1 - PULL**2) - low) / (high - low)
        spread = np.float32(np.log(share / (1 - share)) - 1)
        return tf.concat([tf.zeros_like(frame[:, :1]), mean, tf.fill(tf.shape(frame), spread)], -1)


def free_frames(head: MeanSquaredError | GaussianMixture, count: int, temperature: float = 1.0) -> Samples:
    """[count, dimension] frames of a free run from a frame of ones."""
    run = FreeRun(Process(head), plain("waveform"))  # type: ignore[arg-type]
    parameters, states = run.listen(tf.ones([1, 1, head.dimension]))
    frames, _, _ = run.draw(parameters, states, 0, count, tf.constant([temperature]), tf.constant([7]))
    return frames[0].numpy()


def test_a_perfect_prediction_of_the_mean_fades_as_arithmetic_says() -> None:
    """Why the seeds' audio died away: least squares keeps what it can explain, and each step explains a share of it."""
    frames = free_frames(MeanSquaredError(400), 200)
    np.testing.assert_allclose(frames, np.repeat(PULL ** np.arange(1, 201)[:, None], 400, 1), rtol=1e-3)
    assert 20 * np.log10(frames[-1].std() + np.abs(frames[-1]).mean()) < -80


def test_a_drawn_frame_keeps_the_variance_and_the_memory_of_the_process() -> None:
    frames = free_frames(GaussianMixture(400), 200)
    power = np.square(frames[100:]).mean(1)
    np.testing.assert_allclose(power, 1, atol=0.35)
    assert power.mean() == pytest.approx(1, abs=0.05)
    assert np.mean(frames[101:] * frames[100:-1]) == pytest.approx(PULL, abs=0.05)
    late, early = np.square(frames[150:]).mean(), np.square(frames[50:100]).mean()
    assert abs(10 * np.log10(late / early)) < 0.5


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_temperature_is_the_level_of_what_is_left(temperature: float) -> None:
    """Colder draws lie nearer to the fade, down to the fade itself."""
    frames = free_frames(GaussianMixture(400), 200, temperature)
    assert np.sqrt(np.square(frames[100:]).mean()) == pytest.approx(temperature, abs=0.03)


@pytest.mark.slow
def test_trained_models_do_as_the_known_ones_do() -> None:
    """The same process learnt from data: the mean fades by more than 12 dB, the draws stay within 1 dB."""
    random = np.random.default_rng(0)
    noise = random.standard_normal((64, 401, 4)).astype(np.float32)
    process = np.zeros_like(noise)
    process[:, 0] = noise[:, 0]
    for step in range(1, 401):
        process[:, step] = 0.9 * process[:, step - 1] + np.sqrt(1 - 0.81) * noise[:, step]
    sequences = np.stack([process[:, start : start + 41] for start in range(0, 400, 40)], 1).reshape(-1, 41, 4)
    data = tf.data.Dataset.from_tensor_slices((sequences,))
    level = {}
    for head in ("mse", "gaussian"):
        model = SongModel(4, ModelSettings.model_validate({"widths": [24], "head": {"kind": head}}), seed=1)
        model.build((None, None, 4))
        model.compile(keras.optimizers.Adam(0.005, global_clipnorm=1.0))
        model.fit(data.shuffle(640, seed=1).repeat().batch(32), steps_per_epoch=300, epochs=1, verbose=0)
        run = FreeRun(model, Encoding(FrameSettings(kind="waveform", frame_length=16), RATE, Normaliser(0, 1)))
        parameters, states = run.listen(tf.constant(process[:32, :50]))
        frames, _, _ = run.draw(parameters, states, 0, 400, tf.ones([32]), tf.range(32))
        level[head] = 10 * np.log10(np.square(frames[:, 200:]).mean())
    assert level["mse"] < -12
    assert abs(level["gaussian"]) < 1
