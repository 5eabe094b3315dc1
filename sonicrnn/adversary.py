"""The other side of a GAN's training: the discriminator, what it is shown, and how it learns."""

from __future__ import annotations

import tensorflow as tf

from sonicrnn.config import Settings
from sonicrnn.discriminator import Discriminator
from sonicrnn.strategy import Adam

# What the discriminator is shown besides the song's frames, and the weight of each among what is noise.
NOISES = {"drawn": 1 / 3, "run": 1 / 3, "noise": 1 / 6, "noisy": 1 / 6}
NOISE_LEVELS = (0.25, 2.0)  # standard deviations of noise alone, in units of the song's frames
NOISY_LEVELS = (0.25, 1.0)  # of noise in the song's own frames

Shown = tuple[tf.Tensor, tf.Tensor]  # windows [rows, window, dimension] and their contexts [rows, context]


class Adversary:
    """The discriminator and its optimizer: all of a GAN's training that a trained model has no use for.

    Args:
        settings: of the run.
        dimension: figures of a frame.
    """

    def __init__(self, settings: Settings, dimension: int):
        self.settings = settings.gan
        context = settings.model.head.width + dimension  # all that the model knows before it draws
        self.discriminator = Discriminator(settings.gan, settings.frames, dimension, context, settings.seed + 500)
        # Little momentum: what it learns from changes under it (Radford et al., "Unsupervised Representation Learning
        # with Deep Convolutional Generative Adversarial Networks", 2016).
        self.optimizer = Adam(beta_1=0.5, beta_2=0.99, global_clipnorm=settings.train.clip_norm)
        self.optimizer.build(self.discriminator.trainable_variables)

    @property
    def variables(self) -> list:
        """All that a checkpoint has to keep."""
        return [*self.discriminator.variables, *self.optimizer.variables]

    def told(self, real: Shown, drawn: dict[str, Shown], noise: tf.Tensor, place: tf.Tensor):
        """What it makes of frames of the song, of draws, of noise, and of the song's frames with noise added.

        Hinge loss (Lim and Ye, "Geometric GAN", 2017) with the slope at the song's frames held down (R1: Mescheder et
        al., "Which Training Methods for GANs do actually Converge?", 2018).

        Args:
            real: windows of the song.
            drawn: by name, windows whose last frames are draws.
            noise: [2, rows, dimension], standard normal, for as many rows as `real` has.
            place: [2, rows, 1], 0 to 1: how strong it is.

        Returns:
            gradients, and figures: "discriminator_loss", and the share that it is right about of each kind,
            "told_frame", "told_drawn", ….
        """
        shown = {**drawn, **_noises(*real, noise, place)}
        counts = [tf.shape(windows)[0] for windows, _ in shown.values()]
        windows, contexts = (tf.concat(parts, 0) for parts in zip(*shown.values(), strict=True))
        with tf.GradientTape() as tape:
            with tf.GradientTape() as inner:
                inner.watch(real[0])
                of_real = self.discriminator(*real)[0]
                total = tf.reduce_sum(tf.reduce_mean(of_real, -1))
            slope = tf.reduce_sum(tf.square(inner.gradient(total, real[0])), [1, 2])
            loss = tf.reduce_mean(tf.nn.relu(1 - of_real)) + 0.5 * self.settings.penalty * tf.reduce_mean(slope)
            said = dict(zip(shown, tf.split(self.discriminator(windows, contexts)[0], counts), strict=True))
            loss += tf.add_n([NOISES[name] * tf.reduce_mean(tf.nn.relu(1 + one)) for name, one in said.items()])
        right = {f"told_{name}": _share(tf.reduce_mean(one, -1) < 0) for name, one in said.items()}
        right["told_frame"] = _share(tf.reduce_mean(of_real, -1) > 0)
        gradients = tape.gradient(loss, self.discriminator.trainable_variables)
        return gradients, {"discriminator_loss": loss, **right}

    def learn_at(self, model_rate: float) -> None:
        """Set the learning rate, in proportion to the model's."""
        self.optimizer.learning_rate = self.settings.rate * model_rate

    def learn(self, gradients) -> None:
        """One step."""
        self.optimizer.apply_gradients(zip(gradients, self.discriminator.trainable_variables, strict=True))


def _noises(real: tf.Tensor, context: tf.Tensor, noise: tf.Tensor, place: tf.Tensor) -> dict[str, Shown]:
    """Noise at several levels in the place of frames, and the frames with noise of several levels added."""
    (low, high), (least, most) = NOISE_LEVELS, NOISY_LEVELS
    alone = low * (high / low) ** place[0] * noise[0]
    added = least * (most / least) ** place[1] * noise[1]
    frames = {"noise": alone, "noisy": real[:, -1] + added}
    return {name: (tf.concat([real[:, :-1], one[:, None]], 1), context) for name, one in frames.items()}


def _share(right: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(right, tf.float32))
