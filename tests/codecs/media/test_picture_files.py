"""Picture files and PIL pictures: modes, depth, orientation, damage, bombs, formats that are not meant.

    pytest tests/codecs/media/test_picture_files.py
"""

import contextlib
import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
import torch
from media_cases import claimed_png, image_file, jpeg_with_exif, picture
from PIL import Image, PngImagePlugin
from tokenzoo.codecs.media import IMAGE_ENDINGS, MediaError, as_pictures, probe_image, read_image
from tokenzoo.codecs.media.picture_files import FORMATS

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
UNIT = torch.from_numpy(RGB).permute(2, 0, 1).float() / 255


def of_pil(image) -> torch.Tensor:
    (x,) = as_pictures(image, (0.0, 1.0))
    return x


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
    x = of_pil(image)
    assert image.mode == mode and x.shape == (3, 6, 9) and (x - expected).abs().mean() < tolerance


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_every_format(format):
    from PIL import features

    library = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}.get(format)
    if library and not features.check(library):
        pytest.skip(f"this Pillow has no {format}")
    pixels = picture()
    data = image_file(pixels, format)
    x = read_image(data)
    assert probe_image(data) == (48, 64)
    assert (x - torch.from_numpy(pixels).permute(2, 0, 1) / 255).abs().mean() < (0.1 if format == "GIF" else 0.03)


def test_16_bits_of_nearly_black_stay_nearly_black():
    dark = np.array([[0, 1], [1, 0]], np.uint16)
    for form in (Image.fromarray(dark), Image.fromarray(dark.astype(np.int32)), dark, dark.astype(">u2"), image_file(dark, "PNG")):
        assert torch.allclose(of_pil(form)[0], torch.from_numpy(dark.astype(np.float32)) / 65535)


@pytest.mark.parametrize("values", [np.int32([[0, 70000]]), np.int32([[-1, 0]]), np.float32([[0, 1.5]]), np.float32([[np.nan, 0]])])
def test_deep_grey_out_of_range_is_not_clipped_in_silence(values):
    with pytest.raises(MediaError, match="picture: grey of mode .* Rescale"):
        of_pil(Image.fromarray(values))


def test_transparent_palette():
    image = Image.fromarray(RGB).quantize(16)
    file = io.BytesIO()
    image.save(file, "GIF", transparency=int(np.asarray(image)[2, 3]))
    x = read_image(file)
    assert torch.equal(x[:, 2, 3], torch.ones(3)) and x.min() < 0.5


# --- orientation ------------------------------------------------------------------------------------------------------

ORIENTATION_6 = (0x0112, 3, 1, struct.pack("<HH", 6, 0))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation, format):
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}.get(format, {})
    file = io.BytesIO()
    image.save(file, format, exif=exif, **options)
    plain = read_image(image_file(RGB, format, **options))
    turned = plain.flip(2) if orientation in (2, 4, 5, 7) else plain
    turned = turned.rot90({1: 0, 2: 0, 3: 2, 4: 2, 5: 1, 6: -1, 7: -1, 8: 1}[orientation], (1, 2))
    for form in (file, Image.open(io.BytesIO(file.getvalue()))):
        assert torch.equal(of_pil(form), turned)
    if format != "TIFF":
        assert probe_image(file) == tuple(turned.shape[1:])


def test_orientation_in_other_places():
    image = Image.fromarray(RGB)
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = b"Exif\0\0" + exif.tobytes()[6:]
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(raw)}\n" + raw.hex(), zip=True)
    xmp = PngImagePlugin.PngInfo()
    xmp.add_itxt("XML:com.adobe.xmp", '<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')
    for extra in (info, xmp):
        file = io.BytesIO()
        image.save(file, "PNG", pnginfo=extra)
        assert torch.equal(read_image(file), UNIT.rot90(-1, (1, 2)))


AT = 8 + 2 + 12 * 2 + 4
BROKEN_EXIF = {
    "a rational of minus one over nothing": ([ORIENTATION_6, (0x011A, 10, 1, struct.pack("<I", AT))], struct.pack("<ii", -1, 0), {}),
    "nothing over nothing": ([ORIENTATION_6, (0x011A, 5, 1, struct.pack("<I", AT))], struct.pack("<II", 0, 0), {}),
    "two headings": ([ORIENTATION_6], b"", {"heads": 2}),
    "a directory beyond the end": ([ORIENTATION_6, (0x8769, 4, 1, struct.pack("<I", 0xFFFFFF00))], b"", {}),
    "a type that there is not": ([ORIENTATION_6, (0x011A, 99, 1, b"abcd")], b"", {}),
    "very many values": ([ORIENTATION_6, (0x010E, 2, 0xFFFFFFFF, struct.pack("<I", AT))], b"", {}),
    "cut behind the orientation": ([ORIENTATION_6, (0x011A, 5, 1, struct.pack("<I", AT))], b"", {"cut": 22}),
}


