"""The first weights of narrow networks: what they let through of a picture.

Published ViTs begin with weights of deviation 0.02, which fits layers of 768 inputs and more. A toy with layers of 64 would let through
so little that the tokens of all pictures are alike, and training would not change that for long.
"""

import torch
from torch import nn

#: From this many inputs on, weights begin as in published ViTs.
_WIDE = 512
#: Mean and standard deviation of the pixels of photographs, as shares of the value range.
_MEAN, _STD = 0.45, 0.15
#: Of the contrast of photographs, what a decoder begins with.
_FAINT = 0.3


def start_deviation(inputs: int) -> float:
    """Standard deviation of a layer's first weights: 0.02 from 512 inputs on, `inputs ** -0.5` for fewer."""
    return 0.02 if inputs >= _WIDE else inputs**-0.5


@torch.no_grad()
def start_pictures(tokenizer: nn.Module, value_range: tuple[float, float]) -> None:
    """Start the layers from and to pixels of a narrow network in place, as an average photograph needs them.

    Patch embeddings are scaled and shifted so that its patches have a mean of 0 and a deviation of about 1. Layers to pixels begin near
    an even grey: far from all pictures, the fastest way down is to forget the picture.

    Args:
        tokenizer: an untrained one; changed are its layers `patch_embed` with three input channels, and `to_pixels` or the layers
            of a `PatchesToPixels`.
        value_range: of its pixels.
    """
    low, high = value_range
    grey, spread = low + _MEAN * (high - low), _STD * (high - low)
    for name, layer in tokenizer.named_modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or not _narrow(layer):
            continue
        place = name.split(".")
        if place[-1] == "patch_embed" and isinstance(layer, nn.Conv2d) and layer.in_channels == 3:
            layer.weight.mul_(layer.weight[0].numel() ** -0.5 / spread / layer.weight.std().clamp(min=1e-6))
            if layer.bias is not None:
                layer.bias.copy_(-layer.weight.sum((1, 2, 3)) * grey)
        elif place[-1] == "to_pixels" or place[-2:] in (["patches", "proj"], ["to_pixels", "proj"]):
            layer.weight.mul_(_FAINT * spread)
            if layer.bias is not None:
                layer.bias.fill_(grey)
        elif place[-1] == "smooth" and isinstance(layer, nn.Conv2d) and layer.in_channels == layer.out_channels:
            nn.init.dirac_(layer.weight)
            if layer.bias is not None:
                layer.bias.zero_()


def _narrow(layer: nn.Conv2d | nn.Linear) -> bool:
    """True for an untrained layer of few inputs that holds values."""
    return layer.weight[0].numel() < _WIDE and layer.weight.device.type != "meta" and layer.weight.requires_grad
