"""One number for how like its song a piece is: 0 is the best noise, 100 is real audio of the song that no model saw.

    judge = make_judge(training, held_out, rate)   # looks at the song, once
    judge.score(piece).value                       # 0 … 100

A piece is compared with the training part by what it sounds like and how it moves (`views`), both as log-mel bands show
it and, where the extra `eval` is installed, as a pretrained network hears it (`ear`). In each of these two or four
views the kernel distance (`kernel_distance`) is d², and

    place = (d(noise) − d(piece)) / (d(noise) − d(held-out)), not under 0 and not over 1
    likeness = 100 · the mean place over the views
    score = likeness, but no more than any cap

where d(noise) is that of the nearest noise: white, pink, brown, or with the song's spectrum. A cap is

    100 · (1 − share) / (1 − usual), at most 100

for the share of a piece that is copied from the song, repeats itself, or is next to silent, beyond the share `usual`
that is so in real audio of the song: half of what is more than usual takes half of the points. Intervals come from
drawing blocks of 5 s of the piece anew; the song and the noises stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sonicrnn.copies import Copies, copies
from sonicrnn.distances import at_level, frechet, log_mel_floor
from sonicrnn.ear import Ear, load_ear
from sonicrnn.kernel_distance import Compared, Reference, block_draws, compare, interval, reference
from sonicrnn.levels import Floats, Samples, level, level_curve
from sonicrnn.originality import Originality
from sonicrnn.spectrum import LOWEST_HERTZ, bin_hertz, long_term_spectrum
from sonicrnn.views import View, log_mel_rows, movement_view, sound_view
from sonicrnn.windows import spread
from sonicrnn.yardstick import noise_like

SHORTEST_SECONDS = 2.5
FAINT_DB = 24.0  # so far under the song's level a second is next to silent
ALLOWED_COPIES = 0.1  # of a piece, however little the song repeats itself
_MOST_GAIN_DB = 12.0  # the level has its own figures
_EXCERPT_SECONDS = 9.9  # five windows of the network
_EXCERPTS, _HELD_OUT_EXCERPTS = 12, 5
_SONG_WINDOWS = 4
FRECHET_COMPONENTS = 16


@dataclass(frozen=True)
class Cap:
    """What a piece has too much of: its share of the piece and the one that is usual for the song, 0..1."""

    name: str
    share: float
    usual: float

    @property
    def most(self) -> float:
        """The points that it leaves, 0..100."""
        return 100.0 if self.share <= self.usual else 100.0 * (1.0 - self.share) / (1.0 - self.usual)


@dataclass(frozen=True)
class Seen:
    """A piece in one view: the squared kernel distance to the song with its 95 % interval, and its place.

    `place` is 0 for the best noise and 1 for held-out audio; here it may lie beyond both.
    """

    distance: float
    low: float
    high: float
    place: float


@dataclass(frozen=True)
class Score:
    """`value`: the overall score, 0..100, with its 95 % interval; nan for a song that cannot be told from noise.

    `likeness`: what it would be without caps; `seen`: by view (`network_sound`, `network_movement`, `log_mel_sound`,
    `log_mel_movement`; the first two only `with_ear`); `frechet`: distance of the first of them, with its interval.
    """

    value: float
    low: float
    high: float
    likeness: float
    seen: dict[str, Seen]
    frechet: tuple[float, float, float]
    caps: tuple[Cap, ...]
    with_ear: bool

    @property
    def capped_by(self) -> str | None:
        """The name of the cap that holds the score down, if one does."""
        least = min(self.caps, key=lambda cap: cap.most)
        return least.name if least.most < self.likeness else None

    @property
    def place(self) -> float:
        """The mean place over the views, without bounds: tells pieces apart that all score 100, or 0."""
        places = [one.place for one in self.seen.values() if not math.isnan(one.place)]
        return sum(places) / len(places) if places else math.nan


@dataclass(frozen=True, eq=False)
class Scale:
    """One view of the song, with the distances (not squared) of held-out audio and of the nearest noise."""

    name: str
    hearing: int  # which of the hearings it looks at
    view: View
    song: Reference
    real: float
    noise: float

    def compare(self, heard: Sequence[Floats]) -> Compared:
        """A piece of which this was `heard`, by each hearing, beside the song."""
        return compare(self.view(heard[self.hearing]), self.song)

    def place(self, distance: float) -> float:
        """Where a squared distance lies between the noise, 0, and held-out audio, 1; nan where these are no scale."""
        return (self.noise - _root(distance)) / (self.noise - self.real) if self.noise > self.real else math.nan


@dataclass(frozen=True, eq=False)
class Judge:
    """A song, ready to score pieces by. `make_judge` makes it."""

    rate: int
    dbfs: float
    floor_db: float
    ear: Ear | None
    scales: tuple[Scale, ...]
    copies: Copies
    usual: dict[str, float]  # by the names of the caps
    held_out: list[Floats]  # as heard

    def score(self, piece: Samples, original: Originality | None = None) -> Score:
        """The score of mono samples [n], of at least 2.5 s at the song's rate; `original` is what they copy, if known.

        Raises ValueError for a shorter piece.
        """
        if len(piece) < SHORTEST_SECONDS * self.rate:
            seconds = len(piece) / self.rate
            raise ValueError(f"{seconds:.1f} s are too short to score: {SHORTEST_SECONDS:g} s are needed")
        return self._score(self.hear(piece), self._caps(piece, original or self.copies.look([piece])[0]))

    def _score(self, heard: Sequence[Floats], caps: tuple[Cap, ...]) -> Score:
        compared = {scale.name: (scale, scale.compare(heard)) for scale in self.scales}
        drawn = {
            name: np.array([one.distance(weights) for weights in block_draws(len(one.across))])
            for name, (_, one) in compared.items()
        }
        seen = {
            name: Seen(found := one.distance(), *interval(drawn[name]), scale.place(found))
            for name, (scale, one) in compared.items()
        }
        places = np.stack([_places(scale, drawn[name]) for name, (scale, _) in compared.items()])
        most = min(cap.most for cap in caps)
        likeness = _likeness([one.place for one in seen.values()])
        low, high = interval(np.array([_likeness(draw) for draw in places.T]))
        return Score(
            value=min(likeness, most) if not math.isnan(likeness) else math.nan,
            low=min(low, most),
            high=min(high, most),
            likeness=likeness,
            seen=seen,
            frechet=self._frechet(heard),
            caps=caps,
            with_ear=self.ear is not None,
        )

    def score_held_out(self) -> Score:
        """The score of the held-out part itself: what repeats in it is by the song, so nothing caps it."""
        return self._score(self.held_out, tuple(Cap(name, usual, usual) for name, usual in self.usual.items()))

    def hear(self, samples: Samples) -> list[Floats]:
        """By each hearing, the network's first: [rows, features]."""
        return _hear(samples, self.rate, self.dbfs, self.floor_db, self.ear)

    def _caps(self, piece: Samples, original: Originality) -> tuple[Cap, ...]:
        shares = {
            "copied": min(1.0, original.copied_seconds * self.rate / len(piece)),
            "repeats itself": self.copies.repeated(piece),
            "next to silent": _faint(piece, self.rate, self.dbfs),
        }
        return tuple(Cap(name, share, self.usual[name]) for name, share in shares.items())

    def _frechet(self, heard: Sequence[Floats]) -> tuple[float, float, float]:
        scale = self.scales[0]
        song, points = (one[:, :FRECHET_COMPONENTS] for one in (scale.song.points, scale.view(heard[scale.hearing])))
        centre, covariance = song.mean(0), np.cov(song.T, bias=True)

        def distance(weights: Floats) -> float:
            if np.count_nonzero(weights) < 2:
                return math.nan
            mean = np.average(points, 0, weights)
            return frechet(mean - centre, np.cov(points.T, aweights=weights, bias=True), covariance)

        drawn = np.array([distance(weights) for weights in block_draws(len(points))])
        return (distance(np.ones(len(points))), *interval(drawn))


