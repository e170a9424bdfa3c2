"""Tiny tokenizers and made-up media for the tests of bulk tokenization."""

import copy
import functools
import hashlib
import io
import json
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import tokenzoo
import torch
from families import TINY
from PIL import Image
from tokenzoo.zoo.corpus import Options, Pace, tokenize

HERE = Pace(workers=0, progress=False)


def lively(label: str, cut: dict[str, Any] | None = None) -> Any:
    """A tiny tokenizer whose codebooks are spread over its latents, so that ids vary; the same to the bit at every call."""
    return copy.deepcopy(_trained(label, json.dumps(cut or {})))


@functools.cache
def _trained(label: str, cut: str) -> Any:
    # Once: sums may round differently where buffers lie differently, and a second tokenizer would not be quite this one.
    torch.manual_seed(0)
    family, config = TINY[label]
    tokenizer = tokenzoo.build_tokenizer(family, config | json.loads(cut)).train()
    spec = tokenizer.spec
    shape = (spec.channels, 12 * spec.hop_samples) if spec.modality == "audio" else (3, *(spec.image_size or (24, 24)))
    with torch.no_grad():
        for _ in range(3):
            tokenizer(torch.rand(2, *shape) * 0.8 + (-0.4 if spec.value_range[0] < 0 else 0.1))
    return tokenizer.eval()


def saved(label: str, folder: Path) -> str:
    """The same, on disk, by the name that `load` takes."""
    tokenzoo.save_pretrained(lively(label), folder)
    return f"file:{folder}"


def sounds(folder: Path, count: int, *, rate: int = 16000, seed: int = 0) -> Path:
    """Noise of different lengths, also shorter than a frame, in subfolders."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        path = folder / f"sub{i % 2}" / f"s{i:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, rng.normal(size=int(rng.integers(5, 900))) * 0.2, rate)
    return folder


def pictures(folder: Path, count: int, *, seed: int = 0) -> Path:
    """Noise of a few sizes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        size = [(16, 16), (17, 16), (9, 30)][int(rng.integers(3))]
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"p{i:02d}.png")
    return folder


def make(tokenizer: Any, source: Any, out: Path, *, pace: Pace = HERE, where: dict[str, Any] | None = None, **options: Any):
    """`tokenize` with small units."""
    return tokenize(tokenizer, source, out, options=Options(**{"unit_items": 4, **options}), pace=pace, **(where or {}))


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file below a folder, the reader's cache aside."""
    files = [p for p in folder.rglob("*") if p.is_file() and ".cache" not in p.parts]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def flac(samples: np.ndarray, rate: int) -> bytes:
    """An encoded clip."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="FLAC")
    return file.getvalue()


def bad_pictures(folder: Path) -> set[str]:
    """Everything that can be wrong with a picture; the names."""
    folder.mkdir(parents=True, exist_ok=True)
    good = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(good, "PNG")
    jpeg = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(jpeg, "JPEG")

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    files = {
        "bomb.png": bomb,
        "cut.png": good.getvalue()[:3000],
        "cut.jpg": jpeg.getvalue()[: len(jpeg.getvalue()) // 2],
        "empty.jpg": b"",
        "sound.png": flac(np.zeros(100), 8000),
        "text.webp": b"this is no picture",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "nowhere.png").symlink_to(folder / "missing")
    return {*files, "nowhere.png"}


def bad_sounds(folder: Path) -> set[str]:
    """Everything that can be wrong with a sound; the names."""
    folder.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).normal(size=8000) * 0.2
    wav = io.BytesIO()
    soundfile.write(wav, noise, 8000, format="WAV")
    nan = io.BytesIO()
    soundfile.write(nan, np.array([0.0, np.nan, 0.5]), 8000, format="WAV", subtype="FLOAT")
    loud = io.BytesIO()
    soundfile.write(loud, np.array([0.0, 3e4, 0.5]), 8000, format="WAV", subtype="FLOAT")
    none = io.BytesIO()
    soundfile.write(none, np.zeros(0), 8000, format="WAV")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    files = {
        "cut.wav": wav.getvalue()[:5000],
        "cut.flac": flac(noise, 8000)[:3000],
        "empty.flac": b"",
        "head.wav": wav.getvalue()[:20],
        "long.flac": flac(np.zeros(8000 * 40), 8000),
        "loud.wav": loud.getvalue(),
        "nan.wav": nan.getvalue(),
        "none.wav": none.getvalue(),
        "picture.mp3": picture.getvalue(),
        "text.ogg": b"this is no sound",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "nowhere.wav").symlink_to(folder / "missing")
    return {*files, "nowhere.wav"}


#: A disk that is full for all files of units but the first few, in whichever process writes them.
FULL = """
import errno, os
inner = os.fsync

def fsync(handle):
    name = os.readlink(f"/proc/self/fd/{handle}")
    if "/.work/units/" in name and os.path.exists(os.environ["TEST_FULL"]) and len(os.listdir(os.path.dirname(name))) > 2:
        raise OSError(errno.ENOSPC, "No space left on device")
    inner(handle)

os.fsync = fsync
"""


def full_for_units(folder: Path, monkeypatch: Any) -> Path:
    """Every process that starts from here on finds the disk full, as long as the file that is returned is there."""
    (folder / "site").mkdir()
    (folder / "site/sitecustomize.py").write_text(FULL)
    (folder / "full").touch()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), *filter(None, sys.path)]))
    monkeypatch.setenv("TEST_FULL", str(folder / "full"))
    return folder / "full"
