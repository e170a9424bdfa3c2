"""The fixed 256x256 test crops of a photo: the centre first, then tiles of a centred grid, at one or two scales."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SIDE = 256
CROPS_A_PHOTO = 4
LEAST_STD = 10.0  # standard deviation of grey, 0-255: flat skies measure nothing
CROP_COLUMNS = ("file", "id", "scale", "left", "top")


def scales_for(short_side: int) -> tuple[float, ...]:
    """Scales at which a photo is cropped: large photos are blurry at full size, so they are downscaled first."""
    if short_side >= 2048:
        return (0.5, 0.25)
    return (1.0, 0.5) if short_side >= 1024 else (1.0,)


def boxes(width: int, height: int, *, key: str) -> list[tuple[int, int]]:
    """`(left, top)` of candidate crops: the centre, then the grid's tiles in an order that depends on `key` alone."""
    if min(width, height) < SIDE:
        return []
    columns, rows = width // SIDE, height // SIDE
    left, top = (width - columns * SIDE) // 2, (height - rows * SIDE) // 2
    tiles = [(left + SIDE * column, top + SIDE * row) for row in range(rows) for column in range(columns)]
    tiles.sort(key=lambda tile: sha256(f"{key} {tile}".encode()).digest())
    return [((width - SIDE) // 2, (height - SIDE) // 2), *tiles]


def overlaps(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two crops share more than a quarter of their area."""
    across, down = (max(0, SIDE - abs(a - b)) for a, b in zip(one, other, strict=True))
    return across * down > SIDE * SIDE / 4


def choose_crops(image: Image.Image, *, key: str) -> list[tuple[float, tuple[int, int], Image.Image]]:
    """At most `CROPS_A_PHOTO` crops of an RGB image as `(scale, (left, top), crop)`, none of them flat."""
    chosen: list[tuple[float, tuple[int, int], Image.Image]] = []
    scales = scales_for(min(image.size))
    for scale in scales:
        size = (round(image.width * scale), round(image.height * scale))
        scaled = image if scale == 1 else image.resize(size, Image.Resampling.LANCZOS)
        taken: list[tuple[int, int]] = []
        for left, top in boxes(*scaled.size, key=f"{key} {scale}"):
            if len(taken) == CROPS_A_PHOTO // len(scales):
                break
            crop = scaled.crop((left, top, left + SIDE, top + SIDE))
            flat = float(np.asarray(crop.convert("L"), np.float32).std()) <= LEAST_STD
            if flat or any(overlaps((left, top), other) for other in taken):
                continue
            taken.append((left, top))
            chosen.append((scale, (left, top), crop))
    return chosen


def write_crops(out: Path, file: Path) -> list[dict[str, str]]:
    """Write the crops of one photo as `out/<id>-<n>.png`; returns a row of `CROP_COLUMNS` for each."""
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
    rows = []
    for number, (scale, (left, top), crop) in enumerate(choose_crops(image, key=file.stem)):
        name = f"{file.stem}-{number}.png"
        Image.fromarray(np.asarray(crop)).save(out / name)  # the pixels alone, without colour profile or EXIF
        rows.append({"file": name, "id": file.stem, "scale": f"{scale:g}", "left": str(left), "top": str(top)})
    return rows
