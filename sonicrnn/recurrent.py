"""Recurrent layers that are `keras.layers.GRU` and `LSTM` with a faster training step on a CPU.

Same weights, same configuration, same results. What differs is the order of the work. A sequence is cut into blocks of
steps that stay in the cache. Forward, the input's projection of all steps of a block is one product before its loop.
Backward, the gates' factors of a block are computed in bulk, the loop keeps only the small product that must wait for
the step after it, and the weights' gradient is one product after the loop instead of a sum of one small product a step.
On a GPU, and for options that the fast path does not cover, Keras' own layer does the work.
"""

from __future__ import annotations

import keras
import tensorflow as tf

BLOCK_BYTES = 3 << 20  # of what the gates of a block's steps take
AT_ONCE = 8  # steps in a turn of a loop: a turn by itself takes as long as several operations of a step


@keras.saving.register_keras_serializable("sonicrnn")
class GRU(keras.layers.GRU):
    """`keras.layers.GRU` (`reset_after=True`) with the gradient written out.

    Args:
        slow: 1 or more; the state moves by one part in so many of what the gates say, and remembers longer (Yamashita
            and Tani, "Emergence of Functional Hierarchy in a Multiple Timescale Neural Network Model", PLoS Comput.
            Biol. 2008).
    """

    def __init__(self, units: int, slow: float = 1.0, **arguments):
        super().__init__(units, **arguments)
        self.slow = slow

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if self._is_keras(mask, training):
            return super().inner_loop(sequences, initial_state, mask, training)
        cell, sequences = self.cell, _in_its_order(self, sequences)
        state = initial_state[0] if isinstance(initial_state, (list, tuple)) else initial_state
        outputs = gru_sequence(
            tf.transpose(sequences, [1, 0, 2]),
            state,
            tf.convert_to_tensor(cell.kernel),
            tf.convert_to_tensor(cell.recurrent_kernel),
            tf.convert_to_tensor(cell.bias),
            self.slow,
        )
        outputs.set_shape([sequences.shape[1], sequences.shape[0], cell.units])  # a loop does not know
        return outputs[-1], tf.transpose(outputs, [1, 0, 2]), [outputs[-1]]

    def step(self, inputs, states):
        """One step by itself: inputs [batch, feature] and the states before it -> output and states after it."""
        if self._is_keras(None, False):
            return _cell_step(self, inputs, states)
        cell = self.cell
        kernel, recurrent, bias = map(tf.convert_to_tensor, (cell.kernel, cell.recurrent_kernel, cell.bias))
        h = gru_step(inputs, states[0], kernel, recurrent, bias, self.slow)
        return h, [h]

    def _is_keras(self, mask, training: bool) -> bool:
        """Whether Keras' own layer does the work. Raises ValueError for what it has no slow layers for."""
        if self.slow == 1:
            return _beyond_fast_path(self, mask, training) or not self.reset_after
        if mask is not None or not self.reset_after or not _is_plain(self.cell, training):
            raise ValueError("a slow GRU has the usual activations and biases, and no mask or dropout of its own")
        return False

    def get_config(self):
        return super().get_config() | ({} if self.slow == 1 else {"slow": self.slow})


@keras.saving.register_keras_serializable("sonicrnn")
class LSTM(keras.layers.LSTM):
    """`keras.layers.LSTM` with the gradient written out."""

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if _beyond_fast_path(self, mask, training):
            return super().inner_loop(sequences, initial_state, mask, training)
        cell, sequences = self.cell, _in_its_order(self, sequences)
        outputs, memory = lstm_sequence(
            tf.transpose(sequences, [1, 0, 2]),
            *initial_state,
            tf.convert_to_tensor(cell.kernel),
            tf.convert_to_tensor(cell.recurrent_kernel),
            tf.convert_to_tensor(cell.bias),
        )
        outputs.set_shape([sequences.shape[1], sequences.shape[0], cell.units])  # a loop does not know
        return outputs[-1], tf.transpose(outputs, [1, 0, 2]), [outputs[-1], memory]

    def step(self, inputs, states):
        """One step by itself: inputs [batch, feature] and the states before it -> output and states after it."""
        return _cell_step(self, inputs, states)


def _cell_step(layer: keras.layers.Layer, inputs, states):
    output, states = layer.cell(inputs, states, training=False)
    return output, list(states)


