"""The player page in a real browser, on the real server: it plays what the model makes, and says what goes wrong."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from serving.page_files import FOLDER
from tests.served import STEP_SECONDS, Server, alike, export_small
from tests.small_runs import RATE

if TYPE_CHECKING:
    from conftest import WatchedPage

Samples = npt.NDArray[np.float32]
MOST = 5  # streams at once
PORTION = 2 * round(STEP_SECONDS * RATE)  # bytes of a block

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Path:
    return export_small(tmp_path_factory.mktemp("runs") / "my", small_song)


@pytest.fixture(scope="module")
def server(exported: Path) -> Iterator[Server]:
    made = Server(exported, "--streams", str(MOST))
    yield made
    made.stop()
    assert made.process.returncode == 0


@contextlib.contextmanager
def other_listeners(server: Server, count: int) -> Iterator[None]:
    """Streams that are taken as fast as they sound."""
    left = threading.Event()

    def listen() -> None:
        with urllib.request.urlopen(f"{server.base}/stream", timeout=60) as answer:
            begun.wait()
            while not left.is_set():
                answer.read(PORTION)

    begun = threading.Barrier(count + 1)
    threads = [threading.Thread(target=listen) for _ in range(count)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    try:
        yield
    finally:
        left.set()
        for thread in threads:
            thread.join()


def until(page: Any, expression: str, seconds: float = 60) -> None:
    """Wait for a condition of the page; from outside, because the page's policy forbids to evaluate strings in it."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"{expression}; {page.evaluate(SHOWN)}"
        time.sleep(0.05)


SHOWN = "['main', '#error', '#status'].map(one => document.querySelector(one)?.outerHTML.slice(0, 200))"
HEARD = "(([minutes, seconds]) => 60 * minutes + seconds)(window.clock.textContent.split(':').map(Number))"


def state(name: str) -> str:
    return f"document.querySelector('main').dataset.state === '{name}'"


def underruns(page: Any) -> str:
    return str(page.locator("main").get_attribute("data-underruns"))


def opened(page: Any, server: Server) -> None:
    page.goto(f"{server.base}/")
    until(page, state("idle"))


def play(page: Any, seed: int | None = None) -> None:
    if seed is not None:
        page.get_by_label("Seed").fill(str(seed))
    page.get_by_role("button", name="Play").click()


def saved(page: Any, folder: Path) -> bytes:
    """The samples of the file that is saved, 16 bits each."""
    with page.expect_download() as download:
        page.get_by_role("button", name="Save what was heard").click()
    assert download.value.suggested_filename == "my.wav"
    download.value.save_as(folder / "heard.wav")
    samples, rate = soundfile.read(folder / "heard.wav", dtype="int16")
    assert rate == RATE
    return bytes(samples.astype("<i2").tobytes())


def whole_blocks(pcm: bytes, server: Server, temperatures: list[float], **how: Any) -> None:
    """What was heard is so much of the stream as was heard."""
    count = len(pcm) // PORTION
    assert count > 10
    alike(pcm[: count * PORTION], server.stepped((temperatures * count)[:count], **how))


def test_it_plays_without_a_gap_beside_other_listeners_and_pictures_and_meter_move(
    server: Server, watched_page: WatchedPage, tmp_path: Path
) -> None:
    page = watched_page.page
    opened(page, server)
    with other_listeners(server, 3):
        page.get_by_label("Seed").fill("7")
        page.get_by_role("button", name="Play").focus()
        page.keyboard.press("Enter")
        until(page, state("playing"))
        assert page.get_by_role("status").inner_text() == "Playing version 1, seed 7."
        seen = set()
        for seconds in (2, 4, 6, 8):
            until(page, f"{HEARD} >= {seconds}")
            pictures = page.evaluate("[window.wave, window.spectrum].map(one => one.toDataURL())")
            seen.add((*pictures, page.evaluate("window.level.value")))
        for part in zip(*seen, strict=True):
            assert len(set(part)) == 4
        assert all(level > -60 for *_, level in seen)
        assert underruns(page) == "0"
        page.keyboard.press("Space")  # the button has kept the focus
        until(page, state("paused"))
        pcm = saved(page, tmp_path)
        assert abs(len(pcm) / 2 / RATE - page.evaluate(HEARD)) < 1.1
        whole_blocks(pcm, server, [-1.0], seed=7)
        page.keyboard.press("Tab")
        page.get_by_role("button", name="Play").click()
        until(page, f"{HEARD} >= 10")
        page.get_by_role("button", name="Stop").click()
    assert page.evaluate("document.activeElement.id") == "play"
    assert len(saved(page, tmp_path)) > len(pcm)
    assert watched_page.complaints == []
    hosts = {re.sub(r"^(?:http|ws|blob:http)(://[^/]+).*", r"http\1", url) for url in watched_page.requests}
    assert {host for host in hosts if not host.startswith("data:")} == {server.base}


