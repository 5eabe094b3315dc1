"""Songs that are elsewhere: fetched once, again when they change, just what is there; errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonicrnn.config import Settings, SongSettings
from sonicrnn.errors import UserError
from sonicrnn.remote import fetched, is_remote, local_folder, place_of
from sonicrnn.song import open_song
from tests.conftest import SMALL_RATE, synthesise

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store(empty_memory: None) -> str:
    """An address in memory, with nothing there."""
    return "memory://bucket"


def put(address: str, seconds: float = 2.0, seed: int = 0) -> None:
    with fsspec.open(address, "wb") as file:
        soundfile.write(file, synthesise(seconds, seed=seed), SMALL_RATE, format="WAV", subtype="PCM_16")


def names(path: str | list[str]) -> list[str]:
    """Of all files in a folder, hidden ones left out."""
    assert isinstance(path, str)
    files = [file for file in sorted(Path(path).rglob("*")) if file.is_file() and not file.name.startswith(".")]
    return [file.relative_to(path).as_posix() for file in files]


@pytest.mark.parametrize("path", ["s3://b/a.ogg", "gs://b", "memory://x", "GS://b/*.wav", "abfs://a"])
def test_what_is_remote(path: str) -> None:
    assert is_remote(path)


@pytest.mark.parametrize("path", ["a.ogg", "/a/b.ogg", "C:\\music\\a.ogg", "file:///a.ogg", "s3:/a", "a://b", ""])
def test_what_is_not(path: str) -> None:
    assert not is_remote(path)


def test_a_song_is_fetched_once_and_again_when_it_changes(store: str, tmp_path: Path) -> None:
    said: list[str] = []
    address = f"{store}/music/tune.wav"
    put(address)
    copy = fetched(address, tmp_path, said.append)
    assert isinstance(copy, str)
    assert Path(copy).name == "tune.wav"
    assert Path(copy).read_bytes() == fsspec.filesystem("memory").cat("/bucket/music/tune.wav")
    assert fetched(address, tmp_path, said.append) == copy
    assert len(said) == 1
    assert address in said[0]
    put(address, 3.0)
    assert fetched(address, tmp_path, said.append) == copy
    assert soundfile.info(copy).duration == 3.0
    assert len(said) == 2


def test_a_folder_is_its_audio_and_what_is_gone_goes(store: str, tmp_path: Path) -> None:
    for name in ("take 10.wav", "take 2.wav", "more/b.wav", ".hidden/c.wav"):
        put(f"{store}/album/{name}")
    fsspec.filesystem("memory").pipe("/bucket/album/cover.jpg", b"picture")
    folder = fetched(f"{store}/album", tmp_path, print)
    assert Path(str(folder)).name == "album"
    assert names(folder) == ["more/b.wav", "take 10.wav", "take 2.wav"]
    fsspec.filesystem("memory").rm("/bucket/album/take 2.wav")
    assert names(fetched(f"{store}/album/", tmp_path, print)) == ["more/b.wav", "take 10.wav"]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("album/*.wav", ["a.wav", "b.wav"]),
        ("album/a*", ["a.wav"]),
        ("*/a.wav", ["album/a.wav", "other/a.wav"]),
        ("album/**", ["a.wav", "b.wav", "deep/c.wav"]),
    ],
)
def test_a_glob_is_what_it_matches(store: str, tmp_path: Path, glob: str, expected: list[str]) -> None:
    for name in ("album/a.wav", "album/b.wav", "album/deep/c.wav", "other/a.wav"):
        put(f"{store}/{name}", 1.0)
    assert names(fetched(f"{store}/{glob}", tmp_path, print)) == expected


def test_local_paths_stay_as_they_are(tmp_path: Path, store: str) -> None:
    put(f"{store}/a.wav")
    assert fetched("x/*.ogg", tmp_path, print) == "x/*.ogg"
    mixed = fetched(["x.ogg", f"{store}/a.wav"], tmp_path, print)
    assert (mixed[0], Path(mixed[1]).name) == ("x.ogg", "a.wav")


def test_a_remote_song_is_the_song(store: str, tmp_path: Path) -> None:
    put(f"{store}/music/tune.wav", 20.0)
    local = tmp_path / "tune.wav"
    local.write_bytes(fsspec.filesystem("memory").cat("/bucket/music/tune.wav"))
    remote, here = (
        open_song(SongSettings(path=path, cache=str(tmp_path / "cache")), report=lambda line: None)
        for path in (f"{store}/music/tune.wav", str(local))
    )
    assert (remote.name, remote.content_hash) == ("tune", here.content_hash)
    np.testing.assert_array_equal(remote.samples, here.samples)
    put(f"{store}/album/2.wav")
    put(f"{store}/album/10.wav")
    album = open_song(SongSettings(path=f"{store}/album", cache=str(tmp_path / "cache")), report=lambda line: None)
    assert album.name == "album"
    assert [file.path.name for file in album.files] == ["2.wav", "10.wav"]


def test_what_is_not_there_is_said(store: str, tmp_path: Path) -> None:
    for address in (f"{store}/none.wav", f"{store}/none", f"{store}/*.wav"):
        with pytest.raises(UserError, match=r"there is no audio at .*none|there is no audio at .*wav"):
            fetched(address, tmp_path, print)


def test_what_cannot_be_read_leaves_nothing_half(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(f"{store}/a.wav")
    real = fsspec.filesystem("memory").open

    class Broken:
        def __init__(self, *arguments: object, **named: object):
            self.file, self.reads = real(*arguments, **named), 0

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *error: object) -> None:
            self.file.close()

        def read(self, size: int) -> bytes:
            self.reads += 1
            if self.reads > 1:
                raise ConnectionError("the cable was pulled")
            return bytes(self.file.read(1000))

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "open", lambda self, *a, **named: Broken(*a, **named))
    with pytest.raises(UserError, match=r"a\.wav cannot be reached: the cable was pulled"):
        fetched(f"{store}/a.wav", tmp_path, print)
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_missing_file_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UserError, match=r"pip install s3fs"):
        place_of("s3://bucket/a.ogg")
    with pytest.raises(UserError, match="nosuch"):
        place_of("nosuch://bucket/a.ogg")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UserError, match=r"pip install 'sonicrnn\[remote\]'"):
        place_of("s3://bucket/a.ogg")


def test_a_local_run_folder_is_itself() -> None:
    with local_folder("runs/my") as folder:
        assert folder == Path("runs/my")


def test_the_cache_cannot_be_elsewhere() -> None:
    with pytest.raises(ValueError, match="must be a folder of this machine"):
        Settings.model_validate({"song": {"cache": "s3://bucket/cache"}})


@pytest.mark.slow
def test_a_command_that_cannot_reach_its_song_ends_in_one_message(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "sonicrnn.fit", "configs/gru.yaml", f"song.path=local://{tmp_path}/none.ogg"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "there is no audio at local://" in done.stderr
    assert "Traceback" not in done.stderr
