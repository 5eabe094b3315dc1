"""`python -m tuner.search configs/gru.yaml tuner.trials=12`: find better settings for a song.

One command does all of it on this machine: it starts a chief and `tuner.workers` workers, one a core. With
KERASTUNER_TUNER_ID set it is one of them, as KerasTuner has it: the chief where the name has `chief` in it, else a
worker; then KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT say where the chief is.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from sonicrnn.config import load_as
from sonicrnn.config_words import describe
from sonicrnn.errors import UserError, run_command
from tuner.folder import SearchFolder, enter, search_folder
from tuner.keeper import Worker, keep_search, keep_worker
from tuner.settings import SearchSettings
from tuner.space import Space, load_space

DEFAULT_CONFIG = "configs/gru.yaml"
VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


def main(arguments: Sequence[str] | None = None) -> None:
    """Check everything that can be checked at once, then search."""
    options = _parser().parse_args(arguments)
    config, overrides = options.config, list(options.overrides)
    if "=" in config:  # the first word is a setting already
        config, overrides = DEFAULT_CONFIG, [config, *overrides]
    settings = load_as(SearchSettings, config, overrides)
    space = load_space(settings.tuner.space, settings.start(), settings.tuner.objective == "validation_loss")
    _needs_packages(settings.tuner.algorithm)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    search = search_folder(settings, Path(config).stem)
    worker, address = _role(os.environ)
    if worker is None:
        _search_here(search, settings, space, options.fresh)
    elif "chief" in worker:
        _be_chief(search, settings, space, options.fresh, f"{address[0]}:{address[1]}")
    else:
        enter(search, settings, space, fresh=False)
        print(f"{worker} asks {address[0]}:{address[1]} for trials; what it does is in {search.log(worker)}")
        keep_worker(Worker(worker, search, settings.tuner, {}))
        print(f"{worker}: the search is over")


def _search_here(search: SearchFolder, settings: SearchSettings, space: Space, fresh: bool) -> None:
    with search.locked():
        _announce(search, settings, space, enter(search, settings, space, fresh))
        keep_search(search, settings.tuner, ("127.0.0.1", _free_port()), print)


def _be_chief(search: SearchFolder, settings: SearchSettings, space: Space, fresh: bool, address: str) -> None:
    with search.locked():
        _announce(search, settings, space, enter(search, settings, space, fresh))
        print(f"the chief waits for workers at {address}")
        from tuner.chief import run_chief

        run_chief(search, address)


def _announce(search: SearchFolder, settings: SearchSettings, space: Space, resumed: bool) -> None:
    made = settings.tuner
    budget = [f"{made.trials} trials"] if made.trials is not None else []
    budget += [f"{made.minutes:g} minutes"] if made.minutes is not None else []
    begins = "goes on" if resumed else "starts"
    print(
        f"{search.folder} {begins}: {made.algorithm} search of {len(space.dimensions)} settings, "
        f"{' or '.join(budget)}, {made.epochs} epochs a trial"
    )
    if not space.holds_start:
        print("the space does not hold the settings it starts from: the first trial is the nearest in it")


def _role(variables: Mapping[str, str]) -> tuple[str | None, tuple[str, str]]:
    """The name of this process's part in a search over several machines, None where it is all of it; the address."""
    given = [variables[name] for name in VARIABLES if variables.get(name)]
    if not given:
        return None, ("", "")
    if len(given) < len(VARIABLES):
        missing = ", ".join(name for name in VARIABLES if not variables.get(name))
        raise UserError(f"{missing} must be set too: {', '.join(VARIABLES)} go together (none: search on this machine)")
    worker, host, port = given
    if not port.isdigit() or not 0 < int(port) < 65_536:
        raise UserError(f"KERASTUNER_ORACLE_PORT={port} must be a port, 1 to 65535")
    if "/" in worker or worker != worker.strip():
        raise UserError(f"KERASTUNER_TUNER_ID={worker!r} must be a name without slashes, e.g. worker-1")
    return worker, (host, port)


def _needs_packages(algorithm: str) -> None:
    """Raises UserError where the search's own packages are missing; imports none of them."""
    needed = ["keras_tuner", "grpc", *(["sklearn"] if algorithm == "bayesian" else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"a search needs {', '.join(missing)}: pip install 'sonicrnn[tune]'")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tuner.search",
        description="Find better settings for a song. The same command goes on where a stopped search was.",
        epilog="settings, as section.name=value:\n" + describe(SearchSettings()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", nargs="?", default=DEFAULT_CONFIG, help=f"a YAML file (default: {DEFAULT_CONFIG})")
    parser.add_argument("overrides", nargs="*", metavar="a.b=c", help="settings that differ, e.g. tuner.trials=30")
    parser.add_argument("--fresh", action="store_true", help="start over; the old search is kept beside it")
    return parser


if __name__ == "__main__":
    run_command(main)