def _beyond_fast_path(layer: keras.layers.Layer, mask, training: bool) -> bool:
    # cuDNN is faster still on a GPU, and Keras takes it by itself.
    gpu = bool(tf.config.list_logical_devices("GPU"))
    return not _is_plain(layer.cell, training) or mask is not None or layer.unroll or gpu


def _is_plain(cell: keras.layers.Layer, training: bool) -> bool:
    return (
        cell.use_bias
        and keras.activations.serialize(cell.activation) == "tanh"
        and keras.activations.serialize(cell.recurrent_activation) == "sigmoid"
        and not (training and (cell.dropout or cell.recurrent_dropout))
    )


def _in_its_order(layer: keras.layers.Layer, sequences: tf.Tensor) -> tf.Tensor:
    """[batch, time, feature] as the layer reads them; what it puts out is in this order, too."""
    return tf.reverse(sequences, [1]) if layer.go_backwards else sequences


def gru_step(inputs, state, kernel, recurrent, bias, slow=1.0):
    """inputs [batch, feature], state [batch, width] -> the state after one step; the others as of `gru_sequence`.

    In fewer operations than Keras' cell takes: for one piece they cost as much as the products.
    """
    width = recurrent.shape[0]
    of_input, of_state = tf.unstack(bias)
    to_gate, to_candidate = tf.split(tf.nn.bias_add(tf.linalg.matmul(inputs, kernel), of_input), [2 * width, width], -1)
    gate, q = tf.split(tf.nn.bias_add(tf.linalg.matmul(state, recurrent), of_state), [2 * width, width], -1)
    z, r = tf.split(tf.sigmoid(to_gate + gate), 2, -1)
    candidate = tf.tanh(to_candidate + r * q)
    return candidate + _kept(z, slow) * (state - candidate)


def _kept(gate, slow):
    """What stays of the state: as much as the update gate says, or of what would go, all but one part in `slow`."""
    return gate if slow == 1 else 1 - (1 - gate) / slow


def gru_sequence(inputs, state, kernel, recurrent, bias, slow=1.0):
    """inputs [time, batch, feature], state [batch, width] -> outputs [time, batch, width].

    kernel [feature, 3 * width], recurrent [width, 3 * width] and bias [2, 3 * width] hold the update gate z, the reset
    gate r and the candidate, as in Keras:

        h' = z * h + (1 - z) * tanh(x_h + r * q),    q = h @ U_h + b_h

    where 1 - z is divided by `slow`.
    """

    @tf.custom_gradient
    def through(*tensors):
        return _gru_and_gradient(slow, *tensors)

    return through(inputs, state, kernel, recurrent, bias)


