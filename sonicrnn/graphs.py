"""How a function becomes a graph in this project."""

from __future__ import annotations

import functools

import tensorflow as tf

# No loop and no branch here hangs on a tensor's value but through `tf.while_loop`, so there is nothing for AutoGraph to
# translate: reading and compiling all source that a graph touches would be most of the time it takes to make one. A
# second shape makes one more graph, for all shapes.
graph = functools.partial(tf.function, autograph=False, reduce_retracing=True)
