"""`python -m sonicrnn.fit configs/gru.yaml song.path=my.ogg`: learn a song, end with a page to listen to."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sonicrnn.cluster import training_cluster
from sonicrnn.config import Settings, load_settings
from sonicrnn.config_words import describe
from sonicrnn.errors import run_command
from sonicrnn.remote import is_remote
from sonicrnn.run import Run

AGAIN_SECONDS = 2.0  # until a process that lost another starts again


def main(arguments: Sequence[str] | None = None) -> None:
    """Check everything that can be checked at once, then train. TensorFlow is imported only when that is done."""
    options = _parser().parse_args(arguments)
    settings = load_settings(options.config, options.overrides)
    cluster = training_cluster(settings.train.strategy, os.environ)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from sonicrnn.kept_generator import is_kept
    from sonicrnn.kept_graphs import keep_graphs
    from sonicrnn.listening import write_page
    from sonicrnn.strategy import ProcessLost
    from sonicrnn.training import fit

    def end(run: Run) -> None:
        if not run.page.exists():
            write_page(run)
        if settings.generate.keep_graphs and not is_kept(run):
            keep_graphs(run)

    try:
        run = fit(settings, Path(options.config).stem, options.fresh, cluster=cluster, then=end)
    except ProcessLost:
        _start_again()
    if run is not None:  # in the chief
        folder = f"{settings.runs.rstrip('/')}/{run.folder.name}" if is_remote(settings.runs) else run.folder
        print(f"more:   python -m sonicrnn.generate {folder} --seconds 60")


def _start_again() -> NoReturn:
    """Become a new process of the same command, which waits for the others and goes on from the chief's checkpoint."""
    print("another process of the training is gone: starting again, from the last checkpoint")
    time.sleep(AGAIN_SECONDS)
    os.execv(sys.executable, [sys.executable, *(word for word in sys.orig_argv[1:] if word != "--fresh")])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.fit",
        description="Learn one song and generate more of it. The same command goes on where a stopped one was.",
        epilog="settings, as section.name=value:\n" + describe(Settings()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", help="a YAML file, e.g. configs/gru.yaml")
    parser.add_argument(
        "overrides", nargs="*", metavar="a.b=c", help="settings that differ, e.g. song.path=my.ogg train.minutes=10"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="start over; what is in the run's folder is kept beside it"
    )
    return parser


if __name__ == "__main__":
    run_command(main)
