"""What `encode` takes, and what it says of what it does not take. Run: pytest tests/codecs/test_media.py"""

import struct
import zlib

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


#: Modes of PIL, the steps from RGB to them, and how far they stay from the original on average.
MODES = {
    "RGB": ("RGB", 1e-6), "RGBX": ("RGBX", 1e-6), "RGBA": ("RGBA", 1e-6), "RGBa": ("RGBA RGBa", 1e-6), "L": ("L", 0.01),
    "LA": ("LA", 0.01), "La": ("LA La", 0.01), "CMYK": ("CMYK", 0.01), "YCbCr": ("YCbCr", 0.02), "HSV": ("HSV", 0.02),
    "P": ("P", 0.1), "PA": ("P PA", 0.1), "1": ("1", 0.5),
}  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pil(mode):
    steps, tolerance = MODES[mode]
    image, expected = Image.fromarray(RGB), UNIT
    for step in steps.split():
        image = image.convert(step)
    if mode in ("L", "LA", "La"):
        expected = (UNIT * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0).expand(3, -1, -1)
    x = as_image(image, (0.0, 1.0))
    assert image.mode == mode and x.shape == (3, 6, 9) and (x - expected).abs().mean() < tolerance


def test_16_bits_of_nearly_black_stay_nearly_black(tmp_path):
    dark = np.array([[0, 1], [1, 0]], np.uint16)
    Image.fromarray(dark).save(tmp_path / "x.png")
    for form in (tmp_path / "x.png", Image.fromarray(dark), Image.fromarray(dark.astype(np.int32)), dark, dark.astype(">u2")):
        assert torch.allclose(as_image(form, (0.0, 1.0))[0], torch.from_numpy(dark.astype(np.float32)) / 65535)


@pytest.mark.parametrize("values", [np.int32([[0, 70000]]), np.int32([[-1, 0]]), np.float32([[0, 1.5]]), np.float32([[np.nan, 0]])])
def test_deep_grey_out_of_range_is_not_clipped_in_silence(values):
    with pytest.raises(MediaError, match="Rescale"):
        as_image(Image.fromarray(values), (0.0, 1.0))


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-1.0, 1.0)])
def test_alpha_of_floats_is_a_share(value_range):
    low, high = value_range
    colour, alpha = UNIT * (high - low) + low, torch.linspace(0, 1, 54).view(1, 6, 9)
    x = as_image(torch.cat([colour, alpha]), value_range)
    assert torch.allclose(x, colour * alpha + high * (1 - alpha), atol=1e-6)
    with pytest.raises(MediaError, match="alpha"):
        as_image(torch.cat([colour, alpha * 2 - 1]), value_range)


def test_transparent_palette(tmp_path):
    image = Image.fromarray(RGB).quantize(16)
    image.save(tmp_path / "x.gif", transparency=int(np.asarray(image)[2, 3]))
    x = as_image(tmp_path / "x.gif", (0.0, 1.0))
    assert torch.equal(x[:, 2, 3], torch.ones(3)) and x.min() < 0.5


def test_low_and_narrow_pictures_are_not_taken_for_channels():
    for shape in ((3, 50, 3), (4, 50, 3), (1, 9, 4), (50, 3, 3)):
        array = np.zeros(shape, np.uint8)
        array[..., 0] = 255  # red
        if shape[2] == 4:
            array[..., 3] = 255
        x = as_image(array, (0.0, 1.0))
        assert x.shape == (3, *shape[:2]) and torch.equal(x.amax((1, 2)), torch.tensor([1.0, 0, 0]))
    assert as_image(torch.zeros(3, 50, 3, dtype=torch.uint8), (0.0, 1.0)).shape == (3, 50, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    turned = UNIT.flip(2) if orientation in (2, 4, 5, 7) else UNIT
    turned = turned.rot90({1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}[orientation], (1, 2))
    for form in (tmp_path / "x.png", Image.open(tmp_path / "x.png")):
        assert torch.equal(as_image(form, (0.0, 1.0)), turned)


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(media, "MAX_PIXELS", 50)
    Image.fromarray(RGB).save(tmp_path / "x.png")
    for form in (tmp_path / "x.png", Image.fromarray(RGB)):
        with pytest.raises(MediaError, match="refused"):
            as_image(form, (0.0, 1.0))


def test_a_small_file_that_claims_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(MediaError, match=r"bomb\.png"):
        as_image(tmp_path / "bomb.png", (0.0, 1.0))


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
