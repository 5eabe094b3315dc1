"""Is it new? The nearest passage of the song to each stretch of a piece, and how many seconds are copied.

Stretches of 2 s are compared as log-mel pictures whose every band is freed of its mean: level, tone colour and phases
do not count, only what happens when in which band. The likeness of two is their normalised correlation: about 0.1
for noise, 0.2 to 0.5 for other music, 0.4 to 0.9 for another passage of the same song, 0.95 and more for a copy, also
one with other phases, another level, or noise 20 dB under it. A copy at another speed or pitch goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sonicrnn.levels import Samples
from sonicrnn.spectrum import HOPS_A_FRAME, frame_and_hop, log_mel

Pictures = npt.NDArray[np.float32]

STRETCH_SECONDS = 2.0
STEP_SECONDS = 0.5  # between the stretches of a piece; in the song every 16 ms starts one
LEAST_COPY, SUREST_COPY = 0.9, 0.95  # the bounds of the threshold
ORDINARY_SHARE = 0.95
BANDS = 32
# A picture has a row every 64 ms, which is blurred over 128 ms: at the worst a copy then lies 8 ms beside the rows of
# the song's pictures, and is still 0.99 like them, attacks and all.
_HOPS_A_ROW = 4
_BLUR = np.array([1, 2, 3, 4, 4, 3, 2, 1], np.float32) / 20.0
CLOSEST = 3
_STILL = 0.99  # the squared length of a picture that was too faint to be brought to 1
_FAINTEST_DB = 0.5  # a picture that moves less than this holds nothing to recognise
_SONG_SECONDS_AT_ONCE = 120


@dataclass(frozen=True)
class Nearest:
    """One stretch of a piece and the passage of the song that is most like it. Seconds are those of its start."""

    piece_seconds: float
    song_seconds: float
    likeness: float


@dataclass(frozen=True)
class Passage:
    """Copied without a break: seconds in the piece and in the song, and the mean likeness."""

    piece_seconds: float
    song_seconds: float
    seconds: float
    likeness: float


@dataclass(frozen=True)
class Originality:
    """What is copied. `likeness`: the median over the stretches; `nearest`: the stretch with the highest."""

    copied_seconds: float
    likeness: float
    nearest: Nearest
    passages: tuple[Passage, ...]  # the longest first
    closest: tuple[Nearest, ...] = ()  # the likeliest stretches, copied or not, that do not overlap in the piece


@dataclass(frozen=True, eq=False)
class Pictured:
    """The stretches of a piece, ready to be looked for: [stretches, bands · rows], each of length 1."""

    pictures: Pictures
    step_seconds: float


def _blurred(bands: Pictures) -> Pictures:
    """Log-mel rows [time, 2 · bands] blurred in time: [time, bands] in dB, one every 16 ms."""
    bands = bands.reshape(len(bands), BANDS, 2).mean(axis=2)
    count = max(0, len(bands) - len(_BLUR) + 1)
    rows = [weight * bands[first : first + count] for first, weight in enumerate(_BLUR)]
    return np.asarray(np.sum(rows, axis=0), np.float32)


def _pictures(blurred: Pictures, rows: int) -> Pictures:
    """The picture that starts at each row, [places, bands, rows]; a view."""
    if len(blurred) < _HOPS_A_ROW * (rows - 1) + 1:
        return np.empty((0, BANDS, rows), np.float32)
    return np.lib.stride_tricks.sliding_window_view(blurred, _HOPS_A_ROW * (rows - 1) + 1, axis=0)[:, :, ::_HOPS_A_ROW]


def _hop_seconds(rate: int) -> float:
    return frame_and_hop(rate)[1] / rate


def _rows(rate: int) -> int:
    """Rows of a picture: what fits into 2 s, with the blur and the width of an analysis frame."""
    hops = STRETCH_SECONDS / _hop_seconds(rate) - len(_BLUR) - HOPS_A_FRAME
    return 1 + int(hops / _HOPS_A_ROW)


def pictured(samples: Samples, rate: int, floor_db: float) -> Pictured:
    """The stretches of a piece. Raises ValueError when it is shorter than one (2 s)."""
    found = pictured_bands(log_mel(samples, rate, 2 * BANDS, floor_db), rate)
    if not len(found.pictures):
        raise ValueError(f"{len(samples) / rate:.1f} s are too short to look for copies of {STRETCH_SECONDS:.0f} s in")
    return found


def pictured_bands(bands: Pictures, rate: int) -> Pictured:
    """The stretches of a piece, by its log-mel rows [time, 2 · bands]; none of one that is shorter than a stretch."""
    step = max(1, round(STEP_SECONDS / _hop_seconds(rate)))
    pictures = _pictures(_blurred(bands), _rows(rate))[::step]  # [stretches, bands, rows]
    flat = (pictures - pictures.mean(axis=2, keepdims=True)).reshape(len(pictures), BANDS * _rows(rate))
    return Pictured(flat / _lengths(np.square(flat).sum(axis=1), flat.shape[1])[:, None], step * _hop_seconds(rate))


def _lengths(energy: Pictures, size: int) -> Pictures:
    return np.asarray(np.sqrt(np.maximum(energy, size * _FAINTEST_DB**2)), np.float32)


def nearest(pieces: Sequence[Pictured], song: Samples, rate: int, floor_db: float) -> list[list[Nearest]]:
    """For each piece the nearest passage of the song to each of its stretches.

    The song is read once, two minutes at a time. `floor_db` is the floor of the log-mel that the pieces were pictured
    with.
    """
    sought = np.concatenate([piece.pictures for piece in pieces])
    likeness, place = np.full(len(sought), -1.0, np.float32), np.zeros(len(sought), np.int64)
    for first, blurred in _song_blocks(song, rate, floor_db):
        correlations = _correlations(sought, _pictures(blurred, _rows(rate)))  # [stretches, places]
        best = correlations.argmax(axis=1)
        height = correlations[np.arange(len(sought)), best]
        better = height > likeness
        likeness[better], place[better] = height[better], first + best[better]
    found = zip(place * _hop_seconds(rate), likeness, strict=True)
    return [
        [Nearest(index * piece.step_seconds, *map(float, next(found))) for index in range(len(piece.pictures))]
        for piece in pieces
    ]


class Known:
    """Passages of a song that are looked through again and again: 240 kB a second are kept of them.

    Args:
        passages: log-mel rows [time, 2 · bands] each, with the floor of those of what is looked for.
        threshold: the likeness from which on a stretch is copied.
    """

    def __init__(self, passages: Sequence[Pictures], rate: int, threshold: float):
        self.rate, self.threshold = rate, threshold
        places = [_pictures(_blurred(passage), _rows(rate)) for passage in passages]
        found = [_flattened(pictures) for pictures in places if len(pictures)]
        self._flat = np.concatenate([flat for flat, _ in found]) if found else np.zeros((1, 1), np.float32)
        self._lengths = np.concatenate([lengths for _, lengths in found]) if found else np.ones(1, np.float32)

    def copied(self, bands: Pictures) -> float:
        """Which share of a piece [time, 2 · bands], 0..1, is copied from these passages, 2 s or more at a time."""
        sought = pictured_bands(bands, self.rate)
        if not len(sought.pictures) or sought.pictures.shape[1] != self._flat.shape[1]:
            return 0.0  # it is, or the passages are, shorter than a stretch
        likeness = np.max(sought.pictures @ self._flat.T / self._lengths, axis=1)
        starts = np.flatnonzero(likeness >= self.threshold) * sought.step_seconds
        seconds = (len(bands) + HOPS_A_FRAME - 1) * _hop_seconds(self.rate)
        return min(1.0, _covered(list(map(float, starts))) / seconds)


def _flattened(pictures: Pictures) -> tuple[Pictures, Pictures]:
    """[places, bands, rows] -> [places, bands · rows] and the length of each."""
    # What is sought has bands of mean 0, so that these need not be freed of theirs for the product.
    energy = pictures.shape[2] * pictures.var(axis=2).sum(axis=1)
    flat = pictures.reshape(len(pictures), -1)
    return flat, _lengths(energy, flat.shape[1])


def _song_blocks(song: Samples, rate: int, floor_db: float) -> Iterator[tuple[int, Pictures]]:
    """Yield (number of the first row, blurred rows) of blocks that overlap by a stretch, so that none is cut in two."""
    hop = frame_and_hop(rate)[1]
    block, overlap = round(_SONG_SECONDS_AT_ONCE * rate / hop), round(STRETCH_SECONDS * rate / hop)
    for first in range(0, max(1, len(song) // hop - overlap + 1), block):
        samples = song[first * hop : (first + block + overlap) * hop]
        yield first, _blurred(log_mel(samples, rate, 2 * BANDS, floor_db))


def _correlations(sought: Pictures, pictures: Pictures) -> Pictures:
    """Likeness of each sought picture with the one at each place of the song, [stretches, places]; −1 for no places."""
    if not len(pictures):
        return np.full((len(sought), 1), -1.0, np.float32)
    flat, lengths = _flattened(pictures)
    return np.asarray(sought @ flat.T / lengths, np.float32)


def copy_threshold(ordinary: Sequence[Nearest], share: float = ORDINARY_SHARE) -> float:
    """The likeness from which on a stretch counts as copied.

    So large a share of the given stretches - of held-out real audio against the training part - stay under it, but it
    is never under 0.9 and never over 0.95: a song that repeats itself exactly copies itself, and that is to be seen.
    """
    likeness = [found.likeness for found in ordinary]
    usual = float(np.quantile(likeness, share)) if likeness else 0.0
    return min(max(usual, LEAST_COPY), SUREST_COPY)


def judge(stretches: Sequence[Nearest], threshold: float) -> Originality:
    """Sum up the stretches of one piece (at least one)."""
    copied = [found for found in stretches if found.likeness >= threshold]
    return Originality(
        copied_seconds=_covered([found.piece_seconds for found in copied]),
        likeness=float(np.median([found.likeness for found in stretches])),
        nearest=max(stretches, key=lambda found: found.likeness),
        passages=tuple(sorted(_passages(copied), key=lambda passage: -passage.seconds)),
        closest=_closest(stretches),
    )


def _closest(stretches: Sequence[Nearest]) -> tuple[Nearest, ...]:
    chosen: list[Nearest] = []
    for found in sorted(stretches, key=lambda found: -found.likeness):
        if len(chosen) < CLOSEST and all(
            abs(found.piece_seconds - one.piece_seconds) >= STRETCH_SECONDS for one in chosen
        ):
            chosen.append(found)
    return tuple(chosen)


def repeated(samples: Samples, rate: int, floor_db: float, threshold: float) -> float:
    """The share of the stretches of a piece, 0..1, that sound again elsewhere in it, or in which nothing happens.

    A stretch sounds again where one that does not overlap with it is at least `threshold` like it. In a piece that is
    shorter than one (2 s) nothing does.
    """
    return repeated_bands(log_mel(samples, rate, 2 * BANDS, floor_db), rate, threshold)


def repeated_bands(bands: Pictures, rate: int, threshold: float) -> float:
    """The same of log-mel rows [time, 2 · bands]."""
    sought = pictured_bands(bands, rate)
    if not len(sought.pictures):
        return 0.0
    starts = np.arange(len(sought.pictures)) * sought.step_seconds
    correlations = _correlations(sought.pictures, _pictures(_blurred(bands), _rows(rate)))
    places = np.arange(correlations.shape[1]) * _hop_seconds(rate)
    apart = np.abs(starts[:, None] - places) >= STRETCH_SECONDS  # [stretches, places]
    again = np.max(correlations, axis=1, where=apart, initial=-1.0) >= threshold
    still = np.square(sought.pictures).sum(axis=1) < _STILL
    return float(np.mean(again | still))


def _covered(starts: Sequence[float]) -> float:
    """Seconds that stretches with these starts (in order) cover together."""
    ends = [start + STRETCH_SECONDS for start in starts]
    overlaps = sum(max(0.0, end - start) for end, start in zip(ends, starts[1:], strict=False))
    return STRETCH_SECONDS * len(starts) - overlaps


def _passages(copied: Sequence[Nearest]) -> list[Passage]:
    """Join neighbouring stretches that come from one place of the song."""
    runs: list[list[Nearest]] = []
    for found in copied:
        last = runs[-1][-1] if runs else None
        if last and _goes_on(last, found):
            runs[-1].append(found)
        else:
            runs.append([found])
    return [
        Passage(
            run[0].piece_seconds,
            run[0].song_seconds,
            run[-1].piece_seconds - run[0].piece_seconds + STRETCH_SECONDS,
            float(np.mean([found.likeness for found in run])),
        )
        for run in runs
    ]


def _goes_on(last: Nearest, found: Nearest) -> bool:
    in_piece, in_song = found.piece_seconds - last.piece_seconds, found.song_seconds - last.song_seconds
    return in_piece <= STRETCH_SECONDS and abs(in_piece - in_song) <= STEP_SECONDS / 2
