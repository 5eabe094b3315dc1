"""Pictures are real PNGs of a sensible size, and what is in them follows the data."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.figure import Figure
from PIL import Image

from sonicrnn import drawing, pictures

RATE = 8_000


def tone(seconds: float, hertz: float = 440.0, amplitude: float = 0.5) -> npt.NDArray[np.float32]:
    time = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(drawing.png_bytes(figure))).convert("RGB"))


def every_picture() -> dict[str, Figure]:
    noise = np.random.default_rng(0).normal(size=(40, 12))
    return {
        "waveform": pictures.waveform(tone(3), RATE, "three seconds"),
        "short waveform": pictures.waveform(tone(0.05), RATE),
        "spectrogram": pictures.spectrogram(tone(3), RATE, "spectrogram"),
        "linear spectrogram": pictures.spectrogram(tone(3), RATE, log=False, start_seconds=100.0),
        "levels": pictures.level_curves({"song": tone(8), "piece": tone(5, amplitude=0.1)}, RATE),
        "learning": pictures.learning_curves({"epoch": [1, 2], "loss": [2.0, 1.0], "val_loss": [2.1, None]}),
        "frame": pictures.target_against_prediction(tone(0.1), 0.3 * tone(0.1)),
        "sequence": pictures.target_against_prediction(noise, 0.5 * noise),
        "similarity": pictures.self_similarity(noise @ noise.T, 0.5),
        "similarities": pictures.self_similarities({"a": noise @ noise.T, "b": noise[:9] @ noise[:9].T}, 2.0, "dB"),
        "curve": pictures.curve_along(np.arange(9.0), np.arange(9.0), "per minute", marks=[4.0]),
    }


def test_every_picture_is_a_small_png_with_something_in_it() -> None:
    for name, figure in every_picture().items():
        content = drawing.png_bytes(figure)
        assert content.startswith(b"\x89PNG"), name
        assert len(content) < 250_000, name
        image = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
        assert image.shape[1] >= 700, name
        assert np.std(image) > 5, name
        assert image[0, 0] == 255, name  # light background


def test_nothing_here_touches_pyplot() -> None:
    code = (
        "import sys, numpy as np; from sonicrnn import drawing, pictures;"
        "drawing.png_bytes(pictures.waveform(np.ones(9), 9)); print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_same_data_same_bytes_in_any_thread() -> None:
    made: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: made.append(drawing.png_bytes(pictures.waveform(tone(2), RATE))))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 1
    assert len(made) == 3


def test_waveform_of_a_long_song_keeps_single_samples() -> None:
    song = 0.1 * tone(60)
    song[RATE * 30] = 0.9  # one click among 480,000 samples
    axes = pictures.waveform(song, RATE).axes[0]
    assert axes.get_ylim()[1] > 0.9
    highest = max(path.vertices[:, 1].max() for path in axes.collections[0].get_paths())
    assert highest == pytest.approx(0.9)


def test_waveforms_compare_at_a_given_limit_and_place() -> None:
    axes = pictures.waveform(0.1 * tone(2), RATE, start_seconds=60.0, limit=0.8).axes[0]
    assert axes.get_ylim() == pytest.approx((-0.84, 0.84))
    assert axes.get_xlim() == pytest.approx((60.0, 62.0))


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("hertz", [200.0, 1_000.0, 3_000.0])
def test_spectrogram_shows_a_tone_where_and_as_loud_as_it_is(hertz: float, log: bool) -> None:
    levels, rows = pictures._spectrogram_columns(tone(4, hertz, amplitude=0.1), RATE, log)
    loudest = rows[np.argmax(levels[5:-5].mean(axis=0))]
    assert loudest == pytest.approx(hertz, rel=0.04, abs=20)
    assert levels[10].max() == pytest.approx(-20, abs=4)  # of a full-scale sine
    assert np.median(levels) < -80


def test_spectrogram_of_a_long_song_reads_little_of_it() -> None:
    class Counting:
        """A song of three hours that is not in memory: silence first, then a tone."""

        def __init__(self) -> None:
            self.read = 0

        def __len__(self) -> int:
            return 3 * 3600 * RATE

        def __getitem__(self, part: slice) -> npt.NDArray[np.float64]:
            self.read += part.stop - part.start
            time = np.arange(part.start, min(part.stop, len(self)))
            return np.sin(2 * np.pi * 440 / RATE * time) * (time > len(self) // 2)

    song = Counting()
    levels, _ = pictures._spectrogram_columns(song, RATE, log=True)  # type: ignore[arg-type]
    assert levels.shape[0] == pictures.COLUMNS
    assert song.read < 15_000_000
    assert levels[300].max() < -150
    assert levels[700].max() > -10


def test_spectrograms_share_one_colour_scale() -> None:
    loud, quiet = (pictures.spectrogram(tone(2, amplitude=a), RATE).axes[0].images[0] for a in (0.9, 0.001))
    assert loud.get_clim() == quiet.get_clim() == pictures.SPECTROGRAM_DBFS
    assert not np.array_equal(loud.get_array(), quiet.get_array())


def test_level_curves_stand_at_the_level() -> None:
    axes = pictures.level_curves({"loud": tone(10, amplitude=1.0), "silent": np.zeros(RATE * 5)}, RATE).axes[0]
    loud, silent = axes.get_lines()
    np.testing.assert_allclose(loud.get_ydata(), -3.01, atol=0.1)
    np.testing.assert_allclose(silent.get_ydata(), pictures.LEVEL_DBFS[0])
    assert axes.get_ylim() == pictures.LEVEL_DBFS
    assert loud.get_linestyle() != silent.get_linestyle()
    assert loud.get_color() != silent.get_color()


def test_learning_curves_pair_training_with_validation() -> None:
    history = {"epoch": [1, 2, 3], "loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 2.5, float("nan")], "seconds": [1, 1, 1]}
    figure = pictures.learning_curves(history, "a run")
    losses, seconds = figure.axes
    assert [line.get_label() for line in losses.get_lines()] == ["training", "validation"]
    assert losses.get_ylabel() == "loss"
    assert seconds.get_ylabel() == "seconds"
    assert list(losses.get_lines()[0].get_xdata()) == [1, 2, 3]


@pytest.mark.parametrize("history", [{}, {"epoch": []}, {"loss": []}, {"epoch": [1], "loss": [0.5]}])
def test_learning_curves_can_be_drawn_from_the_start(history: dict[str, list[float]]) -> None:
    assert pixels(pictures.learning_curves(history)).size > 0


def test_target_and_prediction_are_drawn_at_one_scale() -> None:
    above, below = pictures.target_against_prediction(tone(0.1), 5 * tone(0.1)).axes
    assert above.get_ylim() == below.get_ylim() == pytest.approx((-0.55, 0.55), abs=0.01)
    noise = np.random.default_rng(0).normal(size=(20, 8))
    first, second = [
        axes.images[0] for axes in pictures.target_against_prediction(noise, 9 * noise).axes if axes.images
    ][:2]
    assert first.get_clim() == second.get_clim() == (noise.min(), noise.max())
    with pytest.raises(ValueError, match="one shape"):
        pictures.target_against_prediction(tone(1), tone(2))


def test_pictures_of_next_to_nothing_can_be_drawn() -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(1, np.float32), tone(0.01)):
        for figure in (
            pictures.waveform(samples, RATE),
            pictures.spectrogram(samples, RATE),
            pictures.level_curves({"a": samples}, RATE),
        ):
            assert pixels(figure).size > 0
    assert pixels(pictures.curve_along(np.zeros(1), np.full(1, np.nan), "none")).size > 0


def test_times_are_written_as_a_musician_reads_them() -> None:
    assert drawing.clock_text(0.25, span=1) == "0.25 s"
    assert drawing.clock_text(60.5, span=1) == "1:00.5"
    assert drawing.clock_text(90, span=300) == "1:30"
    assert drawing.clock_text(3725, span=10_000) == "1:02:05"
    marks = drawing.clock_locator(297).tick_values(0, 297)
    assert np.all(marks % 30 == 0)


def test_a_picture_is_saved_whole_with_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "wave.png"
    drawing.save_figure(path, pictures.waveform(tone(1), RATE))
    assert Image.open(path).format == "PNG"
    assert [entry.name for entry in path.parent.iterdir()] == ["wave.png"]


def test_the_times_under_pictures_of_likeness_in_a_row_do_not_touch() -> None:
    for seconds in (90, 600, 3500, 12_000):
        figure = pictures.self_similarities({name: np.eye(60) for name in "abc"}, seconds / 60, "dB")
        figure.draw_without_rendering()
        for axes in figure.axes[:3]:
            boxes = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
            shown = [box for box in boxes if axes.bbox.x0 - 1 <= (box.x0 + box.x1) / 2 <= axes.bbox.x1 + 1]
            assert len(shown) >= 3, seconds
            assert all(one.x1 + 2 < other.x0 for one, other in itertools.pairwise(shown)), seconds
