"""`python -m sonicrnn.export runs/my`: a SavedModel of a trained run, to be served without this package."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonicrnn import __version__
from sonicrnn.errors import UserError, run_command
from sonicrnn.files import write_json
from sonicrnn.folders import made_beside
from sonicrnn.options import out_of_range, refuse
from sonicrnn.remote import local_folder
from sonicrnn.run import Run

if TYPE_CHECKING:
    from sonicrnn.exported import Exported, Limits
    from sonicrnn.generator import RunGenerator

EXTRA = "assets.extra"  # beside the SavedModel's own files, where TensorFlow Serving looks for warm-up requests
WARM_UP = "tf_serving_warmup_requests"
CARD = "model_card.json"
WARM_UP_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the options, load the run, write the next version."""
    options = _parser().parse_args(arguments)
    _check(options)
    with local_folder(options.run) as folder:
        _export(options, Run(folder))


def _export(options: argparse.Namespace, run: Run) -> None:
    run.trained()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    # A graph that was traced beside a GPU asks for cuDNN, and a server without one cannot load it.
    tf.config.set_visible_devices([], "GPU")
    from sonicrnn.exported import Limits

    limits = Limits(
        seconds=options.seconds,
        batch=options.batch,
        prime_seconds=options.prime_seconds,
        step_seconds=options.step_seconds,
    )
    base = Path(options.out) if options.out else run.folder / "export"
    print(export_run(run, base, limits))


def export_run(run: Run, base: Path, limits: Limits) -> Path:
    """Write `base/N/`, N being the next free version, whole or not at all.

    Raises UserError for a run that cannot be exported, OSError for a full disk.
    """
    from sonicrnn.disk import full_disk_told
    from sonicrnn.exported import Exported
    from sonicrnn.generator import load_generator

    generator = load_generator(run.folder)
    content = run.content_hash()
    primes = _primes(generator)
    exported = Exported(generator.graphs, primes, generator.temperature, limits, _tag(content))
    with full_disk_told(base), next_version(base) as folder:
        _write_saved_model(exported, generator, folder)
        (folder / EXTRA).mkdir()
        write_json(folder / EXTRA / CARD, _card(run, exported, content))
        _write_warm_up(exported, run.folder.name, folder / EXTRA / WARM_UP)
    return _newest(base)


@contextlib.contextmanager
def next_version(base: Path) -> Iterator[Path]:
    """Yield a folder that becomes the next version when the block ends well, and is gone when it does not.

    Servers look at folders with numbers for names alone: they see the version when it is whole.
    """
    base.mkdir(parents=True, exist_ok=True)
    with made_beside(base / "export") as beside:
        yield beside
        while True:
            try:
                beside.rename(base / str(_newest_number(base) + 1))
                return
            except OSError:  # another export was faster: a folder is not renamed onto one that has files
                if not beside.exists() or not (base / str(_newest_number(base))).exists():
                    raise


def _newest_number(base: Path) -> int:
    return max((int(path.name) for path in base.iterdir() if path.name.isdecimal()), default=0)


def _newest(base: Path) -> Path:
    return base / str(_newest_number(base))


def _tag(content: str) -> int:
    """The first 32 bits of a hash, as a signed number."""
    return int.from_bytes(bytes.fromhex(content[:8]), "little", signed=True)


def _primes(generator: RunGenerator) -> Any:
    """[some, samples], the run's own."""
    import numpy as np

    file, least = generator.run.primes, generator.graphs.least_prime
    if not file.is_file():
        raise UserError(f"{generator.run.folder} has no primes yet: let its training end, then export it")
    primes = np.load(file, allow_pickle=False)
    if primes.shape[1] < least:
        rate = generator.encoding.sample_rate
        raise UserError(
            f"the primes of {generator.run.folder} have {primes.shape[1] / rate:.2f} s, and a stream of its frames "
            f"goes on from {least / rate:.2f} s: train with generate.prime_seconds of at least that"
        )
    return primes


def _write_saved_model(exported: Exported, generator: RunGenerator, folder: Path) -> None:
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(generator.free_run.model)
    archive.track(exported)
    for name, (function, takes) in exported.endpoints().items():  # the first one is `serving_default`, too
        archive.add_endpoint(name, function, takes)
    archive.write_out(str(folder), tf.saved_model.SaveOptions(experimental_custom_gradients=False), verbose=False)


def _card(run: Run, exported: Exported, content: str) -> Mapping[str, Any]:
    """What whoever serves the model wants to know of it."""
    from dataclasses import asdict

    import keras
    import tensorflow as tf

    scores = json.loads(run.scores.read_text(encoding="utf-8")) if run.scores.is_file() else None
    return {
        "name": run.folder.name,
        "sha256": content,
        "sample_rate": exported.rate,
        "temperature": exported.temperature,
        "limits": asdict(exported.limits) | {"least_prime_samples": exported.stream.least_prime},
        "step_samples": exported.per_step * exported.step_samples,
        "signatures": {
            name: [spec.name for spec in takes] for name, (_, takes) in exported.endpoints().items()
        },
        "settings": run.settings().model_dump(mode="json"),
        "scores": scores,
        "made_with": {"sonicrnn": __version__, "tensorflow": tf.__version__, "keras": keras.__version__},
    }


def _write_warm_up(exported: Exported, name: str, file: Path) -> None:
    """Requests for every signature, which a server runs before it takes others: the first call of a graph is slow."""
    import tensorflow as tf

    try:
        from tensorflow_serving.apis.predict_pb2 import PredictRequest
        from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog, PredictLog
    except ImportError:
        raise UserError(
            "warm-up requests are written with tensorflow-serving-api: pip install 'sonicrnn[serve]'"
        ) from None

    prime = {"prime": tf.zeros([1, 0]), "prime_samples": tf.zeros([1], tf.int32)}
    how = {"temperature": tf.constant([-1.0]), "seed": tf.constant([1])}
    seconds = {"seconds": tf.constant([min(WARM_UP_SECONDS, exported.limits.seconds)])}
    state = exported.start(*prime.values(), *how.values())["state_bytes"]
    requests = {
        "serving_default": {**prime, **seconds, **how},
        "generate": {**prime, **seconds, **how},
        "pcm": {**prime, **seconds, **how},
        "start": {**prime, **how},
        "step": {"state_bytes": state, "temperature": how["temperature"]},
    }
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests.items():
            request = PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, signature
            for key, value in inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            writer.write(PredictionLog(predict_log=PredictLog(request=request)).SerializeToString())


def _check(options: argparse.Namespace) -> None:
    """Raises UserError that lists every option out of its range."""
    ranges = {"seconds": (0.1, 3600), "batch": (1, 1024), "prime_seconds": (0.1, 600), "step_seconds": (0.01, 20)}
    refuse(out_of_range(options, ranges))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sonicrnn.export",
        description="A SavedModel of a trained run, for TensorFlow Serving or `python -m serving.local`.",
    )
    parser.add_argument("run", help="a run folder, e.g. runs/my")
    parser.add_argument("--out", help="folder of the versions (default: RUN/export)")
    parser.add_argument("--seconds", type=float, default=60.0, help="longest piece of one request (default: 60)")
    parser.add_argument("--batch", type=int, default=16, help="most pieces of one request (default: 16)")
    parser.add_argument("--prime-seconds", type=float, default=30.0, help="longest prime (default: 30)")
    parser.add_argument("--step-seconds", type=float, default=0.5, help="audio of a stream's step (default: 0.5)")
    return parser


if __name__ == "__main__":
    run_command(main)
