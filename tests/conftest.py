"""What many tests share: small songs made on the spot, a watch over the network, and a real browser."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

# Before any library reads them. Tests that are about these settings set them for themselves.
os.environ["WANDB_MODE"] = "offline"
os.environ["WANDB_SILENT"] = "true"
os.environ.pop("WANDB_API_KEY", None)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Several processes test at once: threads of the linear algebra that wait for each other would only burn their time.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SMALL_RATE = 16_000
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = (
    "--no-sandbox",  # tests may run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def synthesise(seconds: float, rate: int = SMALL_RATE, seed: int = 0) -> npt.NDArray[np.float32]:
    """A little music, [seconds × rate]: two-second chords with a slow pulse and a breath of noise, peak 0.5."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    chord = random.permutation(4)[(time // 2).astype(int) % 4]  # [n]: which of four chords sounds
    song = 0.02 * random.standard_normal(len(time))
    for ratio in (1.0, 1.25, 1.5, 2.0):
        pitches = 110.0 * ratio * np.array([1.0, 9 / 8, 4 / 3, 3 / 2])
        song += np.sin(2 * np.pi * np.cumsum(pitches[chord]) / rate)
    song *= 0.7 + 0.3 * np.sin(2 * np.pi * time / 4)
    return np.asarray(0.5 * song / np.abs(song).max(), np.float32)


@pytest.fixture
def empty_memory() -> Iterator[None]:
    """fsspec's file system in memory, with nothing there before and after."""
    files = pytest.importorskip("fsspec").filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield
    files.store.clear()


@pytest.fixture(scope="session")
def small_song() -> npt.NDArray[np.float32]:
    """20 s of music at SMALL_RATE, read-only."""
    song = synthesise(20)
    song.setflags(write=False)
    return song


@pytest.fixture(scope="session")
def longer_song() -> npt.NDArray[np.float32]:
    """100 s of music at SMALL_RATE, read-only: its held-out parts are long enough to tell a pace."""
    song = synthesise(100, seed=1)
    song.setflags(write=False)
    return song


@pytest.fixture(scope="session")
def song_of_a_training(longer_song: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """40 s of music at SMALL_RATE, read-only: passes of several steps, and an end that does not take long."""
    return longer_song[: 40 * SMALL_RATE]


@pytest.fixture
def small_song_file(tmp_path: Path, small_song: npt.NDArray[np.float32]) -> Path:
    """The small song as a 16-bit WAV file."""
    path = tmp_path / "small song.wav"
    soundfile.write(path, small_song, SMALL_RATE, subtype="PCM_16")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Songs that a test decodes stay out of the user's cache."""
    monkeypatch.setenv("SONICRNN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail any test in whose process something asks for a host other than this machine."""
    asked: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def is_local(host: object) -> bool:
        name = host.decode() if isinstance(host, bytes) else host
        return name in (None, "", "localhost", "0.0.0.0", "::", "::1") or str(name).startswith("127.")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not is_local(address[0]):
            asked.append(str(address))
            raise OSError(f"the tests have no network: {address}")
        connect(self, address)

    def guarded_look_up(host: Any, *arguments: Any, **named: Any) -> Any:
        if not is_local(host):
            asked.append(str(host))
            raise socket.gaierror(f"the tests have no network: {host}")
        return look_up(host, *arguments, **named)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield
    assert not asked, f"reached for the network: {asked}"


@dataclass(frozen=True)
class WatchedPage:
    """A page of the browser, and what it complained of and asked for since it was opened."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def outside_requests(self) -> list[str]:
        """Requests for anything but the file itself and what stands in it."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The Chromium of this machine, without a window."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if program is None:
        pytest.fail("no Chromium on this machine: install it (Debian and Ubuntu: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(CHROMIUM_FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def watched_page(chromium: Any) -> Iterator[WatchedPage]:
    """An empty page that notes console errors, exceptions, failed and made requests."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    watched = WatchedPage(context.new_page())
    page = watched.page

    def said(message: Any) -> None:
        if message.type in ("error", "warning"):
            watched.complaints.append(message.text)

    page.on("console", said)
    page.on("pageerror", lambda error: watched.complaints.append(str(error)))
    page.on("requestfailed", lambda request: watched.complaints.append(f"failed: {request.url[:80]}"))
    page.on("request", lambda request: watched.requests.append(request.url))
    yield watched
    context.close()
