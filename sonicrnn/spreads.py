"""How a head tells the standard deviation of a figure: as any number, which stands for one within bounds."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

# The narrowest and widest Gaussian that a head can predict, as logarithms, for frames of unit variance: a narrower one
# would reward a model that knows single training frames by heart, without bound.
LOG_SCALE_RANGE = (-2.5, 1.0)


def log_scale(spread: tf.Tensor) -> tf.Tensor:
    """What a head says of a spread -> the logarithm of a standard deviation, within `LOG_SCALE_RANGE`."""
    low, high = LOG_SCALE_RANGE
    return low + (high - low) * tf.sigmoid(spread + 1.0)


def spread_of(scale: np.ndarray) -> np.ndarray:
    """Standard deviations -> what a head has to say for them: the inverse, a little within the bounds."""
    low, high = LOG_SCALE_RANGE
    share = np.clip((np.log(scale) - low) / (high - low), 0.02, 0.98)
    return np.log(share / (1 - share)) - 1.0
