"""Pictures in every form that people have, the range of their values, and what is said of forms that are not taken.

    pytest tests/codecs/media/test_pictures.py
"""

import io
import warnings

import numpy as np
import pytest
import torch
from media_cases import image_file
from PIL import Image
from tokenzoo.codecs.media import MediaError, Picture, as_pictures

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
UNIT = torch.from_numpy(RGB).permute(2, 0, 1).float() / 255
SIGNED, PLAIN = (-1.0, 1.0), (0.0, 1.0)


def one(media, value_range=PLAIN, given_range=None):
    (x,) = as_pictures(media, value_range, given_range=given_range)
    return x


def test_every_form_of_one_picture(tmp_path):
    path = tmp_path / "x.png"
    data = image_file(RGB, "PNG")
    path.write_bytes(data)
    tensor = torch.from_numpy(RGB)
    with path.open("rb") as opened, path.open("rb") as read_before:
        read_before.read(20)
        forms = [
            path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data), opened, read_before,
            RGB, tensor, tensor.permute(2, 0, 1), Image.fromarray(RGB), Image.open(path), Picture(UNIT),
            {"bytes": data, "path": "gone.png"}, {"bytes": data}, {"bytes": None, "path": str(path)}, {"path": path},
        ]  # fmt: skip
        for form in forms:
            for low, high in (PLAIN, SIGNED):
                assert torch.allclose(one(form, (low, high)), UNIT * (high - low) + low, atol=1e-6), form
        listed = as_pictures(forms, SIGNED)
    assert len(listed) == len(forms) and all(torch.allclose(x, UNIT * 2 - 1, atol=1e-6) for x in listed)
    assert torch.equal(torch.from_numpy(RGB).permute(2, 0, 1).float() / 255, UNIT), "what was passed is left as it was"


def test_batches_and_lists_of_several_sizes():
    batch = torch.rand(3, 3, 5, 7)
    assert torch.equal(torch.stack(as_pictures(batch, PLAIN)), batch)
    assert torch.equal(torch.stack(as_pictures(batch.permute(0, 2, 3, 1).numpy(), PLAIN)), batch)
    assert [tuple(x.shape) for x in as_pictures((RGB, RGB[:2], RGB[:, :4]), PLAIN)] == [(3, 6, 9), (3, 2, 9), (3, 6, 4)]


@pytest.mark.parametrize("form", ["frozen", "backwards", "half", "long double"])
def test_arrays_as_they_lie_in_memory_give_no_warning(form):
    x = {
        "frozen": lambda: np.frombuffer(RGB.tobytes(), np.uint8).reshape(RGB.shape), "backwards": lambda: RGB[::-1].copy()[::-1],
        "half": lambda: (RGB / 255).astype(np.float16), "long double": lambda: (RGB / 255).astype(np.longdouble),
    }[form]()  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert torch.allclose(one(x), UNIT, atol=1e-3)


# --- what float values mean -------------------------------------------------------------------------------------------


def test_floats_that_may_mean_another_range_are_refused():
    """As torchvision's ToTensor gives them: half of the ids would be others, without a word."""
    for form in (UNIT, UNIT.permute(1, 2, 0).numpy(), UNIT[None], UNIT * 1.04, torch.zeros(3, 4, 4), [RGB, UNIT]):
        with pytest.raises(MediaError, match=r"may mean 0\.\.1.*value_range=\(0, 1\), value_range=\(-1, 1\), or uint8"):
            as_pictures(form, SIGNED)
    assert torch.equal(one(UNIT), UNIT), "a tokenizer of 0..1 has no such doubt"
    assert torch.equal(one(UNIT * 2 - 1, SIGNED), UNIT * 2 - 1)


def test_value_range_says_what_floats_mean():
    for low, high in ((0, 1), (-1, 1), (0, 255), (-0.5, 0.5), (10, 12)):
        floats = UNIT * (high - low) + low
        assert torch.allclose(one(floats, SIGNED, (low, high)), UNIT * 2 - 1, atol=1e-5)
        assert torch.allclose(one(floats, PLAIN, (low, high)), UNIT, atol=1e-5)
        assert torch.allclose(as_pictures(floats[None], SIGNED, given_range=(low, high))[0], UNIT * 2 - 1, atol=1e-5)
    bright = UNIT.clamp(min=0.5) * 2 - 1  # all in 0..1, and meant as -1..1
    assert torch.equal(one(bright, SIGNED, (-1, 1)), bright)
    with pytest.raises(MediaError, match=r"lie in 0\.\.195\.3; value_range is 0\.\.1"):
        one(UNIT * 200, SIGNED, (0, 1))


