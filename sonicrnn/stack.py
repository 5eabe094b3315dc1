"""The recurrent layers of the model, as the settings name them, and how their gates begin."""

from __future__ import annotations

import keras
import tensorflow as tf

from sonicrnn.config import ModelSettings
from sonicrnn.recurrent import GRU, LSTM


def recurrent_layer(made: ModelSettings, index: int, seed: int) -> keras.layers.Layer:
    """Layer `index` of the stack; each has initial weights of its own."""
    arguments = {
        "units": made.widths[index],
        "return_sequences": True,
        "return_state": True,
        "kernel_initializer": keras.initializers.GlorotUniform(seed + 2 * index),
        "recurrent_initializer": keras.initializers.Orthogonal(seed=seed + 2 * index + 1),
        "name": f"{made.cell}_{index}",
    }
    if made.cell == "gru":
        slow = made.slow[index] if made.slow else 1.0
        return GRU(**arguments, slow=slow, bias_initializer=UpdateBias(made.update_bias))
    return LSTM(**arguments, bias_initializer=ForgetBias(made.forget_bias), unit_forget_bias=False)


@keras.saving.register_keras_serializable("sonicrnn")
class ForgetBias(keras.initializers.Initializer):
    """Zeros, but `value` for the LSTM's forget gate: at 0 it forgets half of its memory a step (Jozefowicz, 2015)."""

    def __init__(self, value: float = 1.0):
        self.value = value

    def __call__(self, shape, dtype=None):
        quarter = shape[0] // 4
        return tf.concat([tf.zeros([quarter]), tf.fill([quarter], self.value), tf.zeros([2 * quarter])], 0)

    def get_config(self):
        return {"value": self.value}


@keras.saving.register_keras_serializable("sonicrnn")
class UpdateBias(keras.initializers.Initializer):
    """Zeros, but `value` for the GRU's update gate, which says how much of the state stays: [2, 3 * units].

    The second row of the bias belongs to the state's product and adds to the first.
    """

    def __init__(self, value: float = 0.0):
        self.value = value

    def __call__(self, shape, dtype=None):
        units = shape[-1] // 3
        first = tf.concat([tf.fill([1, units], self.value), tf.zeros([1, 2 * units])], 1)
        return tf.concat([first, tf.zeros([1, 3 * units])], 0)

    def get_config(self):
        return {"value": self.value}
