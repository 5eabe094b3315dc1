"""JSON of TensorFlow Serving's REST API to arrays and back, with its answers to what is wrong.

A request has `instances`, a list with an entry for each row, or `inputs`, whole tensors by name; the answer has
`predictions` or `outputs` in the same form. Bytes are {"b64": …}.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from serving.failures import invalid

Inputs = dict[str, np.ndarray]
Form = Literal["row", "column"]
SHOWN = 200  # characters of a value in a message
MOST_LEVELS = 8  # of lists in lists: more than any signature has


def parse(body: bytes) -> dict[str, Any]:
    """The object of a request's body. Raises Failure."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body)
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise invalid(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that is asked for; the default one where none is."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid(
            f"JSON Value: {_shown(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    return name or "serving_default"


def read_inputs(document: Mapping[str, Any], types: Mapping[str, tf.DType]) -> tuple[Inputs, Form]:
    """The arrays of a request, for a signature whose inputs have these types. Raises Failure."""
    if "instances" in document and "inputs" in document:
        raise invalid(
            f"JSON Value: {_shown(document)} Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist "
        )
    if "instances" in document:
        return _of_rows(document["instances"], types, document), "row"
    if "inputs" in document:
        return _of_columns(document["inputs"], types), "column"
    raise invalid("Missing 'inputs' or 'instances' key")


def _of_rows(rows: Any, types: Mapping[str, tf.DType], document: Any) -> Inputs:
    if not isinstance(rows, list):
        raise invalid(f"JSON Value: {_shown(document)} Excepting 'instances' to be an list/array")
    if not rows:
        raise invalid(f"JSON Value: {_shown(document)} No values in 'instances' array")
    if not isinstance(rows[0], dict) and len(types) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = _is_named(rows[0])
    made: dict[str, list[np.ndarray]] = {name: [] for name in types}
    for index, row in enumerate(rows):
        if named and not _is_named(row):
            raise invalid(f"Expecting object but got list at item {index} of input list")
        if not named and _is_named(row):
            raise invalid(f"Expecting value/list but got object at item {index} of input list")
        _add_row(made, row if named else {next(iter(types)): row}, index, types)
    return {name: np.stack(values) for name, values in made.items()}


def _add_row(made: dict[str, list[np.ndarray]], row: Mapping[str, Any], index: int, types: Mapping[str, Any]) -> None:
    for name, value in row.items():
        where = f"Failed to process element: {index} key: {name} of 'instances' list. Error: INVALID_ARGUMENT: "
        if name not in types:
            raise invalid(f"{where}JSON object: does not have named input: {name}")
        array = _array(value, types[name], where)
        if made[name] and made[name][0].shape != array.shape:
            first, here = (_written_shape(one.shape) for one in (made[name][0], array))
            raise invalid(f"{where}Expecting shape {first} but got: {here}")
        made[name].append(array)
    if set(row) != set(types):
        raise invalid(
            f"Failed to process element: {index} of 'instances' list. JSON object: {_shown(row)} keys must be equal "
            f"to: {','.join(sorted(types))}"
        )


def _of_columns(value: Any, types: Mapping[str, tf.DType]) -> Inputs:
    if not _is_named(value):
        if len(types) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        value = {next(iter(types)): value}
    for name in types:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(value[name], kind, "") for name, kind in types.items()}


def _array(value: Any, kind: tf.DType, where: str) -> np.ndarray:
    """One tensor. The first entries of the lists say what shape it has."""
    shape: list[int] = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        if not inner:
            break
        inner = inner[0]
    if len(shape) > MOST_LEVELS:
        raise invalid(f"{where}Encountered list at unexpected level: {len(shape)} expected < {MOST_LEVELS}")
    flat: list[Any] = []
    _flatten(value, shape, 0, flat, where)
    wrong = next((one for one in flat if not _fits(one, kind)), None)
    if wrong is not None or None in flat:
        raise invalid(
            f"{where}JSON Value: {_shown(wrong)} Type: {_type_of(wrong)} is not of expected type: {kind.name}"
        )
    if kind == tf.string:
        made = np.empty(len(flat), object)
        made[:] = [_bytes(one, where) for one in flat]
    else:
        with np.errstate(over="ignore"):
            made = np.array(flat, kind.as_numpy_dtype)
    return made.reshape(shape)


def _flatten(value: Any, shape: Sequence[int], level: int, flat: list[Any], where: str) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"{where}JSON Value: {_shown(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(value)
        return
    if level >= len(shape):
        raise invalid(f"{where}Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"{where}Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    if level == len(shape) - 1 and not any(isinstance(one, list) for one in value):
        flat.extend(value)
        return
    for one in value:
        _flatten(one, shape, level + 1, flat, where)


def _fits(value: Any, kind: tf.DType) -> bool:
    if kind == tf.string:
        return isinstance(value, str) or _is_base64(value)
    if kind.is_integer:
        return type(value) is int and kind.min <= value <= kind.max
    largest = float(kind.max) * (1 + 2.0**-26)  # what is rounded to the largest counts as it
    return type(value) in (int, float) and (value != value or abs(value) == math.inf or -largest <= value <= largest)


def _bytes(value: Any, where: str) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:
            raise invalid(f"{where}JSON Parse error: The surrogate pair in string is invalid.") from None
    text = value["b64"].rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid(f"{where}Unable to base64 decode") from None


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _type_of(value: Any) -> str:
    names: dict[type, str] = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return str(value) if isinstance(value, bool) else names.get(type(value), "Number")


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        text = SHOWN * "["
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _written_shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"


def write_outputs(outputs: Mapping[str, np.ndarray], form: Form) -> bytes:
    """The body of an answer. A lone output stands without its name."""
    if form == "column":
        return f'{{"outputs": {_one_or_named({name: _text(name, array) for name, array in outputs.items()})}}}'.encode()
    rows = [
        _one_or_named({name: _text(name, array[index]) for name, array in outputs.items()})
        for index in range(len(next(iter(outputs.values()))))
    ]
    return f'{{"predictions": [{", ".join(rows)}]}}'.encode()


def _one_or_named(texts: Mapping[str, str]) -> str:
    if len(texts) == 1:
        return next(iter(texts.values()))
    return f"{{{', '.join(f'{json.dumps(name)}: {text}' for name, text in texts.items())}}}"


def _text(name: str, value: Any) -> str:
    """A tensor, or one figure or text of it, as JSON."""
    if isinstance(value, np.ndarray) and value.ndim:
        if value.ndim == 1 and value.dtype == np.float32 and np.isfinite(value).all():
            # Nine digits tell every float32. As one text, because a minute of audio has a million figures.
            return f"[{', '.join(['%.9g'] * len(value)) % tuple(value.tolist())}]"
        return f"[{', '.join(_text(name, one) for one in value)}]"
    if isinstance(value, bytes):
        coded = {"b64": base64.b64encode(value).decode()}
        return json.dumps(coded if name.endswith("_bytes") else value.decode(errors="replace"))
    return json.dumps(value.item())
