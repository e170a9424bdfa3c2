"""JPEG, WebP and AVIF at the bits per pixel of an image tokenizer, measured on fixed 256x256 test crops.

A tokenizer spends the same bits on every picture, so each picture gets its own quality: the one whose whole file,
headers included, is nearest to the target. Where even the lowest quality is far above it (JPEG), `share_over` gives the share.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, features
from tokenzoo.zoo.evaluate.perceptual import LpipsHed
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

TARGETS_BPP = (0.15, 0.19, 0.25, 0.30)
OVER = 1.05  # a file this much above the target counts as over


@dataclass(frozen=True)
class Codec:
    """A codec by its Pillow name, its range of qualities and its settings."""

    name: str
    format: str
    lowest: int
    highest: int
    options: tuple[tuple[str, object], ...]

    def encode(self, image: Image.Image, quality: int) -> bytes:
        """The whole file at one quality."""
        file = io.BytesIO()
        image.save(file, self.format, quality=quality, **dict(self.options))
        return file.getvalue()


CODECS = (
    Codec("jpeg", "JPEG", 1, 95, (("optimize", True), ("progressive", False), ("subsampling", "4:2:0"))),
    Codec("webp", "WEBP", 0, 100, (("method", 6),)),
    Codec("avif", "AVIF", 0, 100, (("speed", 6), ("subsampling", "4:2:0"))),
)


def nearest_file(encode: Callable[[int], bytes], lowest: int, highest: int, target: int) -> tuple[int, bytes]:
    """`(quality, file)` nearest in bytes to `target`, by bisection; sizes are taken to grow with quality."""
    low, high = lowest, highest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(encode(middle)) <= target else (low, middle)
    return min(((q, encode(q)) for q in (low, high)), key=lambda pair: abs(len(pair[1]) - target))


def psnr(images: Tensor, references: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of [B, 3, H, W] in [0, 1] -> [B]; equal images count as 60 dB."""
    error = (images - references).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(1e-6))


def to_tensor(image: Image.Image) -> Tensor:
    """[3, H, W] in [0, 1]."""
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1).float() / 255


def flat_file_bytes(codec: Codec) -> int:
    """Size of a file with almost no content (about the headers): a grey 256x256 picture at the lowest quality."""
    return len(codec.encode(Image.new("RGB", (256, 256), (128, 128, 128)), codec.lowest))


def run(crops: list[Path], metric: LpipsHed) -> Iterator[list[dict[str, object]]]:
    """One row a codec and target: achieved bits per pixel, PSNR, SSIM, LPIPS-HED, share of files over the target.

    Yields the rows of the images so far after every tenth image and at the end.
    """
    results: dict[tuple[str, float], list[tuple[float, ...]]] = {}
    for number, path in enumerate(crops):
        image = Image.fromarray(np.asarray(Image.open(path).convert("RGB")))  # no profile that would count as bytes
        keys, measures, decoded = [], [], []
        for codec in CODECS:
            encode = lru_cache(maxsize=None)(partial(codec.encode, image))
            for target_bpp in TARGETS_BPP:
                target = round(target_bpp * image.width * image.height / 8)
                quality, file = nearest_file(encode, codec.lowest, codec.highest, target)
                bpp = len(file) * 8 / (image.width * image.height)
                keys.append((codec.name, target_bpp))
                measures.append((bpp, float(len(file) > OVER * target), float(quality)))
                decoded.append(to_tensor(Image.open(io.BytesIO(file))))
        scores = compare(torch.stack(decoded), to_tensor(image)[None], metric)
        for key, measure, score in zip(keys, measures, scores.tolist(), strict=True):
            results.setdefault(key, []).append((*measure, *score))
        if number % 10 == 9 or number == len(crops) - 1:
            yield _rows(results)


def in_balanced_order(crops: list[Path]) -> list[Path]:
    """Files `<photo>-<n>.png`: the first crops of all photos, then the second ones, so that a part is a fair sample."""
    return sorted(crops, key=lambda path: (int(path.stem.rsplit("-", 1)[1]), path.name))


@torch.inference_mode()
def compare(decoded: Tensor, original: Tensor, metric: LpipsHed) -> Tensor:
    """PSNR, SSIM and LPIPS-HED of [B, 3, H, W] against one image [1, 3, H, W] -> [B, 3]."""
    references = original.expand_as(decoded)
    ssim = structural_similarity_index_measure(decoded, references, data_range=1.0, reduction="none")
    wanted = metric.features(original)
    distance = torch.cat([metric.compare(metric.features(one[None]), wanted) for one in decoded])  # fits the cache
    return torch.stack([psnr(decoded, references), ssim, distance], dim=1)


def _rows(results: dict[tuple[str, float], list[tuple[float, ...]]]) -> list[dict[str, object]]:
    by_name = {codec.name: codec for codec in CODECS}
    return [_row(by_name[name], target, np.array(values)) for (name, target), values in results.items()]


def _row(codec: Codec, target_bpp: float, values: np.ndarray) -> dict[str, object]:
    """`values` [images, 6]: bits per pixel, over the target, quality, PSNR, SSIM, LPIPS-HED."""
    bpp, over, _, psnr_db, ssim, distance = (float(value) for value in values.mean(axis=0))
    return {
        "codec": codec.name,
        "target_bpp": target_bpp,
        "bpp": round(bpp, 4),
        "share_over": round(over, 3),
        "psnr_db": round(psnr_db, 2),
        "ssim": round(ssim, 4),
        "lpips_hed": round(distance, 4),
        "median_quality": int(np.median(values[:, 2])),
        "flat_file_bytes": flat_file_bytes(codec),
        "images": len(values),
    }


def versions() -> dict[str, str | None]:
    """Versions of the libraries that encode."""
    names = ("pil", "libjpeg_turbo", "webp", "avif")
    return {name: features.version(name) for name in names}
