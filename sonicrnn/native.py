"""TensorFlow's C library runs a SavedModel: TensorFlow's Python alone takes longer to load than a piece to make.

The library is in the package `tensorflow` for Linux and macOS; what is called here is of its stable interface
(`tensorflow/c/c_api.h`).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

FILES = {
    "linux": ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2"),
    "darwin": ("libtensorflow_framework.2.dylib", "libtensorflow_cc.2.dylib"),
}
# By their numbers in `TF_DataType`.
TYPES: dict[int, np.dtype[Any]] = {1: np.dtype(np.float32), 3: np.dtype(np.int32), 5: np.dtype(np.int16)}
NUMBERS = {kind: number for number, kind in TYPES.items()}
# `ConfigProto`, its field 2, `intra_op_parallelism_threads`, is 1: the products of a step are small, and threads that
# share one cost more than they bring: a minute of four pieces takes 0.8 s on one thread and 1.2 s on two.
ONE_THREAD = bytes([2 << 3, 1])
SERVE = b"serve"  # the tag of what `tf.saved_model.save` writes

_POINTERS = (
    "TF_NewStatus",
    "TF_NewGraph",
    "TF_NewSessionOptions",
    "TF_LoadSessionFromSavedModel",
    "TF_GraphOperationByName",
    "TF_AllocateTensor",
    "TF_TensorData",
)


class NotNative(Exception):
    """The library is not there, or it cannot do what was asked; the message is its own."""


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("free", ctypes.c_void_p))


class Session:
    """A SavedModel, loaded for as long as the process lives.

    Raises NotNative where it cannot be.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._library, self._graph = _library(), ctypes.c_void_p(_library().TF_NewGraph())
        self._status = ctypes.c_void_p(self._library.TF_NewStatus())
        options = ctypes.c_void_p(self._library.TF_NewSessionOptions())
        self._library.TF_SetConfig(options, ONE_THREAD, ctypes.c_size_t(len(ONE_THREAD)), self._status)
        tags, about = (ctypes.c_char_p * 1)(SERVE), _Buffer()
        self._session = ctypes.c_void_p(
            self._library.TF_LoadSessionFromSavedModel(
                options, None, str(folder).encode(), tags, 1, self._graph, ctypes.byref(about), self._status
            )
        )
        self._check()

    def run(self, given: Mapping[str, Array], wanted: Sequence[str]) -> list[Array]:
        """The tensors with these names, given those with others; a name is like `StatefulPartitionedCall:0`.

        Raises NotNative for what the library refuses.
        """
        places = (_Output * len(given))(*(self._place(name) for name in given))
        fetched = (_Output * len(wanted))(*(self._place(name) for name in wanted))
        inputs = (ctypes.c_void_p * len(given))(*(self._tensor(value) for value in given.values()))
        outputs = (ctypes.c_void_p * len(wanted))()
        self._library.TF_SessionRun(
            self._session, None, places, inputs, len(given), fetched, outputs, len(wanted), None, 0, None, self._status
        )
        for tensor in inputs:
            self._library.TF_DeleteTensor(ctypes.c_void_p(tensor))
        self._check()
        return [self._array(ctypes.c_void_p(tensor)) for tensor in outputs]

    def _place(self, name: str) -> _Output:
        operation, index = name.rsplit(":", 1)
        found = self._library.TF_GraphOperationByName(self._graph, operation.encode())
        if not found:
            raise NotNative(f"the graph has no {operation}")
        return _Output(found, int(index))

    def _tensor(self, value: Array) -> int:
        """A tensor of the library's own with a copy of the array in it."""
        shape = (ctypes.c_int64 * value.ndim)(*value.shape)
        made: int = self._library.TF_AllocateTensor(
            NUMBERS[value.dtype], shape, value.ndim, ctypes.c_size_t(value.nbytes)
        )
        whole = np.ascontiguousarray(value)
        ctypes.memmove(self._library.TF_TensorData(ctypes.c_void_p(made)), whole.ctypes.data, value.nbytes)
        return made

    def _array(self, tensor: ctypes.c_void_p) -> Array:
        """A copy of what is in a tensor, which is freed."""
        library = self._library
        shape = [library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor))]
        held = ctypes.string_at(library.TF_TensorData(tensor), library.TF_TensorByteSize(tensor))
        kind = TYPES[library.TF_TensorType(tensor)]
        library.TF_DeleteTensor(tensor)
        made: Array = np.frombuffer(held, kind).reshape(shape)
        return made

    def _check(self) -> None:
        if self._library.TF_GetCode(self._status):
            raise NotNative(self._library.TF_Message(self._status).decode(errors="replace"))


@cache
def _library() -> ctypes.CDLL:
    """Raises NotNative where it is not there."""
    package = find_spec("tensorflow")
    if sys.platform not in FILES or package is None or package.origin is None:
        raise NotNative("the package tensorflow has no library of that kind here")
    try:
        framework, library = (Path(package.origin).parent / name for name in FILES[sys.platform])
        ctypes.CDLL(str(framework), mode=ctypes.RTLD_GLOBAL)
        loaded = ctypes.CDLL(str(library))
        for name in _POINTERS:
            getattr(loaded, name).restype = ctypes.c_void_p
    except (OSError, AttributeError) as error:
        raise NotNative(str(error)) from None
    loaded.TF_Message.restype = ctypes.c_char_p
    loaded.TF_Dim.restype = ctypes.c_int64
    loaded.TF_TensorByteSize.restype = ctypes.c_size_t
    return loaded
