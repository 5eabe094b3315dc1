"""The set-up keeps its promises: pins without addresses, and environments that make and mend themselves.

The environment script runs against interpreters made of a few lines of shell, so nothing is installed here.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def pins(version: str, *layers: str) -> dict[str, Version]:
    lines = [
        line
        for layer in layers
        for line in (ROOT / "requirements" / version / f"{layer}.txt").read_text(encoding="utf-8").splitlines()
        if not line.startswith("#")
    ]
    found = {name: Version(number) for name, number in (line.split("==") for line in lines)}
    assert len(found) == len(lines), "a package is pinned twice"
    return found


def needs(*extras: str) -> list[Requirement]:
    optional = PROJECT["optional-dependencies"]
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return [Requirement(line) for line in lines if not line.startswith("sonicrnn[")]


def applies(need: Requirement, version: str) -> bool:
    environment = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux"}
    return need.marker is None or need.marker.evaluate(environment)


@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("layer", ["run", "gpu", "eval", "dev"])
def test_pins_are_names_and_versions_and_nothing_else(version: str, layer: str) -> None:
    first, *lines = (ROOT / "requirements" / version / f"{layer}.txt").read_text(encoding="utf-8").splitlines()
    assert first == "# Made by `make lock` from pyproject.toml."
    assert lines == sorted(lines)
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line), line


@pytest.mark.parametrize("version", PYTHONS)
def test_pins_meet_every_need_of_the_project(version: str) -> None:
    run, everything = pins(version, "run"), pins(version, "run", "dev")
    for need in needs():
        if applies(need, version):
            assert run[canonicalize_name(need.name)] in need.specifier, need
    for need in needs("tune", "serve", "eval", "dev"):
        if applies(need, version):
            assert everything[canonicalize_name(need.name)] in need.specifier, need


@pytest.mark.parametrize("version", PYTHONS)
def test_tensorflow_io_is_there_exactly_where_it_loads(version: str) -> None:
    everything = pins(version, "run", "dev")
    old = version != "3.13"
    assert (str(everything["tensorflow"]).startswith("2.17.")) == old
    assert ("tensorflow-io" in everything) == old
    assert "tensorflow-cpu" not in everything
    assert everything["tensorflow-serving-api"].release[:2] == everything["tensorflow"].release[:2]
    assert not [name for name in everything if name.startswith("nvidia-")]
    assert all(name.startswith("nvidia-") for name in pins(version, "gpu"))


def test_bounds_are_those_of_the_versions_that_were_run() -> None:
    for need in needs("tune", "serve", "eval", "dev"):
        name = canonicalize_name(need.name)
        pinned = [pins(version, "run", "dev")[name] for version in PYTHONS if applies(need, version)]
        low = next(Version(bound.version) for bound in need.specifier if bound.operator in (">=", "=="))
        assert low <= min(pinned), need
        assert low.release[:2] == min(pinned).release[:2], f"{need}: nothing older than {min(pinned)} was run"


def test_the_environment_of_these_tests_meets_every_need() -> None:
    for need in needs("dev"):
        if need.marker is None or need.marker.evaluate():
            assert Version(importlib.metadata.version(need.name)) in need.specifier, need


def test_the_project_builds_as_a_wheel_with_its_version(tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "LICENSE", tmp_path)
    for package in ("sonicrnn", "serving"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "README.md").write_text("its text does not matter here")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "."]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=240)
    (wheel,) = tmp_path.glob("sonicrnn-0.1.0-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "sonicrnn/errors.py" in names
    assert {f"serving/page/{path.name}" for path in (ROOT / "serving" / "page").iterdir()} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "runs", "requirements"))]


def test_make_shows_its_commands() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for command in ("fit", "test", "slow", "browser", "bench", "lint", "types", "lock", "clean"):
        assert f"make {command} " in shown


# The environment script

FAKE_PYTHON = """#!/bin/sh
# Plays the part of a Python {version}; notes what it is asked to make.
case "$*" in
    *version_info*) echo {version} ;;
    *ensurepip*) exit {ensurepip} ;;
    --version) echo "Python {version}.0" ;;
    "-m venv --clear "*) rm -rf "$4" && mkdir -p "$4/bin" "$4/site" && cp "$0" "$4/bin/python"
        echo venv >>"$NOTES" ;;
    *sysconfig*) echo "${{0%/bin/python}}/site" ;;
    "-m pip install "*)
        for last in "$@"; do :; done
        echo "pip ${{last##*/}}" >>"$NOTES"
        sleep "${{PIP_SECONDS:-0}}"
        [ -z "${{PIP_FAILS:-}}" ] || {{ echo 'ERROR: no network'; exit 1; }} ;;