def test_blocks_follow_each_other_to_the_sample(server: Server, watched_page: WatchedPage, tmp_path: Path) -> None:
    """What goes to the loudspeaker is the stream itself: nothing is missing, repeated or smoothed."""
    page = watched_page.page
    page.add_init_script(TAP)
    opened(page, server)
    play(page, seed=6)
    until(page, "window.portions.length >= 25")
    page.get_by_role("button", name="Pause").click()
    stream = saved(page, tmp_path)
    portions = [np.round(32768 * np.array(one)).astype("<i2").tobytes() for one in page.evaluate("window.portions")]
    sounding = [index for index, portion in enumerate(portions) if np.frombuffer(portion, "<i2")[[0, -1]].any()][1:-1]
    assert len(sounding) > 10
    assert [index for index in sounding if portions[index] not in stream] == []


# Before the page's own scripts: what is connected to the loudspeaker is noted, too.
TAP = """
window.portions = [];
const connect = AudioNode.prototype.connect;
AudioNode.prototype.connect = function (to, ...rest) {
    if (to instanceof AudioDestinationNode) {
        const tap = this.context.createScriptProcessor(4096, 1, 1);
        tap.onaudioprocess = (event) => window.portions.push([...event.inputBuffer.getChannelData(0)]);
        connect.call(this, tap);
        connect.call(tap, to);
    }
    return connect.call(this, to, ...rest);
};
"""


def test_where_the_server_is_too_slow_the_gap_is_counted_and_told_and_it_goes_on(
    server: Server, watched_page: WatchedPage, tmp_path: Path
) -> None:
    page = watched_page.page
    opened(page, server)
    play(page, seed=2)
    until(page, f"{HEARD} >= 1")
    server.process.send_signal(signal.SIGSTOP)
    try:
        until(page, "document.querySelector('main').dataset.underruns === '1'")
        until(page, "window.level.value === -60")
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert page.locator("#gaps").inner_text() == "The server was too slow once: there was a gap."
    until(page, f"{HEARD} >= 5")
    assert underruns(page) == "1"
    page.get_by_role("button", name="Pause").click()
    whole_blocks(saved(page, tmp_path), server, [-1.0], seed=2)


@pytest.mark.slow
@pytest.mark.alone
def test_it_plays_for_a_minute_without_a_gap_beside_other_listeners(server: Server, watched_page: WatchedPage) -> None:
    page = watched_page.page
    opened(page, server)
    with other_listeners(server, 4):
        play(page)
        until(page, f"{HEARD} >= 60", 120)
        assert underruns(page) == "0"
    assert watched_page.complaints == []


def test_the_temperature_changes_while_it_plays(server: Server, watched_page: WatchedPage, tmp_path: Path) -> None:
    page = watched_page.page
    opened(page, server)
    assert page.locator("#degrees").inner_text() == "0.70, the model's own"
    play(page, seed=3)
    until(page, f"{HEARD} >= 1")
    slider = page.get_by_label("Temperature", exact=True)
    slider.focus()
    page.keyboard.press("End")
    assert page.locator("#degrees").inner_text() == "2.00"
    page.get_by_role("button", name="The model's own").wait_for()
    until(page, f"{HEARD} >= 6")
    page.get_by_role("button", name="Pause").click()
    pcm = saved(page, tmp_path)
    count = len(pcm) // PORTION
    own = server.stepped([-1.0] * count, seed=3)
    blocks = [(one[start : start + PORTION]) for one in (pcm, own) for start in range(0, count * PORTION, PORTION)]
    figures = [np.frombuffer(block, "<i2").astype(float) for block in blocks]
    changed = next(index for index in range(count) if np.abs(figures[index] - figures[count + index]).max() > 33)
    assert 10 <= changed < 50
    alike(pcm[: count * PORTION], server.stepped([-1.0] * changed + [2.0] * (count - changed), seed=3))
    page.get_by_role("button", name="The model's own").click()
    assert page.locator("#degrees").inner_text() == "0.70, the model's own"
    assert page.evaluate("document.activeElement.id") == "temperature"


