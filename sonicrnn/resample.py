"""Change of sample rate, block by block: soxr's, and the same filter as a product of spectra in the TensorFlow graph.

tensorflow-io's own resampler is not used: it delays by a number of samples that depends on the rates, and what it
makes lies only 35 to 60 dB below soxr's result on music, because its filter falls off earlier and not as far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.float32]

_QUALITY = "VHQ"
# soxr's filter ends 128 samples of the lower rate from its middle (measured: nothing beyond, at any pair of rates).
# At the ends of a stream its stages are less exact, by up to 4e-3, so both resamplers put silence before and after.
_REACH = 160
_BLOCK = 1 << 18  # samples in, about: long enough that what neighbouring blocks share costs next to nothing


class Resampler(Protocol):
    """Samples at `rate_in` go in, block by block; those at another rate come out as they are ready."""

    rate_in: int

    def push(self, block: Samples) -> Samples:
        """Take the next samples, mono [n] float32 at any length; return what is ready."""

    def finish(self) -> Samples:
        """Return the rest, so that n samples in have become n·rate_out/rate_in, rounded, out."""


def make_resampler(rate_in: int, rate_out: int, in_graph: bool) -> Resampler:
    """The resampler for two rates in Hz: in the TensorFlow graph or by soxr. Both give the same to −100 dB."""
    if rate_in == rate_out:
        return Unchanged(rate_in)
    return GraphResampler(rate_in, rate_out) if in_graph else SoxrResampler(rate_in, rate_out)


class Unchanged:
    """The resampler of two equal rates."""

    def __init__(self, rate: int) -> None:
        self.rate_in = rate

    def push(self, block: Samples) -> Samples:
        return block

    def finish(self) -> Samples:
        return np.zeros(0, np.float32)


class _Steps:
    """What two rates have in common: `step_in` samples last exactly as long as `step_out` samples of the new rate."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        divisor = math.gcd(rate_in, rate_out)
        self.step_in, self.step_out = rate_in // divisor, rate_out // divisor
        self.edge = -(-_REACH // min(self.step_in, self.step_out))  # steps that cover half of the filter

    def whole(self, received: int) -> int:
        """Samples out for `received` samples in, rounded."""
        return (2 * received * self.step_out + self.step_in) // (2 * self.step_in)


class SoxrResampler:
    """soxr's stream at its highest quality, with silence before and after, so that its own two ends are clean.

    With `channels`, blocks are [n, channels].
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int | None = None) -> None:
        self.rate_in = rate_in
        self._steps = _Steps(rate_in, rate_out)
        self._stream = soxr.ResampleStream(rate_in, rate_out, channels or 1, dtype="float32", quality=_QUALITY)
        edge = self._steps.edge * self._steps.step_in
        self._silence: Samples = np.zeros([edge, channels] if channels else edge, np.float32)
        self._received = 0
        self._returned = -self._steps.edge * self._steps.step_out  # what the silence before becomes is not returned
        self._pass_on(self._silence)

    def push(self, block: Samples) -> Samples:
        self._received += len(block)
        return self._pass_on(block)

    def finish(self) -> Samples:
        missing = self._steps.whole(self._received) - max(0, self._returned)
        return self._pass_on(self._silence, last=True)[:missing]

    def _pass_on(self, block: Samples, last: bool = False) -> Samples:
        ready = np.asarray(self._stream.resample_chunk(block, last=last))
        before = min(max(0, -self._returned), len(ready))
        self._returned += len(ready)
        return ready[before:]


class GraphResampler:
    """soxr's filter, applied by overlap-save in the TensorFlow graph.

    A block's spectrum is cut off (or continued with zeros) at the lower of the two Nyquist frequencies and multiplied
    with the filter's response; the inverse transform at the new length is the block at the new rate. The response is
    measured: it is the spectrum of what soxr makes of one impulse. Blocks overlap by more than the filter is long, and
    the overlap is thrown away, so that no block has an edge. The result is soxr's to float precision.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.rate_in = rate_in
        self._steps = _Steps(rate_in, rate_out)
        count = max(4 * self._steps.edge, -(-_BLOCK // self._steps.step_in))
        self._count = 1 << (count - 1).bit_length()  # steps of a block; a power of two keeps the transforms fast
        self._length = self._count * self._steps.step_in
        self._hop = (self._count - 2 * self._steps.edge) * self._steps.step_in
        self._convert = self._graph()
        self._waiting: Samples = np.zeros(self._steps.edge * self._steps.step_in, np.float32)  # the silence before
        self._received = self._returned = 0

    def push(self, block: Samples) -> Samples:
        self._received += len(block)
        return self._pass_on(block)

    def finish(self) -> Samples:
        pieces = [np.zeros(0, np.float32)]
        while (missing := self._steps.whole(self._received) - self._returned) > 0:
            pieces.append(self._pass_on(np.zeros(self._hop, np.float32))[:missing])
        return np.concatenate(pieces)

    def _pass_on(self, block: Samples) -> Samples:
        self._waiting = np.concatenate([self._waiting, block])
        pieces = [np.zeros(0, np.float32)]
        while len(self._waiting) >= self._length:
            pieces.append(self._convert(self._waiting[: self._length]))
            self._waiting = self._waiting[self._hop :]
        ready = np.concatenate(pieces)
        self._returned += len(ready)
        return ready

    def _graph(self) -> Callable[[Samples], Samples]:
        import tensorflow as tf

        response = tf.constant(self._response(), tf.complex64)  # [bins]
        length_out = self._count * self._steps.step_out
        edge = self._steps.edge * self._steps.step_out

        def convert(block: Any) -> Any:
            with tf.device("CPU:0"):
                spectrum = tf.signal.rfft(block)[: response.shape[0]] * response  # [bins] complex64
                return tf.signal.irfft(spectrum, [length_out])[edge : length_out - edge]

        # Traced once, here: a function for each pair of rates is meant, and TensorFlow would warn of the fifth.
        traced = tf.function(convert).get_concrete_function(tf.TensorSpec([self._length], tf.float32))
        return lambda block: traced(tf.constant(block)).numpy()

    def _response(self) -> npt.NDArray[np.complex128]:
        """The filter at each frequency up to the lower Nyquist frequency, with the change of scale: [bins]."""
        middle = self._count // 2
        impulse = np.zeros(self._length)
        impulse[middle * self._steps.step_in] = 1.0
        answer = soxr.resample(impulse, self._steps.step_in, self._steps.step_out, quality=_QUALITY)
        spectrum = np.fft.rfft(np.roll(answer, -middle * self._steps.step_out))
        return np.asarray(spectrum[: min(len(impulse), len(answer)) // 2 + 1])
