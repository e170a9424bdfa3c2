"""Frames of MPEG audio (layers I, II and III, that is MP3; ISO 11172-3, 13818-3): counting them, and cutting out a part.

The length of an MP3 is stored only in an optional first frame, the info frame ("Xing" or "Info"). Without it decoders guess the
length from the first frame's bit rate and the size of the file, and stop there; they seek by guessing as well. Here frames are
counted, and a part is cut out as whole frames, with those before it whose bits it needs (the bit reservoir).
"""

import io
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from .errors import MediaError

#: Version bits (3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5) -> sample rates by index.
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_KBPS = {  # (whether MPEG 1, layer) -> by index
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
#: Largest number of bytes that a frame of layer III uses of the frames before it (bit reservoir).
_RESERVOIR = 511
#: Number of earlier frames that a frame's samples depend on, by overlap and by the synthesis filter.
_MEMORY = 3
#: Largest number of samples that a decoder skips at the start of a file with an info frame.
_TRIMMED = 4096 + 529
#: Number of frames of silence put first, so that decoders do not guess the number of frames.
_LEAD_IN = 8
#: Largest number of bytes of junk before the first frame.
_JUNK = 65536


@dataclass(frozen=True)
class Frames:
    """Positions of the frames of a file.

    Attributes:
        offsets: byte offset of each frame, and the end of the last one.
        samples: number of samples of a frame.
        rate_hz: sample rate.
        has_info: whether the first frame is an info frame, without sound.
        claimed: number of frames with sound that the info frame states; None: not stated.
        clean: there is nothing but frames between the first and the last one.
    """

    offsets: np.ndarray
    samples: int
    rate_hz: int
    has_info: bool
    claimed: int | None
    clean: bool

    @property
    def count(self) -> int:
        """Number of frames with sound."""
        return len(self.offsets) - 1 - self.has_info

    @property
    def length(self) -> int | None:
        """Number of samples, before any are skipped by the info frame; None: with junk in between a decoder may find fewer."""
        return self.count * self.samples if self.clean else None

    @property
    def is_as_claimed(self) -> bool:
        """Whether the info frame states the right number of frames, so that a decoder knows the length."""
        return self.claimed is not None and self.clean and abs(self.claimed - self.count) <= 1


def is_mpeg(file: BinaryIO) -> bool:
    """Whether a file begins like MPEG audio: with a frame, or with an ID3 tag and then a frame."""
    _, data = _beginning(file)
    return _header(data, 0) is not None


def trusted(file: BinaryIO) -> bool:
    """Whether the info frame states the number of bytes that the file has; its number of frames is then right too."""
    start, data = _beginning(file)
    size = file.seek(0, io.SEEK_END)
    if _header(data, 0) is None:
        return False
    frames, length = _info(data, 0)
    return frames is not None and length is not None and start + length in (size, size - 128)  # a tag may follow


def frames_of(data: bytes, name: str) -> Frames:
    """Find all frames of a file.

    Raises:
        MediaError: truncated; no frames; frames of free format (without a bit rate in their headers).
    """
    at = _first(data, name)
    mask = _same(data, at)
    _, samples, rate = _some_header(data, at)
    claimed, _ = _info(data, at)
    has_info, offsets, clean, end = _is_info(data, at), [], True, at
    while True:
        header = _header(data, at)
        if 0 < len(data) - at < 4 and data[at] == 0xFF and data[at + 1 : at + 2] in (b"", bytes([mask[0]]), bytes([mask[0] | 1])):
            raise MediaError(f"{name} is truncated: it ends within the header of a frame.")
        if header is None or _same(data, at) != mask:
            more = _next(data, at, mask)
            if more is None:
                break
            clean, at = clean and data[at : at + 3] == b"ID3", more
            continue
        if at + header[0] > len(data):
            raise MediaError(f"{name} is truncated: {len(data) - at} of {header[0]} bytes of its last frame are there.")
        offsets.append(at)
        at = end = at + header[0]
    found = Frames(np.array([*offsets, end]), samples, rate, has_info, claimed, clean)
    if claimed is not None and found.count < claimed - 1:
        raise MediaError(f"{name} is truncated: {found.count} of {claimed} frames are there.")
    return found


def all_frames(data: bytes, frames: Frames) -> tuple[io.BytesIO, int]:
    """All frames as a file that a decoder reads to the end: it knows the length, or guesses one that is too large.

    Returns:
        The file, and the number of samples of silence at its start.
    """
    begin, end = int(frames.offsets[0]), int(frames.offsets[-1])
    if frames.is_as_claimed:
        return io.BytesIO(data[begin:end]), 0
    begin = int(frames.offsets[int(frames.has_info)])
    silence, skip = _lead_in(data[begin : begin + 4], frames.samples)
    return io.BytesIO(silence + data[begin:end]), skip


def part(file: BinaryIO, frames: Frames, start: int, stop: int) -> tuple[io.BytesIO, int]:
    """A file of the frames that are needed to decode the samples `start .. stop - 1`.

    Returns:
        The file, and the index of the sample `start` in it.
    """
    begin, sizes = int(frames.has_info), np.diff(frames.offsets)
    holds = min(begin + start // frames.samples, len(sizes) - 1)
    first, borrowed = max(begin, holds - _MEMORY), 0
    while first > begin and borrowed <= _RESERVOIR:
        first -= 1
        borrowed += max(0, int(sizes[first]) - 38)  # a header, a checksum and the largest side information
    last = min(len(sizes), begin + -(-(stop + _TRIMMED) // frames.samples) + _MEMORY)
    file.seek(frames.offsets[first])
    body = bytearray(file.read(int(frames.offsets[last] - frames.offsets[first])))
    _silence_borrowers(body, frames.offsets[first:last] - frames.offsets[first])
    skip = start - (first - begin) * frames.samples
    if frames.has_info and frames.is_as_claimed:  # it also states how many samples a decoder skips at the start
        file.seek(frames.offsets[0])
        return io.BytesIO(_with_length(file.read(sizes[0]), len(body)) + body), skip
    silence, more = _lead_in(bytes(body[:4]), frames.samples)
    return io.BytesIO(silence + body), skip + more


def _lead_in(header: bytes, samples: int) -> tuple[bytes, int]:
    """(silent frames of the smallest possible size, number of their samples); a decoder then guesses a length that is too large."""
    small = bytes([header[0], header[1] | 1, 0x10 | header[2] & 0x0C, header[3]])
    size = _some_header(small, 0)[0]
    return small.ljust(size, b"\0") * _LEAD_IN, samples * _LEAD_IN


def _with_length(info: bytes, rest: int) -> bytes:
    """An info frame with the number of bytes set to its own and the `rest` that follows."""
    place = _side_end(info, 0)
    if not int.from_bytes(info[place + 4 : place + 8], "big") & 2:
        return info
    at = place + (12 if info[place + 7] & 1 else 8)
    return info[:at] + (len(info) + rest).to_bytes(4, "big") + info[at + 4 :]


def _silence_borrowers(body: bytearray, offsets: np.ndarray) -> None:
    """Silence first frames that need bits of frames left out; the bits of these frames that later ones need are kept."""
    have = 0
    for at, after in zip(offsets.tolist(), [*offsets.tolist()[1:], len(body)], strict=True):
        if body[at + 1] >> 1 & 3 != 1 or have >= _RESERVOIR:
            return  # not layer III, or the bit reservoir is complete
        one = body[at + 1] >> 3 & 3 == 3
        begin = at + (4 if body[at + 1] & 1 else 6)  # after the header, and the checksum if there is one
        end = _side_end(body, at) + begin - at - 4
        borrows = body[begin] << 1 | body[begin + 1] >> 7 if one else body[begin]
        if borrows > have:
            body[begin:end] = bytes(end - begin)
            if one:  # 9 bits: how far back the frame's data begin
                body[begin], body[begin + 1] = have >> 1, (have & 1) << 7
            else:
                body[begin] = min(have, 255)
        have += max(0, after - end)


def _some_header(data: bytes, at: int) -> tuple[int, int, int]:
    """As `_header`, where a frame is known to begin."""
    header = _header(data, at)
    assert header is not None
    return header


def _header(data: bytes, at: int) -> tuple[int, int, int] | None:
    """(bytes, samples, sample rate in Hz) of the frame at `at`; None: no frame begins here."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, 4 - (data[at + 1] >> 1 & 3)
    kbps, rate = data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or layer == 4 or kbps in (0, 15) or rate == 3:
        return None
    bits, hz, padding = _KBPS[version == 3, layer][kbps - 1] * 1000, _RATES_HZ[version][rate], data[at + 2] >> 1 & 1
    if layer == 1:
        return (12 * bits // hz + padding) * 4, 384, hz
    samples = 1152 if layer == 2 or version == 3 else 576
    return samples // 8 * bits // hz + padding, samples, hz


def _beginning(file: BinaryIO) -> tuple[int, bytes]:
    """(end of the ID3 tag at the start of a file, some bytes from there on)."""
    file.seek(0)
    start = _after_tag(file.read(10), 0)
    file.seek(start)
    return start, file.read(4096)


def _same(data: bytes, at: int) -> tuple[int, int]:
    """The header bits that all frames of a stream have in common: version, layer and sample rate."""
    return data[at + 1] & 0xFE, data[at + 2] & 0x0C


def _after_tag(data: bytes, at: int) -> int:
    """Offset of the end of an ID3 tag at `at`; `at` itself if there is none."""
    head = data[at : at + 10]
    if head[:3] != b"ID3" or len(head) < 10:
        return at
    footer = 10 if head[5] & 0x10 else 0
    return at + 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]) + footer


def _first(data: bytes, name: str) -> int:
    at = _after_tag(data, 0)
    while (more := _after_tag(data, at)) != at:
        at = more
    for place in range(at, min(at + _JUNK, len(data) - 3)):
        header = _header(data, place)
        if header is not None:
            after = place + header[0]
            if after + 4 > len(data) or (_header(data, after) is not None and _same(data, after) == _same(data, place)):
                return place
    if at >= len(data):
        raise MediaError(f"{name} is truncated: it ends within its tag.")
    raise MediaError(f"cannot read {name}: no frames of MPEG audio, or frames of free length.")


def _next(data: bytes, at: int, mask: tuple[int, int]) -> int | None:
    """Offset of the next frame after an ID3 tag or junk at `at`; None: there is none."""
    at = after if (after := _after_tag(data, at)) != at else at + 1
    while (at := data.find(b"\xff", at)) >= 0:
        header = _header(data, at)
        if header is not None and _same(data, at) == mask:
            after = at + header[0]
            if after == len(data) or (_header(data, after) is not None and _same(data, after) == mask):
                return at
        at += 1
    return None


def _side_end(data: bytes | bytearray, at: int) -> int:
    """Offset of the end of the side information of the frame at `at`, without a checksum; data of an info frame begin there."""
    mono = data[at + 3] >> 6 == 3
    return at + 4 + ((17 if mono else 32) if data[at + 1] >> 3 & 3 == 3 else (9 if mono else 17))


def _info(data: bytes, at: int) -> tuple[int | None, int | None]:
    """(number of frames, number of bytes) of the file that an info frame at `at` states; None for each that is not stated."""
    place = _side_end(data, at)
    if data[place : place + 4] in (b"Xing", b"Info"):
        flags = int.from_bytes(data[place + 4 : place + 8], "big")
        values = [int.from_bytes(data[p : p + 4], "big") for p in (place + 8, place + 12)]
        frames = values.pop(0) if flags & 1 else None
        return frames, values[0] if flags & 2 else None
    return None, None


def _is_info(data: bytes, at: int) -> bool:
    """Whether the frame at `at` is an info frame, without sound."""
    place = _side_end(data, at)
    return data[place : place + 4] in (b"Xing", b"Info") or data[at + 36 : at + 40] == b"VBRI"
