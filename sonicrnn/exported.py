"""What a SavedModel of a run is made of: signatures over the graphs that also generate in Python.

`generate` makes whole pieces; `start` and `step` make streams, whose state goes out and comes back in as bytes, so that
any replica can serve any step. `pcm` is `generate` without the figures, for answers in JSON. All rows of a request
stand for themselves: a server may put requests together into one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from sonicrnn.graphs import graph
from sonicrnn.stream import Heard, State, Stream

HOTTEST = 5.0  # temperature


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        seconds: longest piece.
        batch: most rows.
        prime_seconds: longest prime.
        block_seconds, step_seconds: of audio made at once, in a piece and in a step of a stream; at least.
    """

    seconds: float = 60.0
    batch: int = 16
    prime_seconds: float = 30.0
    block_seconds: float = 5.0
    step_seconds: float = 0.5


class Exported(tf.Module):
    """The graphs behind the signatures.

    Args:
        stream: the run's.
        primes: [some, samples] at full scale 1, the run's own, that a request without one begins from.
        temperature: the run's own, for requests that leave it to the run.
        limits: of a request.
        tag: of the run's content, int32: a state of another run's is refused.
    """

    def __init__(self, stream: Stream, primes: np.ndarray, temperature: float, limits: Limits, tag: int):
        super().__init__()
        self.stream, self.temperature, self.limits, self.tag = stream, temperature, limits, tag
        hold_in_variables(stream.run.recall)
        encoding = stream.run.encoding
        self.rate, self.step_samples = encoding.sample_rate, encoding.step
        self.per_block, self.per_step = stream.steps(limits.block_seconds), stream.steps(limits.step_seconds)
        # Listened to one by one, as Python does, and once for all.
        heard = [stream.hear(tf.constant(prime[None])) for prime in primes]
        self.listened = tf.nest.map_structure(
            lambda *values: tf.Variable(tf.concat(values, 0), trainable=False), *heard
        )
        one = stream.begin(heard[0], tf.constant([temperature], tf.float32), tf.constant([0]))
        self.state_like = tf.nest.map_structure(
            lambda value: tf.TensorSpec([None, *value.shape[1:]], value.dtype), one
        )

    # Signatures -------------------------------------------------------------------------------------------------

    def endpoints(self) -> dict[str, tuple[Any, list[tf.TensorSpec]]]:
        """Of each signature the function and what it takes."""
        prime = [tf.TensorSpec([None, None], tf.float32, "prime"), tf.TensorSpec([None], tf.int32, "prime_samples")]
        seconds, temperature = (tf.TensorSpec([None], tf.float32, name) for name in ("seconds", "temperature"))
        seed = tf.TensorSpec([None], tf.int32, "seed")
        state = tf.TensorSpec([None], tf.string, "state_bytes")
        return {
            "generate": (self.generate, [*prime, seconds, temperature, seed]),
            "pcm": (self.pcm, [*prime, seconds, temperature, seed]),
            "start": (self.start, [*prime, temperature, seed]),
            "step": (self.step, [state, temperature]),
        }

    def generate(self, prime, prime_samples, seconds, temperature, seed) -> dict[str, tf.Tensor]:
        """Whole pieces.

        Args:
            prime: float32 [batch, samples] at full scale 1, at `sample_rate`.
            prime_samples: int32 [batch], how many of a row are its prime; 0 takes one of the run's, as the seed says.
            seconds: float32 [batch].
            temperature: float32 [batch]; under 0 takes the run's own.
            seed: int32 [batch]; the same seed makes the same piece.

        Returns:
            audio: float32 [batch, samples], a row that is shorter than the longest has zeros at its end.
            samples: int32 [batch], how many of a row are its piece.
            pcm_bytes: string [batch], the piece alone, 16 bits a sample, little-endian.
            sample_rate: int32 [batch], Hz.
        """
        audio, samples = self.pieces(prime, prime_samples, seconds, temperature, seed)
        return {"audio": audio, "samples": samples} | self._sounds(audio, samples)

    def pcm(self, prime, prime_samples, seconds, temperature, seed) -> dict[str, tf.Tensor]:
        """As `generate`, without `audio`."""
        audio, samples = self.pieces(prime, prime_samples, seconds, temperature, seed)
        return {"samples": samples} | self._sounds(audio, samples)

    def start(self, prime, prime_samples, temperature, seed) -> dict[str, tf.Tensor]:
        """The begin of a stream: takes what `generate` takes but for the seconds, gives what `step` gives."""
        return self._step(self._begun(prime, prime_samples, temperature, seed), temperature)

    def step(self, state_bytes, temperature) -> dict[str, tf.Tensor]:
        """The next block of a stream.

        Args:
            state_bytes: string [batch], as the last `start` or `step` gave it.
            temperature: float32 [batch], may change at every step.

        Returns:
            audio: float32 [batch, samples], as many in every block.
            pcm_bytes, sample_rate: as of `generate`.
            state_bytes: string [batch], for the next step.
        """
        with tf.control_dependencies(self._asked(temperature)):
            return self._step(self._unpacked(state_bytes), temperature)

    # What they are made of --------------------------------------------------------------------------------------

    @graph
    def pieces(self, prime, prime_samples, seconds, temperature, seed) -> tuple[tf.Tensor, tf.Tensor]:
        """Audio [batch, samples] and how many samples of a row are its piece, [batch]."""
        with tf.control_dependencies([
            tf.debugging.Assert(
                tf.reduce_all((seconds > 0) & (seconds <= self.limits.seconds)),
                [f"seconds must lie above 0 and be at most {self.limits.seconds:g}, not", seconds],
            )
        ]):
            wanted = tf.cast(tf.round(tf.cast(seconds, tf.float64) * self.rate), tf.int32)
        state = self._begun(prime, prime_samples, temperature, seed)
        longest, length = tf.reduce_max(wanted), self.per_block * self.step_samples
        count = (longest + length - 1) // length
        made = tf.TensorArray(tf.float32, count, element_shape=[None, length])

        def block(index, state, made):
            samples, state = self._go_on(state, self.per_block, temperature)
            return index + 1, state, made.write(index, samples)

        _, _, made = tf.while_loop(lambda index, *_: index < count, block, (0, state, made), parallel_iterations=1)
        audio = tf.reshape(tf.transpose(made.stack(), [1, 0, 2]), [tf.shape(seed)[0], count * length])[:, :longest]
        return tf.where(tf.range(longest) < wanted[:, None], audio, 0.0), wanted

    def _step(self, state: State, temperature: tf.Tensor) -> dict[str, tf.Tensor]:
        audio, state = self._go_on(state, self.per_step, temperature)
        samples = tf.fill([tf.shape(temperature)[0]], self.per_step * self.step_samples)
        return {"audio": audio, "state_bytes": self._packed(state)} | self._sounds(audio, samples)

    def _go_on(self, state: State, count: int, temperature: tf.Tensor) -> tuple[tf.Tensor, State]:
        """`count` steps; the shapes are those of a state, as a loop and a signature want them."""
        made, state = self.stream.go_on(state, tf.constant(count), self._own_where_negative(temperature))
        return tf.ensure_shape(made.samples, [None, count * self.step_samples]), self._shaped(state, self.state_like)

    def _begun(self, prime, prime_samples, temperature, seed) -> State:
        with tf.control_dependencies([*self._asked(temperature), *self._primed(prime, prime_samples)]):
            like = tf.nest.map_structure(lambda one: tf.TensorSpec(one.shape[1:], one.dtype), self.listened)

            def of_row(row):
                samples, length, seed = row
                own = tf.math.floormod(seed, self.listened.parameters.shape[0])
                return self._shaped(
                    tf.cond(
                        length > 0,
                        lambda: tf.nest.map_structure(lambda one: one[0], self.stream.hear(samples[None, :length])),
                        lambda: tf.nest.map_structure(lambda kept: tf.gather(kept, own), self.listened),
                    ),
                    like,
                )

            heard: Heard = tf.map_fn(of_row, (prime, prime_samples, seed), fn_output_signature=like)
        state = self.stream.begin(heard, self._own_where_negative(temperature), seed)
        return self._shaped(state, self.state_like)

    def _shaped(self, values: Any, like: Any) -> Any:
        return tf.nest.map_structure(lambda value, spec: tf.ensure_shape(value, spec.shape), values, like)

    def _own_where_negative(self, temperature: tf.Tensor) -> tf.Tensor:
        return tf.where(temperature < 0, self.temperature, temperature)

    def _sounds(self, audio: tf.Tensor, samples: tf.Tensor) -> dict[str, tf.Tensor]:
        pcm = tf.map_fn(
            lambda row: _wav_bytes(row[0][: row[1]]), (audio, samples), fn_output_signature=tf.TensorSpec([], tf.string)
        )
        return {"pcm_bytes": pcm, "sample_rate": tf.fill([tf.shape(audio)[0]], self.rate)}

    # Limits -----------------------------------------------------------------------------------------------------

    def _asked(self, temperature: tf.Tensor) -> list[tf.Operation]:
        """Assertions on what every request asks for."""
        batch = tf.shape(temperature)[0]
        return [
            tf.debugging.Assert(
                (batch > 0) & (batch <= self.limits.batch),
                [f"a request may have 1 to {self.limits.batch} rows, not", batch],
            ),
            tf.debugging.Assert(
                tf.reduce_all(temperature <= HOTTEST),  # so that NaN is refused, too
                [f"temperature must be at most {HOTTEST:g} (and under 0 for the model's own), not", temperature],
            ),
        ]

    def _primed(self, prime: tf.Tensor, prime_samples: tf.Tensor) -> list[tf.Operation]:
        """Assertions on primes."""
        least, most = self.stream.least_prime, round(self.limits.prime_seconds * self.rate)
        given, width = prime_samples > 0, tf.shape(prime)[1]
        fits = (prime_samples >= least) & (prime_samples <= most) & (prime_samples <= width)
        return [
            tf.debugging.Assert(
                tf.reduce_all((prime_samples == 0) | fits),
                [
                    f"prime_samples must be 0, or {least} to {most} and no more than a row of the prime holds, not",
                    prime_samples,
                    "of",
                    width,
                ],
            ),
            tf.debugging.Assert(
                tf.reduce_all(tf.math.is_finite(prime) & (tf.abs(prime) <= 1) | ~given[:, None]),
                ["prime must be samples from -1 to 1"],
            ),
        ]

    # A state as bytes -------------------------------------------------------------------------------------------

    def _packed(self, state: State) -> tf.Tensor:
        """-> string [batch]: the tag and all of the state, 32 bits a figure, little-endian."""
        values = [_bits(value) for value in tf.nest.flatten(state)]
        row = tf.concat([tf.fill([tf.shape(values[0])[0], 1], self.tag), *values], 1)
        halves = tf.reshape(tf.bitcast(row, tf.int16), [tf.shape(row)[0], -1])
        exact = tf.cast(halves, tf.float32) / 32768
        return tf.map_fn(_wav_bytes, exact, fn_output_signature=tf.TensorSpec([], tf.string))

    def _unpacked(self, packed: tf.Tensor) -> State:
        like = tf.nest.flatten(self.state_like)
        sizes = [int(np.prod(spec.shape[1:], dtype=int)) for spec in like]
        whole = tf.debugging.Assert(
            tf.reduce_all(tf.strings.length(packed) == 4 * (1 + sum(sizes))),
            ["state_bytes is no state of this model: give what its last `start` or `step` gave"],
        )
        with tf.control_dependencies([whole]):
            figures = tf.io.decode_raw(packed, tf.int32)
        tag, *values = tf.split(tf.ensure_shape(figures, [None, 1 + sum(sizes)]), [1, *sizes], 1)
        values = [_of_bits(value, spec) for value, spec in zip(values, like, strict=True)]
        finite = [tf.reduce_all(tf.math.is_finite(value)) for value in values if value.dtype.is_floating]
        checks = [
            tf.debugging.Assert(
                tf.reduce_all(tag == self.tag),
                ["state_bytes is of another model: a stream goes on with the version that it began with"],
            ),
            tf.debugging.Assert(tf.reduce_all(finite), ["state_bytes is spoiled"]),
        ]
        with tf.control_dependencies(checks):
            return tf.nest.pack_sequence_as(self.state_like, [tf.identity(value) for value in values])


