"""What a person looks at and listens to while a run goes on.

    pytest tests/train/test_preview.py
"""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tokenzoo.train.log import RunLog
from tokenzoo.train.preview import AudioPreview, ImagePreview, spectrogram_picture


@pytest.mark.parametrize("channels", [1, 3])
def test_grid_has_originals_above_reconstructions(tmp_path, channels):
    x = torch.stack([torch.full((channels, 4, 5), v) for v in (0.0, 0.5)])
    ImagePreview((0.0, 1.0)).write(tmp_path, x, x + 0.5)
    grid = np.asarray(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (8, 10, 3)
    assert [grid[0, 0, 0], grid[0, 9, 0], grid[7, 0, 0], grid[7, 9, 0]] == [0, 128, 128, 255]


def test_sounds_are_written_as_pairs(tmp_path):
    x = torch.linspace(-1, 1, 4000).view(2, 1, 2000)
    shown = AudioPreview(8000).write(tmp_path, x, 2 * x)
    wave, rate = soundfile.read(tmp_path / "01-original.wav")
    assert rate == 8000
    assert np.allclose(wave, x[1, 0], atol=1e-4)
    assert np.abs(soundfile.read(tmp_path / "00-reconstruction.wav")[0]).max() <= 1
    assert Image.open(tmp_path / "spectrograms.png").size == (640, 320)
    assert shown["spectrograms"][0] == "image"
    assert shown["00-original"][2] == 8000


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
