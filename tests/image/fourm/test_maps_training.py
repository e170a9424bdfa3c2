"""What tokenizers of 4M-21's modalities say of a photograph: of classes, masks, feature maps and global vectors.

    pytest -m effect -s tests/image/fourm/test_maps_training.py

Each recipe, with small networks, against the same run whose codebooks have a single code: what the decoder knows without tokens.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from effects import effect
from small_runs import held_out, photo_crops, trained
from tokenzoo.codecs.tokenizer import Tokenizer
from torch import Tensor

SIDE = 32
TRANSFORMER = "{width: 64, layers: 1, heads: 4}"
TOWER = "{width: 64, blocks: 1, expansion: 4}"
STEADY = ["precision=float32", "optimizer.lr=3e-3", "optimizer.schedule.warmup_steps=20", "ema.decay=0.9", "steps=150", "batch_size=8",
    "data.num_workers=0"]  # fmt: skip
MAPS = [
    f"model.config.encoder={TRANSFORMER}",
    f"model.config.decoder={TRANSFORMER}",
    "model.config.latent_dim=16",
    "model.config.quantizer.decay=0.9",
]
GRID = ["model.config.encoder_grid=6", "model.config.decoder_grid=6"]
PATCHES = ["model.config.patch_size=4", "model.config.encoder_grid=8", "model.config.decoder_grid=8", f"data.crop={SIDE}"]
VECTORS = [
    f"model.config.encoder_tower={TOWER}",
    f"model.config.decoder_tower={TOWER}",
    "model.config.latent_dim=64",
    "data.crop=16",
    "steps=400",
]
pytestmark = [pytest.mark.slow, pytest.mark.effect]


@functools.cache
def colours() -> Tensor:
    """Five colours `[5, 3]` of the part that is trained on: the means of its pixels, each with the nearest of the colours."""
    pixels = photo_crops(60, SIDE).movedim(1, 3).flatten(0, 2)
    found = pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:5]]
    for _ in range(20):
        nearest = torch.cdist(pixels, found).argmin(1)
        found = torch.stack([pixels[nearest == k].mean(0) for k in range(5)])
    return found


def classes_of(pictures: Tensor) -> Tensor:
    """Numbers `[B, H, W]` of the nearest colours, of pictures that are blurred first, so that regions hold together."""
    smooth = F.avg_pool2d(pictures, 5, stride=1, padding=2, count_include_pad=False)
    return torch.cdist(smooth.movedim(1, 3).flatten(0, 2), colours()).argmin(1).view(len(pictures), *pictures.shape[2:])


def masks_of(pictures: Tensor) -> Tensor:
    """1 `[B, 1, H, W]` where a picture is brighter than its mean, else 0."""
    grey = F.avg_pool2d(pictures.mean(1, keepdim=True), 5, stride=1, padding=2, count_include_pad=False)
    return (grey > grey.mean((2, 3), keepdim=True)).float()


@functools.cache
def network() -> Any:
    """A frozen ViT of 64 channels for 6 x 6 patches of 6 pixels, with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return timm.create_model("test_vit", pretrained=False, num_classes=0, img_size=36, patch_size=6).eval()