def hold_in_variables(owner: Any) -> None:
    """Arrays that graphs take from an object, and from objects in it, become variables.

    A variable is saved once, whatever graphs use it, and is left alone by what simplifies graphs when they are loaded.
    """
    for name, value in vars(owner).items() if hasattr(owner, "__dict__") else ():
        if isinstance(value, tf.Tensor):
            setattr(owner, name, tf.Variable(value, trainable=False))
        elif type(value).__module__.startswith("sonicrnn."):
            hold_in_variables(value)


def _bits(value: tf.Tensor) -> tf.Tensor:
    """[batch, ...] -> int32 [batch, figures]."""
    flat = tf.reshape(value, [tf.shape(value)[0], int(np.prod(value.shape[1:], dtype=int))])
    return tf.bitcast(flat, tf.int32) if flat.dtype == tf.float32 else tf.cast(flat, tf.int32)


def _of_bits(bits: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    value = tf.bitcast(bits, tf.float32) if spec.dtype == tf.float32 else tf.cast(bits, spec.dtype)
    return tf.reshape(value, [tf.shape(bits)[0], *spec.shape[1:]])


def _wav_bytes(samples: tf.Tensor) -> tf.Tensor:
    """[samples] at full scale 1 -> their 16 bits each, little-endian.

    Of all stock operations only the one that writes WAV turns numbers into bytes; its header is cut off.
    """
    return tf.strings.substr(tf.audio.encode_wav(samples[:, None], 16_000), WAV_HEADER, -1)


WAV_HEADER = 44  # bytes
