"""TensorFlow's word for a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from sonicrnn.disk import full_disk_told
from tests.full_disk import run_on_full_disk

SAVED_MODEL = """
import sys
from pathlib import Path
import tensorflow as tf
from sonicrnn.disk import full_disk_told
from sonicrnn.errors import run_command
from sonicrnn.folders import folder_beside

def save(_):
    module, target = tf.Module(), Path(sys.argv[1]) / "graphs"
    module.held = tf.Variable(tf.random.normal([1_000_000]))
    with full_disk_told(target), folder_beside(target) as folder:
        tf.saved_model.save(module, str(folder))

run_command(save)
"""


def test_a_model_that_finds_no_space_is_told_in_one_line_and_is_gone(tmp_path: Path) -> None:
    _, left = run_on_full_disk(tmp_path, 2, SAVED_MODEL)
    assert left == []


def test_a_model_that_finds_no_memory_is_another_thing(tmp_path: Path) -> None:
    with pytest.raises(tf.errors.ResourceExhaustedError, match="allocating"), full_disk_told(tmp_path):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
