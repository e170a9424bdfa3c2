"""Orientation of a picture (Exif 2.32, tag 0x0112), whatever else its Exif block contains.

Only this one number is read. Cameras and editors write Exif blocks that are broken in other places, and a library that reads the
whole block refuses a picture whose pixels are fine.
"""

import re
import struct
from typing import Any

_TAG = 0x0112
#: Largest number of directory entries that are read, since the file can claim any number.
_MOST_ENTRIES = 4096


def orientation(image: Any) -> int:
    """Orientation 1 to 8 of a PIL picture that is loaded; 1 (upright) if there is no valid tag."""
    info = image.info
    found = _of_tiff_tags(image)
    if found is None:
        data = info.get("exif")
        found = _of_exif(data) if isinstance(data, bytes) else _of_profile(info.get("Raw profile type exif"))
    if found is None:
        found = _of_xmp(info.get("xmp", info.get("XML:com.adobe.xmp")))
    return found if found is not None and 1 <= found <= 8 else 1


def upright(image: Any) -> Any:
    """A PIL picture rotated and mirrored by its orientation."""
    from PIL import Image

    turns = Image.Transpose
    steps = {
        2: turns.FLIP_LEFT_RIGHT, 3: turns.ROTATE_180, 4: turns.FLIP_TOP_BOTTOM, 5: turns.TRANSPOSE,
        6: turns.ROTATE_270, 7: turns.TRANSVERSE, 8: turns.ROTATE_90,
    }  # fmt: skip
    step = steps.get(orientation(image))
    return image if step is None else image.transpose(step)


def _of_tiff_tags(image: Any) -> int | None:
    tags = getattr(image, "tag_v2", None)
    if tags is None:
        return None
    try:
        return int(tags[_TAG])
    except Exception:  # missing, or anything that a broken tag makes of it
        return None


def _of_exif(data: bytes) -> int | None:
    """Orientation in an Exif block, which may begin with any number of "Exif" headers; None: no valid tag."""
    while data[:6] == b"Exif\0\0":
        data = data[6:]
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        return None
    (at,) = struct.unpack(order + "I", data[4:8])
    if at + 2 > len(data):
        return None
    (count,) = struct.unpack(order + "H", data[at : at + 2])
    for place in range(at + 2, at + 2 + 12 * min(count, _MOST_ENTRIES), 12):
        entry = data[place : place + 12]
        if len(entry) < 12:
            return None
        tag, kind, number = struct.unpack(order + "HHI", entry[:8])
        if tag == _TAG and kind in (3, 4) and number == 1:
            return struct.unpack(order + ("H" if kind == 3 else "I"), entry[8 : 10 if kind == 3 else 12])[0]
    return None


def _of_profile(text: Any) -> int | None:
    """Orientation in an Exif block as ImageMagick writes it into PNG: three header lines, then hexadecimal digits; else None."""
    if not isinstance(text, (str, bytes)):
        return None
    text = text.decode("latin-1") if isinstance(text, bytes) else text
    try:
        return _of_exif(bytes.fromhex("".join(text.split("\n")[3:])))
    except ValueError:
        return None


def _of_xmp(data: Any) -> int | None:
    if isinstance(data, str):
        data = data.encode()
    if not isinstance(data, bytes):
        return None
    found = re.search(rb"tiff:Orientation(?:=[\"']|>)([1-8])", data)
    return int(found[1]) if found else None
