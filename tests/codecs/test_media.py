"""What `encode` takes, and what it says of what it does not take. Run: pytest tests/codecs/test_media.py"""

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from tokenzoo.codecs import media
from tokenzoo.codecs.media import MediaError, as_image, as_waveform

TONE = torch.sin(torch.arange(4000) * 0.05) * 0.5


# --- audio ---


def test_every_form_of_one_clip(tmp_path):
    soundfile.write(tmp_path / "x.wav", TONE.numpy(), 8000, subtype="FLOAT")
    forms = [
        (TONE, 8000),
        (TONE[None], 8000),
        (TONE.numpy(), 8000),
        (TONE.double(), 8000),
        (TONE, np.int64(8000)),
        tmp_path / "x.wav",
        str(tmp_path / "x.wav"),
    ]
    for form in forms:
        clip = as_waveform(form)
        assert clip.sample_rate_hz == 8000
        assert torch.allclose(clip.samples, TONE[None])


@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8"])
def test_pcm_integers_are_scaled(dtype):
    scale = {"int16": 32767, "int32": 2**31 - 1, "uint8": 127}[dtype]
    pcm = (TONE.double() * scale).round().numpy() + (128 if dtype == "uint8" else 0)
    assert torch.allclose(as_waveform((pcm.astype(dtype), 8000)).samples[0], TONE, atol=0.02 if dtype == "uint8" else 1e-3)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ((TONE * 30000, 8000), "Divide by the full scale"),
        ((TONE[:0], 8000), "empty"),
        ((torch.full((9,), float("nan")), 8000), "NaN"),
        ((TONE, 8000.0), "whole number of Hz"),
        ((TONE, "8000"), "whole number of Hz"),
        ((TONE, 0), "whole number of Hz"),
        ((TONE, True), "whole number of Hz"),
        ((TONE.view(2, 2, 1000), 8000), "list"),
        ((TONE.view(-1, 2), 8000), "Transpose"),
        (TONE, "pass .waveform, sample_rate"),
        ((TONE > 0, 8000), "ambiguous"),
        (3, "got int"),
        (None, "got NoneType"),
    ],
)
def test_wrong_audio_says_what_to_do(bad, says):
    with pytest.raises(MediaError, match=says):
        as_waveform(bad)


def test_missing_and_broken_sound_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        as_waveform(tmp_path / "no.wav")
    (tmp_path / "broken.wav").write_bytes(b"RIFF....WAVEnothing")
    with pytest.raises(MediaError, match="cannot read"):
        as_waveform(tmp_path / "broken.wav")


def test_resampling_keeps_a_tone():
    y = media.resample(TONE, 8000, 12000)
    assert len(y) == 6000
    expected = torch.sin(torch.arange(6000) * 0.05 * 8 / 12) * 0.5
    assert (y - expected)[200:-200].abs().max() < 1e-3


def test_channels():
    stereo = torch.stack([TONE, -TONE])
    assert torch.equal(media.to_channels(stereo, 1), torch.zeros(1, 4000))
    assert torch.equal(media.to_channels(TONE[None], 2), torch.stack([TONE, TONE]))
    with pytest.raises(MediaError, match="cannot become"):
        media.to_channels(stereo, 3)


# --- pictures ---

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
UNIT = torch.from_numpy(RGB).permute(2, 0, 1).float() / 255


def test_every_form_of_one_picture(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "x.png")
    forms = [RGB, torch.from_numpy(RGB), torch.from_numpy(RGB).permute(2, 0, 1), Image.fromarray(RGB), tmp_path / "x.png"]
    for form in forms:
        assert torch.allclose(as_image(form, (-1.0, 1.0)), UNIT * 2 - 1, atol=1e-6)
        assert torch.allclose(as_image(form, (0.0, 1.0)), UNIT, atol=1e-6)
    assert torch.allclose(as_image(UNIT * 2 - 1, (-1.0, 1.0)), UNIT * 2 - 1)
    assert torch.allclose(as_image(UNIT.permute(1, 2, 0).numpy(), (0.0, 1.0)), UNIT)


def test_grey_alpha_palette_cmyk_and_16_bits(tmp_path):
    grey = RGB[:, :, 0]
    for form in (grey, Image.fromarray(grey), grey.astype(np.uint16) * 257, Image.fromarray(grey.astype(np.uint16) * 257)):
        x = as_image(form, (0.0, 1.0))
        assert x.shape == (3, 6, 9)
        assert torch.allclose(x[0], torch.from_numpy(grey).float() / 255, atol=1e-3)
    rgba = np.dstack([RGB, np.zeros((6, 9), np.uint8)])  # wholly transparent: white
    for form in (rgba, Image.fromarray(rgba)):
        assert torch.allclose(as_image(form, (0.0, 1.0)), torch.ones(3, 6, 9))
    assert torch.allclose(as_image(Image.fromarray(RGB).convert("CMYK"), (0.0, 1.0)), UNIT, atol=0.02)
    palette = Image.fromarray(RGB).quantize(256)
    assert (as_image(palette, (0.0, 1.0)) - UNIT).abs().mean() < 0.1


def test_exif_orientation_is_applied(tmp_path):
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "x.png", exif=exif)
    assert torch.equal(as_image(tmp_path / "x.png", (0.0, 1.0)), UNIT.rot90(-1, (1, 2)))


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "MAX_PIXELS", 50)
    Image.fromarray(RGB).save(tmp_path / "x.png")
    for form in (tmp_path / "x.png", Image.fromarray(RGB)):
        with pytest.raises(MediaError, match="refused"):
            as_image(form, (0.0, 1.0))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (UNIT * 255, "Rescale"),
        (UNIT - 3, "Rescale"),
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.zeros(2, 3, 4, 4), "list"),
        (torch.zeros(5, 6, 7), "expected"),
        (torch.zeros(3, 0, 4), "expected"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "ambiguous"),
        ("no such file", "no such file"),
        (3, "got int"),
    ],
)
def test_wrong_pictures_say_what_to_do(bad, says):
    with pytest.raises((MediaError, FileNotFoundError), match=says):
        as_image(bad, (-1.0, 1.0))


def test_a_broken_picture_file(tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(MediaError, match="cannot read"):
        as_image(path, (-1.0, 1.0))


def test_a_likely_wrong_range_warns():
    with pytest.warns(UserWarning, match=r"x \* 2 - 1"):
        as_image(UNIT, (-1.0, 1.0))
