"""How TensorFlow spreads the work over this machine's cores."""

from __future__ import annotations

import contextlib
import os

import tensorflow as tf


def be_quiet() -> None:
    """No word of TensorFlow's own about how often it traced a graph: a user can do nothing about that."""
    tf.get_logger().setLevel("ERROR")


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batch_shares(batch: int) -> int:
    """Into how many equal shares a batch is cut for the cores: the most that divide it; 1 on a GPU."""
    if tf.config.list_physical_devices("GPU"):
        return 1
    return max(shares for shares in range(1, cores() + 1) if batch % shares == 0)


def give_each_share_a_core(shares: int) -> None:
    """Let that many operations run side by side, each on its part of the cores.

    TensorFlow takes this only before its first operation; in a process that is past that, it stays as it is.
    """
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_inter_op_parallelism_threads(max(2, shares))
        tf.config.threading.set_intra_op_parallelism_threads(max(1, cores() // shares))
