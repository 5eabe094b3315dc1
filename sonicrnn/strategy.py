"""One training on one device, on several, or on several machines: tf.distribute, and what Keras leaves open about it.

A replica is the model on one device. Every process runs the same `keras.Model.fit`, step by step with the others:

1. Each replica works through its own rows of every batch (`Spread.batches`): of n, the i-th has the i-th n-th.
2. `train_step` takes the mean over the replicas of what belongs to the whole batch, loss and gradients, by `averaged`,
   and gives those gradients to the optimizer, which changes the weights alike everywhere. It may do so with several
   optimizers. What it keeps of each row goes through `gathered`; random numbers are those of `places`.
3. The chief alone decides and writes. What it knows reaches the others by `Spread.told` and `Spread.from_chief`, which
   all processes call in the same order.

A model that is trained so derives from `SpreadModel`, is made inside `Spread.scope`, and has an optimizer of this file.
With one replica all of this does nothing.
"""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from sonicrnn.cluster import ALONE, Cluster
from sonicrnn.errors import UserError
from sonicrnn.graphs import graph


class ProcessLost(Exception):
    """Another process of the training is gone. TensorFlow cannot mend that: all start again, from the checkpoint."""


@dataclass(frozen=True, eq=False)
class Spread:
    """Over which devices and processes a training is spread; as it is made, over one."""

    strategy: tf.distribute.Strategy = field(default_factory=tf.distribute.get_strategy)
    cluster: Cluster = ALONE

    @property
    def replicas(self) -> int:
        """In all processes."""
        return int(self.strategy.num_replicas_in_sync)

    @property
    def processes(self) -> int:
        return len(self.cluster.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.cluster.is_chief

    def scope(self) -> Any:
        """Variables made inside are the same on all replicas."""
        return self.strategy.scope()

    def batches(self, make: Callable[[int, Sequence[int]], tf.data.Dataset]) -> Any:
        """What `keras.Model.fit` takes, of `make(replicas, mine)`: the rows of each of `mine`, one after the other."""
        if self.replicas == 1:
            return make(1, [0])

        def of_this_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
            here = context.num_replicas_in_sync // context.num_input_pipelines
            first = here * context.input_pipeline_id
            return make(context.num_replicas_in_sync, range(first, first + here))

        return self.strategy.distribute_datasets_from_function(of_this_process)

    def from_chief(self, values: np.ndarray) -> np.ndarray:
        """The chief's numbers, of the same shape and kind in all processes, in each of them."""
        if self.processes == 1:
            return values
        return self._summed(values if self.is_chief else np.zeros_like(values))

    def anywhere(self, here: bool) -> bool:
        """Whether it is so in any process."""
        return here if self.processes == 1 else bool(self._summed(np.array([here], np.int64))[0])

    def _summed(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes."""
        return np.asarray(self.strategy.experimental_local_results(self._sum(tf.constant(values)))[0])

    @graph
    def _sum(self, values: tf.Tensor) -> Any:
        here = self.replicas // self.processes

        def sum_of_first(value: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            speaks = context.replica_id_in_sync_group % here == 0  # for its process
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(speaks, value, tf.zeros_like(value)))

        return self.strategy.run(sum_of_first, args=(values,))

    def told(self, make: Callable[[], Any]) -> Any:
        """What the chief makes (it alone does), as JSON has it, in all processes; the UserError that it raises, too."""
        if self.processes == 1:
            return make()
        text = b""
        if self.is_chief:
            try:
                text = json.dumps({"value": make()}).encode()
            except UserError as error:
                text = json.dumps({"error": str(error)}).encode()
        length = int(self.from_chief(np.array([len(text)], np.int64))[0])
        letters = np.frombuffer(text.ljust(length, b"\0"), np.uint8).astype(np.int32)
        told = json.loads(bytes(self.from_chief(letters).astype(np.uint8)))
        if "error" in told:
            raise UserError(told["error"])
        return told["value"]

    def share(self, variables: Sequence[Any]) -> None:
        """Give these variables the chief's values in all processes."""
        if self.processes == 1:
            return
        for kind in sorted({np.asarray(variable).dtype.name for variable in variables}):
            alike = [variable for variable in variables if np.asarray(variable).dtype.name == kind]
            flat = self.from_chief(np.concatenate([np.asarray(variable).ravel() for variable in alike]))
            borders = np.cumsum([np.asarray(variable).size for variable in alike])[:-1]
            for variable, values in zip(alike, np.split(flat, borders), strict=True):
                variable.assign(values.reshape(variable.shape))


@contextlib.contextmanager
def watched(cluster: Cluster) -> Iterator[None]:
    """Raises ProcessLost where another process is gone, instead of what TensorFlow says then."""
    try:
        yield
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
        tf.errors.InternalError,
    ) as error:
        if len(cluster.addresses) == 1:
            raise
        raise ProcessLost(" ".join(str(error).split())) from error


def make_spread(kind: str, batch_size: int, cluster: Cluster) -> Spread:
    """Over the processes of the cluster, and the devices that the `train.strategy` has; it waits for all processes.

    To be called before TensorFlow's first operation. Raises UserError for a batch that cannot be shared out.
    """
    if len(cluster.addresses) > 1:
        with _ctrl_c_ends_it():
            spread = Spread(tf.distribute.MultiWorkerMirroredStrategy(), cluster)
    else:
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        several = len(devices) > 1 and (kind == "mirrored" or devices[0].device_type == "GPU")
        spread = Spread(tf.distribute.MirroredStrategy([device.name for device in devices])) if several else Spread()
    if batch_size % spread.replicas:
        count, near = spread.replicas, max(1, round(batch_size / spread.replicas)) * spread.replicas
        raise UserError(f"data.batch_size {batch_size} cannot be shared out to {count} devices: take {near}")
    return spread


@contextlib.contextmanager
def _ctrl_c_ends_it() -> Iterator[None]:
    """Python would not hear of it before all processes are there."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class SpreadModel(keras.Model):
    """A model whose `fit` works on several devices and machines.

    Keras' own train function takes the logs of the replicas to be those of examples, and fails where there are several
    processes; here `train_step` returns what is already that of the whole batch.
    """

    train_function: Any

    def make_train_function(self, force=False):
        if self.train_function is not None and not force:
            return
        strategy = self.distribute_strategy

        @graph
        def train_function(iterator):
            logs = strategy.run(self.train_step, args=(next(iterator),))
            return tf.nest.map_structure(lambda each: strategy.experimental_local_results(each)[0], logs)

        self.train_function = train_function

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """It is built already; Keras would read a batch in vain."""


@keras.saving.register_keras_serializable("sonicrnn")
class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam` that takes gradients which are `averaged` already.

    Keras' own adds up those of the replicas by itself, after it has clipped each: not what one process would do.
    """

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return grads_and_vars


def averaged(values: Any) -> Any:
    """Inside `train_step`: means over the replicas, which have equal shares of the batch. Any structure of tensors."""
    context = tf.distribute.get_replica_context()
    if context.num_replicas_in_sync == 1:
        return values
    return context.all_reduce(tf.distribute.ReduceOp.MEAN, values)


def gathered(values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
    """Inside `train_step`: [rows, ...] of this replica -> [batch, ...] of all, in the order of `places`."""
    context = tf.distribute.get_replica_context()
    count = context.num_replicas_in_sync
    if count == 1:
        return list(values)
    # A sum with zeros keeps the order by itself, and goes the same way as the gradients.
    here = tf.one_hot(context.replica_id_in_sync_group, count)
    placed = [tf.reshape(here, [count] + [1] * value.shape.rank) * value for value in values]
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, placed)
    return [tf.reshape(value, tf.concat([[-1], tf.shape(value)[2:]], 0)) for value in summed]


def places(rows: tf.Tensor) -> tf.Tensor:
    """Inside `train_step`: int64 [rows], where in the whole batch this replica's rows stand."""
    context = tf.distribute.get_replica_context()
    first = tf.cast(context.replica_id_in_sync_group, tf.int64) * tf.cast(rows, tf.int64)
    return first + tf.range(tf.cast(rows, tf.int64))


def kept_alike(value: Any) -> tf.Variable:
    """A variable that `train_step` may set on every replica, to the same value on each."""
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
