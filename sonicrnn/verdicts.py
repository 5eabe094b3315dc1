"""What the figures of a piece mean, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from sonicrnn.clock import clock
from sonicrnn.distances import NAMES as LOG_MEL
from sonicrnn.judge import ALLOWED_COPIES, Score
from sonicrnn.originality import Originality
from sonicrnn.scores import HELD_OUT, Row, Verdict

# What a piece may differ by and still do as the song does.
LEVEL_DB = 3.0
LEAST_TREND = 3.0  # dB a minute: under it a minute has no trend to speak of, however steady the song is
FLATNESS_FACTOR = 1.5
PACE_FACTOR = 1.15
ONSET_FACTOR = 1.5
LEAST_VARIETY = 0.6
DRIFT_FACTOR = 1.2
OFFSET = 0.005
CLICKS_DB = 3.0
COPIED_SECONDS = 2.0  # the shortest passage that is looked for
GOOD_SCORE = 80.0
GOOD_TOLD = 0.8  # of the seconds; 0.5 is chance
CAP_WORDS = {"copied": "copied", "repeats itself": "repeating itself or still", "next to silent": "next to silent"}
_AUDIBLE_CLIPPING = 1e-5
_SILENT_SECOND = 1.0


def verdicts(name: str, rows: Mapping[str, Row], originality: Originality, score: Score) -> tuple[Verdict, ...]:
    """What is to be said of the piece `name`: score, level, faults, sound, pace, originality, in this order."""
    value = {key: row.pieces[name] for key, row in rows.items()}
    found = [
        _score(score),
        _told(name, rows.get("told")),
        _level(value, rows),
        *_faults(value, rows),
        _flatness(value["flatness"], rows["flatness"]),
        _log_mel(name, rows),
        *_pace(value, rows),
        _form(value, rows),
        _originality(originality, score),
    ]
    return tuple(verdict for verdict in found if verdict)


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return text if float(text) else "0.0"


def _score(score: Score) -> Verdict | None:
    if math.isnan(score.value):
        return None
    text = f"overall score {score.value:.0f} ({score.low:.0f} to {score.high:.0f}); 0 is noise, 100 held-out real audio"
    if score.capped_by:
        cap = next(cap for cap in score.caps if cap.name == score.capped_by)
        text += f"; {score.likeness:.0f}, were not {100 * cap.share:.0f} % of it {CAP_WORDS[cap.name]}"
        text += f" (usual for the song: up to {100 * cap.usual:.0f} %)"
    return Verdict(score.value >= GOOD_SCORE, text)


def _told(name: str, row: Row | None) -> Verdict | None:
    if row is None:  # too short to tell
        return None
    share, real = row.pieces[name], row.references[HELD_OUT]
    if math.isnan(share):
        return None
    low, high = row.intervals[name]
    bounds = f"{100 * low:.0f} to {100 * high:.0f}"
    text = f"a classifier tells {100 * share:.0f} % of its seconds from the song's ({bounds})"
    if not math.isnan(real):
        text += f", of held-out real audio {100 * real:.0f} %"
    return Verdict(share <= max(GOOD_TOLD, 0.0 if math.isnan(real) else real), text)


def _level(value: Mapping[str, float], rows: Mapping[str, Row]) -> Verdict:
    level, trend, silent = value["level"], value["trend"], value["longest_silence"]
    usual = max(abs(rows["trend"].low), abs(rows["trend"].high), LEAST_TREND)
    usual_silence = max(_SILENT_SECOND, rows["longest_silence"].high, rows["longest_silence"].references[HELD_OUT])
    complaints = []
    if abs(trend) > usual:
        complaints.append(
            f"{'fades' if trend < 0 else 'swells'}: {_signed(trend)} dB a minute (the song: up to {usual:.1f})"
        )
    if abs(level) > LEVEL_DB:
        complaints.append(f"{abs(level):.1f} dB {'under' if level < 0 else 'over'} the song's level")
    if silent > usual_silence:
        complaints.append(f"silent for {silent:.1f} s at a stretch")
    if complaints:
        return Verdict(False, "; ".join(complaints))
    return Verdict(True, f"level holds: {_signed(level)} dB against the song, {_signed(trend)} dB a minute")


def _faults(value: Mapping[str, float], rows: Mapping[str, Row]) -> list[Verdict]:
    found = []
    if value["clipping"] > max(_AUDIBLE_CLIPPING, rows["clipping"].high):
        found.append(Verdict(False, f"clips: {100 * value['clipping']:.3f} % of the samples"))
    if abs(value["offset"]) > max(OFFSET, abs(rows["offset"].low), abs(rows["offset"].high)):
        found.append(Verdict(False, f"stands off centre by {100 * value['offset']:+.2f} % of full scale"))
    if "clicks" in value and value["clicks"] > max(0.0, rows["clicks"].references[HELD_OUT]) + CLICKS_DB:
        found.append(Verdict(False, f"clicks at the borders of frames: {value['clicks']:+.1f} dB"))
    return found


def _flatness(ratio: float, row: Row) -> Verdict | None:
    if math.isnan(ratio):
        return None
    if ratio > max(FLATNESS_FACTOR, row.high):
        return Verdict(False, f"noisier than the song: spectral flatness × {ratio:.2f}")
    if ratio < min(1.0 / FLATNESS_FACTOR, row.low):
        return Verdict(False, f"more like pure tones than the song: spectral flatness × {ratio:.2f}")
    return Verdict(True, f"as noisy as the song: spectral flatness × {ratio:.2f}")


def _log_mel(name: str, rows: Mapping[str, Row]) -> Verdict | None:
    places = {key: rows[key].place(rows[key].pieces[name]) for key in LOG_MEL}
    judged = {key: place for key, place in places.items() if not math.isnan(place)}
    if not judged:
        return None
    worse = [rows[key].figure.title.removeprefix("log-mel: ") for key, place in judged.items() if place >= 0.5]
    if not worse:
        return Verdict(True, "in every log-mel figure nearer to held-out real audio than to any noise")
    return Verdict(False, f"nearer to noise than to held-out real audio in: {', '.join(worse)}")


def _pace(value: Mapping[str, float], rows: Mapping[str, Row]) -> list[Verdict]:
    speed, onsets, found = value.get("speed", math.nan), value["onsets"], []
    if math.isnan(speed):
        found.append(Verdict(False, "no pace that could be told from the song's"))
    elif speed > PACE_FACTOR:
        found.append(Verdict(False, f"too fast: {speed:.2f} times the song's pace"))
    elif speed < 1.0 / PACE_FACTOR:
        found.append(Verdict(False, f"too slow: {speed:.2f} times the song's pace"))
    else:
        found.append(
            Verdict(True, f"the song's pace ({speed:.2f} times), {value['pulsation']:.1f} pulsations a minute")
        )
    usual = rows["onsets"]
    if onsets > max(ONSET_FACTOR, usual.high) or onsets < min(1.0 / ONSET_FACTOR, usual.low):
        found.append(
            Verdict(False, f"{'more' if onsets > 1 else 'fewer'} note starts than the song: {onsets:.2f} times")
        )
    return found


def _form(value: Mapping[str, float], rows: Mapping[str, Row]) -> Verdict | None:
    if math.isnan(value.get("variety", math.nan)):  # too short for any
        return None
    variety, drift = value["variety"], value["drift"]
    figures = f"{variety:.2f} times the song's variety, far moments against near ones {drift:.2f}"
    figures += f" (the song: {rows['drift'].low:.2f}), {value['turns']:.1f} turns a minute ({rows['turns'].low:.1f})"
    if variety < LEAST_VARIETY:
        return Verdict(False, f"stands still over the minutes: {figures}")
    if drift > max(1.0, rows["drift"].low) * DRIFT_FACTOR:
        return Verdict(False, f"drifts over the minutes: {figures}")
    return Verdict(True, f"moves over the minutes and does not drift: {figures}")


def _originality(originality: Originality, score: Score) -> Verdict:
    if originality.copied_seconds < COPIED_SECONDS:
        found = originality.nearest
        where = f"{clock(found.piece_seconds)} is {found.likeness:.2f} like the song at {clock(found.song_seconds)}"
        return Verdict(True, f"copies nothing; nearest: {where}")
    longest = originality.passages[0]
    place = f"{clock(longest.song_seconds)} (at {clock(longest.piece_seconds)} of the piece)"
    text = f"copies {originality.copied_seconds:.0f} s of the song"
    one = longest.seconds >= originality.copied_seconds - 0.1
    text += f" at {place}" if one else f", the longest {longest.seconds:.0f} s at {place}"
    cap = next(cap for cap in score.caps if cap.name == "copied")
    if cap.usual > ALLOWED_COPIES:
        usual = f"real audio of the song copies up to {100 * cap.usual:.0f} % of itself"
    else:
        usual = f"up to {100 * ALLOWED_COPIES:.0f} % may pass, real audio of the song copies no more of itself"
    text += f": {100 * cap.share:.0f} % of the piece; {usual}"
    return Verdict(cap.share <= cap.usual, text)
