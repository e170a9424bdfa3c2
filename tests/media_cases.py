"""Small encoded sounds and pictures, written by the libraries that the world writes them with."""

import io
import struct
import zlib

import numpy as np
import soundfile
from PIL import Image

#: Container and coding of sounds, as soundfile names them.
SOUNDS = {
    "wav": ("WAV", "PCM_16"), "float wav": ("WAV", "FLOAT"), "ima wav": ("WAV", "IMA_ADPCM"), "gsm wav": ("WAV", "GSM610"),
    "extensible": ("WAVEX", "PCM_24"), "aiff": ("AIFF", "PCM_16"), "au": ("AU", "PCM_16"), "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"), "caf": ("CAF", "PCM_16"), "alac": ("CAF", "ALAC_16"), "nist": ("NIST", "PCM_16"),
    "flac": ("FLAC", "PCM_16"), "vorbis": ("OGG", "VORBIS"), "opus": ("OGG", "OPUS"), "mp3": ("MP3", None),
}  # fmt: skip


def chirp(seconds: float, rate: int = 16000, channels: int = 1) -> np.ndarray:
    """A rising tone with some noise, no two places alike: float32 `[T, C]`."""
    t = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal(len(t))
    x = 0.3 * np.sin(2 * np.pi * (300 + 40 * t) * t) + 0.05 * noise
    return np.stack([x * (1 - 0.3 * c) for c in range(channels)], axis=1).astype(np.float32)


def sound(kind: str, x: np.ndarray, rate: int = 16000, **options) -> bytes:
    """`x [T, C]` as a file of a kind of `SOUNDS`."""
    container, coding = SOUNDS[kind]
    file = io.BytesIO()
    soundfile.write(file, x, rate, format=container, subtype=coding, **options)
    return file.getvalue()


def wav_header(riff: int, data: int, rate: int = 16000, bits: int = 16) -> bytes:
    """The first 44 bytes of a mono PCM file that claims these lengths."""
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * bits // 8, bits // 8, bits)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + form + b"data" + struct.pack("<I", data)


def vbr_mp3(seconds: float = 4.0) -> bytes:
    """Noise, then a tone, at a variable bit rate; its first frame says how long it is."""
    x = chirp(seconds)
    x[: len(x) // 8] = 0.5 * np.random.default_rng(1).standard_normal((len(x) // 8, 1))
    return sound("mp3", x, bitrate_mode="VARIABLE", compression_level=0.7)


def without_first_frame(mp3: bytes) -> bytes:
    """MPEG-2 layer III at 16 kHz without its first frame, the one that says how long it is."""
    kbps = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160]
    return mp3[72 * kbps[mp3[2] >> 4] * 1000 // 16000 + (mp3[2] >> 1 & 1) :]


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """uint8 `[H, W, 3]`, no two pixels of a row alike."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], axis=-1).astype(np.uint8)


def image_file(pixels: np.ndarray, format: str, **options) -> bytes:
    """An encoded picture."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def jpeg_with_exif(entries: list[tuple[int, int, int, bytes]], extra: bytes = b"", *, heads: int = 1, cut: int | None = None) -> bytes:
    """A JPEG whose Exif holds these entries (tag, type, count, value) and then `extra`.

    Args:
        heads: how often the heading stands there.
        cut: bytes of the block that are left; None: all.
    """
    body = b"".join(struct.pack("<HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    block = b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + extra
    block = b"Exif\0\0" * heads + block[:cut]
    plain = image_file(picture(), "JPEG", quality=95)
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + plain[2:]


def claimed_png(width: int, height: int) -> bytes:
    """A PNG of 70 bytes that claims to have this size, and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