def make_judge(
    training: Samples,
    held_out: Samples,
    rate: int,
    *,
    window_seconds: float = 60.0,
    ear: Ear | Callable[[], Ear | None] | None = load_ear,
    seed: int = 0,
) -> Judge:
    """Look at a song.

    Args:
        training: mono samples [n], full scale ±1.0, at `rate` Hz, of at least 3 s.
        held_out: real audio of the song that the model did not learn, as long: what 100 is.
        window_seconds: how long the pieces are, at most; what is usual for the song is told by windows of this length.
        ear: the pretrained network, None to do without; by default it is loaded where it is installed.
        seed: of the noises.
    """
    ear = ear() if callable(ear) else ear
    window = min(round(window_seconds * rate), len(training), len(held_out))
    excerpts = spread(training, min(round(_EXCERPT_SECONDS * rate), len(training)), _EXCERPTS)
    real = spread(held_out, min(round(_EXCERPT_SECONDS * rate), len(held_out)), _HELD_OUT_EXCERPTS)
    dbfs, floor_db = level(training, rate), log_mel_floor(excerpts, rate)

    def hear(samples: Samples) -> list[Floats]:
        return _hear(samples, rate, dbfs, floor_db, ear)

    song = [list(one) for one in zip(*map(hear, excerpts), strict=True)]  # [hearings][excerpts]
    held = [list(one) for one in zip(*map(hear, real), strict=True)]
    noises = [hear(noise) for noise in _noises(excerpts, rate, dbfs, seed)]
    scales = []
    for hearing, name in enumerate(["network", "log_mel"] if ear else ["log_mel"]):
        for what, make in (("sound", sound_view), ("movement", movement_view)):
            view = make(song[hearing])
            to = reference(np.concatenate([view(rows) for rows in song[hearing]]))
            nearest = min(compare(view(noise[hearing]), to).distance() for noise in noises)
            distance = compare(view(np.concatenate(held[hearing])), to).distance()
            scales.append(Scale(f"{name}_{what}", hearing, view, to, _root(distance), _root(nearest)))
    found = copies(training, held_out, rate, window, dbfs, floor_db)
    own = [*spread(training, window, _SONG_WINDOWS), *spread(held_out, window, _SONG_WINDOWS)]
    halves = spread(held_out, max(1, min(window, len(held_out) // 2)), _SONG_WINDOWS)  # where rests weigh most
    usual = {
        "copied": max(ALLOWED_COPIES, found.usual_share),
        "repeats itself": max(found.repeated(one) for one in own),
        "next to silent": max(_faint(one, rate, dbfs) for one in (*own, *halves)),
    }
    return Judge(rate, dbfs, floor_db, ear, tuple(scales), found, usual, [np.concatenate(one) for one in held])


def _hear(samples: Samples, rate: int, dbfs: float, floor_db: float, ear: Ear | None) -> list[Floats]:
    same_level = at_level(samples, rate, dbfs, _MOST_GAIN_DB)
    rows = [log_mel_rows(same_level, rate, floor_db)]
    return [np.asarray(ear.hear(same_level, rate), np.float64), *rows] if ear else rows


def _noises(excerpts: Sequence[Samples], rate: int, dbfs: float, seed: int) -> list[Samples]:
    """White, pink and brown noise, and noise with the song's spectrum, at the song's level."""
    own = np.mean([long_term_spectrum(one, rate) for one in excerpts], axis=0)
    hertz = np.maximum(LOWEST_HERTZ, bin_hertz(rate))
    samples, random = round(_EXCERPT_SECONDS * rate), np.random.default_rng(seed)
    shapes = (np.ones_like(hertz), 1.0 / hertz, 1.0 / hertz**2, own)
    return [noise_like(shape, samples, rate, dbfs, random) for shape in shapes]


def _faint(samples: Samples, rate: int, dbfs: float) -> float:
    """The share of the seconds that are next to silent, beside the song's level."""
    return float(np.mean(level_curve(samples, rate) < dbfs - FAINT_DB))


def _root(squared: float) -> float:
    return math.sqrt(max(0.0, squared))


def _places(scale: Scale, distances: Floats) -> Floats:
    return np.array([scale.place(distance) for distance in distances])


def _likeness(places: Sequence[float] | Floats) -> float:
    """100 · the mean of the places, none under 0 and none over 1; nan without any."""
    known = np.asarray(places)[~np.isnan(places)]
    return 100.0 * float(np.clip(known, 0.0, 1.0).mean()) if len(known) else math.nan