def test_it_goes_on_from_a_file_of_ones_own(
    server: Server, watched_page: WatchedPage, tmp_path: Path, small_song: Samples
) -> None:
    """The last 10 s of it, to the sample; then a file of another rate with two channels, dropped while it plays."""
    page = watched_page.page
    sent: list[Any] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    opened(page, server)
    soundfile.write(tmp_path / "mine.wav", small_song[: 15 * RATE], RATE, subtype="PCM_16")
    page.get_by_label("Go on from a sound of your own").set_input_files(tmp_path / "mine.wav")
    note = page.locator("#from")
    until(page, "window.from.textContent.startsWith('The model goes on')")
    assert note.inner_text() == "The model goes on from the last 10.0 s of mine.wav."
    play(page, seed=4)
    until(page, f"{HEARD} >= 2")
    assert "on from mine.wav" in page.get_by_role("status").inner_text()
    whole = soundfile.read(tmp_path / "mine.wav", dtype="float32")[0]
    whole_blocks(saved(page, tmp_path), server, [-1.0], seed=4, prime=whole[-10 * RATE :])

    stereo = np.stack([small_song[: 5 * RATE], -0.5 * small_song[: 5 * RATE]], 1)
    soundfile.write(tmp_path / "other.flac", stereo, 44_100)
    drop(page, tmp_path / "other.flac")
    until(page, "document.getElementById('status').textContent.includes('on from other.flac')")
    *_, begun, prime = [frame for frame in sent if isinstance(frame, bytes) or "prime" in frame]
    assert json.loads(begun)["prime"] is True
    samples = np.frombuffer(prime, "<f4")
    assert len(samples) == pytest.approx(5 * RATE * RATE / 44_100, abs=2)
    assert np.abs(samples).max() == pytest.approx(0.25 * np.abs(small_song[: 5 * RATE]).max(), rel=0.05)
    page.get_by_role("button", name="Without it").click()
    assert note.inner_text().startswith("Pick a file or drop one here.")
    assert page.evaluate("document.activeElement.id") == "file"
    assert watched_page.complaints == []


def drop(page: Any, path: Path) -> None:
    """A file onto the page, as the browser's own event has it."""
    page.evaluate(
        """([bytes, name]) => {
            const held = new DataTransfer();
            held.items.add(new File([new Uint8Array(bytes)], name));
            const how = { dataTransfer: held, bubbles: true, cancelable: true };
            for (const kind of ["dragover", "drop"]) window.drop.dispatchEvent(new DragEvent(kind, how));
        }""",
        [list(path.read_bytes()), path.name],
    )


def test_files_that_are_no_prime_and_wrong_seeds_are_told_in_words(
    server: Server, watched_page: WatchedPage, tmp_path: Path, small_song: Samples
) -> None:
    page = watched_page.page
    opened(page, server)
    error, file = page.get_by_role("alert"), page.get_by_label("Go on from a sound of your own")
    (tmp_path / "notes.txt").write_text("no music")
    file.set_input_files(tmp_path / "notes.txt")
    until(page, "!window.error.hidden")
    assert error.inner_text() == "notes.txt is no sound file that this browser can read."
    soundfile.write(tmp_path / "short.wav", small_song[:100], RATE)
    file.set_input_files(tmp_path / "short.wav")
    until(page, "window.error.textContent.includes('too short')")
    play(page, seed=3_000_000_000)
    until(page, "window.error.textContent.includes('seed must be a whole number from')")
    assert page.locator("main").get_attribute("data-state") == "stopped"
    page.get_by_label("Seed").fill("1.5")
    page.get_by_role("button", name="Play").click()
    until(page, "window.error.textContent === 'The seed must be a whole number, or empty.'")
    page.get_by_label("Seed").fill("")
    play(page)
    until(page, f"{HEARD} >= 1")
    assert not error.is_visible()


