"""JSON to arrays and back: whatever comes in, the answer is arrays or a refusal, and what goes out comes back."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.failures import Failure
from serving.json_tensors import parse, read_inputs, signature_name, write_outputs

TYPES = {"sound": tf.float32, "seed": tf.int32, "state_bytes": tf.string}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.fixed_dictionaries({"b64": st.text(max_size=8) | st.integers()})
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3), max_leaves=6)
NAMED = st.dictionaries(st.sampled_from([*TYPES, "other"]), VALUES)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["instances", "inputs", "signature_name"]), VALUES | NAMED | st.lists(NAMED | VALUES, max_size=3)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine the first one is
@given(DOCUMENTS)
def test_any_document_is_arrays_of_the_right_types_or_a_refusal(document: Any) -> None:
    inputs = {}
    with contextlib.suppress(Failure):  # any other exception fails the test
        read = parse(json.dumps(document).encode())
        signature_name(read)
        inputs, _ = read_inputs(read, TYPES)
    assert set(inputs) in (set(), set(TYPES))
    for name, array in inputs.items():
        assert array.dtype == (object if TYPES[name] == tf.string else TYPES[name].as_numpy_dtype)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_document_or_a_refusal(body: bytes) -> None:
    read: Any = {}
    with contextlib.suppress(Failure):
        read = parse(body)
    assert isinstance(read, dict)


@given(
    st.lists(st.lists(st.floats(width=32, allow_nan=False), min_size=2, max_size=2), min_size=1, max_size=3),
    st.lists(st.binary(max_size=9), min_size=3, max_size=3),
)
def test_what_is_written_is_read_back_exactly(sound: list[list[float]], states: list[bytes]) -> None:
    outputs = {
        "sound": np.array(sound, np.float32),
        "state_bytes": np.array(states[: len(sound)], object),
        "seed": np.arange(len(sound), dtype=np.int32),
    }
    written = json.loads(write_outputs(outputs, "column"))
    read, _ = read_inputs({"inputs": written["outputs"]}, TYPES)
    rows = json.loads(write_outputs(outputs, "row"))
    of_rows, _ = read_inputs({"instances": rows["predictions"]}, TYPES)
    for name, array in outputs.items():
        np.testing.assert_array_equal(read[name], array)
        np.testing.assert_array_equal(of_rows[name], array)


def test_a_lone_output_stands_without_its_name() -> None:
    outputs = {"seed": np.array([1, 2], np.int32)}
    assert json.loads(write_outputs(outputs, "row")) == {"predictions": [1, 2]}
    assert json.loads(write_outputs(outputs, "column")) == {"outputs": [1, 2]}


def test_a_lone_input_may_be_a_plain_list() -> None:
    kinds = {"sound": tf.float32}
    for document in ({"instances": [[1, 2], [3, 4.5]]}, {"inputs": [[1, 2], [3, 4.5]]}):
        np.testing.assert_array_equal(read_inputs(document, kinds)[0]["sound"], [[1, 2], [3, 4.5]])
    with pytest.raises(Failure, match="unexpected size: 1 at level: 1 expected size: 2"):
        read_inputs({"inputs": [[1, 2], [3]]}, kinds)
