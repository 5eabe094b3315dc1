"""Graphs that a run keeps: the same pieces without TensorFlow's Python, and the model itself where they do not fit."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from sonicrnn.calibration import Calibration
from sonicrnn.config import SongSettings
from sonicrnn.errors import UserError
from sonicrnn.folders import folder_beside
from sonicrnn.generator import RunGenerator, load_generator
from sonicrnn.kept_generator import ABOUT, KeptGenerator, is_kept, load_kept
from sonicrnn.kept_graphs import keep_graphs
from sonicrnn.master import make_master
from sonicrnn.native import NotNative, Session
from sonicrnn.run import Run
from sonicrnn.song import open_song
from tests.small_runs import RATE, RECALLED, make_run

Samples = npt.NDArray[np.float32]

TREES: dict[str, dict[str, Any]] = {
    "recall": RECALLED,
    "waveform": {"frames": {"kind": "waveform", "frame_length": 200}, "model": {"widths": [8], "cell": "lstm"}},
    "gan": {
        "frames": {"kind": "stft", "frame_length": 512, "phase_steps": 4},
        "model": {"widths": [8], "head": {"kind": "gan", "width": 8, "revise": 2}},
    },
}


def stereo(folder: Path, samples: Samples) -> Path:
    """A recording at three times the model's rate."""
    import soxr

    wide = soxr.resample(samples, RATE, 3 * RATE, quality="VHQ")
    soundfile.write(folder / "song.wav", np.stack([wide, wide / 2], 1), 3 * RATE, subtype="FLOAT")
    return folder / "song.wav"


def kept_run(folder: Path, samples: Samples, tree: dict[str, Any]) -> Run:
    """A run that has kept its graphs, of the recording where it is a recall's."""
    if not tree["frames"].get("recall"):
        run = make_run(folder / "my", samples, tree)
        replace(Calibration.load(run.calibration), persistence=0.6).save(run.calibration)
    else:
        made = SongSettings(path=str(stereo(folder, samples)), cache=str(folder / "cache"), trim=False)
        song = open_song(made, lambda line: None)
        run = make_run(folder / "my", np.asarray(song.part("training")), tree)
        master = make_master(song, load_generator(run.folder).encoding)
        assert master is not None
        master.save(run.master)
    keep_graphs(run)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Run:
    return kept_run(tmp_path_factory.mktemp("kept"), small_song, RECALLED)


@pytest.fixture(scope="module")
def live(run: Run) -> RunGenerator:
    return load_generator(run.folder)


@pytest.fixture(scope="module")
def kept(run: Run) -> KeptGenerator:
    loaded = load_kept(run)
    assert loaded is not None
    return loaded


def check_pieces(live: RunGenerator, kept: KeptGenerator) -> None:
    primes = live.primes("validation", [4, 5])
    assert np.array_equal(kept.primes("validation", [4, 5]), primes)
    for options in ({"takes": 1}, {"takes": 2, "temperature": [0.5, 1.0]}):
        made = kept.generate(primes, 1.3, seeds=[4, 5], **options)  # type: ignore[arg-type]
        expected = live.generate(primes, 1.3, seeds=[4, 5], **options)  # type: ignore[arg-type]
        assert made.shape == (2, round(1.3 * RATE))
        np.testing.assert_allclose(made, expected, atol=1e-4)
        assert np.std(made[0] - made[1]) > 1e-4


def test_pieces_are_those_of_the_model(live: RunGenerator, kept: KeptGenerator) -> None:
    check_pieces(live, kept)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["waveform", "gan"])
def test_pieces_of_other_models(kind: str, tmp_path: Path, small_song: Samples) -> None:
    run = kept_run(tmp_path, small_song, TREES[kind])
    kept = load_kept(run)
    assert kept is not None
    check_pieces(load_generator(run.folder), kept)