@pytest.mark.parametrize("case", BROKEN_EXIF)
@pytest.mark.parametrize("action", ["ignore", "error"])
def test_broken_exif_does_not_spoil_a_picture_nor_its_orientation(case, action):
    entries, extra, options = BROKEN_EXIF[case]
    upright = read_image(jpeg_with_exif([ORIENTATION_6]))
    assert upright.shape == (3, 64, 48)
    broken = jpeg_with_exif(entries, extra, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forms = [broken, Image.open(io.BytesIO(broken))]
        warnings.simplefilter(action)
        for form in forms:
            assert torch.equal(of_pil(form), upright)


@pytest.mark.parametrize("value", [0, 9, 60000])
def test_orientations_that_there_are_not(value):
    entry = (0x0112, 3, 1, struct.pack("<HH", value, 0))
    assert read_image(jpeg_with_exif([entry])).shape == (3, 48, 64)
    assert read_image(jpeg_with_exif([(0x0112, 2, 1, b"6\0\0\0")])).shape == (3, 48, 64)
    assert read_image(jpeg_with_exif([], cut=3)).shape == (3, 48, 64)


# --- damage, bombs, strangers -----------------------------------------------------------------------------------------


def test_missing_broken_and_special_files(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(image_file(RGB, "PNG")[:60])
    with pytest.raises(MediaError, match=r"cannot read .*x\.png: "):
        read_image(path)
    path.write_bytes(b"this is no picture")
    with pytest.raises(MediaError, match=r"cannot read .*x\.png: no picture of a known format; PNG, "):
        read_image(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_image(tmp_path / "no.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(MediaError, match="is a FIFO"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"])
def test_random_damage_ends_in_one_kind_of_error(format):
    rng = np.random.default_rng(0)
    good = image_file(picture(), format)
    for i in range(60):
        data = bytearray(good)
        for at in rng.integers(0, min(len(data), [40, 400, 10**9][i % 3]), rng.integers(1, 8)):
            data[at] = rng.integers(256)
        if i % 4 == 0:
            data = data[: int(rng.integers(1, len(data)))]
        with contextlib.suppress(MediaError):  # no other error
            assert read_image(bytes(data)).isfinite().all()


RAISED = (struct.error("x"), EOFError(), OverflowError(), IndexError(), AttributeError(), RuntimeError(), MemoryError(), zlib.error())


@pytest.mark.parametrize("error", RAISED)
def test_whatever_a_decoder_raises_names_the_item(error, monkeypatch):
    def load(self):
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    with pytest.raises(MediaError, match="cannot read x.png: ") as said:
        read_image(image_file(RGB, "PNG"), name="x.png")
    assert said.value.__cause__ is error


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (1, 100_000_000), (13_000, 13_000), (2**31 - 1, 1)])
def test_a_small_file_that_claims_a_huge_picture_is_refused_before_it_is_decoded(width, height):
    with pytest.raises(MediaError, match=r"bomb: \d+ x \d+ pixels: refused; at most 128000000 .* TOKENZOO_MAX_PIXELS"):
        read_image(claimed_png(width, height), name="bomb")


def test_eps_is_never_handed_to_its_interpreter(tmp_path, monkeypatch):
    """Pillow starts a program called `gs` for such files, whatever they are called."""
    mark = tmp_path / "started"
    stand_in = tmp_path / "gs"
    stand_in.write_text(f"#!{sys.executable}\nopen({str(mark)!r}, 'w')\n")
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(MediaError, match="no picture of a known format"):
        read_image(tmp_path / "photo.jpg")
    assert not mark.exists()


def test_endings_are_of_formats_that_are_read():
    known = {ending for ending, format in Image.registered_extensions().items() if format in FORMATS}
    assert set(IMAGE_ENDINGS) <= known | {".avif", ".jp2", ".webp"}  # a Pillow may be built without these
