"""`python -m sonicrnn.fit configs/gru.yaml song.path=my.ogg`: learn a song, end with a page to listen to."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from sonicrnn.config import describe, load_settings
from sonicrnn.errors import run_command


def main(arguments: Sequence[str] | None = None) -> None:
    """Check everything that can be checked at once, then train. TensorFlow is imported only when that is done."""
    options = _parser().parse_args(arguments)
    settings = load_settings(options.config, options.overrides)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from sonicrnn.listening import write_page
    from sonicrnn.training import fit

    run = fit(settings, config_stem=Path(options.config).stem, fresh=options.fresh)
    if not run.page.exists():
        write_page(run)
    print(f"more:   python -m sonicrnn.generate {run.folder} --seconds 60")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.fit",
        description="Learn one song and generate more of it. The same command goes on where a stopped one was.",
        epilog="settings, as section.name=value:\n" + describe(),
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
