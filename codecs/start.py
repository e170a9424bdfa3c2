"""The first weights of narrow networks: what they let through of a picture.

Published ViTs begin with weights of deviation 0.02, which fits layers of 768 inputs and more. A toy with layers of 64 would let through
so little that the tokens of all pictures are alike, and training would not change that for long.
"""

from typing import Any

import torch
from torch import nn

#: From this many inputs on, weights begin as in published ViTs.
_WIDE = 512
#: Mean and standard deviation of the pixels of photographs, as shares of the value range.
_MEAN, _STD = 0.45, 0.15
#: Of the contrast of photographs, what a decoder begins with.
_FAINT = 0.3
#: Deviation of a narrow network's sequence after its first norm: what queries collect from patches then outweighs what they began as.
_QUIET = 0.25

#: Log-variance of an untrained VAE's posterior.
_QUIET_NOISE = -10.0


def start_deviation(inputs: int) -> float:
    """Standard deviation of a layer's first weights: 0.02 from 512 inputs on, `inputs ** -0.5` for fewer."""
    return 0.02 if inputs >= _WIDE else inputs**-0.5


def narrow(width: int) -> bool:
    """True below width 512, where a network needs another start than the published ones."""
    return width < _WIDE


def photographs(count: int, side: int) -> torch.Tensor:
    """Pictures `[count, 3, side, side]` in -1..1 with a photo's mean and spread: a brightness each, its gradient, and noise."""
    g = torch.Generator().manual_seed(0)
    tilt = torch.linspace(-1, 1, side)
    x = torch.randn(count, 3, side, side, generator=g) / 2 + torch.randn(count, 3, 1, 1, generator=g)
    for slope in (tilt, tilt[:, None]):
        x += torch.randn(count, 1, 1, 1, generator=g) * slope
    return 2 * (_MEAN + _STD * x) - 1


def start_layer_scale(width: int, published: float) -> float:
    """First value of the LayerScale of a transformer: `published`, made for deep and wide ones, from width 512 on; 1 below."""
    return published if width >= _WIDE else 1.0


def start_positions(width: int, published: float) -> float:
    """Deviation of a position table whose rows are added to patches: `published` from width 512 on; 1, that of a patch, below.

    Attention by position is then there from the first step. Where patches outweigh positions, a short run learns no more of a picture
    than its mean colour.
    """
    return published if width >= _WIDE else 1.0


def first_norm(width: int) -> nn.LayerNorm:
    """The norm of a sequence of patches and queries before the blocks; below width 512 with small gains."""
    norm = nn.LayerNorm(width)
    if width < _WIDE:
        nn.init.constant_(norm.weight, _QUIET)
    return norm


@torch.no_grad()
def start_pictures(tokenizer: nn.Module, value_range: tuple[float, float]) -> None:
    """Start the layers from and to pixels of a narrow network in place, as an average photograph needs them.

    Patch embeddings are scaled and shifted so that its patches have a mean of 0 and a deviation of about 1. Layers to pixels begin near
    an even grey: far from all pictures, the fastest way down is to forget the picture.

    Args:
        tokenizer: an untrained one; changed are its layers `patch_embed` with three input channels, and `to_pixels`, the layers of a
            `PatchesToPixels`, or the last convolution of a VQGAN's decoder. Where it has `pixel_mean` and `pixel_std`, of colours in
            0..1, patches are those of normalised colours, and what `to_pixels` gives is normalised too.
        value_range: of its pixels.
    """
    low, high = value_range
    grey, spread = low + _MEAN * (high - low), _STD * (high - low)
    normalised = _normalised(tokenizer)
    for name, layer in tokenizer.named_modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or not _narrow(layer):
            continue
        place = name.split(".")
        if place[-1] == "patch_embed" and isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            mean, deviation = normalised or (grey, spread)
            layer.weight.mul_(layer.weight[0].numel() ** -0.5 / deviation / layer.weight.std().clamp(min=1e-6))
            if layer.bias is not None:
                layer.bias.copy_(-layer.weight.sum((1, 2, 3)) * mean)
        elif "to_pixels" in place[-2:] or place[-2:] in (["patches", "proj"], ["decoder", "head"]):
            mean, deviation = (normalised if "to_pixels" in place[-2:] else None) or (grey, spread)
            layer.weight.mul_(_FAINT * deviation)
            if layer.bias is not None:
                layer.bias.fill_(mean)
        elif place[-1] == "smooth" and isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels:
            nn.init.dirac_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()


@torch.no_grad()
def start_vae(vae: Any, channels: int, *, pictures: int = 64, side: int = 32) -> None:
    """Start a narrow diffusers `AutoencoderKL` in place: latents of photographs get mean 0, deviation 1 and hardly any noise.

    Trained ones have such latents; those of an untrained one are a constant with faint differences, and the noise is far above them.

    Args:
        vae: an untrained one, for pixels in -1..1.
        channels: of its latents.
        pictures, side: number and side in pixels of the pictures that are encoded.
    """
    first, last = vae.encoder.conv_out, vae.quant_conv if vae.quant_conv is not None else vae.encoder.conv_out
    if first.weight[0].numel() >= _WIDE or first.weight.device.type == "meta":
        return
    x = photographs(pictures, side)
    was = vae.training
    moments = vae.eval().encode(x).latent_dist.parameters[:, :channels]
    vae.train(was)
    mean, std = moments.mean((0, 2, 3)), moments.std((0, 2, 3)).clamp(min=1e-6)
    last.weight[:channels].div_(std[:, None, None, None])
    last.bias[:channels].sub_(mean).div_(std)
    last.weight[channels:].zero_()
    last.bias[channels:].fill_(_QUIET_NOISE)


def _normalised(tokenizer: nn.Module) -> tuple[float, float] | None:
    """Mean and deviation of photographs in the colours that a tokenizer normalises itself, averaged over these; None: it does not."""
    mean, std = getattr(tokenizer, "pixel_mean", None), getattr(tokenizer, "pixel_std", None)
    if not (isinstance(mean, torch.Tensor) and isinstance(std, torch.Tensor)) or mean.device.type == "meta":
        return None
    return float(((_MEAN - mean) / std).mean()), float((_STD / std).mean())


def _narrow(layer: nn.Conv2d | nn.Linear) -> bool:
    """True for an untrained layer of few inputs that holds values."""
    return layer.weight[0].numel() < _WIDE and layer.weight.device.type != "meta" and layer.weight.requires_grad
