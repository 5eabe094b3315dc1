"""The denoising GAN: the recurrent trunk with the gan head, trained against a discriminator.

The head learns by itself, its mixture from the likelihood and its denoiser from the energy score of its draws; what the
discriminator says comes on top. A part of each step is two free runs at the end of each sequence. Their energy score,
too, is of what the song does there, and the discriminator sees what generation will produce (Lamb et al., "Professor
Forcing", 2016). They have run for a while already: what a model strives for that hears its own draws, a corner of the
song where everything is loud, shows after seconds, and a forecast of what the song does by then is scored as properly
as one of its next frame. The two are trained side by side on the same draws, each with an optimizer of its own (Heusel
et al., "GANs Trained by a Two Time-Scale Update Rule", 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from sonicrnn.adversary import NOISES, Adversary
from sonicrnn.chance import Chance
from sonicrnn.config import GanSettings
from sonicrnn.denoiser import distance, energy_score
from sonicrnn.discriminator import windows_of
from sonicrnn.frames import halves
from sonicrnn.models import SongModel, State
from sonicrnn.strategy import averaged

# When a training is in trouble: shares of what would be as various as the song, and of right answers.
LEAST_SPREAD = 0.25
SURE = 0.97
LOST = 0.03

# What chance is for, see `chance`, beside what it is for in `models`.
DENOISING, ANGLE, DRAWN, RUNS, NOISE, STRENGTHS, AHEAD, AHEAD_STEPS = range(300, 308)


class Runs(NamedTuple):
    """Two free runs beside each sequence of a batch, the first ones of all and then the second ones.

    history: [2 * batch, window - 1, dimension], what was heard before them.
    frames: [2 * batch, steps, dimension].
    known: [2 * batch, steps, parameter], that each was drawn from.
    """

    history: tf.Tensor
    frames: tf.Tensor
    known: tf.Tensor


@keras.saving.register_keras_serializable("sonicrnn")
class DenoisingGan(SongModel):
    """A `SongModel` with the gan head whose `train_step` has an adversary; without one it can do all but train."""

    adversary: Adversary | None = None

    def meet(self, adversary: Adversary) -> None:
        """Train against it from now on."""
        self.adversary = adversary

    def learn_at(self, rate: float) -> None:
        """Set the learning rates of the steps to come."""
        super().learn_at(rate)
        if self.adversary is not None:
            self.adversary.learn_at(rate)

    def train_step(self, batch):
        """As of `SongModel`, with a step of the discriminator beside that of the model.

        Returns:
            "loss", the mean energy score; "mixture_loss", of the head's mixture; "gradient_norm", of the model; and the
            figures of `Adversary.told` and of `_against`.
        """
        assert self.adversary is not None
        worked = [self._against(self.adversary, share) for share in self._shares(batch)]
        slopes, theirs, after, told = zip(*worked, strict=True)
        gradients, their_gradients = (
            [tf.add_n(each) / self.shares for each in zip(*of, strict=True)] for of in (slopes, theirs)
        )
        means = {name: tf.add_n([one[name] for one in told]) / self.shares for name in told[0]}
        gradients, their_gradients, means = averaged((gradients, their_gradients, means))
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        self.adversary.learn(their_gradients)
        if self.averages:
            self._average()
        self._carry_on(after)
        return {**means, "gradient_norm": tf.linalg.global_norm(gradients)}

    def _against(self, adversary: Adversary, share: Sequence):
        """One share of a batch.

        Args:
            adversary: that it is trained against.
            share: of `_shares`.

        Returns:
            Gradients of the model and of the discriminator, the state after the share, and figures: "spread" is how far
            two draws in one place lie apart, as a share of how far they lie from the song; "run_spread" the same of two
            free runs. 1 is right for both.
        """
        made, judge, frames, chance = adversary.settings, adversary.discriminator, share[1], share[-1]
        _, targets = halves(frames)
        windows = windows_of(frames, made.window)[:, :: made.every]
        judged, windows = tf.shape(windows)[1], _rows(windows)
        noise = _in_turn(chance.normal(DENOISING, [2, tf.shape(targets)[1], self.head.denoising_size]))
        place = _rows(chance.uniform(ANGLE, [tf.shape(targets)[1], 1]))
        with tf.GradientTape() as tape:
            parameters, after, runs = self._read_and_run(share, made)
            score, unlikely, spread = self.head.denoising_loss(_rows(parameters), _rows(targets), noise, place)
            run_score, run_spread = self._run_score(runs.frames, frames[:, -made.run_steps :])
            before = _rows(parameters[:, made.window - 2 :: made.every])  # what is known before each window's last
            noise = self.head.prepared(chance.normal(DRAWN, [judged, self.head.noise_size]))
            drawn = self._drawn(before, _rows(noise))
            drawn = tf.concat([windows[:, :-1], drawn[:, None]], 1)
            of_run = _rows(windows_of(tf.concat([runs.history, runs.frames], 1), made.window))
            before, ahead = (tf.stop_gradient(self.head.known(each)) for each in (before, _rows(runs.known)))
            said, seen = judge(tf.concat([drawn, of_run], 0), tf.concat([before, ahead], 0))
            count, (_, wanted) = tf.shape(drawn)[0], judge(windows, before)
            persuaded = 0.5 * (tf.reduce_mean(said[:count]) + tf.reduce_mean(said[count:]))
            matched = _feature_distance([one[:count] for one in seen], wanted)
            rise = tf.minimum(1.0, tf.cast(chance.step + 1, tf.float32) / (made.warmup_steps + 1))
            own, unlikely = tf.reduce_mean(score), tf.reduce_mean(unlikely)
            loss = own + made.likelihood * unlikely + made.run_score * run_score
            loss += rise * (made.matching * matched - made.adversarial * persuaded)
        gradients = tape.gradient(loss, self.trainable_variables)
        shown = {"drawn": (tf.stop_gradient(drawn), before), "run": (tf.stop_gradient(of_run), ahead)}
        noise = _in_turn(chance.normal(NOISE, [2, judged, self.dimension]))
        place = _in_turn(chance.uniform(STRENGTHS, [2, judged, 1]))
        theirs, told = adversary.told((windows, before), shown, noise, place)
        figures = {"loss": own, "mixture_loss": unlikely, "spread": spread}
        return gradients, theirs, after, figures | {"run_score": run_score, "run_spread": run_spread} | told

    def _read_and_run(self, share: Sequence, made: GanSettings):
        """Read a share, and run free beside its last frames, twice.

        Args:
            share: of `_shares`.
            made: the runs begin up to `run_ahead` steps before those that are scored, as far as the share goes back.

        Returns:
            parameters [batch, time, parameter], the state after the share, and the runs.
        """
        inputs, frames, noise, before, chance = share
        first = tf.shape(inputs)[1] + 1 - made.run_steps  # of what is scored of the runs, among the frames
        most = tf.minimum(made.run_ahead, first - made.window + 1)
        ahead = chance.alike(AHEAD_STEPS, most) if made.run_ahead else 0
        first -= ahead
        with self._noisy_weights(chance):
            read, states = self.follow(inputs[:, :first], before, noise, chance)
            beside, after = self.follow(inputs[:, first:], states, noise, chance)
        states = tf.nest.map_structure(lambda state: tf.tile(state, [2, 1]), states)
        known, history = tf.tile(read[:, -1], [2, 1]), tf.tile(frames[:, first - made.window + 1 : first], [2, 1, 1])
        if made.run_ahead:
            known, states, history = self._run_ahead(known, states, history, ahead, chance)
        drawing, drawn, seen = self._of_both(RUNS, made.run_steps, chance), [], [known]
        for step in range(made.run_steps):
            drawn.append(self._drawn(seen[-1], drawing[:, step]))
            if step + 1 < made.run_steps:
                known, states = self.advance(drawn[-1], states)
                seen.append(known)
        return tf.concat([read, beside], 1), after, Runs(history, tf.stack(drawn, 1), tf.stack(seen, 1))

    def _run_ahead(self, known: tf.Tensor, states: list[State], history: tf.Tensor, steps: tf.Tensor, chance: Chance):
        """Run free for some steps, of which nothing is learned: what is known, the state and the history after them."""
        drawing = self._of_both(AHEAD, steps, chance)

        def step(index, known, states, history):
            frame = self._drawn(known, drawing[:, index])
            known, states = self.advance(frame, states)
            return index + 1, known, states, tf.concat([history[:, 1:], frame[:, None]], 1)

        _, *came_to = tf.while_loop(
            lambda index, *_: index < steps, step, (0, known, states, history), parallel_iterations=1
        )
        return tf.nest.map_structure(tf.stop_gradient, came_to)

    def _of_both(self, purpose: int, steps: tf.Tensor | int, chance: Chance) -> tf.Tensor:
        """What both runs draw from, [2 * batch, steps, noise_size]."""
        noise = self.head.prepared(chance.normal(purpose, [2, steps, self.head.noise_size]))
        return tf.concat(tf.unstack(noise, 2, 1), 0)

    def _run_score(self, run: tf.Tensor, real: tf.Tensor):
        """Of pairs of runs, and of what the song does there: the energy score of their frames, and their spread."""
        one, other = tf.split(run / self.head.scale, 2)
        wanted = real / self.head.scale
        spread = tf.reduce_mean(distance(one, other)) / tf.reduce_mean(distance(one, wanted))
        return tf.reduce_mean(energy_score(one, other, wanted)), spread

    def _drawn(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """[rows, parameter], `prepared` noise [rows, noise_size] -> as generation draws, [rows, dimension]."""
        return self.head.draw(parameters, tf.ones([tf.shape(parameters)[0]]), noise)


def in_words(row: Mapping[str, float]) -> str:
    """How often the discriminator was right in an epoch, and what goes wrong; empty for a row of no GAN."""
    if "told_frame" not in row:
        return ""
    told = "  ".join(f"{name} {row[f'told_{name}']:.0%}" for name in ("frame", *NOISES))
    trouble = collapse(row)
    return f"discriminator right: {told}  spread {row['spread']:.2f}" + (f"\n  {trouble}" if trouble else "")


def collapse(row: Mapping[str, float]) -> str | None:
    """What is wrong with the two, by an epoch's figures, and what to do about it; None where nothing is."""
    spread = min(row["spread"], row["run_spread"])
    if spread < LEAST_SPREAD:
        return f"COLLAPSE: draws differ by {spread:.0%} of what the song does: lower gan.adversarial and start over"
    if min(row["told_frame"], row["told_drawn"], row["told_run"]) > SURE:
        return "COLLAPSE: the discriminator is never wrong and teaches little: lower gan.rate or raise gan.penalty"
    if row["told_frame"] < LOST or (row["told_frame"] > 1 - LOST and row["told_drawn"] < LOST):
        return "COLLAPSE: the discriminator cannot tell anything: raise gan.rate or gan.width, or lower gan.penalty"
    return None


def _feature_distance(drawn: Sequence[tf.Tensor], real: Sequence[tf.Tensor]) -> tf.Tensor:
    """Of the mean features (Salimans et al., "Improved Techniques for Training GANs", 2016): draws stay various."""
    pairs = zip(drawn, real, strict=True)
    far = [tf.reduce_mean(tf.abs(tf.reduce_mean(one, 0) - tf.reduce_mean(other, 0))) for one, other in pairs]
    return tf.add_n(far) / len(far)


def _in_turn(values: tf.Tensor) -> tf.Tensor:
    """[batch, 2, time, figures] -> [2, batch * time, figures]."""
    return tf.stack([_rows(one) for one in tf.unstack(values, 2, 1)])


def _rows(values: tf.Tensor) -> tf.Tensor:
    """[batch, time, …] -> [batch * time, …]."""
    return tf.reshape(values, [-1, *values.shape[2:]])
