"""The export: audio as Python makes it, limits in the graph, a folder that is whole or not there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from sonicrnn.errors import UserError
from sonicrnn.export import CARD, EXTRA, WARM_UP, export_run, main, next_version
from sonicrnn.exported import Limits
from sonicrnn.generator import Generator, load_generator
from sonicrnn.run import Run
from tests.small_runs import PRIME_SAMPLES, RATE, RECALLED, make_run

Samples = npt.NDArray[np.float32]

LIMITS = Limits(seconds=2.0, batch=4, prime_seconds=3.0, block_seconds=0.6, step_seconds=0.1)
TREES: dict[str, dict[str, Any]] = {
    "recall": RECALLED,
    "waveform": {
        "frames": {"kind": "waveform", "frame_length": 200},
        "model": {"widths": [8], "cell": "lstm", "head": {"kind": "mse"}},
    },
}
OTHERS: dict[str, dict[str, Any]] = {
    "mdct": {
        "frames": {"kind": "mdct", "frame_length": 256},
        "model": {"widths": [8], "skip": True, "head": {"kind": "gaussian"}},
    },
    "waveform overlapping": {
        "frames": {"kind": "waveform", "frame_length": 200, "hop": 130},
        "model": {"widths": [8], "head": {"kind": "mixture", "mixtures": 2}},
    },
    "stft": {"frames": {"kind": "stft", "frame_length": 512, "phase_steps": 8}, "model": {"widths": [8]}},
    "gan": {
        "frames": {"kind": "stft", "frame_length": 512, "hop": 256, "parts": 6, "recall": True, "phase_steps": 4},
        "model": {"widths": [8, 6], "echo": True, "head": {"kind": "gan", "width": 8, "revise": 2}},
    },
    "components, stack": {
        "frames": {
            "kind": "stft",
            "frame_length": 256,
            "hop": 64,
            "stack": 3,
            "components": 10,
            "phase_steps": 8,
        },
        "model": {"widths": [8]},
    },
}


class Served:
    """An exported run, and the generator that it was made of."""

    def __init__(self, folder: Path, song: Samples, tree: dict[str, Any]):
        self.run = make_run(folder / "my", song, tree)
        self.version = export_run(self.run, folder / "export", LIMITS)
        self.generator: Generator = load_generator(self.run.folder)
        self.primes: Samples = np.load(self.run.primes)
        self.signatures = tf.saved_model.load(str(self.version)).signatures

    def call(self, signature: str, **inputs: Any) -> dict[str, Any]:
        """Of NumPy arrays; what is not given is one row of the run's own."""
        rows = len(next(iter(inputs.values()))) if inputs else 1
        usual = {
            "prime": np.zeros([rows, 0], np.float32),
            "prime_samples": np.zeros(rows, np.int32),
            "seconds": np.full(rows, 1.0, np.float32),
            "temperature": np.full(rows, -1.0, np.float32),
            "seed": np.arange(rows, dtype=np.int32),
        }
        graph = self.signatures[signature]
        wanted = graph.structured_input_signature[1]
        given = {name: tf.constant(inputs.get(name, usual.get(name)), spec.dtype) for name, spec in wanted.items()}
        return {name: value.numpy() for name, value in graph(**given).items()}

    def in_python(self, prime: Samples, seconds: float, seed: int, temperature: float | None = None) -> Samples:
        blocks = self.generator.stream(prime[None], seconds, temperature, [seed], block_seconds=LIMITS.block_seconds)
        return np.concatenate(list(blocks), 1)[0]


@pytest.fixture(scope="module", params=["recall", pytest.param("waveform", marks=pytest.mark.slow)])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Served:
    if request.param == "recall":
        recalled: Served = request.getfixturevalue("recalled")
        return recalled
    return Served(tmp_path_factory.mktemp("served"), small_song, TREES[request.param])


@pytest.fixture(scope="module")
def recalled(tmp_path_factory: pytest.TempPathFactory, small_song: Samples) -> Served:
    return Served(tmp_path_factory.mktemp("recalled"), small_song, RECALLED)


def check_pieces(served: Served) -> None:
    made = served.call("serving_default", seconds=[1.3])
    expected = served.in_python(served.primes[0], 1.3, 0)
    assert made["audio"].shape == (1, round(1.3 * RATE))
    np.testing.assert_allclose(made["audio"][0], expected, atol=1e-4)
    assert np.std(expected) > 3e-4
    pcm = np.frombuffer(made["pcm_bytes"][0], "<i2")
    np.testing.assert_allclose(pcm / 32768, made["audio"][0], atol=1 / 65535)
    assert made["sample_rate"][0] == RATE
    assert served.call("pcm", seconds=[1.3])["pcm_bytes"][0] == made["pcm_bytes"][0]


