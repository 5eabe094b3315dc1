"""The process of a chief that `keeper` started: `python -m tuner.serve FOLDER`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sonicrnn.errors import run_command
from tuner.folder import SearchFolder
from tuner.processes import end_with_parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve at the address that the environment names."""
    folder = (sys.argv[1:] if arguments is None else arguments)[0]
    threading.Thread(target=end_with_parent, daemon=True).start()
    from tuner.chief import run_chief

    address = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
    run_chief(SearchFolder(Path(folder)), address, linger=0)  # the keeper ends the workers


if __name__ == "__main__":
    run_command(main)