def test_value_range_leaves_files_and_integers_alone(tmp_path):
    for form in (RGB, Image.fromarray(RGB), image_file(RGB, "PNG"), RGB.astype(np.uint16) * 257):
        assert torch.allclose(one(form, SIGNED, (0, 255)), UNIT * 2 - 1, atol=1e-5)


@pytest.mark.parametrize("given", [(1, 0), (0, 0), (0,), (0, float("inf")), "ab", 3])
def test_senseless_ranges(given):
    with pytest.raises(MediaError, match="value_range is"):
        one(UNIT, PLAIN, given)


def test_one_picture_of_a_batch_may_be_bright():
    batch = torch.stack([UNIT * 2 - 1, UNIT])
    assert torch.equal(torch.stack(as_pictures(batch, SIGNED)), batch), "the others tell the range of the array"


@pytest.mark.parametrize("value_range", [PLAIN, SIGNED])
def test_alpha_of_floats_is_a_share(value_range):
    low, high = value_range
    colour, alpha = UNIT * (high - low) + low, torch.linspace(0, 1, 54).view(1, 6, 9)
    expected = colour * alpha + high * (1 - alpha)
    assert torch.allclose(one(torch.cat([colour, alpha]), value_range), expected, atol=1e-6)
    assert torch.allclose(one(torch.cat([UNIT * 255, alpha]), value_range, (0, 255)), expected, atol=1e-5)
    with pytest.raises(MediaError, match="alpha"):
        one(torch.cat([colour, alpha * 2 - 1]), value_range)


# --- axes and number types --------------------------------------------------------------------------------------------


def test_grey_alpha_and_16_bits():
    grey = RGB[:, :, 0]
    for form in (grey, grey[None], grey[..., None], grey.astype(np.uint16) * 257, grey / 255):
        x = one(form)
        assert x.shape == (3, 6, 9)
        assert torch.allclose(x[0], torch.from_numpy(grey).float() / 255, atol=1e-3)
    rgba = np.dstack([RGB, np.zeros((6, 9), np.uint8)])  # wholly transparent: white
    assert torch.allclose(one(rgba), torch.ones(3, 6, 9))


def test_low_and_narrow_pictures_are_not_taken_for_channels():
    for shape in ((3, 50, 3), (4, 50, 3), (1, 9, 4), (50, 3, 3)):
        array = np.zeros(shape, np.uint8)
        array[..., 0] = 255  # red
        if shape[2] == 4:
            array[..., 3] = 255
        x = one(array)
        assert x.shape == (3, *shape[:2]) and torch.equal(x.amax((1, 2)), torch.tensor([1.0, 0, 0]))
    assert one(torch.zeros(3, 50, 3, dtype=torch.uint8)).shape == (3, 50, 3)
    assert one(torch.rand(4, 50, 4)).shape == (3, 50, 4), "a tensor's channels come first"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (UNIT * 255, "Rescale"),
        (UNIT - 3, "Rescale"),
        (torch.full((3, 4, 4), float("nan")), "NaN"),
        (torch.zeros(2, 3, 4, 4, 1), "list"),
        (torch.zeros(5, 6, 7), "expected"),
        (torch.zeros(3, 0, 4), "expected"),
        (torch.zeros(0, 3, 4, 4), "empty batch"),
        (torch.zeros(3, 4, 4, dtype=torch.int32), "ambiguous"),
        (torch.zeros(3, 4, 4, dtype=torch.bool), "bool is not media"),
        ("no such file", "no such file"),
        ({"image": 1, "label": 2}, r'row\["image"\]'),
        ([], "empty list"),
        ([RGB, None], "picture 1: got NoneType"),
        ([[RGB]], "picture 0: got list"),
        (io.StringIO("P1"), "mode 'rb'"),
        (b"", "empty file"),
        (b"GIF89a no more", "cannot read picture"),
        (3, "got int"),
    ],
)
def test_wrong_pictures_say_what_to_do(bad, says):
    with pytest.raises((MediaError, FileNotFoundError), match=says):
        as_pictures(bad, SIGNED)
