"""What a training needs before its first step: the song's encoding, its tables of frames, and the model."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import keras

from sonicrnn.adversary import Adversary
from sonicrnn.config import Settings
from sonicrnn.devices import batch_shares
from sonicrnn.encoding import FILES as ENCODING_FILES
from sonicrnn.encoding import Encoding
from sonicrnn.errors import UserError
from sonicrnn.files import write_json
from sonicrnn.fit_encoding import fit_encoding
from sonicrnn.gan import DenoisingGan
from sonicrnn.models import SongModel
from sonicrnn.pipeline import Table, check_length, fitting, make_table
from sonicrnn.run import Run
from sonicrnn.song import Normaliser, Song, cache_folder, normaliser, part_statistics
from sonicrnn.strategy import Adam, Spread
from sonicrnn.variants import other_variants, varied_length


@dataclass(frozen=True, eq=False)
class Prepared:
    """All that a training is made of."""

    run: Run
    settings: Settings
    song: Song
    encoding: Encoding
    training: Table
    validation: Table
    model: SongModel
    spread: Spread = field(default_factory=Spread)


def prepare(run: Run, settings: Settings, song: Song, spread: Spread | None = None) -> Prepared:
    """Everything up to the first step. Raises UserError when the song is another one, or too short."""
    spread = spread or Spread()
    keras.utils.set_random_seed(settings.seed)
    spread.told(lambda: _same_song(run, song))
    figures = part_statistics(song, settings.song.leak)
    by = normaliser(figures, settings.song.normalise, "training")
    encoding = _encoding_of_all(spread, run, lambda: _encoding(run, settings, song, by))
    cache = cache_folder(settings.song)
    tables = {}
    for part in ("training", "validation"):
        samples = song.part(part)
        own = replace(encoding, normaliser=normaliser(figures, settings.song.normalise, part))
        data = settings.data if part == "training" else fitting(settings.data, own, len(samples))
        others = other_variants(data.speeds, data.gains) if part == "training" else []
        check_length(data, own, len(samples), part)
        for variant in others:
            check_length(data, own, varied_length(len(samples), variant), "sped-up training")
        content = f"{song.content_hash} {song.parts[part]} {song.lead_in} {song.fade_out}"
        tables[part] = make_table(samples, own, data, cache, content, others)
    with spread.scope():
        model = make_model(settings, encoding)
        if settings.data.order == "streams":
            model.carry_state(settings.data.batch_size)
    model.shares = batch_shares(settings.data.batch_size // spread.replicas)
    return Prepared(run, settings, song, encoding, tables["training"], tables["validation"], model, spread)


def make_model(settings: Settings, encoding: Encoding) -> SongModel:
    """The model with its optimizer, its weights drawn; where it has an echo, that says what is told linearly."""
    made, adversarial = settings.train, settings.model.head.kind == "gan"
    model = (DenoisingGan if adversarial else SongModel)(encoding.dimension, settings.model, settings.seed)
    model.build((None, None, encoding.dimension))
    if settings.model.echo and encoding.transition is not None:
        model.begin_with(encoding.transition)
    optimizer = Adam(made.learning_rate, global_clipnorm=made.clip_norm)
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, jit_compile=False)
    if made.average:
        model.keep_average(made.average)
    if adversarial:
        model.meet(Adversary(settings, encoding.dimension))
    return model


def _same_song(run: Run, song: Song) -> None:
    """Raises UserError when the folder was started on other audio; else remembers this one."""
    facts = {
        "name": song.name,
        "content_hash": song.content_hash,
        "sample_rate": song.sample_rate,
        "seconds": len(song.samples) / song.sample_rate,
        "files": [str(file.path) for file in song.files],
    }
    if run.song.exists():
        before = json.loads(run.song.read_text(encoding="utf-8"))
        if before["content_hash"] != song.content_hash:
            raise UserError(
                f"{run.folder} was started on other audio ({before['name']}, {before['seconds']:.0f} s) than that of "
                f"{song.name} ({facts['seconds']:.0f} s): choose another name=, or --fresh to start over"
            )
    write_json(run.song, facts)


def _encoding_of_all(spread: Spread, run: Run, make: Callable[[], Encoding]) -> Encoding:
    """The encoding that the chief makes and saves, in all processes: a fit may end a little differently elsewhere."""
    if spread.processes == 1:
        return make()

    def packed() -> dict[str, str]:
        make()
        files = [run.folder / name for name in ENCODING_FILES]
        return {file.name: base64.b64encode(file.read_bytes()).decode() for file in files if file.exists()}

    told = spread.told(packed)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in told.items():
            (Path(folder) / name).write_bytes(base64.b64decode(content))
        return Encoding.load(Path(folder))


def _encoding(run: Run, settings: Settings, song: Song, by: Normaliser) -> Encoding:
    """That of the run where it has one, else fitted to the training part and kept in the run."""
    if (run.folder / "statistics.json").exists():
        return Encoding.load(run.folder)
    encoding = fit_encoding(song.part("training"), settings.frames, song.sample_rate, by)
    encoding.save(run.folder)
    return encoding
