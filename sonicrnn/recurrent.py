"""Recurrent layers that are `keras.layers.GRU` and `LSTM` with a faster training step on a CPU.

Same weights, same configuration, same results. What differs is the order of the work. Forward, the input's projection
of all steps is one product before the loop. Backward, the gates' factors are computed in bulk, the loop keeps only the
small product that must wait for the step after it, and the weights' gradient is one product after the loop instead of a
sum of one small product a step. On a GPU, and for options that the fast path does not cover, Keras' own layer does the
work.
"""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("sonicrnn")
class GRU(keras.layers.GRU):
    """`keras.layers.GRU` (`reset_after=True`) with the gradient written out."""

    def inner_loop(self, sequences, initial_state, mask, training=False):
        if _beyond_fast_path(self, mask, training) or not self.reset_after:
            return super().inner_loop(sequences, initial_state, mask, training)
        cell, sequences = self.cell, _in_its_order(self, sequences)
        state = initial_state[0] if isinstance(initial_state, (list, tuple)) else initial_state
        outputs = gru_sequence(
            tf.transpose(sequences, [1, 0, 2]),
            state,
            tf.convert_to_tensor(cell.kernel),
            tf.convert_to_tensor(cell.recurrent_kernel),
            tf.convert_to_tensor(cell.bias),
        )
        outputs.set_shape([sequences.shape[1], sequences.shape[0], cell.units])  # a loop does not know
        return outputs[-1], tf.transpose(outputs, [1, 0, 2]), [outputs[-1]]


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
        for made in (outputs, memory):
            made.set_shape([sequences.shape[1], sequences.shape[0], cell.units])  # a loop does not know
        return outputs[-1], tf.transpose(outputs, [1, 0, 2]), [outputs[-1], memory[-1]]


def _beyond_fast_path(layer: keras.layers.Layer, mask, training: bool) -> bool:
    cell = layer.cell
    plain = (
        cell.use_bias
        and keras.activations.serialize(cell.activation) == "tanh"
        and keras.activations.serialize(cell.recurrent_activation) == "sigmoid"
        and not (training and (cell.dropout or cell.recurrent_dropout))
    )
    # cuDNN is faster still on a GPU, and Keras takes it by itself.
    return (
        not plain
        or mask is not None
        or layer.unroll
        or bool(tf.config.list_logical_devices("GPU"))
    )


def _in_its_order(layer: keras.layers.Layer, sequences: tf.Tensor) -> tf.Tensor:
    """[batch, time, feature] as the layer reads them; what it puts out is in this order, too."""
    return tf.reverse(sequences, [1]) if layer.go_backwards else sequences


@tf.custom_gradient
def gru_sequence(inputs, state, kernel, recurrent, bias):
    """inputs [time, batch, feature], state [batch, width] -> outputs [time, batch, width].

    kernel [feature, 3 * width], recurrent [width, 3 * width] and bias [2, 3 * width] hold the update gate z, the reset
    gate r and the candidate, as in Keras:

        h' = z * h + (1 - z) * tanh(x_h + r * q),    q = h @ U_h + b_h
    """
    time, width = tf.shape(inputs)[0], recurrent.shape[0]
    projected = _bulk_matmul(inputs, kernel) + bias[0]

    def forward(step, h, arrays):
        outputs, gates, candidates, recalls = arrays
        x = projected[step]
        u = tf.linalg.matmul(h, recurrent) + bias[1]
        gate = tf.sigmoid(x[:, : 2 * width] + u[:, : 2 * width])
        z, r = gate[:, :width], gate[:, width:]
        q = u[:, 2 * width :]
        candidate = tf.tanh(x[:, 2 * width :] + r * q)
        h = candidate + z * (h - candidate)
        arrays = (
            outputs.write(step, h),
            gates.write(step, gate),
            candidates.write(step, candidate),
            recalls.write(step, q),
        )
        return step + 1, h, arrays

    arrays = tuple(_array(inputs, time) for _ in range(4))
    _, _, arrays = _loop(time, forward, state, arrays)
    outputs, gates, candidates, recalls = (array.stack() for array in arrays)

    def gradient(upstream):
        before = tf.concat([state[None], outputs[:-1]], 0)
        z, r = gates[..., :width], gates[..., width:]
        # How much a change of h' at a step changes each pre-activation: known for all steps beforehand.
        to_candidate = (1 - z) * (1 - tf.square(candidates))
        to_update = (before - candidates) * z * (1 - z)
        to_reset = to_candidate * recalls * r * (1 - r)
        to_recall = to_candidate * r
        factors = tf.stack([to_update, to_reset, to_recall], 2)  # [time, batch, 3, width]
        transposed = tf.transpose(recurrent)
        batch = tf.shape(state)[0]

        def backward(back, dh, arrays):
            step = time - 1 - back
            dh = dh + upstream[step]
            du = tf.reshape(factors[step] * dh[:, None, :], [batch, 3 * width])
            arrays = (arrays[0].write(step, dh),)
            return back + 1, dh * z[step] + tf.linalg.matmul(du, transposed), arrays

        _, dstate, (dhs,) = _loop(time, backward, tf.zeros_like(state), (_array(inputs, time),))
        dh = dhs.stack()
        du = tf.reshape(factors * dh[:, :, None, :], [-1, 3 * width])
        dx = tf.concat([tf.reshape(du, [time, batch, 3 * width])[..., : 2 * width], to_candidate * dh], -1)
        dbias = tf.stack([tf.reduce_sum(dx, [0, 1]), tf.reduce_sum(du, 0)])
        drecurrent = tf.linalg.matmul(tf.reshape(before, [-1, width]), du, transpose_a=True)
        return _bulk_matmul(dx, kernel, transpose=True), dstate, _weights(inputs, dx), drecurrent, dbias

    return outputs, gradient