def test_a_prime_may_be_of_any_length(live: RunGenerator, kept: KeptGenerator) -> None:
    prime = live.primes("validation", [0])
    for samples in (live.encoding.span, live.encoding.span + 777, prime.shape[1] - 5):
        short = prime[:, :samples]
        np.testing.assert_allclose(kept.generate(short, 0.7), live.generate(short, 0.7), atol=1e-4)


def test_the_recording_is_played(live: RunGenerator, kept: KeptGenerator) -> None:
    prime = live.primes("validation", [1])[0]
    made = np.concatenate(list(kept.stream_master(prime, 7.0, 0.8, 3)))
    assert made.shape == (7 * 3 * RATE, 2)
    np.testing.assert_allclose(made, np.concatenate(list(live.stream_master(prime, 7.0, 0.8, 3))), atol=1e-4)


def test_generate_imports_no_tensorflow(run: Run, tmp_path: Path) -> None:
    code = (
        "import sys; from sonicrnn.generate import main; main(sys.argv[1:]); "
        "assert not {'tensorflow', 'keras'} & set(sys.modules), 'slow to load'"
    )
    words = [str(run.folder), "--seconds", "1", "--out", str(tmp_path)]
    subprocess.run([sys.executable, "-c", code, *words], check=True)
    (file,) = tmp_path.glob("*.wav")
    assert soundfile.info(file).frames == 3 * RATE


def copied(run: Run, folder: Path) -> Run:
    shutil.copytree(run.folder, folder / "copy")
    return Run(folder / "copy")


def test_graphs_of_another_calibration_are_left_alone(run: Run, tmp_path: Path) -> None:
    changed = copied(run, tmp_path)
    assert is_kept(changed)
    replace(Calibration.load(changed.calibration), gain=0.5).save(changed.calibration)
    assert not is_kept(changed)
    assert load_kept(changed) is None


@pytest.mark.parametrize("spoil", ["about", "graph", "weights", "all"])
def test_spoiled_graphs_are_left_alone(spoil: str, run: Run, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path)
    if spoil == "all":
        shutil.rmtree(spoiled.graphs)
    elif spoil == "about":
        (spoiled.graphs / ABOUT).write_text('{"content": 3')
    else:
        file = spoiled.graphs / ("saved_model.pb" if spoil == "graph" else "variables/variables.index")
        file.write_bytes(file.read_bytes()[:100])
    assert load_kept(spoiled) is None


def test_a_spoiled_recording_is_told_and_without_one_pieces_are_mono(run: Run, tmp_path: Path) -> None:
    spoiled = copied(run, tmp_path)
    spoiled.master.write_bytes(spoiled.master.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"master\.npz cannot be read .*: train the run again"):
        load_kept(spoiled)
    spoiled.master.unlink()
    kept = load_kept(spoiled)
    assert kept is not None
    assert kept.plays() is None


def test_the_library_says_what_it_refuses(run: Run, tmp_path: Path) -> None:
    with pytest.raises(NotNative, match="SavedModel"):
        Session(tmp_path)
    session = Session(run.graphs)
    with pytest.raises(NotNative, match="nothing"):
        session.run({}, ["nothing:0"])
    takes = json.loads((run.graphs / ABOUT).read_text())["signatures"]["begin"]["takes"]
    with pytest.raises(NotNative):
        session.run({takes["seed"]: np.zeros([1], np.int32)}, [takes["primes"]])


def test_a_folder_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "graphs"
    with folder_beside(target) as folder:
        (folder / "one").write_text("1")
    with contextlib.suppress(KeyboardInterrupt), folder_beside(target) as folder:
        (folder / "two").write_text("2")
        raise KeyboardInterrupt
    assert [path.name for path in target.iterdir()] == ["one"]
    with folder_beside(target) as folder:
        (folder / "three").write_text("3")
    assert [path.name for path in target.iterdir()] == ["three"]
    assert [path.name for path in tmp_path.iterdir()] == ["graphs"]
