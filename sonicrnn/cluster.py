"""The machines that train one model together, as the variable TF_CONFIG names them.

Nothing here imports TensorFlow, so that a mistake in it is answered at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sonicrnn.errors import UserError

VARIABLE = "TF_CONFIG"
EXAMPLE = '{"cluster": {"worker": ["10.0.0.5:2222", "10.0.0.6:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """`addresses` of all processes, host:port, the chief's first; `index` of this one among them."""

    addresses: tuple[str, ...] = ("",)
    index: int = 0

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes the run folder."""
        return self.index == 0


ALONE = Cluster()


def training_cluster(strategy: str, variables: Mapping[str, str]) -> Cluster:
    """The processes of a training with this `train.strategy`. Raises UserError where there can be none."""
    if strategy == "mirrored":
        return ALONE
    cluster = read_cluster(variables)
    if strategy == "multi_worker" and len(cluster.addresses) == 1:
        raise UserError(
            f"train.strategy=multi_worker needs several workers in {VARIABLE}, in each its own task: {EXAMPLE}"
        )
    return cluster


def read_cluster(variables: Mapping[str, str]) -> Cluster:
    """The cluster of TF_CONFIG; one process alone where it is not set. Raises UserError where it cannot be right."""
    text = variables.get(VARIABLE, "").strip()
    if not text:
        return ALONE
    try:
        told = json.loads(text)
        jobs, task = told.get("cluster", {}), told.get("task", {})
        return _cluster(jobs, str(task.get("type", "worker")), int(task.get("index", 0)))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{VARIABLE} cannot be used, {error}: write it as {EXAMPLE}") from None


def _cluster(jobs: Mapping[str, Any], kind: str, index: int) -> Cluster:
    """Raises ValueError, TypeError or AttributeError for what is no cluster of this project's kind."""
    others = sorted(set(jobs) - {"chief", "worker"})
    if others:
        raise ValueError(f"it names {', '.join(others)} beside the workers")
    if kind not in ("chief", "worker"):
        raise ValueError(f"this task is a {kind!r}, and not a chief or worker")
    chiefs, workers = (_addresses(job, jobs.get(job, [])) for job in ("chief", "worker"))
    if not chiefs and not workers:
        return ALONE
    own = chiefs if kind == "chief" else workers
    if not 0 <= index < len(own):
        raise ValueError(f"it has {len(own)} of {kind}, and this task is number {index} (from 0)")
    return Cluster((*chiefs, *workers), index if kind == "chief" else len(chiefs) + index)


def _addresses(job: str, told: Any) -> list[str]:
    if not isinstance(told, list) or not all(_is_address(one) for one in told):
        raise ValueError(f"{job} must be a list of host:port, not {told!r}")
    return told


def _is_address(value: object) -> bool:
    host, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return bool(host and colon and port.isdigit() and 0 < int(port) < 65_536)
