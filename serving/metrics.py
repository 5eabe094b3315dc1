"""Counts and durations in the text format of Prometheus, by the names that TensorFlow Serving gives them.

What it does not have, streams, is named after this project.
"""

from __future__ import annotations

import bisect
import itertools
import threading
from collections import defaultdict

BOUNDS = [10.0 * 1.8**index for index in range(33)]  # microseconds, up to 25 minutes: TensorFlow Serving's own
REQUESTS = ":tensorflow:serving:request_count"
LATENCY = ":tensorflow:serving:request_latency"
RUNTIME = ":tensorflow:serving:runtime_latency"
QUEUING = ":tensorflow:serving:batching_session:queuing_latency"
BATCH_SIZE = ":tensorflow:serving:batching_session:processed_batch_size"
STREAMS = ":sonicrnn:streams_open"
STREAMED = ":sonicrnn:streamed_seconds"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """All that one server counts. Any thread may add to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Labels], float] = defaultdict(int)
        self._levels: dict[tuple[str, Labels], float] = {}
        self._buckets: dict[tuple[str, Labels], list[int]] = {}
        self._sums: dict[tuple[str, Labels], float] = defaultdict(float)

    def count(self, name: str, more: float = 1, **labels: str) -> None:
        """One more, or so many."""
        with self._lock:
            self._counts[name, tuple(labels.items())] += more

    def level(self, name: str, value: float, **labels: str) -> None:
        """What goes up and down is now this."""
        with self._lock:
            self._levels[name, tuple(labels.items())] = value

    def observe(self, name: str, value: float, **labels: str) -> None:
        """One more of this size, in microseconds or whatever the name says."""
        key = name, tuple(labels.items())
        with self._lock:
            self._buckets.setdefault(key, [0] * (len(BOUNDS) + 1))[bisect.bisect_left(BOUNDS, value)] += 1
            self._sums[key] += value

    def page(self) -> str:
        """The text that is scraped."""
        with self._lock:
            lines = []
            for kind, values in (("counter", self._counts), ("gauge", self._levels)):
                for name, some in itertools.groupby(sorted(values), key=lambda key: key[0]):
                    lines.append(f"# TYPE {name} {kind}")
                    lines += [f"{name}{{{_written(labels)}}} {round(values[name, labels], 6)}" for _, labels in some]
            for name, some in itertools.groupby(sorted(self._buckets), key=lambda key: key[0]):
                lines.append(f"# TYPE {name} histogram")
                for _, labels in some:
                    lines += self._histogram(name, labels)
        return "\n".join([*lines, ""])

    def _histogram(self, name: str, labels: Labels) -> list[str]:
        whole = list(itertools.accumulate(self._buckets[name, labels]))
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        return [
            *(
                f"{name}_bucket{{{_written((*labels, ('le', bound)))}}} {count}"
                for bound, count in zip(bounds, whole, strict=True)
            ),
            f"{name}_sum{{{_written(labels)}}} {self._sums[name, labels]:g}",
            f"{name}_count{{{_written(labels)}}} {whole[-1]}",
        ]


def _written(labels: Labels) -> str:
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels)
    return ",".join(f'{name}="{value}"' for name, value in escaped)
