"""What TensorFlow says of a full disk, said as Python says it."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf


@contextlib.contextmanager
def full_disk_told(target: Path) -> Iterator[None]:
    """Raises OSError (ENOSPC) where TensorFlow finds no space to write the `target` in the block."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:  # of memory, too
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target)) from None