esac
"""
TOOLS = ("sh", "cat", "cksum", "cp", "dirname", "flock", "grep", "mkdir", "rm", "sleep", "tail")


@dataclass
class Machine:
    """A machine with the Pythons that a test gives it and no other, and a clone of the project."""

    folder: Path

    @property
    def clone(self) -> Path:
        return self.folder / "clone"

    def program(self, name: str, text: str) -> Path:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def python(self, name: str, version: str, ensurepip: int = 0) -> Path:
        return self.program(name, FAKE_PYTHON.format(version=version, ensurepip=ensurepip))

    def environment(self, **settings: str) -> dict[str, str]:
        own = {"PATH": str(self.folder / "bin"), "HOME": str(self.folder), "NOTES": str(self.folder / "notes")}
        return own | settings

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        script = self.clone / "requirements" / "environment"
        command = ["/bin/sh", str(script), *arguments]
        return subprocess.run(
            command, env=self.environment(**settings), capture_output=True, text=True, timeout=180, check=False
        )

    def notes(self) -> list[str]:
        """What was made since the last call."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        place = shutil.which(tool)
        if place is not None:
            (tmp_path / "bin" / tool).symlink_to(place)
    shutil.copytree(ROOT / "requirements", tmp_path / "clone" / "requirements")
    return Machine(tmp_path)


def test_a_whole_environment_is_left_alone_and_says_nothing(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    first = machine.run("run")
    assert first.returncode == 0, first.stderr
    assert first.stdout == f"{machine.clone}/.venv/bin/python\n"
    assert machine.notes() == ["venv", "pip run.txt"]
    assert (machine.clone / ".venv/site/sonicrnn.pth").read_text().strip() == str(machine.clone)
    again = machine.run("run", PIP_FAILS="1")
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, "")
    assert machine.notes() == []


def test_developers_tools_come_on_top_of_it(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    machine.run("run")
    machine.notes()
    assert machine.run("dev").returncode == 0
    assert machine.notes() == ["pip dev.txt"]
    assert machine.run("run").stderr == machine.run("dev").stderr == ""


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"python3": "3.13", "python3.13": "3.13", "python3.11": "3.11"}, "3.11"),
        ({"python3.10": "3.10", "python3.12": "3.12"}, "3.12"),
        ({"python3": "3.13"}, "3.13"),
        ({"python3": "3.9", "python": "3.10"}, "3.10"),
        ({"python3.14": "3.14", "python3": "3.14", "python3.13": "3.13"}, "3.13"),
    ],
)
def test_the_best_python_is_chosen(machine: Machine, there: dict[str, str], chosen: str) -> None:
    for name, version in there.items():
        machine.python(name, version)
    done = machine.run("run")
    assert done.returncode == 0, done.stderr
    assert f"with Python {chosen}.0" in done.stderr


def test_a_shim_that_is_there_but_fails_is_passed_over(machine: Machine) -> None:
    machine.program("python3.12", "#!/bin/sh\necho 'python3.12: command not found' >&2\nexit 127\n")
    machine.python("python3.11", "3.11")
    done = machine.run("run")
    assert done.returncode == 0
    assert "with Python 3.11.0" in done.stderr
    assert "command not found" not in done.stderr


def test_a_python_that_pyenv_keeps_is_the_last_resort(machine: Machine) -> None:
    kept = machine.folder / ".pyenv/versions/3.13.0/bin"
    kept.mkdir(parents=True)
    shutil.move(machine.python("python", "3.13"), kept / "python")
    assert machine.run("find", "3.13").stdout == f"{kept}/python\n"
    assert "with Python 3.13.0" in machine.run("run").stderr
    assert machine.run("find", "3.12").returncode == 1


def test_no_python_at_all_is_one_clear_line(machine: Machine) -> None:
    machine.python("python3", "3.9")
    done = machine.run("run")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "sonicrnn: no Python 3.10, 3.11, 3.12 or 3.13 found: install one, or name it: make fit PYTHON=/path/to/python"
    ]


