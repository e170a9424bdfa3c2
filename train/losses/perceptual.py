"""Distance of pictures in the features of a frozen image network: LPIPS and relatives.

Source: Zhang et al. 2018 (arXiv 1801.03924): unit-normalised VGG16 activations after each of five blocks, squared
differences weighted channel by channel by a learned head, mean over positions, sum over blocks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...codecs.config import ConfigError
from ...codecs.members import members
from ...codecs.spec import ImageSpec, TokenizerSpec
from ..frames import pictures_of
from .base import Loss, LossConfig, LossInputs

# VGG16 up to its thirteenth convolution: channels of each layer, by block.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@dataclass(frozen=True, kw_only=True)
class PerceptualConfig(LossConfig):
    """LPIPS distance of `x_hat` and `x`, mean over the batch.

    Attributes:
        weights: a safetensors file with the trunk as `blocks.B.L.weight`, `.bias` and the heads as `heads.B`
            (`python -m tokenzoo.zoo.evaluate.perceptual --cache DIR` writes one), or "lpips:vgg", "lpips:alex" for
            the official networks of the package `lpips`, which downloads them.
        inputs: normalisation that the trunk in a file was trained with: "caffe": 0..255 minus a mean (HED); "imagenet":
            ImageNet's mean and deviation (torchvision).
        blocks: use only this many blocks from the input on; fewer are faster.
        max_items: compare only this many pictures of a batch (0: all); saves time where the trunk dominates.
        bf16: run the trunk in bfloat16, several times faster on processors that multiply it natively.
    """

    kind: ClassVar[str] = "perceptual"
    weights: str
    inputs: Literal["caffe", "imagenet"] = "caffe"
    blocks: int = 5
    max_items: int = 0
    bf16: bool = False

    def build(self, spec: TokenizerSpec) -> Loss:
        if not isinstance(spec, ImageSpec) or spec.channels != 3:
            raise ConfigError("the loss 'perceptual' needs a tokenizer of colour pictures.")
        return Perceptual(self, spec.value_range)


class Perceptual(Loss):
    """LPIPS distance of pictures; settings: `PerceptualConfig`. The network is frozen and not part of checkpoints."""

    def __init__(self, config: PerceptualConfig, value_range: tuple[float, float]) -> None:
        super().__init__()
        self.config, self.value_range = config, value_range
        # In a list, so that it is neither a parameter of the loss nor saved with it.
        self._network = [distance_network(config.weights, config.inputs, config.blocks)]

    def forward(self, inputs: LossInputs) -> Tensor:
        """Return the loss, a scalar: the mean over the batch."""
        network = self._network[0].to(inputs.x.device)
        low, high = self.value_range
        x, x_hat = ((pictures_of(v) - low) / (high - low) for v in (inputs.x, inputs.x_hat))  # 0..1
        items = self.config.max_items or len(x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.config.bf16):
            return network(x_hat[:items], x[:items]).float().mean()


def distance_network(weights: str, inputs: str = "caffe", blocks: int = len(BLOCKS)) -> nn.Module:
    """Return the frozen network of LPIPS, called with two batches `[B, 3, H, W]` in 0..1, which gives distances `[B]`.

    Args:
        weights, inputs, blocks: see `PerceptualConfig`.

    Raises:
        ConfigError: no such file or network, other tensors in it, or the package lpips is not installed.
    """
    official = weights.startswith("lpips:")
    network = _official(weights.removeprefix("lpips:")) if official else VggDistance.from_file(Path(weights), inputs, blocks)
    return network.requires_grad_(False).eval()


class VggDistance(nn.Module):
    """LPIPS over a VGG16 trunk, for pictures `[B, 3, H, W]` in 0..1.

    Args:
        inputs: see `PerceptualConfig`.
        blocks: number of blocks used.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, inputs: str = "caffe", blocks: int = 5) -> None:
        super().__init__()
        channels, layers = 3, []
        for widths in BLOCKS[:blocks]:
            layers.append(nn.ModuleList())
            for width in widths:
                layers[-1].append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
        self.blocks = nn.ModuleList(layers)
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(widths[-1])) for widths in BLOCKS[:blocks]])
        if inputs == "caffe":
            shift, scale = tuple(v / 255 for v in (122.67892, 116.66877, 104.00699)), (1 / 255,) * 3
        else:
            shift, scale = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(scale).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def from_file(cls, path: Path, inputs: str, blocks: int) -> "VggDistance":
        """Return the network with the weights of a safetensors file.

        Args:
            path, inputs, blocks: see `PerceptualConfig`.

        Raises:
            ConfigError: no such file, or other tensors in it.
        """
        from safetensors.torch import load_file

        if not 1 <= blocks <= len(BLOCKS):
            raise ConfigError(f"perceptual.blocks is {blocks}; allowed: 1 to {len(BLOCKS)}.")
        path = path.expanduser()
        if not path.is_file():
            raise ConfigError(
                f"perceptual.weights: no file {str(path)!r}. `python -m tokenzoo.zoo.evaluate.perceptual --cache DIR` "
                "writes one; 'lpips:vgg' takes the official network of the package lpips instead."
            )
        network = cls(inputs, blocks)
        state = load_file(path)
        wanted = network.state_dict()
        if not wanted.keys() <= state.keys() or any(state[k].shape != v.shape for k, v in wanted.items()):
            raise ConfigError(f"{path} holds no VGG16 trunk with heads; expected {', '.join([*wanted][:3])}.")
        network.load_state_dict({k: state[k] for k in wanted})
        return network

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distance `[B]` of two batches `[B, 3, H, W]` in 0..1; the gradient flows to `x_hat` only."""
        with torch.no_grad():
            references = self.features(x)
        return self.compare(self.features(x_hat), references)

    def compare(self, ours: list[Tensor], theirs: list[Tensor]) -> Tensor:
        """Distance `[B]` of two batches by their `features`; one of them may hold a single picture."""
        layers = zip(ours, theirs, self.heads, strict=True)
        gaps = [torch.einsum("bchw,c->bhw", (a - b).square(), head).mean(dim=(1, 2)) for a, b, head in layers]
        return torch.stack(gaps).sum(0)

    def features(self, x: Tensor) -> list[Tensor]:
        """Unit-length activations after each block, `[B, C, H / 2^n, W / 2^n]`, float32."""
        x = ((x - self.shift) / self.scale).contiguous(memory_format=torch.channels_last)
        out = []
        for i, block in enumerate(members(self.blocks, nn.ModuleList)):
            x = F.max_pool2d(x, 2) if i else x
            for layer in block:
                x = layer(x).relu()
            y = x.float()
            # Differs: the 1e-10 is added under the root, in LPIPS after it; so the gradient at 0 is finite.
            out.append(y * (y.square().sum(dim=1, keepdim=True) + 1e-10).rsqrt())
        return out


class _Official(nn.Module):
    """The network of the package `lpips`, which takes pixels in -1..1, for pixels in 0..1."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_hat: Tensor, x: Tensor) -> Tensor:
        return self.network(2 * x_hat - 1, 2 * x - 1).flatten()


def _official(net: str) -> nn.Module:
    try:
        import lpips
    except ImportError as error:
        raise ConfigError("perceptual.weights names the package lpips; install it: pip install lpips.") from error
    if net not in ("vgg", "alex", "squeeze"):
        raise ConfigError(f"perceptual.weights is 'lpips:{net}'; allowed: lpips:vgg, lpips:alex, lpips:squeeze.")
    return _Official(lpips.LPIPS(net=net, verbose=False))
