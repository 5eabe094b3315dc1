"""`python -m tests.two_devices`: one training on one device and on two logical CPUs; prints how far they end apart.

A process of its own, since TensorFlow is told of logical devices before its first operation.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from sonicrnn.cluster import ALONE
from sonicrnn.config import Settings
from sonicrnn.encoding import Encoding
from sonicrnn.gan import DenoisingGan
from sonicrnn.pipeline import Table, training_data
from sonicrnn.preparation import make_model
from sonicrnn.song import Normaliser
from sonicrnn.strategy import Spread, make_spread

STEPS = 4
TOLD = (["loss", "gradient_norm"], ["loss", "gradient_norm", "discriminator_loss", "told_frame", "told_run"])
MODEL = {
    "cell": "lstm", "front": [8], "widths": [5, 7], "skip": True, "dropout": 0.4, "input_noise": 0.5, "self_heard": 1,
}  # fmt: skip
GAN = {
    "model": {
        "front": [8], "widths": [5, 7], "dropout": 0.4, "input_noise": 0.5, "head": {"kind": "gan", "width": 6},
    },
    "gan": {"width": 8, "window": 3, "run_steps": 2, "run_ahead": 3, "every": 1},
}  # fmt: skip


def trained(spread: Spread, kind: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights before a few steps, and all variables after them, the weights first.

    Args:
        kind: shuffled or streams, or gan.
    """
    order = "shuffled" if kind == "gan" else kind
    settings = Settings.model_validate(
        {
            "frames": {"kind": "waveform", "frame_length": 16},
            "data": {"sequence_length": 6, "shift": 40, "batch_size": 4, "order": order},
            "train": {"average": 0.9, "learning_rate": 0.05},
            **(GAN if kind == "gan" else {"model": MODEL}),
        }
    )
    encoding = Encoding(settings.frames, 16_000, Normaliser(0.0, 1.0))
    table = Table(np.random.default_rng(1).standard_normal(4000).astype(np.float32), encoding, settings.data)
    with spread.scope():
        model = make_model(settings, encoding)
        if order == "streams":
            model.carry_state(4)
    variables = [*model.trainable_variables, *model.averages, *model.carried]
    if isinstance(model, DenoisingGan) and model.adversary:
        variables += model.adversary.variables
        model.shares = 2 // spread.replicas  # its features are matched share by share: as many shares on either side
    before = [np.array(variable) for variable in model.trainable_variables]
    logs = model.fit(
        spread.batches(partial(training_data, table, 1, 0)), steps_per_epoch=STEPS, verbose=0, shuffle=False
    ).history
    losses = [np.array([logs[name] for name in TOLD[kind == "gan"]])]
    return before, [np.array(variable) for variable in variables] + losses


def apart(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(float(np.abs(left - right).max()) for left, right in zip(one, other, strict=False))


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    mirrored = make_spread("mirrored", 4, ALONE)
    found: dict[str, Any] = {"replicas": mirrored.replicas, "auto": make_spread("auto", 4, ALONE).replicas}
    for kind in ("shuffled", "streams", "gan"):
        (first, one), (_, two) = trained(Spread(), kind), trained(mirrored, kind)
        found[kind] = {"moved": apart(first, one), "apart": apart(one, two), "variables": len(one)}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
