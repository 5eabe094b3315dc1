"""Files of a song: what is taken, in which order, what is refused and why, and what is said of a path that fails."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sonicrnn.audio import find_files
from sonicrnn.errors import UserError
from sonicrnn.listing import list_refused


def sound(path: Path, seconds: float = 0.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(round(seconds * 8000)) / 5), 8000)
    return path


def names(paths: list[Path], base: Path) -> list[str]:
    return [str(path.relative_to(base)) for path in paths]


def test_folder_comes_in_natural_order_with_all_folders_in_it(tmp_path: Path) -> None:
    for name in ("take 10.wav", "take 2.flac", "Take 1.wav", "side 2/1.wav", "side 10/1.wav", "side 2/b/3.wav"):
        sound(tmp_path / name)
    taken, refused = find_files(str(tmp_path))
    assert names(taken, tmp_path) == [
        "side 2/1.wav",
        "side 2/b/3.wav",
        "side 10/1.wav",
        "Take 1.wav",
        "take 2.flac",
        "take 10.wav",
    ]
    assert refused == []


def test_folder_names_all_that_it_refuses(tmp_path: Path) -> None:
    good = sound(tmp_path / "good.wav")
    (tmp_path / "cover.jpg").write_bytes(b"\xff\xd8\xff picture")
    (tmp_path / "notes.wav").write_text("this is no sound at all")
    (tmp_path / "empty.flac").touch()
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:2000])
    (tmp_path / "none.wav").write_bytes(sound(tmp_path / "other.aiff", seconds=0).read_bytes())
    (tmp_path / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    sound(tmp_path / ".hidden.wav")
    sound(tmp_path / ".trash" / "1.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "more").symlink_to(tmp_path.parent, target_is_directory=True)
    taken, refused = find_files(str(tmp_path))
    assert taken == [good]
    reasons = {path.name: reason for path, reason in refused}
    assert reasons == {
        "cover.jpg": "not audio",
        "notes.wav": "cannot be decoded (format not recognised)",
        "empty.flac": "empty (0 bytes)",
        "cut.wav": "cut off before its end",
        "none.wav": "holds no samples",
        "other.aiff": "holds no samples",
        "song.m4a": "M4A is not read here",
        ".hidden.wav": "hidden",
        ".trash": "hidden",
        "pipe.wav": "no ordinary file",
        "more": "a link to a folder",
    }


def test_refused_files_are_told_by_reason() -> None:
    refused = [
        (Path("a.jpg"), "not audio"),
        (Path("b.wav"), "empty"),
        *((Path(f"{n}.txt"), "not audio") for n in range(6)),
    ]
    assert list_refused(refused) == "a.jpg, 0.txt, 1.txt, 2.txt and 3 more (not audio), b.wav (empty)"


def test_glob_takes_what_matches(tmp_path: Path) -> None:
    for name in ("a1.wav", "a10.wav", "a2.wav", "b1.wav", "deep/er/a3.wav", "a.txt"):
        sound(tmp_path / name) if name.endswith("wav") else (tmp_path / name).write_text("text")
    taken, refused = find_files(str(tmp_path / "a*"))
    assert names(taken, tmp_path) == ["a1.wav", "a2.wav", "a10.wav"]
    assert [(path.name, reason) for path, reason in refused] == [("a.txt", "not audio")]
    assert len(find_files(str(tmp_path / "**" / "*.wav"))[0]) == 5
    assert len(find_files(str(tmp_path / "**"))[0]) == 5
    assert names(find_files(str(tmp_path / "d*"))[0], tmp_path) == ["deep/er/a3.wav"]


def test_brackets_in_a_name_are_no_glob(tmp_path: Path) -> None:
    live = sound(tmp_path / "song [live].wav")
    assert find_files(str(live)) == ([live], [])


def test_several_paths_stay_in_the_order_given(tmp_path: Path) -> None:
    last, first = sound(tmp_path / "z.wav"), sound(tmp_path / "a.wav")
    folder = sound(tmp_path / "folder" / "1.wav").parent
    taken, _ = find_files([str(last), str(folder), str(first), str(last)])
    assert taken == [last, folder / "1.wav", first, last]


def test_named_file_may_be_hidden_or_have_any_suffix(tmp_path: Path) -> None:
    hidden = sound(tmp_path / ".hidden.wav")
    odd = tmp_path / "recording.take1"
    odd.write_bytes(hidden.read_bytes())
    assert find_files([str(hidden), str(odd)]) == ([hidden, odd], [])


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_files("~/" + sound(tmp_path / "a.wav").name) == ([tmp_path / "a.wav"], [])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow no such name")
def test_name_that_is_no_text(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    odd.write_bytes(sound(tmp_path / "a.wav").read_bytes())
    assert find_files(str(odd)) == ([odd], [])
    odd.write_bytes(b"")
    with pytest.raises(UserError, match=r"caf\?.wav is unusable, empty"):
        find_files(str(odd))


def test_missing_file_says_what_may_be_meant(tmp_path: Path) -> None:
    sound(tmp_path / "nebula.wav")
    with pytest.raises(UserError, match=r"there is no file or folder .*nebule.wav: did you mean .*nebula.wav\?"):
        find_files(str(tmp_path / "nebule.wav"))
    with pytest.raises(UserError, match=r"holds nebula.wav"):
        find_files(str(tmp_path / "zzz.ogg"))
    with pytest.raises(UserError, match=r"not even a folder .*nowhere"):
        find_files(str(tmp_path / "nowhere" / "nebula.wav"))


def test_nothing_usable_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no audio in .*: it holds no files; name a recording"):
        find_files(str(tmp_path))
    with pytest.raises(UserError, match=r"no audio in .*\*.wav: it matches nothing; .*WAV, FLAC, Ogg, MP3 and AIFF"):
        find_files(str(tmp_path / "*.wav"))
    (tmp_path / "cover.jpg").write_text("picture")
    with pytest.raises(UserError, match=r"found only cover.jpg \(not audio\)"):
        find_files(str(tmp_path))
    with pytest.raises(UserError, match="names no file"):
        find_files([])


def test_bad_files_named_by_the_user_are_all_told_at_once(tmp_path: Path) -> None:
    good, empty, text = sound(tmp_path / "good.wav"), tmp_path / "empty.wav", tmp_path / "notes.txt"
    empty.touch()
    text.write_text("words")
    with pytest.raises(UserError) as caught:
        find_files([str(good), str(empty), str(text), str(tmp_path / "gone.wav")])
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "empty.wav is unusable, empty (0 bytes): copy or download it again" in lines[0]
    assert "notes.txt is unusable, not audio: WAV, FLAC" in lines[1]
    assert "there is no file or folder" in lines[2]