def check_streams(served: Served) -> None:
    blocks = [served.call("start", seed=[5])]
    blocks += [served.call("step", state_bytes=blocks[-1]["state_bytes"]) for _ in range(1)]
    while sum(block["audio"].shape[1] for block in blocks) < RATE:
        blocks.append(served.call("step", state_bytes=blocks[-1]["state_bytes"]))
    made = np.concatenate([block["audio"][0] for block in blocks])
    stream = served.generator.stream(served.primes[1][None], 1.0, seeds=[5], block_seconds=LIMITS.step_seconds)
    np.testing.assert_allclose(made[:RATE], np.concatenate(list(stream), 1)[0], atol=1e-4)


def test_pieces_are_those_that_python_makes(served: Served) -> None:
    check_pieces(served)


def test_streams_are_those_that_python_makes(served: Served) -> None:
    check_streams(served)


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(OTHERS))
def test_all_kinds_of_frames_and_heads_are_those_that_python_makes(
    kind: str, tmp_path: Path, small_song: Samples
) -> None:
    served = Served(tmp_path, small_song, OTHERS[kind])
    check_pieces(served)
    check_streams(served)


def test_rows_stand_for_themselves(served: Served) -> None:
    """Primes of different lengths or none, seconds, temperatures and seeds, as a server puts them together."""
    own = served.primes[1]
    lengths = np.array([0, PRIME_SAMPLES, PRIME_SAMPLES - 1000], np.int32)
    prime = np.full([3, PRIME_SAMPLES], 0.77, np.float32)
    prime[1], prime[2, :-1000] = own, own[:-1000]
    seconds, temperatures, seeds = [0.4, 0.9, 0.7], [0.5, 0.0, 1.0], [4, 9, 9]
    made = served.call(
        "generate", prime=prime, prime_samples=lengths, seconds=seconds, temperature=temperatures, seed=seeds
    )
    assert made["samples"].tolist() == [round(each * RATE) for each in seconds]
    for row, alone in enumerate([served.primes[0], own, own[:-1000]]):
        expected = served.in_python(alone, seconds[row], seeds[row], temperatures[row])
        # Products of three rows and of one may round differently, and a free run carries that on.
        np.testing.assert_allclose(made["audio"][row, : len(expected)], expected, atol=1e-3)
        assert not made["audio"][row, len(expected) :].any()
        assert len(made["pcm_bytes"][row]) == 2 * len(expected)


def test_streams_that_stand_at_different_places_go_on_in_one_batch(recalled: Served) -> None:
    early, late = recalled.call("start", seed=[1]), recalled.call("start", seed=[2])
    for _ in range(3):
        late = recalled.call("step", state_bytes=late["state_bytes"])
    states = [early["state_bytes"][0], late["state_bytes"][0]]
    together = recalled.call("step", state_bytes=states, temperature=[0.5, 1.0])
    for row, (state, temperature) in enumerate(zip(states, (0.5, 1.0), strict=True)):
        alone = recalled.call("step", state_bytes=[state], temperature=[temperature])
        np.testing.assert_allclose(together["audio"][row], alone["audio"][0], atol=1e-3)


@pytest.mark.parametrize(
    ("signature", "inputs", "message"),
    [
        ("generate", {"seconds": [2.5]}, "seconds must lie above 0 and be at most 2, not"),
        ("generate", {"seconds": [0.0]}, "seconds must lie above 0"),
        ("generate", {"seconds": [np.nan]}, "seconds must lie above 0"),
        ("generate", {"temperature": [np.nan]}, "temperature must be at most 5"),
        ("pcm", {"temperature": [5.1]}, "temperature must be at most 5"),
        ("generate", {"seed": [1, 2, 3, 4, 5]}, "1 to 4 rows, not"),
        ("start", {"prime": np.zeros([1, 40_000]), "prime_samples": [40_001]}, "prime_samples must be 0, or"),
        ("start", {"prime": np.zeros([1, 40_000]), "prime_samples": [100]}, "prime_samples must be 0, or"),
        ("start", {"prime": np.zeros([1, 48_001]), "prime_samples": [48_001]}, "prime_samples must be 0, or"),
        ("start", {"prime": np.full([1, 40_000], np.nan), "prime_samples": [40_000]}, "samples from -1 to 1"),
        ("start", {"prime": np.full([1, 40_000], 1.5), "prime_samples": [40_000]}, "samples from -1 to 1"),
        ("step", {"state_bytes": [b"", b""]}, "is no state of this model"),
        ("step", {"state_bytes": [b"some other bytes"]}, "is no state of this model"),
    ],
)
def test_the_graph_refuses_what_is_beyond_its_limits(
    signature: str, inputs: dict[str, Any], message: str, recalled: Served
) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        recalled.call(signature, **inputs)


def test_a_state_of_another_model_or_a_spoiled_one_is_refused(recalled: Served) -> None:
    state = recalled.call("start")["state_bytes"][0]
    with pytest.raises(tf.errors.InvalidArgumentError, match="of another model"):
        recalled.call("step", state_bytes=[b"\x00\x00\x00\x01" + state[4:]])
    nan = np.float32(np.nan).tobytes()
    with pytest.raises(tf.errors.InvalidArgumentError, match="is spoiled"):
        recalled.call("step", state_bytes=[state[:4] + nan + state[8:]])


