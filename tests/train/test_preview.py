"""What a person looks at and listens to while a run goes on.

    pytest tests/train/test_preview.py
"""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tokenzoo.train.drawing import Axis, sheet, ticks
from tokenzoo.train.files import parse_run
from tokenzoo.train.log import RunLog
from tokenzoo.train.loop import train
from tokenzoo.train.preview import AudioPreview, ImagePreview, spectrogram_picture
from train_media import audio_run, write_sounds


def where(picture, colour):
    """Edges of the area of one colour: (top, bottom, left, right), inclusive; smooth letters have some pixels of any grey."""
    found = (picture == colour).all(-1)
    rows, columns = (np.nonzero(found.sum(axis) > 50)[0] for axis in (1, 0))
    return rows[0], rows[-1], columns[0], columns[-1]


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_has_originals_above_reconstructions(tmp_path, channels):
    x = torch.stack([torch.full((channels, 64, 100), v) for v in (0.0, 0.25)])
    shown = ImagePreview((0.0, 1.0)).write(tmp_path, x, x + 0.5, names=["photos/a.png", "photos/b.png"])
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert np.array_equal(shown["grid"][1], grid)
    places = [where(grid, value) for value in (0, 64, 128, 191)]  # drawn twice as large
    assert [(b - t + 1, r - l + 1) for t, b, l, r in places] == [(128, 200)] * 4
    first, second, below, last = places
    assert first[:2] == second[:2] and below[:2] == last[:2] and first[1] < below[0]
    assert first[2:] == below[2:] and second[2:] == last[2:] and first[3] < second[2]
    dark = grid.sum(-1) < 300
    assert dark[first[0] : first[1], : first[2] - 2].any() and dark[below[0] : below[1], : first[2] - 2].any()  # names of the rows
    assert dark[: first[0] - 2, first[2] :].any()  # names of the files
    assert dark[below[1] + 3 :].any()  # the note


def test_many_pictures_go_on_below():
    cells = [[np.full((10, 300, 3), 7, np.uint8)] * 8] * 2
    wide = sheet(cells, rows=["one", "two"], columns=[str(i) for i in range(8)], width=10_000)
    folded = sheet(cells, rows=["one", "two"], columns=[str(i) for i in range(8)])
    assert folded.shape[1] <= 1800 < wide.shape[1]
    assert folded.shape[0] > 1.8 * wide.shape[0]
    assert (folded == 7).all(-1).sum() == (wide == 7).all(-1).sum() == 16 * 3000


def test_sounds_are_written_as_pairs(tmp_path):
    x = torch.linspace(-1, 1, 4000).view(2, 1, 2000)
    shown = AudioPreview(8000).write(tmp_path, x, 2 * x)
    wave, rate = soundfile.read(tmp_path / "01-original.wav")
    assert rate == 8000
    assert np.allclose(wave, x[1, 0], atol=1e-4)
    assert np.abs(soundfile.read(tmp_path / "00-reconstruction.wav")[0]).max() <= 1
    assert np.array_equal(np.asarray(Image.open(tmp_path / "spectrograms.png")), shown["spectrograms"][1])
    assert shown["spectrograms"][0] == "image"
    assert shown["00-original"][2] == 8000


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0, 8, 5, [0, 2, 4, 6, 8]),
        (0, 11.025, 6, [0, 5, 10]),
        (0, 1.2, 5, [0, 0.5, 1]),
        (0, 0.2, 5, [0, 0.05, 0.1, 0.15, 0.2]),
        (-100, 0, 5, [-100, -50, 0]),
        (0, 24, 8, [0, 5, 10, 15, 20]),
    ],
)
def test_numbers_of_an_axis_are_round(low, high, most, expected):
    assert ticks(low, high, most) == pytest.approx(expected)


def test_axes_point_where_they_say():
    """A mark stands beside the row and column of pixels that its number names."""
    cell = np.full((161, 321, 3), 200, np.uint8)
    picture = sheet([[cell]], rows=["a"], columns=["b"], x=Axis("time (s)", 0, 4), y=Axis("frequency (kHz)", 0, 8))
    top, bottom, left, right = where(picture, 200)
    line = 110
    marks_y = [r - top for r in range(top - 2, bottom + 3) if (picture[r, left - 5 : left - 2] == line).all()]
    marks_x = [c - left for c in range(left, right + 1) if (picture[bottom + 3 : bottom + 5, c] == line).all()]
    assert marks_y == [0, 40, 80, 120, 160]  # 8, 6, 4, 2, 0 kHz
    assert marks_x == [0, 80, 160, 240, 320]  # 0, 1, 2, 3, 4 s


def test_a_run_names_the_items_of_its_previews(tmp_path):
    sounds = write_sounds(tmp_path / "sounds", 3)
    every = {"log": 0, "checkpoint": 0, "preview": 2, "preview_items": 2, "validate": 0}
    run = audio_run(sounds, tmp_path / "out", steps=2, every=every)
    train(parse_run(run))
    folder = tmp_path / "out" / "previews" / "00000002"
    lines = (folder / "items.txt").read_text().splitlines()
    assert [(line[:2], line.rpartition("/")[2]) for line in lines] == [("00", "000.wav"), ("01", "001.wav")]
    assert Image.open(folder / "spectrograms.png").width > 640


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_spectrogram_shows_a_tone_at_its_height(share):
    wave = torch.sin(torch.arange(16000) * torch.pi * share)[None]
    picture = spectrogram_picture(wave, height=100, width=50)
    assert picture.shape == (100, 50, 3)
    brightest = 99 - int(picture[:, 25].astype(int).sum(axis=1).argmax())
    assert abs(brightest - 100 * share) <= 2
    assert picture[:, 25].sum(axis=1).min() < 60


def test_lines_of_a_run_that_is_not_on_a_terminal(tmp_path, capsys):
    log = RunLog(tmp_path, start=10, steps=20, seconds=100.0, tensorboard=False)
    log.metrics(11, {"loss/mel": 0.5})
    log.summary(11, {"mel": 0.5})
    log.close()
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert (line["step"], line["loss/mel"]) == (11, 0.5)
    assert line["seconds"] >= 100
    text = capsys.readouterr().err
    assert all(word in text for word in ("step 11/20", "steps/s", "left", "mel 0.5"))


def test_progress_bar_of_a_run_on_a_terminal(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    log = RunLog(tmp_path, start=0, steps=20, tensorboard=False)
    log.advance(5)
    log.summary(5, {"mel": 0.25})
    log.say("a line above the bar")
    log.close()
    text = capsys.readouterr().err
    assert "a line above the bar" in text
    assert "5/20" in text
    assert "mel 0.25" in text


def test_processes_but_the_first_are_silent(tmp_path, capsys):
    log = RunLog(tmp_path, start=0, steps=2, active=False)
    log.metrics(1, {"a": 1.0})
    log.summary(1, {"a": 1.0})
    log.say("nothing")
    log.media(1, {})
    log.close()
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().err == ""