def test_a_full_server_says_so_and_can_be_asked_again(server: Server, watched_page: WatchedPage) -> None:
    page = watched_page.page
    opened(page, server)
    with other_listeners(server, MOST):
        play(page)
        until(page, "window.error.textContent === '5 streams are open, and no more may be: try again later'")
        until(page, state("stopped"))
    deadline = time.monotonic() + 30
    while not page.evaluate(state("playing")):
        assert time.monotonic() < deadline
        if page.evaluate(state("stopped")):  # the server has yet to notice that they left
            play(page)
        time.sleep(0.1)


def test_the_token_is_asked_for_and_a_server_that_ends_is_told(exported: Path, watched_page: WatchedPage) -> None:
    page = watched_page.page
    server = Server(exported, token="secret")
    page.goto(f"{server.base}/")
    page.get_by_label("Token of this server").fill("guessed")
    page.keyboard.press("Enter")
    until(page, 'window.error.textContent === "This is not the server\'s token."')
    assert not page.get_by_role("button", name="Play").is_visible()
    page.get_by_label("Token of this server").fill("secret")
    page.get_by_role("button", name="Enter").click()
    until(page, state("idle"))
    assert not page.get_by_label("Token of this server").is_visible()
    play(page)
    until(page, f"{HEARD} >= 1")
    server.process.kill()
    until(page, state("stopped"))
    assert "connection to the server was lost" in page.get_by_role("alert").inner_text()
    play(page)
    until(page, "window.error.textContent.includes('connection to the server was lost')")
    server.stop()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (360, "dark"), (1280, "light"), (1280, "dark")])
def test_it_fits_a_phone_and_can_be_read(server: Server, watched_page: WatchedPage, width: int, scheme: str) -> None:
    """WCAG's AA: 4.5 to 1 for all text; every control has a name."""
    page = watched_page.page
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    opened(page, server)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 12
    assert {what: ratio for what, ratio in contrasts.items() if ratio < 4.5} == {}
    names = page.evaluate("[...document.querySelectorAll('input, meter')].map(one => one.labels.length)")
    assert set(names) == {1}
    for role in ("status", "timer", "meter"):
        assert page.get_by_role(role).count() == 1
    assert page.get_by_role("img").count() == 2


CONTRASTS = """() => {
    const channels = (colour) => colour.match(/[0-9.]+/g).map(Number);
    const light = (colour) => channels(colour).slice(0, 3).map((one) => one / 255)
        .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4)
        .reduce((sum, one, index) => sum + one * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (element) => {
        const colour = getComputedStyle(element).backgroundColor;
        return channels(colour)[3] === 0 ? behind(element.parentElement) : colour;
    };
    window.error.textContent = "Words for what went wrong";
    window.error.hidden = false;
    const found = {};
    for (const one of document.querySelectorAll("h1, p, label, button, span, input")) {
        if (!one.checkVisibility()) continue;
        const [dark, bright] = [light(getComputedStyle(one).color), light(behind(one))].sort((a, b) => a - b);
        found[`${one.tagName} ${one.id} ${one.textContent}`] = (bright + 0.05) / (dark + 0.05);
    }
    return found;
}"""


def test_the_address_of_a_stream_plays_in_a_browser_as_it_is(server: Server, watched_page: WatchedPage) -> None:
    page = watched_page.page
    page.goto(f"{server.base}/stream?seed=1")
    until(page, "document.querySelector('video, audio').currentTime > 1")


def test_the_page_is_all_that_is_served_beside_the_protocol(server: Server) -> None:
    for name in sorted(path.name for path in FOLDER.iterdir()):
        path = "/" if name == "index.html" else f"/page/{name}"
        with urllib.request.urlopen(server.base + path) as answer:
            assert answer.read() == (FOLDER / name).read_bytes()
            assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    for path in ("/page/", "/page/../local.py", "/page/%2e%2e/local.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(server.base + path)
