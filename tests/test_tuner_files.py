"""The files for several machines start what the README says, with settings that are ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from sonicrnn.config import load_as
from tuner.search import VARIABLES, _role
from tuner.settings import SearchSettings

FOLDER = Path("tuner")


def kubernetes() -> dict[tuple[str, str], dict[str, Any]]:
    documents = yaml.safe_load_all((FOLDER / "kubernetes" / "search.yaml").read_text(encoding="utf-8"))
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


def variables(job: dict[str, Any]) -> dict[str, str]:
    container = job["spec"]["template"]["spec"]["containers"][0]
    given = {one["name"]: one["value"] for one in container["env"]}
    given |= dict(re.findall(r"(KERASTUNER_\w+)=(\S+)", " ".join(container["command"])))
    return given


def options(line: str) -> list[str]:
    return line.split()[1:]  # the first is the config


def test_the_jobs_are_a_chief_and_workers_of_one_search() -> None:
    made = kubernetes()
    command = made["ConfigMap", "search-command"]["data"]["SEARCH"]
    settings = load_as(SearchSettings, "configs/gru.yaml", options(command))
    assert settings.tuner.algorithm == "hyperband"
    chief, worker = variables(made["Job", "search-chief"]), variables(made["Job", "search-worker"])
    assert _role(chief) == ("chief", ("0.0.0.0", "8000"))
    name, (host, port) = _role(worker)
    assert "chief" not in str(name)
    assert (host, port) == ("search-chief", "8000")
    service = made["Service", host]
    assert service["spec"]["ports"][0]["port"] == int(port)
    assert service["spec"]["selector"]["job-name"] == made["Job", "search-chief"]["metadata"]["name"]
    for job in (made["Job", "search-chief"], made["Job", "search-worker"]):
        pod = job["spec"]["template"]["spec"]
        mounted = {one["name"]: one["mountPath"] for one in pod["containers"][0]["volumeMounts"]}
        assert set(mounted) == {one["name"] for one in pod["volumes"]}
        assert settings.tuner.folder == mounted["searches"]
        assert str(settings.song.path).startswith(mounted["song"])


@pytest.mark.parametrize("unit", ["sonicrnn-chief.service", "sonicrnn-worker@.service"])
def test_the_units_start_their_part(unit: str) -> None:
    given = dict(
        line.split("=", 1)
        for line in (FOLDER / "systemd" / "sonicrnn-search.env").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    )
    text = (FOLDER / "systemd" / unit).read_text(encoding="utf-8")
    name = re.search(r"^Environment=KERASTUNER_TUNER_ID=(\S+)$", text, re.MULTILINE)
    assert name
    assert ("chief" in name[1]) == ("chief" in unit)
    assert {*VARIABLES} == {"KERASTUNER_TUNER_ID", *(key for key in given if key.startswith("KERASTUNER"))}
    command = re.search(r"^ExecStart=(\S+) -m tuner\.search (.*)$", text, re.MULTILINE)
    assert command
    settings = load_as(SearchSettings, "configs/gru.yaml", options(command[2].replace("$SEARCH", given["SEARCH"])))
    assert settings.tuner.folder == "/var/lib/sonicrnn/searches"


def test_the_readme_names_every_setting_and_space_that_there_is() -> None:
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"tuner\.(\w+)", text)) - {"search"}
    assert named <= set(type(SearchSettings().tuner).model_fields)
    for space in (FOLDER / "spaces").glob("*.yaml"):
        assert f"`{space.stem}`" in text
