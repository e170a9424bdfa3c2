"""Pages of Ogg files (RFC 3533): whether all are there, and whether several streams are chained one after another.

libsndfile reads only the first of chained streams, and reports 0 samples for a Vorbis file without its last page.
"""

import io
from typing import BinaryIO

from .errors import MediaError

_FIRST, _LAST = 2, 4  # bits of a page's header type


def links(file: BinaryIO, name: str) -> list[tuple[int, int]]:
    """Byte ranges `(start, stop)` of the chained streams of a file; most files have one.

    Raises:
        MediaError: the file is truncated.
    """
    size = file.seek(0, io.SEEK_END)
    starts, at, running, headers = [0], 0, set[bytes](), True
    while at < size:
        file.seek(at)
        page = file.read(27 + 255)
        if page[:4] != b"OggS" and not running:
            break  # a tag after the last page
        if page[:4] != b"OggS" or len(page) < 27 or len(page) < 27 + page[26]:
            raise MediaError(f"{name} is truncated or broken: no whole Ogg page at byte {at}.")
        length = 27 + page[26] + sum(page[27 : 27 + page[26]])
        if at + length > size:
            raise MediaError(f"{name} is truncated: {size - at} of {length} bytes of its last page are there.")
        kind, serial = page[5], page[14:18]
        if kind & _FIRST:
            if not headers:  # a new beginning after other pages
                starts.append(at)
                running.clear()
            running.add(serial)
        headers = bool(kind & _FIRST)
        if kind & _LAST:
            running.discard(serial)
        at += length
    if running:
        raise MediaError(f"{name} is truncated: its last page is missing.")
    return list(zip(starts, [*starts[1:], at], strict=True))
