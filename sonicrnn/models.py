"""The model: dense front, a stack of recurrent layers, a head."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.binary import drawn as drawn_binary
from sonicrnn.chance import Chance
from sonicrnn.config import ModelSettings
from sonicrnn.frames import halves
from sonicrnn.graphs import graph
from sonicrnn.heads import make_head
from sonicrnn.phase_image import PhaseImage
from sonicrnn.stack import recurrent_layer
from sonicrnn.strategy import SpreadModel, averaged, gathered, kept_alike, places

LEAST_UNTOLD = 0.05  # of a figure's variance, however well the last frame seems to tell it

# What a training draws random numbers for, see `chance`; from those of three digits on, several.
STRENGTH, NOISE, SCHEDULED, SCHEDULED_DRAW = 0, 1, 2, 3
SELF_HEARD, DROPOUT, BINARY, ACTIVATION, WEIGHT = 100, 200, 300, 400, 500

State = list[tf.Tensor]


@keras.saving.register_keras_serializable("sonicrnn")
class SongModel(SpreadModel):
    """Reads frames and predicts, at each, the parameters of the next one.

    `call` takes frames [batch, time, dimension] and gives parameters [batch, time, parameter]. `follow` also takes and
    gives the recurrent state, and `advance` does one step of the free run.

    Args:
        dimension: figures of a frame.
        settings: `ModelSettings`, or the mapping that its `model_dump` gives.
        seed: of the initial weights and of the noise in training.
    """

    def __init__(self, dimension: int, settings: ModelSettings | dict, seed: int = 1, **arguments):
        super().__init__(**arguments)
        self.settings = settings if isinstance(settings, ModelSettings) else ModelSettings.model_validate(settings)
        self.dimension = dimension
        self.seed = seed
        made = self.settings
        glorot = [keras.initializers.GlorotUniform(seed + 100 + index) for index in range(len(made.front) + 1)]
        self.image = PhaseImage(seed + 400, name="image") if made.image else None
        units = "gelu" if made.front_units == "gelu" else "sigmoid"
        self.front = [
            keras.layers.Dense(width, activation=units, kernel_initializer=glorot[index], name=f"front_{index}")
            for index, width in enumerate(made.front)
        ]
        self.stack = [recurrent_layer(made, index, seed + 200) for index in range(len(made.widths))]
        self.head = make_head(made.head, dimension, seed + 400)
        self.head.dense.kernel_initializer = glorot[-1]
        self.echo = keras.layers.Dense(dimension, use_bias=False, kernel_initializer="zeros", name="echo")
        self.carried: list[tf.Variable] = []
        self.averages: list[tf.Variable] = []
        self.shares = 1

    def build(self, input_shape):
        """Make all weights, for frames [batch, time, dimension]."""
        if self.image:
            self.image.build((None, None, self.dimension))
        width = (self.image.units if self.image else self.dimension) + (1 if self.settings.input_noise else 0)
        for layer in self.front:
            layer.build((None, None, width))
            width = layer.units
        first, outputs = width, 0
        for index, layer in enumerate(self.stack):
            layer.build((None, None, width + (first if self.settings.skip and index else 0)))
            width = layer.units
            outputs = outputs + width if self.settings.skip else width
        self.head.build((None, None, outputs))
        if self.settings.echo:
            self.echo.build((None, None, self.dimension))
        self.built = True

    def begin_with(self, transition: np.ndarray) -> None:
        """Before any training, predict `frame @ transition`, and be as sure of it as frames of variance 1 allow."""
        self.echo.kernel.assign(transition)
        self.head.begin_with(np.sqrt(np.clip(1 - np.square(transition).sum(0), LEAST_UNTOLD, 1.0)))

    def call(self, inputs):
        return self.follow(inputs, None)[0]

    def follow(
        self,
        inputs: tf.Tensor,
        states: list[State] | None,
        noise: tf.Tensor | float = 0.0,
        chance: Chance | None = None,
    ):
        """Read a sequence.

        Args:
            inputs: [batch, time, dimension].
            states: where to go on from; None is at rest.
            noise: how strong the noise in the inputs is, a scalar or [batch, 1, 1]: the model is told.
            chance: that of a training, for dropout and the like; None: there is none.

        Returns:
            parameters [batch, time, parameter], and the state after the last frame.
        """
        hidden = self._dropped(self._enter(inputs, noise, chance), 0, chance)
        first, outputs, after = hidden, [], []
        for index, layer in enumerate(self.stack):
            hidden, *state = layer(
                self._joined(hidden, first, index),
                initial_state=None if states is None else states[index],
                training=chance is not None,
            )
            after.append(state)
            hidden = self._dropped(hidden, index + 1, chance)
            if chance and self.settings.activation_noise:
                hidden += self.settings.activation_noise * chance.normal(ACTIVATION + index, tf.shape(hidden)[1:])
            outputs.append(hidden)
        return self._predicted(outputs, inputs, noise), after

    def advance(self, frame: tf.Tensor, states: list[State], noise: tf.Tensor | float = 0.0):
        """One step: frame [batch, dimension] and the state -> parameters [batch, parameter], state after it."""
        hidden = self._enter(frame, noise)
        first, outputs, after = hidden, [], []
        for index, layer in enumerate(self.stack):
            hidden, state = layer.step(self._joined(hidden, first, index), states[index])
            after.append(state)
            outputs.append(hidden)
        return self._predicted(outputs, frame, noise), after

    def rest(self, batch: tf.Tensor) -> list[State]:
        """The state before anything was heard: zeros [batch, width]."""
        count = 1 if self.settings.cell == "gru" else 2
        return [[tf.zeros([batch, layer.units]) for _ in range(count)] for layer in self.stack]

    def _enter(self, hidden: tf.Tensor, noise: tf.Tensor | float, chance: Chance | None = None) -> tf.Tensor:
        if self.image:
            hidden = self.image(hidden)
        if self.settings.input_noise:
            told = noise + tf.zeros_like(hidden[..., :1])
            hidden = tf.concat([hidden, told], -1)
        for index, layer in enumerate(self.front):
            hidden = layer(hidden)
            if chance and self.settings.front_units == "binary":
                hidden = drawn_binary(hidden, chance.uniform(BINARY + index, tf.shape(hidden)[1:]))
        return hidden

    def _dropped(self, hidden: tf.Tensor, index: int, chance: Chance | None) -> tf.Tensor:
        if chance is None:
            return hidden
        return chance.dropped(DROPOUT + index, hidden, self.settings.dropout)

    def _joined(self, hidden: tf.Tensor, first: tf.Tensor, index: int) -> tf.Tensor:
        return tf.concat([hidden, first], -1) if self.settings.skip and index else hidden

    def _predicted(self, outputs: list[tf.Tensor], frame: tf.Tensor, noise: tf.Tensor | float) -> tf.Tensor:
        """What the stack puts out, and the echo of the last frame, -> the head's parameters."""
        parameters = self.head(tf.concat(outputs, -1) if self.settings.skip else outputs[-1])
        if not self.settings.echo:
            return parameters
        # Frames have variance 1: of a frame with noise, this share of what is heard is to be believed (Wiener).
        return self.head.moved(parameters, self.echo(frame / (1 + tf.square(noise))))

    # Training ---------------------------------------------------------------------------------------------------

    def disturbed(self, inputs: tf.Tensor, chance: Chance) -> tuple[tf.Tensor, tf.Tensor]:
        """Inputs with noise whose strength each sequence draws for itself, from 0 to `input_noise`; the strengths.

        A free run's inputs are never quite right; having seen such inputs keeps it on course (Pasini et al.,
        "Continuous Autoregressive Models with Noise Augmentation Avoid Error Accumulation", 2024). The model is told
        the strength (Ho et al., "Cascaded Diffusion Models", 2022), so that it need not doubt its own frames.
        """
        strength = self.settings.input_noise * chance.uniform(STRENGTH, [1, 1])
        noise = chance.normal(NOISE, tf.shape(inputs)[1:])
        return inputs + strength * noise, strength

    def self_heard(self, song: tf.Tensor, chance: Chance) -> tf.Tensor:
        """The song's frames [batch, time, dimension], a share of them replaced by the model's own draws in their place.

        What a free run hears is its own draws: the model learns to find back to the song from them. The draws of all
        steps are made at once, from the song's frames or from the last pass's mixture (Mihaylova and Martins,
        "Scheduled Sampling for Transformers", 2019). Each sequence has a share of its own, from 0 to 1.
        """
        batch, time = tf.shape(song)[0], tf.shape(song)[1]
        mixed = song
        for turn in range(self.settings.self_heard):
            drawing, sharing, choosing = (SELF_HEARD + 3 * turn + index for index in range(3))
            parameters = tf.reshape(self.follow(mixed, None)[0], [batch * time, -1])
            noise = self.head.prepared(chance.normal(drawing, [time, self.head.noise_size]))
            noise = tf.reshape(noise, [batch * time, self.head.noise_size])
            drawn = tf.reshape(self.head.draw(parameters, tf.ones([batch * time]), noise), tf.shape(song))
            drawn = tf.concat([song[:, :1], drawn[:, :-1]], 1)
            share = chance.uniform(sharing, [1, 1])
            mixed = tf.where(chance.uniform(choosing, [time, 1]) < share, drawn, song)
        return tf.stop_gradient(mixed)

    def scheduled(self, song: tf.Tensor, states: list[State], chance: Chance) -> tf.Tensor:
        """The song's frames [batch, time, dimension], some of them replaced by the model's own draws, made in turn.

        A draw is of what was heard before it, draws among it: as in a free run. How many there are grows with the
        training (Bengio et al., "Scheduled Sampling", 2015). `self_heard` makes as many in a few passes, all at once,
        but in each pass from what the pass before left.
        """
        made, step = self.settings, tf.cast(chance.step, tf.float32)
        share = made.scheduled * tf.minimum(1.0, step / made.scheduled_steps)
        batch, time = tf.shape(song)[0], tf.shape(song)[1]
        own = chance.uniform(SCHEDULED, [time, 1]) < share
        noise = self.head.prepared(chance.normal(SCHEDULED_DRAW, [time, self.head.noise_size]))
        warm = tf.ones([batch])

        def hear(index, frame, states, heard):
            parameters, states = self.advance(frame, states)
            drawn = self.head.draw(parameters, warm, noise[:, index])
            after = tf.where(own[:, index], drawn, song[:, tf.minimum(index + 1, time - 1)])
            return index + 1, after, states, heard.write(index, frame)

        heard = tf.TensorArray(tf.float32, time, element_shape=[None, self.dimension])
        *_, heard = tf.while_loop(
            lambda index, *_: index < time, hear, (0, song[:, 0], states, heard), parallel_iterations=1
        )
        return tf.stop_gradient(tf.transpose(heard.stack(), [1, 0, 2]))

    def _noisy_weights(self, chance: Chance) -> contextlib.AbstractContextManager:
        """Inside the block the recurrent weights have noise, one draw for the whole batch (Graves, 2011).

        Gradients are those at the weights with noise, and change those without.
        """
        if not self.settings.weight_noise:
            return contextlib.nullcontext()
        noisy = []
        for index, layer in enumerate(self.stack):
            weight, seed = layer.cell.recurrent_kernel, self.seed + ((WEIGHT + index) << 31)
            noise = tf.random.stateless_normal(weight.shape, tf.stack([seed, tf.cast(chance.step, tf.int64)]))
            noisy.append((weight, weight + self.settings.weight_noise * noise))
        return keras.StatelessScope(noisy)

    def learn_at(self, rate: float) -> None:
        """Set the learning rate of the steps to come."""
        self.optimizer.learning_rate = rate

    def keep_average(self, decay: float) -> None:
        """Keep a running average of the weights over the training steps, for when the model is not training."""
        self.decay = decay
        self.averages = [kept_alike(np.asarray(variable)) for variable in self.trainable_variables]

    def _average(self) -> None:
        """The average forgets faster at first, when the weights are still far from what they will be."""
        step = tf.cast(self.optimizer.iterations, tf.float32)
        decay = tf.minimum(self.decay, (1 + step) / (10 + step))
        for average, variable in zip(self.averages, self.trainable_variables, strict=True):
            average.assign(decay * average + (1 - decay) * variable)

    def carry_state(self, batch: int) -> None:
        """Keep the recurrent state of `batch` streams from one training step to the next (truncated BPTT)."""
        self.carried = [kept_alike(value) for state in self.rest(batch) for value in state]

    def _carried_in(self, carry: tf.Tensor, rows: tf.Tensor) -> list[State]:
        """The state that the last step left in these rows of the batch, at rest for the streams that start afresh."""
        values = iter(tf.gather(variable, rows) * carry[:, None] for variable in self.carried)
        return [[next(values) for _ in state] for state in self.rest(1)]

    def train_step(self, batch):
        """One step on (sequences,) or, for streams, (sequences, carry), see `pipeline`: a replica's rows of a batch.

        They are cut into `shares` that depend on one another in nothing, so that each core works through its own: the
        products of a recurrent layer are too small to be shared out one by one.
        """
        losses, slopes, after = zip(*(self._work_through(*share) for share in self._shares(batch)), strict=True)
        gradients = [tf.add_n(each) / self.shares for each in zip(*slopes, strict=True)]
        loss, gradients = averaged((tf.add_n(losses) / self.shares, gradients))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        if self.averages:
            self._average()
        self._carry_on(after)
        return {"loss": loss, "gradient_norm": tf.linalg.global_norm(gradients)}

    def _shares(self, batch) -> list[tuple]:
        """Of each share: inputs with what disturbs them, the sequences, the noise's strength, state before, chance."""
        sequences = batch[0]
        inputs, _ = halves(sequences)
        rows = places(tf.shape(inputs)[0])
        chance = Chance(self.seed, self.optimizer.iterations, rows)
        song, noise = inputs, tf.zeros([tf.shape(inputs)[0], 1, 1])
        if self.settings.input_noise:
            inputs, noise = self.disturbed(inputs, chance)
        if self.settings.self_heard:
            even = rows[:, None, None] % 2 == 0  # so that all shares have as many
            inputs, noise = tf.where(even, self.self_heard(song, chance), inputs), tf.where(even, 0.0, noise)
        before = self._carried_in(batch[1], rows) if self.carried else None
        if self.settings.scheduled:
            inputs = self.scheduled(song, before or self.rest(tf.shape(song)[0]), chance)
        states = _shared_out(before, self.shares) if before else [None] * self.shares
        cut = (tf.split(whole, self.shares) for whole in (inputs, sequences, noise))
        return list(zip(*cut, states, chance.shared_out(self.shares), strict=True))

    def _carry_on(self, after: Sequence[list[State]]) -> None:
        """Keep the states after each share for the next step, where states are carried."""
        if not self.carried:
            return
        values = [tf.concat(each, 0) for states in zip(*after, strict=True) for each in zip(*states, strict=True)]
        for variable, value in zip(self.carried, gathered(values), strict=True):
            variable.assign(value)

    def _work_through(
        self, inputs: tf.Tensor, sequences: tf.Tensor, noise: tf.Tensor, before: list[State] | None, chance: Chance
    ):
        """-> mean loss, gradients, state after it."""
        _, targets = halves(sequences)
        with tf.GradientTape() as tape:
            with self._noisy_weights(chance):
                parameters, after = self.follow(inputs, before, noise, chance)
            loss = tf.reduce_mean(self.head.loss(parameters, targets))
        return loss, tape.gradient(loss, self.trainable_variables), after

    @graph
    def example_loss(self, sequences: tf.Tensor) -> tf.Tensor:
        """The mean loss of sequences [batch, time + 1, dimension], without noise or dropout: scalar."""
        inputs, targets = halves(sequences)
        return tf.reduce_mean(self.head.loss(self(inputs), targets))

    def get_config(self):
        return {
            **super().get_config(),
            "dimension": self.dimension,
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.seed,
        }


def _shared_out(states: list[State], shares: int) -> list[list[State]]:
    """States of a whole batch -> those of each share of it."""
    split = [[tf.split(value, shares) for value in state] for state in states]
    return [[[value[index] for value in state] for state in split] for index in range(shares)]
