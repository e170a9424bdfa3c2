"""Small made-up pictures, sounds and run files for the tests of `tokenzoo.train`, and a comparison of what runs saved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from tokenzoo.codecs.spec import AudioSpec
from tokenzoo.train.data.audio import AudioDataConfig
from tokenzoo.train.data.loader import Clips
from torch.nn import functional as F

RATE = 8000
AUDIO = AudioSpec(vocab_sizes=(16,), sample_rate_hz=RATE, hop_samples=80)


def write_pictures(folder: Path, count: int = 6, size: tuple[int, int] = (40, 48)) -> Path:
    """Smooth coloured pictures `000.png` ... of `size` (height, width)."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 16
    for i in range(count):
        planes = [127 + 100 * np.sin(x * (1 + 0.2 * i) + y * c + i) for c in range(3)]
        Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8)).save(folder / f"{i:03d}.png")
    return folder


def coloured(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Pictures `[count, 3, 32, 32]` in 0..1 of eight colours in noise, and the letter a to h of each colour."""
    g = torch.Generator().manual_seed(seed)
    kinds = torch.randint(8, (count,), generator=g)
    colours = torch.stack([kinds % 2, kinds // 2 % 2, kinds // 4], 1).float()[..., None, None] * 0.5
    noise = F.interpolate(torch.rand(count, 3, 4, 4, generator=g) * 0.5, size=(32, 32), mode="bilinear")
    return colours + noise, ["abcdefgh"[k] for k in kinds.tolist()]


def write_sounds(folder: Path, count: int = 6, seconds: float = 0.5, rate: int = RATE) -> Path:
    """Chords `000.wav` ... of one channel."""
    folder.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate)) / rate
    for i in range(count):
        wave = sum(np.sin(2 * np.pi * f * t + i) for f in (110 * (i + 1), 173 * (i + 1))) * 0.2
        soundfile.write(folder / f"{i:03d}.wav", wave, rate)
    return folder


def write_features(folder: Path, count: int = 6, *, channels: int, length: int = 60) -> Path:
    """Slow waves `000.npy` ... `[C, N]`, float32."""
    folder.mkdir(parents=True, exist_ok=True)
    n, c = np.arange(length) / 7, np.arange(channels)[:, None]
    for i in range(count):
        np.save(folder / f"{i:03d}.npy", np.sin(n * (1 + 0.1 * i) + c).astype(np.float32))
    return folder


def write_maps(folder: Path, count: int = 6, *, channels: int = 1, classes: int = 0, size: tuple[int, int] = (40, 48)) -> Path:
    """Smooth maps of `size` (height, width): `000.npy` ... `[C, H, W]`, float32, or `000.png` ... of numbers below `classes`."""
    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0 : size[0], 0 : size[1]] / 8
    for i in range(count):
        waves = np.stack([np.sin(x * (1 + 0.2 * i) + y * (1 + c) + i) for c in range(channels)])
        if classes:
            Image.fromarray(((waves[0] + 1) / 2.0001 * classes).astype(np.uint8)).save(folder / f"{i:03d}.png")
        else:
            np.save(folder / f"{i:03d}.npy", waves.astype(np.float32))
    return folder


FSQ: dict[str, Any] = {"kind": "fsq", "levels": [8, 8, 8, 8]}
RVQ: dict[str, Any] = {"kind": "residual_vq", "num_codebooks": 2, "codebook_size": 16, "dropout": 0.5}


def image_run(train: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """A run of a tiny image tokenizer; `changes` replace whole sections."""
    run: dict[str, Any] = {
        "model": {
            "family": "convnet",
            "config": {
                "patch_size": 4,
                "widths": [12, 16],
                "encoder_blocks": [1, 1],
                "decoder_blocks": [1, 1],
                "latent_dim": 8,
                "quantizer": FSQ,
            },
        },
        "data": {"kind": "images", "train": str(train), "crop": 32},
        "losses": {"pixel": {"distance": "l2"}, "quantizer": {}},
        "optimizer": {"lr": 3e-3, "schedule": {"kind": "constant"}},
        "steps": 6,
        "batch_size": 4,
        "every": {"log": 1, "checkpoint": 2, "preview": 0, "validate": 0},
        "threads": 1,
        "device": "cpu",
        "tensorboard": False,
        "output": str(output),
    }
    return run | changes


def audio_run(train: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """A run of a tiny audio tokenizer; `changes` replace whole sections."""
    model = {
        "family": "spectral",
        "config": {
            "sample_rate_hz": RATE,
            "hop_samples": 80,
            "window_samples": 160,
            "width": 16,
            "encoder_blocks": 1,
            "decoder_blocks": 1,
            "latent_dim": 8,
            "quantizer": FSQ,
        },
    }
    own = {
        "model": model,
        "data": {"kind": "audio", "train": str(train), "crop_seconds": 0.2},
        "losses": {"waveform": {}, "mel": {"windows": [128, 512], "bands": [16, 40]}, "quantizer": {}},
    }
    return image_run(train, output, **(own | changes))


def assert_equal(a: Any, b: Any, path: str = "") -> None:
    """Bitwise equality of nested containers of tensors."""
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_equal(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b)):
            assert_equal(x, y, f"{path}/{i}")
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, path


def as_format_1(checkpoint: Path) -> dict[str, Any]:
    """Turn a checkpoint into one of format 1, without checksums; returns its `meta.json`."""
    meta: dict[str, Any] = json.loads((checkpoint / "meta.json").read_text())
    del meta["files"], meta["sha256"]
    meta["format"] = 1
    (checkpoint / "meta.json").write_text(json.dumps(meta))
    return meta


def sounds(folder, train=True, seed=0, **options):
    """Crops of the sound files of a folder, and their config."""
    config = AudioDataConfig(**({"crop_seconds": 0.2} | options))
    return Clips(str(folder), config.media(AUDIO), config, seed=seed, train=train), config
