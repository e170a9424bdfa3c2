"""Pictures of any size in, and the same size out, whatever the resize policy. Run: pytest tests/image/test_picture_sizes.py"""

import pytest
import torch
from families import TINY
from PIL import Image
from tokenzoo import Tokens, build_tokenizer
from tokenzoo.codecs.image.base import ImageTokenizer, resize_image
from torch.testing import assert_close

ONE_SIZE = ["titok", "karl", "alit"]


def build(label: str) -> ImageTokenizer:
    family, config = TINY[label]
    return build_tokenizer(family, config).eval()


def picture(height: int, width: int) -> torch.Tensor:
    """A smooth slope in 0..1, so that resizing and cutting can be told apart."""
    rows, columns = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)[None]
    return torch.stack([rows.expand(height, width), columns.expand(height, width), rows * columns])


@pytest.fixture
def echo(monkeypatch):
    """A tokenizer whose decoder gives back the very picture that its encoder saw."""
    tok, seen = build("titok"), []
    encode = tok.encode_latents
    monkeypatch.setattr(tok, "encode_latents", lambda x: seen.append(x) or encode(x))
    monkeypatch.setattr(tok, "decode_latents", lambda z_q, grid=None, **_: seen[-1])
    return tok


@pytest.mark.parametrize("label", ONE_SIZE)
@pytest.mark.parametrize("size", [(16, 16), (40, 23), (9, 64), (1, 1), (1, 300), (300, 2)])
def test_squash_gives_back_the_size_and_crop_that_of_what_it_kept(label, size):
    tok, x = build(label), picture(*size)
    low, high = tok.spec.value_range
    x = x * (high - low) + low
    assert tok.decode(tok.encode(x, resize="squash")).shape[-2:] == size
    assert tok.decode(tok.encode(x, resize="crop")).shape[-2:] == (min(size), min(size))
    assert tok.decode(tok.encode(x, resize="squash"), original=False).shape[-2:] == tok.spec.image_size


def test_the_policy_travels_with_the_tokens(echo, tmp_path):
    x = picture(48, 30)
    tokens = echo.encode(x, resize="squash")
    tokens.save(tmp_path / "t.tok")
    assert_close(echo.decode(Tokens.load(tmp_path / "t.tok"))[0], x, atol=0.03, rtol=0)
    kept = echo.decode(echo.encode(x, resize="crop"))[0]
    assert_close(kept, x[:, 9:39], atol=0.03, rtol=0)
    assert echo.spec.resize == "crop" and torch.equal(echo.decode(echo.encode(x))[0], kept)


def test_pictures_of_several_sizes_each_get_their_own(echo):
    decoded = echo.decode(echo.encode([picture(20, 30), picture(8, 8), picture(16, 16)], resize="squash"))
    assert [tuple(y.shape) for y in decoded] == [(3, 20, 30), (3, 8, 8), (3, 16, 16)]


def test_native_takes_no_other_size():
    tok = build("titok")
    side = tok.spec.image_size[0]
    assert tok.decode(tok.encode(picture(side, side), resize="native")).shape[-2:] == tok.spec.image_size
    with pytest.raises(ValueError, match="resize="):
        tok.encode(picture(side, side + 1), resize="native")


@pytest.mark.parametrize("size", [(1, 1), (1, 97), (97, 1), (3, 2)])
@pytest.mark.parametrize("label", ["vqgan", "convnet"])
def test_size_free_families_take_lines_and_dots(label, size):
    tok = build(label)
    x = picture(*size) * 2 - 1
    tokens = tok.encode(x)
    assert tokens.grid == tuple(-(-n // tok.spec.stride) for n in size)
    assert tok.decode(tokens).shape == (1, 3, *size)


def test_a_line_of_pixels_does_not_fill_the_memory():
    x = torch.rand(3, 1, 50_000)
    y = resize_image(x, (64, 64), crop=True, value_range=(0.0, 1.0))  # whole at that scale: 64 x 3,200,000
    assert y.shape == (3, 64, 64)
    assert_close(y.mean((1, 2)), x[:, 0, 25_000:25_001].mean(1), atol=0.2, rtol=0)
    for size in ((30, 400), (300, 20)):  # 13 and 15 times as long as wide: resized whole, as the authors do
        part = picture(*size)
        scale = 64 / min(size)
        whole = torch.nn.functional.interpolate(
            part[None], size=[max(64, round(n * scale)) for n in size], mode="bicubic", antialias=True
        )[0]
        top, left = (whole.shape[1] - 64) // 2, (whole.shape[2] - 64) // 2
        assert torch.equal(resize_image(part, (64, 64), crop=True, value_range=None), whole[:, top : top + 64, left : left + 64])


def test_orientation_is_applied_before_the_size_is_taken(tmp_path):
    image = Image.new("RGB", (40, 24), "red")
    exif = image.getexif()
    exif[0x0112] = 8
    image.save(tmp_path / "x.jpg", exif=exif)
    tok = build("vqgan")
    assert tok.decode(tok.encode(tmp_path / "x.jpg")).shape[-2:] == (40, 24)