PLAIN = """
import importlib.abc, sys
import numpy as np
class Barred(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("sonicrnn", "tensorflow_io"):
            raise ImportError(name)
sys.meta_path.insert(0, Barred())
import tensorflow as tf
with tf.compat.v1.Session(graph=tf.Graph()) as session:
    meta = tf.compat.v1.saved_model.load(session, ["serve"], sys.argv[1])
    signature = meta.signature_def["serving_default"]
    given = {"prime": np.zeros([1, 0]), "prime_samples": [0], "seconds": [1.3], "temperature": [-1], "seed": [0]}
    feed = {signature.inputs[name].name: value for name, value in given.items()}
    np.save(sys.argv[2], session.run(signature.outputs["audio"].name, feed))
assert "sonicrnn" not in sys.modules
"""


@pytest.mark.slow
def test_a_process_without_this_package_makes_the_same_audio(recalled: Served, tmp_path: Path) -> None:
    """By the session that TensorFlow Serving runs."""
    saved = tmp_path / "audio.npy"
    subprocess.run([sys.executable, "-c", PLAIN, recalled.version, saved], cwd=tmp_path, check=True)
    expected = recalled.in_python(recalled.primes[0], 1.3, 0)
    np.testing.assert_allclose(np.load(saved)[0], expected, atol=1e-4)


def nodes_of(version: Path) -> list[Any]:
    """Of the graph and of all functions in it."""
    saved = SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def test_arrays_are_saved_once(recalled: Served) -> None:
    """What all signatures need lies in the variables: the graph holds no array of the recall."""
    rows = recalled.generator.free_run.recall.passages.rows  # type: ignore[union-attr]
    size = rows.shape[0] * rows.shape[1] * 2
    variables = sum(file.stat().st_size for file in (recalled.version / "variables").iterdir())
    assert size < variables < 2 * size
    assert max(node.ByteSize() for node in nodes_of(recalled.version) if node.op == "Const") < size / 2


def test_the_graph_asks_for_no_gpu_and_no_operation_of_others(recalled: Served) -> None:
    names = {node.op for node in nodes_of(recalled.version)}
    assert "StatelessWhile" in names or "While" in names
    assert not [name for name in names if "Cudnn" in name or name.startswith(("IO>", "PyFunc", "EagerPyFunc"))]


def test_warm_up_requests_are_answered(recalled: Served) -> None:
    from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

    signatures = []
    for record in tf.data.TFRecordDataset(str(recalled.version / EXTRA / WARM_UP)):
        request = PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        assert request.model_spec.name == "my"
        made = recalled.call(request.model_spec.signature_name, **inputs)
        assert made["sample_rate"][0] == RATE
        signatures.append(request.model_spec.signature_name)
    assert sorted(signatures) == sorted(recalled.signatures)


def test_the_card_tells_what_the_model_is(recalled: Served) -> None:
    card = json.loads((recalled.version / EXTRA / CARD).read_text())
    assert card["sha256"] == recalled.run.content_hash()
    assert card["settings"]["frames"]["parts"] == 6
    assert card["limits"]["seconds"] == 2.0
    assert card["signatures"]["step"] == ["state_bytes", "temperature"]
    assert card["scores"] is None
    assert recalled.call("start")["audio"].shape[1] == card["step_samples"]


def test_versions_count_up_and_are_whole_or_not_there(tmp_path: Path) -> None:
    for name in ("3", "9", "10", "not a version"):
        (tmp_path / name).mkdir()
    with next_version(tmp_path) as folder:
        (folder / "file").touch()
        assert not (tmp_path / "11").exists()
    assert (tmp_path / "11" / "file").is_file()
    with pytest.raises(KeyboardInterrupt), next_version(tmp_path) as folder:
        raise KeyboardInterrupt
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "11", "3", "9", "not a version"]


def test_two_exports_at_once_get_two_versions(tmp_path: Path) -> None:
    with next_version(tmp_path) as first:
        (first / "first").touch()
        with next_version(tmp_path) as second:
            (second / "second").touch()
    assert (tmp_path / "1" / "second").is_file()
    assert (tmp_path / "2" / "first").is_file()


def test_what_cannot_be_exported_is_refused(tmp_path: Path, small_song: Samples) -> None:
    with pytest.raises(UserError, match=r"--seconds 0 must lie between.*\n.*--batch 0"):
        main(["nowhere", "--seconds", "0", "--batch", "0"])
    with pytest.raises(UserError, match="holds no run"):
        main([str(tmp_path / "nowhere")])
    run: Run = make_run(tmp_path / "my", small_song, TREES["waveform"])
    run.primes.unlink()
    with pytest.raises(UserError, match="has no primes yet"):
        export_run(run, tmp_path / "export", LIMITS)
    np.save(run.primes, np.zeros([2, 150], np.float32))
    with pytest.raises(UserError, match=r"train with generate.prime_seconds"):
        export_run(run, tmp_path / "export", LIMITS)
    assert not (tmp_path / "export").exists()