def _gru_and_gradient(slow, inputs, state, kernel, recurrent, bias):
    time, width = tf.shape(inputs)[0], recurrent.shape[0]
    length = _block_length(inputs, 3 * width)
    # What is added to both parts of a gate is added once.
    gate_bias, candidate_bias, recall_bias = (
        bias[0, : 2 * width] + bias[1, : 2 * width], bias[0, 2 * width :], bias[1, 2 * width :]
    )  # fmt: skip

    def block(first, h, arrays):
        part = inputs[first : first + length]
        to_gates = _bulk_matmul(part, kernel[:, : 2 * width]) + gate_bias
        to_candidate = _bulk_matmul(part, kernel[:, 2 * width :]) + candidate_bias

        def forward(step, h, arrays):
            to_gate, q = tf.split(tf.linalg.matmul(h, recurrent), [2 * width, width], -1)
            gate = tf.sigmoid(tf.gather(to_gates, step) + to_gate)
            z, r = tf.split(gate, 2, -1)
            q += recall_bias
            candidate = tf.tanh(tf.gather(to_candidate, step) + r * q)
            h = candidate + _kept(z, slow) * (h - candidate)
            return h, _written(arrays, first + step, (h, gate, candidate, q))

        return loop(tf.shape(part)[0], forward, h, arrays, AT_ONCE)

    _, arrays = _blocks(time, length, block, state, tuple(_array(inputs, time, size * width) for size in (1, 2, 1, 1)))
    states, *known = arrays
    outputs = states.stack()

    def gradient(upstream):
        transposed = tf.transpose(recurrent)

        def block(first, carry, arrays):
            last = tf.minimum(first + length, time)
            before = _before(state, states, first, outputs[first:last])
            gate, candidate, q = (array.gather(tf.range(first, last)) for array in known)
            z, r = tf.split(gate, 2, -1)
            # How much a change of h' at a step changes each pre-activation: known for all steps beforehand.
            kept = _kept(z, slow)
            to_candidate = (1 - kept) * (1 - tf.square(candidate))
            to_update = (before - candidate) * z * (1 - kept)
            to_reset = to_candidate * q * r * (1 - r)
            factors = tf.stack([to_update, to_reset, to_candidate * r], 2)  # [time, batch, 3, width]
            ahead = upstream[first:last]

            def backward(back, dh, arrays):
                step = last - first - 1 - back
                dh += tf.gather(ahead, step)
                du = tf.reshape(tf.gather(factors, step) * dh[:, None, :], [-1, 3 * width])
                before = dh * tf.gather(kept, step) + tf.linalg.matmul(du, transposed)
                return before, _written(arrays, step, (dh,))

            dstate, dkernel, drecurrent, dbias = carry
            ours = (_array(inputs, last - first, width),)
            dstate, (dhs,) = loop(last - first, backward, dstate, ours, AT_ONCE)
            dh = dhs.stack()
            du = tf.reshape(factors * dh[:, :, None, :], [-1, 3 * width])
            dx = tf.concat([du[:, : 2 * width], tf.reshape(to_candidate * dh, [-1, width])], 1)
            dkernel += _weights(inputs[first:last], dx)
            drecurrent += _weights(before, du)
            dbias += tf.stack([tf.reduce_sum(dx, 0), tf.reduce_sum(du, 0)])
            return (dstate, dkernel, drecurrent, dbias), _written(arrays, first // length, (dx,))

        sums = tuple(tf.zeros_like(value) for value in (state, kernel, recurrent, bias))
        (dstate, dkernel, drecurrent, dbias), (dxs,) = _blocks(
            time, length, block, sums, (_array(inputs, -(-time // length), 3 * width),), backwards=True
        )
        return _inputs(dxs, inputs, kernel), dstate, dkernel, drecurrent, dbias

    return outputs, gradient


@tf.custom_gradient
def lstm_sequence(inputs, state, memory, kernel, recurrent, bias):
    """inputs [time, batch, feature], state and memory [batch, width] -> outputs [time, batch, width], the last memory.

    kernel, recurrent and bias hold the gates i, f, the candidate and o, as in Keras.
    """
    time, width = tf.shape(inputs)[0], recurrent.shape[0]
    length = _block_length(inputs, 4 * width)
    # In here o comes first, so that the gates of one kind stand side by side.
    kernel_here, recurrent_here, bias_here = (tf.roll(value, width, -1) for value in (kernel, recurrent, bias))

    def block(first, carry, arrays):
        projected = _bulk_matmul(inputs[first : first + length], kernel_here) + bias_here

        def forward(step, carry, arrays):
            h, c = carry
            total = tf.gather(projected, step) + tf.linalg.matmul(h, recurrent_here)
            gate, g = tf.split(total, [3 * width, width], -1)
            gate, g = tf.sigmoid(gate), tf.tanh(g)
            o, i, f = tf.split(gate, 3, -1)
            c = f * c + i * g
            h = o * tf.tanh(c)
            return (h, c), _written(arrays, first + step, (h, c, gate, g))

        return loop(tf.shape(projected)[0], forward, carry, arrays, AT_ONCE)

    (_, last_memory), arrays = _blocks(
        time, length, block, (state, memory), tuple(_array(inputs, time, size * width) for size in (1, 1, 3, 1))
    )
    states, *known = arrays
    outputs = states.stack()

    def gradient(upstream, memory_upstream):
        transposed = tf.transpose(recurrent_here)

        def block(first, carry, arrays):
            last = tf.minimum(first + length, time)
            memories, gate, g = (array.gather(tf.range(first, last)) for array in known)
            before = _before(memory, known[0], first, memories)
            o, i, f = tf.split(gate, 3, -1)
            squashed = tf.tanh(memories)
            to_memory = o * (1 - tf.square(squashed))
            to_output = squashed * o * (1 - o)
            factors = tf.stack([g * i * (1 - i), before * f * (1 - f), i * (1 - tf.square(g))], 2)
            ahead = upstream[first:last]

            def backward(back, carry, arrays):
                dh, dc = carry
                step = last - first - 1 - back
                dh += tf.gather(ahead, step)
                dc += dh * tf.gather(to_memory, step)
                inner = tf.reshape(tf.gather(factors, step) * dc[:, None, :], [-1, 3 * width])
                du = tf.concat([dh * tf.gather(to_output, step), inner], -1)
                carry = (tf.linalg.matmul(du, transposed), dc * tf.gather(f, step))
                return carry, _written(arrays, step, (du,))

            *later, dkernel, drecurrent, dbias = carry
            ours = (_array(inputs, last - first, 4 * width),)
            later, (dus,) = loop(last - first, backward, tuple(later), ours, AT_ONCE)
            du = tf.reshape(dus.stack(), [-1, 4 * width])
            dkernel += _weights(inputs[first:last], du)
            drecurrent += _weights(_before(state, states, first, outputs[first:last]), du)
            carry = (*later, dkernel, drecurrent, dbias + tf.reduce_sum(du, 0))
            return carry, _written(arrays, first // length, (du,))

        sums = (tf.zeros_like(state), memory_upstream, *map(tf.zeros_like, (kernel, recurrent, bias)))
        (dstate, dmemory, *slopes), (dus,) = _blocks(
            time, length, block, sums, (_array(inputs, -(-time // length), 4 * width),), backwards=True
        )
        slopes = (tf.roll(value, -width, -1) for value in slopes)
        return _inputs(dus, inputs, kernel_here), dstate, dmemory, *slopes

    return (outputs, last_memory), gradient


def _block_length(inputs, width):
    """Steps of a block in which `width` figures a row stay in the cache, or some more: whole turns of its loops."""
    steps = BLOCK_BYTES // (tf.shape(inputs)[1] * width * inputs.dtype.size)
    return tf.maximum(1, -(-steps // AT_ONCE)) * AT_ONCE


def _blocks(time, length, body, carry, arrays, backwards=False):
    """Each block of so many steps in turn, the last of them shorter: `body` gets the number of its first step."""
    count = -(-time // length)

    def block(index, carry, arrays):
        return body((count - 1 - index if backwards else index) * length, carry, arrays)

    return loop(count, block, carry, arrays)


def loop(count, body, carry, arrays, at_once=1):
    """`body` takes and gives what is carried on and arrays that are written; in one turn of the loop so many times."""
    state = 0, carry, arrays
    for times in sorted({at_once, 1}, reverse=True):  # then those that are left
        state = _turns(count, body, state, times)
    _, carry, arrays = state
    return carry, arrays


def _turns(count, body, state, times):
    def turn(index, carry, arrays):
        for _ in range(times):
            made, arrays = body(index, carry, arrays)
            index, carry = index + 1, tf.nest.map_structure(_shaped, made, carry)
        return index, carry, arrays

    return tf.while_loop(lambda index, *_: index + times <= count, turn, state, parallel_iterations=1)


def _shaped(value, like):
    """The value, known to have the shape of what it takes the place of: a single row might else have been broadcast."""
    value.set_shape(like.shape)
    return value


def _array(like, count, width):
    """For so many rows [some, width]."""
    return tf.TensorArray(like.dtype, count, element_shape=[None, width], infer_shape=False, clear_after_read=False)


def _written(arrays, index, values):
    return tuple(array.write(index, value) for array, value in zip(arrays, values, strict=True))


def _before(begin, array, first, block):
    """The values one step earlier than a block of those in the array; before the first of all there was `begin`."""
    earlier = tf.cond(first > 0, lambda: array.read(tf.maximum(first - 1, 0)), lambda: begin)
    return tf.concat([earlier[None], block[:-1]], 0)


def _bulk_matmul(sequence, matrix):
    """[time, batch, a] @ [a, b] as one product over all steps."""
    flat = tf.linalg.matmul(tf.reshape(sequence, [-1, sequence.shape[-1]]), matrix)
    return tf.reshape(flat, [tf.shape(sequence)[0], tf.shape(sequence)[1], matrix.shape[1]])


def _weights(before, slopes):
    """The gradient of a product's matrix: one product over all steps, of [time, batch, a] and [time * batch, b]."""
    return tf.linalg.matmul(tf.reshape(before, [-1, before.shape[-1]]), slopes, transpose_a=True)


def _inputs(slopes, inputs, kernel):
    """The gradient of the inputs. Outside of the loops, so that it is not worked out where nobody wants it."""
    made = tf.linalg.matmul(slopes.concat(), kernel, transpose_b=True)
    return tf.reshape(made, tf.shape(inputs))
