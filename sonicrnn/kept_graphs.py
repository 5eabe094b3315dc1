"""A trained run's graphs, kept beside its model, so that `generate` begins in seconds, without TensorFlow's Python.

`graphs/` in a run folder is a SavedModel of what `live.LiveEngine` runs and of what the master plays; a file in it says
how they are to be used, and of which model and calibration they are. `kept_generator` is what uses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from sonicrnn.disk import full_disk_told
from sonicrnn.engine import SEED
from sonicrnn.exported import hold_in_variables
from sonicrnn.files import write_json
from sonicrnn.folders import folder_beside
from sonicrnn.generator import RunGenerator, load_generator
from sonicrnn.kept_generator import ABOUT, FACTS, RECORDING_FACTS
from sonicrnn.live import named, packed
from sonicrnn.master import Master
from sonicrnn.run import Run
from sonicrnn.stream import State

Tensors = Mapping[str, tf.Tensor]


def keep_graphs(run: Run) -> None:
    """Write a trained run's graphs, whole or not at all.

    Not on a machine with a GPU: graphs that were made beside one ask for it, and the run may be moved elsewhere. Raises
    OSError for a full disk.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    generator = load_generator(run.folder)
    hold_in_variables(generator.free_run.recall)
    functions, master = _of_stream(generator), generator.master
    about: dict[str, Any] = {
        "content": run.content_hash(),
        "stream": {name: getattr(generator.engine, name) for name in FACTS},
        "master": master and {name: getattr(master, name) for name in RECORDING_FACTS},
    }
    if master:
        functions["play"] = _of_master(master)
    with full_disk_told(run.graphs), folder_beside(run.graphs) as folder:
        _save(functions, folder)
        write_json(folder / ABOUT, about | {"signatures": _signatures(folder)})


def _of_stream(generator: RunGenerator) -> dict[str, Any]:
    stream, temperature, seed = generator.graphs, _spec([None], "temperature"), _spec([None], SEED, tf.int32)
    prime = tf.constant(generator.primes("validation", [0]))
    like = stream.begin(stream.hear(prime), tf.constant([generator.temperature], tf.float32), tf.constant([0]))
    specs = _specs(like)

    @tf.function(autograph=False, input_signature=[_spec([None, None], "primes"), temperature, seed])
    def begin(primes: tf.Tensor, temperature: tf.Tensor, seed: tf.Tensor) -> Tensors:
        state = stream.begin(stream.hear(primes), temperature, seed)
        return _own({"lead": stream.lead(state), **named(state)})

    @tf.function(autograph=False, input_signature=[_spec([], "count", tf.int32), temperature, *specs.values()])
    def go_on(count: tf.Tensor, temperature: tf.Tensor, *state: tf.Tensor) -> Tensors:
        made, after = stream.go_on(packed(dict(zip(specs, state, strict=True)), like), count, temperature)
        return _own({**made._asdict(), **named(after)})

    return {"begin": begin, "go_on": go_on}


def _of_master(master: Master) -> Any:
    """The samples themselves are no part of it: they are in the run folder already."""
    rows = _spec([master.channels, None, master.hop], "rows", tf.int16)
    units, begin = _spec([None], "units", tf.int32), _spec([], "begin", tf.int32)

    @tf.function(autograph=False, input_signature=[rows, units, begin, _spec([None], "factors")])
    def play(rows: tf.Tensor, units: tf.Tensor, begin: tf.Tensor, factors: tf.Tensor) -> Tensors:
        played = master.of(rows)
        return {"samples": played.sound(units, begin, factors)}

    return play


def _spec(shape: list[int | None], name: str, kind: tf.DType = tf.float32) -> tf.TensorSpec:
    return tf.TensorSpec(shape, kind, name)


def _specs(like: State) -> dict[str, tf.TensorSpec]:
    """Of a state of any number of pieces, which remember the more of their sound the longer their primes were."""
    long = {id(like.sounded.frames), id(like.sounded.known)}
    return {
        name: _spec([None, *([None] if id(value) in long else value.shape[1:2]), *value.shape[2:]], name, value.dtype)
        for name, value in named(like).items()
    }


def _own(values: Tensors) -> Tensors:
    """Each as an output of its own, also where it is an input."""
    return {name: tf.identity(value) for name, value in values.items()}


def _save(functions: Mapping[str, Any], folder: Path) -> None:
    module = tf.Module()
    traced = {name: function.get_concrete_function() for name, function in functions.items()}
    held = {id(variable): variable for function in traced.values() for variable in function.graph.variables}
    module.held, module.traced = list(held.values()), traced
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, str(folder), signatures=traced, options=options)


def _signatures(folder: Path) -> dict[str, dict[str, dict[str, str]]]:
    """Of each function what it takes and gives, by name, as the tensor's name in the graph."""
    saved = SavedModel()
    saved.ParseFromString((folder / "saved_model.pb").read_bytes())
    return {
        name: {
            "takes": {key: tensor.name for key, tensor in one.inputs.items()},
            "gives": {key: tensor.name for key, tensor in one.outputs.items()},
        }
        for name, one in saved.meta_graphs[0].signature_def.items()
        if not name.startswith("__")
    }