@torch.no_grad()
def features_of(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Patch tokens `[B, 64, 6, 6]` and class tokens `[B, 64]` of pictures of 36 x 36 pixels."""
    states = network().forward_features(4 * pictures - 2)
    return states[:, 1:].transpose(1, 2).unflatten(2, (6, 6)), states[:, 0]


def write(folder: Path, maps: Tensor) -> Path:
    """Each map as a file."""
    folder.mkdir()
    for i, x in enumerate(maps.numpy()):
        np.save(folder / f"{i:04d}.npy", x)
    return folder


def of_recipe(recipe: str, folder: Path, output: Path, own: list[str], *, codes: int) -> Tokenizer:
    """The tokenizer that a recipe ends with, small, whose codebooks have this many codes."""
    changes = [*STEADY, *own, f"model.config.quantizer.codebook_size={codes}"]
    return trained(f"image/fourm_maps-{recipe}", folder, output, *changes)


def test_classes_come_back(tmp_path):
    """Share of pixels whose class is the same after a round trip; the likeliest class alone is a further bound."""
    maps, x, right = classes_of(photo_crops(300, SIDE)), classes_of(held_out(96, SIDE)), {}
    folder, own = write(tmp_path / "maps", maps), [*MAPS, *PATCHES, "model.config.classes=5", "model.config.channels=16"]
    for codes in (256, 1):
        tok = of_recipe("semseg-224", folder, tmp_path / str(codes), own, codes=codes)
        right[codes] = float((tok.decode(tok.encode(x)) == x).float().mean())
    likeliest = float((x == maps.flatten().bincount().argmax()).float().mean())
    name, figure = "codes of classes (4M-21)", "share of pixels whose class of five comes back"
    effect(name, f"{figure}, 256 codes and one", with_=right[256], without=right[1])
    assert right[256] > 0.7 and right[1] < 0.45 and likeliest < 0.45, (right, likeliest)


def test_masks_come_back(tmp_path):
    """Share of pixels on the right side of a mask after a round trip."""
    x, right = masks_of(held_out(96, SIDE)), {}
    folder, own = write(tmp_path / "maps", masks_of(photo_crops(300, SIDE))), [*MAPS, *PATCHES]
    for codes in (256, 1):
        tok = of_recipe("sam-instance-64", folder, tmp_path / str(codes), own, codes=codes)
        right[codes] = float(((tok.decode(tok.encode(x)) > 0) == (x > 0.5)).float().mean())
    name, figure = "codes of masks (4M-21)", "share of pixels on the right side of the mask"
    effect(name, f"{figure}, 256 codes and one", with_=right[256], without=right[1])
    assert right[256] > 0.85 and right[1] < 0.65, right


def test_feature_maps_come_nearer(tmp_path):
    """Distance of patch features of a ViT from those that are decoded: of the own codes, another picture's, and the mean feature."""
    maps, x, far = features_of(photo_crops(300, 36))[0], features_of(held_out(96, 36))[0], {}
    folder, own = write(tmp_path / "maps", maps), [*MAPS, *GRID, "model.config.channels=64", "data.crop=6"]
    for codes in (256, 1):
        tok = of_recipe("dinov2-b14-224", folder, tmp_path / str(codes), own, codes=codes)
        tokens = tok.encode(x)
        far[codes] = float(F.smooth_l1_loss(tok.decode(tokens), x))
        if codes > 1:  # the codes of another picture
            far[0] = float(F.smooth_l1_loss(tok.decode(dataclasses.replace(tokens, ids=tokens.ids.roll(1, 0))), x))
    mean = float(F.smooth_l1_loss(maps.mean(0).expand_as(x), x))
    name, figure = "codes of feature maps (4M-21)", "smooth L1 of patch features of a ViT"
    effect(name, f"{figure}, 256 codes and one", with_=far[256], without=far[1])
    effect(name, f"{figure}, own codes and another picture's", with_=far[256], without=far[0])
    assert far[256] < 0.75 * min(far[1], mean) and far[256] < 0.6 * far[0], (far, mean)


@pytest.mark.parametrize("recipe", ["dinov2-b14-global-224", "human-poses"])
def test_vectors_come_nearer(tmp_path, recipe):
    """Class tokens of a ViT, as global features and in the place of poses: towers, memory codes, and the recipe's own distance."""
    (_, vectors), (_, x), far = features_of(photo_crops(1200, 36)), features_of(held_out(96, 36)), {}
    folder, own = write(tmp_path / "vectors", vectors.view(12, 100, 64).transpose(1, 2)), [*VECTORS, "model.config.channels=64"]
    for codes in (32, 1):
        tok = of_recipe(recipe, folder, tmp_path / str(codes), own, codes=codes)
        tokens = tok.encode(x.t())
        far[codes] = distance(recipe, tok.decode(tokens)[0].t(), x)
        if codes > 1:
            far[0] = distance(recipe, tok.decode(dataclasses.replace(tokens, ids=tokens.ids.roll(1, 2)))[0].t(), x)
    mean = distance(recipe, vectors.mean(0).expand_as(x), x)
    name, figure = f"memory codes of vectors ({recipe}, 4M-21)", "distance of a ViT's class tokens"
    effect(name, f"{figure}, 32 codes in each codebook and one", with_=far[32], without=far[1])
    effect(name, f"{figure}, own codes and another picture's", with_=far[32], without=far[0])
    assert far[32] < 0.75 * min(far[1], mean) and far[32] < 0.6 * far[0], (far, mean)


def distance(recipe: str, x_hat: Tensor, x: Tensor) -> float:
    """That of the recipe's loss: smooth L1 of poses, one minus the cosine of global features."""
    return float(F.smooth_l1_loss(x_hat, x) if recipe == "human-poses" else 1 - F.cosine_similarity(x_hat, x).mean())