@tf.custom_gradient
def lstm_sequence(inputs, state, memory, kernel, recurrent, bias):
    """inputs [time, batch, feature], state and memory [batch, width] -> outputs and memories [time, batch, width].

    kernel, recurrent and bias hold the gates i, f, the candidate and o, as in Keras.
    """
    time, width = tf.shape(inputs)[0], recurrent.shape[0]
    projected = _bulk_matmul(inputs, kernel) + bias

    def forward(step, carry, arrays):
        h, c = carry
        i, f, g, o = tf.split(projected[step] + tf.linalg.matmul(h, recurrent), 4, -1)
        i, f, g, o = tf.sigmoid(i), tf.sigmoid(f), tf.tanh(g), tf.sigmoid(o)
        c = f * c + i * g
        h = o * tf.tanh(c)
        values = (h, c, tf.concat([i, f, g, o], -1))
        return step + 1, (h, c), tuple(array.write(step, value) for array, value in zip(arrays, values, strict=True))

    arrays = tuple(_array(inputs, time) for _ in range(3))
    _, _, arrays = _loop(time, forward, (state, memory), arrays)
    outputs, memories, gates = (array.stack() for array in arrays)

    def gradient(upstream, memory_upstream):
        before = tf.concat([memory[None], memories[:-1]], 0)
        i, f, g, o = tf.split(gates, 4, -1)
        squashed = tf.tanh(memories)
        to_memory = o * (1 - tf.square(squashed))
        to_output = squashed * o * (1 - o)
        factors = tf.stack([g * i * (1 - i), before * f * (1 - f), i * (1 - tf.square(g))], 2)
        transposed = tf.transpose(recurrent)
        batch = tf.shape(state)[0]

        def backward(back, carry, arrays):
            dh, dc = carry
            step = time - 1 - back
            dh = dh + upstream[step]
            dc = dc + memory_upstream[step] + dh * to_memory[step]
            inner = tf.reshape(factors[step] * dc[:, None, :], [batch, 3 * width])
            du = tf.concat([inner, dh * to_output[step]], -1)
            carry = (tf.linalg.matmul(du, transposed), dc * f[step])
            return back + 1, carry, (arrays[0].write(step, du),)

        zeros = (tf.zeros_like(state), tf.zeros_like(memory))
        _, (dstate, dmemory), (dus,) = _loop(time, backward, zeros, (_array(inputs, time),))
        du = dus.stack()
        earlier = tf.reshape(tf.concat([state[None], outputs[:-1]], 0), [-1, width])
        drecurrent = tf.linalg.matmul(earlier, tf.reshape(du, [-1, 4 * width]), transpose_a=True)
        dinputs, dkernel = _bulk_matmul(du, kernel, transpose=True), _weights(inputs, du)
        return dinputs, dstate, dmemory, dkernel, drecurrent, tf.reduce_sum(du, [0, 1])

    return (outputs, memories), gradient


def _loop(time, body, carry, arrays):
    return tf.while_loop(
        lambda step, *_: step < time, body, (0, carry, arrays), maximum_iterations=time, parallel_iterations=1
    )


def _array(like, time):
    return tf.TensorArray(like.dtype, time, element_shape=None, clear_after_read=False)


def _bulk_matmul(sequence, matrix, transpose=False):
    """[time, batch, a] @ [a, b] as one product over all steps."""
    shape = tf.shape(sequence)
    flat = tf.reshape(sequence, [-1, sequence.shape[-1]])
    size = matrix.shape[0] if transpose else matrix.shape[1]
    return tf.reshape(tf.linalg.matmul(flat, matrix, transpose_b=transpose), [shape[0], shape[1], size])


def _weights(inputs, doutputs):
    """The gradient of a projection's matrix: one product over all steps."""
    flat = tf.reshape(inputs, [-1, inputs.shape[-1]])
    return tf.linalg.matmul(flat, tf.reshape(doutputs, [-1, doutputs.shape[-1]]), transpose_a=True)
