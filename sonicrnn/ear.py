"""A pretrained ear: what a network that was trained to transcribe music makes of a sound.

The network is that of Basic Pitch (Bittner et al. 2022, "A lightweight instrument-agnostic model for polyphonic note
transcription and multipitch estimation", arXiv 2203.09893). Its weights come inside the package `basic-pitch` and run
through onnxruntime, both of the optional extra `eval`. Its outputs are notes; what is taken is the layer before the one
that finds their starts: 32 maps over time and pitch, which hold more of timbre and attack than the notes do.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from sonicrnn.errors import UserError
from sonicrnn.levels import Samples

# In two steps, because basic-pitch asks for an older TensorFlow than this project needs, and for more that is not used.
INSTALL = "make ear, or: pip install onnxruntime; pip install --no-deps basic-pitch==0.4.0"
RATE = 22_050
WINDOW = 43_844  # samples that the network takes at once
_WINDOWS_AT_ONCE = 4
_MODEL = Path("saved_models", "icassp_2022", "nmp.onnx")
_INPUT, _LAYER = "serving_default_input_2:0", "Relu__35:0"  # [n, 43844, 1] -> [n, 32 maps, 172 steps, 88 pitches]
# Steps of 11.6 ms and semitones are taken together by four: a third of an octave, 46 ms.
_STEPS, _PITCHES = 4, 4
ROW = 1024  # samples of a row of what is heard

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Ear:
    """The network, loaded."""

    session: Any  # onnxruntime.InferenceSession
    options: Any  # onnxruntime.RunOptions

    def hear(self, samples: Samples, rate: int) -> Rows:
        """What the network makes of mono samples [n]: [rows, 704], a row every 46 ms.

        The network brings each of its windows of 2 s to one range, so the level counts for little. Sound that is
        shorter than a window is filled up with silence.
        """
        sound = soxr.resample(np.asarray(samples, np.float32), rate, RATE)
        rows = -(-len(sound) // ROW)
        sound = np.pad(sound, (0, max(0, WINDOW - len(sound))))
        # Side by side; the last one ends with the sound, and of it only what is new is kept.
        starts = [*range(0, len(sound) - WINDOW, WINDOW), len(sound) - WINDOW]
        found: list[Rows] = []
        for first in range(0, len(starts), _WINDOWS_AT_ONCE):
            batch = np.stack([sound[start : start + WINDOW] for start in starts[first : first + _WINDOWS_AT_ONCE]])
            found.extend(self._rows(batch))
        if len(found) > 1:
            new = rows - sum(len(one) for one in found[:-1])
            found[-1] = found[-1][len(found[-1]) - max(0, new) :]
        return np.concatenate(found)[:rows]

    def _rows(self, windows: Rows) -> Rows:
        """[windows, 43844] -> [windows, rows, features]."""
        maps = self.session.run([_LAYER], {_INPUT: windows[:, :, None]}, self.options)[0]
        count, channels, steps, pitches = maps.shape
        coarse = maps.reshape(count, channels, steps // _STEPS, _STEPS, pitches // _PITCHES, _PITCHES).mean((3, 5))
        return np.asarray(coarse.transpose(0, 2, 1, 3).reshape(count, steps // _STEPS, -1), np.float32)


def load_ear() -> Ear | None:
    """The ear, or None where its packages are not installed (see `INSTALL`). Raises UserError for another model."""
    package = importlib.util.find_spec("basic_pitch")  # not imported: that would look for TensorFlow models
    if package is None or package.origin is None or importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # the model's own warnings say nothing to a user
    only_this_layer = onnxruntime.RunOptions()
    only_this_layer.only_execute_path_to_fetches = True
    try:
        content = (Path(package.origin).parent / _MODEL).read_bytes() + _another_output(_LAYER)
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class of their own
        raise UserError(f"the network of basic-pitch cannot be used ({error}): {INSTALL}") from None
    return Ear(session, only_this_layer)


def _another_output(layer: str) -> bytes:
    """What makes an ONNX file give out one of its inner layers when it stands at the end of it.

    The file is one protobuf message, and messages that follow each other are merged: repeated fields grow. These bytes
    are a model (field 7: graph (field 12: output (field 1: name))).
    """
    return _field(7, _field(12, _field(1, layer.encode())))


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes (lengths under 128, numbers under 16: each in one byte)."""
    return bytes([number << 3 | 2, len(content)]) + content
