"""Write requirements/VERSION/{run,gpu,eval,dev}.txt: the newest versions that pyproject.toml allows, for each Python.

`make lock` runs this. It needs a working Python of every version that it locks, because
pip evaluates the markers of a requirement for the Python that runs it. Nothing is installed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")
HEADER = "# Made by `make lock` from pyproject.toml.\n"


def main() -> None:
    """Lock every version, or say which Python is missing before anything is written."""
    content = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    project, alone = content["project"], content["tool"]["sonicrnn"]["without-dependencies"]
    pythons = {version: find_python(version) for version in VERSIONS}
    for version, python in pythons.items():
        layers = lock(python, project, alone)
        folder = HERE / version
        folder.mkdir(exist_ok=True)
        for layer, pins in layers.items():
            (folder / f"{layer}.txt").write_text(HEADER + "".join(f"{pin}\n" for pin in pins), encoding="utf-8")
        print(f"Python {version}: " + ", ".join(f"{len(pins)} {layer}" for layer, pins in layers.items()))


def find_python(version: str) -> str:
    """The path of a working Python `version`; ends the program where there is none."""
    found = subprocess.run([HERE / "environment", "find", version], capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"no working Python {version} here: a lock needs {', '.join(VERSIONS)}")
    return found.stdout.strip()


def lock(python: str, project: dict[str, Any], alone: list[str]) -> dict[str, list[str]]:
    """The pins of each layer for one interpreter; all but `run` hold only what they add to it.

    `alone` are pins that belong to `eval`, and so to `dev`, and are taken without what they ask for.
    """
    run = list(project["dependencies"])
    extras = project["optional-dependencies"]
    wanted = ("tune", "serve", "eval", "remote", "dev")
    dev = [need for extra in wanted for need in extras[extra] if not need.startswith("sonicrnn[")]
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / "venv"
        subprocess.run([python, "-m", "venv", environment], check=True)
        pip = environment / "bin" / "pip"
        # Only a newer pip resolves from the metadata alone, without fetching gigabytes.
        subprocess.run([pip, "install", "--quiet", "--upgrade", "pip"], check=True)
        everything = resolve(pip, [*run, *dev], [])
        # The same versions in every layer: the larger resolution binds the smaller ones.
        of_run = resolve(pip, run, everything)
        of_gpu = resolve(pip, [*run, *extras["gpu"]], everything)
        of_eval = resolve(pip, [*run, *extras["eval"]], everything)
    return {
        "run": of_run,
        "gpu": [pin for pin in of_gpu if pin not in of_run],
        "eval": sorted({*of_eval, *alone} - {*of_run}),
        "dev": sorted({*everything, *alone} - {*of_run}),
    }


def resolve(pip: Path, needs: list[str], constraints: list[str]) -> list[str]:
    """`name==version` of everything that `needs` need, sorted by name, chosen by pip within `constraints`."""
    with tempfile.TemporaryDirectory() as folder:
        report, bounds = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        bounds.write_text("".join(f"{pin}\n" for pin in constraints), encoding="utf-8")
        command = [str(pip), "install", "--dry-run", "--ignore-installed", "--only-binary", ":all:", "--quiet"]
        subprocess.run([*command, "--constraint", str(bounds), "--report", str(report), *needs], check=True)
        chosen = json.loads(report.read_text(encoding="utf-8"))["install"]
    return sorted(f"{plain(item['metadata']['name'])}=={item['metadata']['version']}" for item in chosen)


def plain(name: str) -> str:
    """The normal form of a package name."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