def test_a_missing_venv_module_is_named_with_its_package(machine: Machine) -> None:
    machine.python("python3.11", "3.11", ensurepip=1)
    done = machine.run("run")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "apt install python3.11-venv" in done.stderr


@pytest.mark.parametrize("python", ["python3.9", "python3.12", "/nowhere/python"])
def test_an_unsuitable_python_of_the_users_is_refused(machine: Machine, python: str) -> None:
    machine.python("python3.9", "3.9")
    machine.python("python3.11", "3.11")
    done = machine.run("run", PYTHON=python)
    assert done.returncode == 2
    assert done.stderr == f"sonicrnn: {python} does not run, or is no Python 3.10 to 3.13\n"


def test_a_python_of_the_users_has_its_own_environment(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    machine.python("python3.13", "3.13")
    machine.run("run")
    assert machine.run("run", PYTHON="python3.13").stdout == f"{machine.clone}/.venv-3.13/bin/python\n"
    assert machine.notes() == ["venv", "pip run.txt"] * 2
    moved = machine.run("run", PYTHON="python3.13", VENV=str(machine.clone / ".venv"))
    assert "with Python 3.13.0" in moved.stderr, "an environment of another Python is made anew"


def test_a_failed_installation_says_why_and_is_tried_again(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    failed = machine.run("run", PIP_FAILS="1")
    assert failed.returncode == 2
    assert "ERROR: no network" in failed.stderr
    assert failed.stdout == ""
    machine.notes()
    assert machine.run("run").returncode == 0
    assert machine.notes() == ["venv", "pip run.txt"]


def test_a_killed_installation_is_noticed_and_made_anew(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    script = str(machine.clone / "requirements" / "environment")
    settings = machine.environment(PIP_SECONDS="200")
    process = subprocess.Popen(
        ["/bin/sh", script, "run"], env=settings, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while "pip run.txt" not in "".join(machine.notes()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=60)
    assert (machine.clone / ".venv/bin/python").exists()
    assert machine.run("run").returncode == 0
    assert machine.notes() == ["venv", "pip run.txt"]


def test_changed_pins_and_a_lost_python_make_it_anew(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    machine.run("run")
    machine.notes()
    with (machine.clone / "requirements/3.11/run.txt").open("a") as file:
        file.write("zzz==1.0\n")
    machine.run("run")
    assert machine.notes() == ["venv", "pip run.txt"]
    (machine.clone / ".venv/bin/python").unlink()
    machine.run("run")
    assert machine.notes() == ["venv", "pip run.txt"]


def test_a_clone_that_was_moved_gets_a_new_environment(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    machine.run("run")
    machine.notes()
    moved = machine.folder / "moved clone"
    machine.clone.rename(moved)
    script = str(moved / "requirements" / "environment")
    done = subprocess.run(
        ["/bin/sh", script, "run"], env=machine.environment(), capture_output=True, text=True, check=False
    )
    assert done.stdout == f"{moved}/.venv/bin/python\n"
    assert machine.notes() == ["venv", "pip run.txt"]


def test_the_packages_for_a_gpu_come_where_there_is_one(machine: Machine) -> None:
    machine.python("python3.11", "3.11")
    machine.program("nvidia-smi", "#!/bin/sh\necho 'No devices found.'\n")
    machine.run("run")
    assert machine.notes() == ["venv", "pip run.txt"]
    machine.program("nvidia-smi", "#!/bin/sh\necho 'GPU 0: Something (UUID: GPU-1)'\n")
    machine.run("run")
    assert machine.notes() == ["pip gpu.txt"]
    machine.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
    assert machine.run("run").stderr == "", "a driver that is away for a while costs nothing"
    assert machine.notes() == []


def test_two_commands_at_once_make_it_once(machine: Machine) -> None:
    if shutil.which("flock") is None:
        pytest.skip("no flock on this system")
    machine.python("python3.11", "3.11")
    script = str(machine.clone / "requirements" / "environment")
    settings = machine.environment(PIP_SECONDS="0.5")
    both = [
        subprocess.Popen(["/bin/sh", script, "run"], env=settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert machine.notes() == ["venv", "pip run.txt"]
    for process in both:
        assert process.stdout is not None
        process.stdout.close()
