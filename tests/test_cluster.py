"""TF_CONFIG: who is who, and what is said of one that cannot be right."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from sonicrnn.cluster import ALONE, Cluster, read_cluster, training_cluster
from sonicrnn.errors import UserError

TWO = ["10.0.0.5:2222", "10.0.0.6:2222"]


def config(cluster: Any, kind: str = "worker", index: Any = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


def test_the_first_worker_is_the_chief_where_none_is_named() -> None:
    assert read_cluster(config({"worker": TWO}, index=1)) == Cluster(tuple(TWO), 1)
    assert read_cluster(config({"worker": TWO}, index=0)).is_chief
    assert not read_cluster(config({"worker": TWO}, index="1")).is_chief


def test_a_named_chief_comes_before_the_workers() -> None:
    named = {"chief": ["host:1"], "worker": TWO}
    assert read_cluster(config(named, "chief")) == Cluster(("host:1", *TWO), 0)
    assert read_cluster(config(named, "worker", 1)) == Cluster(("host:1", *TWO), 2)


@pytest.mark.parametrize("variables", [{}, {"TF_CONFIG": " "}, {"TF_CONFIG": "{}"}, config({})])
def test_without_a_cluster_a_process_is_alone(variables: dict[str, str]) -> None:
    assert read_cluster(variables) == ALONE
    assert ALONE.is_chief
    with pytest.raises(UserError, match="needs several workers"):
        training_cluster("multi_worker", variables)


def test_mirrored_does_not_ask_for_other_machines() -> None:
    assert training_cluster("mirrored", config({"worker": TWO})) == ALONE
    assert training_cluster("auto", config({"worker": TWO})) == training_cluster(
        "multi_worker", config({"worker": TWO})
    )


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TF_CONFIG": "{cluster"}, "cannot be used"),
        ({"TF_CONFIG": "[1]"}, "cannot be used"),
        (config({"worker": TWO, "ps": ["a:1"]}), "names ps"),
        (config({"worker": TWO}, "ps"), "'ps'"),
        (config({"worker": TWO}, index=2), "has 2 of worker, and this task is number 2"),
        (config({"worker": TWO}, "chief"), "has 0 of chief"),
        (config({"worker": TWO}, index="second"), "second"),
        (config({"worker": ["10.0.0.5", "b:1"]}), "list of host:port"),
        (config({"worker": "10.0.0.5:1"}), "list of host:port"),
        (config({"worker": ["a:70000"]}), "list of host:port"),
    ],
)
def test_a_mistake_is_said_with_how_to_write_it(variables: dict[str, str], said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        read_cluster(variables)
    assert '"task"' in str(refused.value)


def test_the_command_answers_before_tensorflow_is_there() -> None:
    program = "import sys; sys.argv[1:] = ['configs/gru.yaml']; from sonicrnn.fit import main; main()"
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", program],
        env={"TF_CONFIG": "{}}"}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "TF_CONFIG cannot be used" in done.stderr
    assert "tensorflow" not in done.stderr
