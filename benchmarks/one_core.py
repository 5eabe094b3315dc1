"""One core, for what is timed on it."""

from __future__ import annotations

import os


def take_one_core() -> None:
    """Of those that this process may use, the last, for itself and all that it starts.

    To be called before TensorFlow does anything; it says no word of how often graphs are made from then on.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    import tensorflow as tf

    from sonicrnn.devices import be_quiet

    be_quiet()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
