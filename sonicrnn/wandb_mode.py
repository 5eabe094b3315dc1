"""Whether to log to W&B, and where: online, offline, or not at all. And how to wait for it, but not for ever."""

from __future__ import annotations

import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from queue import Empty, Queue
from typing import TYPE_CHECKING, Literal, TypeVar, cast

if TYPE_CHECKING:
    import wandb

T = TypeVar("T")
Report = Callable[[str], None]
Mode = Literal["online", "offline", "disabled"]

ANSWER_SECONDS = 5.0  # that a server may take to answer at all, before the run is logged offline


def find_mode(wanted: str, known: wandb.Settings, report: Report) -> Mode:
    """The mode that a setting means here, where W&B's own settings are `known`.

    `auto` follows WANDB_MODE and `wandb offline`. Only who is logged in and has a network is online; who asked for it
    and is not gets a line that says why.
    """
    chosen = known.mode if wanted == "auto" else wanted
    if chosen in ("offline", "dryrun"):
        return "offline"
    if chosen == "disabled":
        return "disabled"
    if not logged_in(known):
        if wanted == "online":
            report("W&B: logged offline, for nobody is logged in on this machine: `wandb login`")
        return "offline"
    if not reachable(known.base_url):
        report(f"W&B: logged offline, for {known.base_url} does not answer")
        return "offline"
    return "online"


def logged_in(known: wandb.Settings) -> bool:
    """Whether there are credentials in the environment, W&B's settings or the netrc file. Asks nobody."""
    from wandb.sdk.lib import wbauth  # `wandb.login` would ask the user or the server

    return bool(known.api_key or known.identity_token_file or wbauth.read_netrc_auth(host=known.base_url))


def reachable(address: str) -> bool:
    """Whether a server answers, whatever it says."""

    def ask() -> bool:
        try:
            urllib.request.urlopen(address, timeout=ANSWER_SECONDS).close()
        except urllib.error.HTTPError:
            return True
        except urllib.error.URLError as error:
            return isinstance(error.reason, ssl.SSLError)  # W&B has its own settings of whom to trust
        return True

    try:
        return within(ANSWER_SECONDS, ask)
    except (OSError, ValueError):
        return False


def within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call, or what it raises; TimeoutError, which leaves it to itself, when it takes longer."""
    results: Queue[tuple[T | None, BaseException | None]] = Queue()

    def work() -> None:
        try:
            results.put((call(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        result, error = results.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return cast(T, result)


def one_line(error: BaseException) -> str:
    """An error's message in one line of bearable length."""
    return (" ".join(str(error).split()) or type(error).__name__)[:240]
