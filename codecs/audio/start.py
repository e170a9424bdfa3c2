"""The first weights of convolutional codecs of sound: every layer passes on as much as it gets.

torch's own first weights pass on a third of a signal's variance, and add biases that do not depend on it. After an encoder's ten layers
and more the latents of all recordings are alike, at any width: in EnCodec's published size, less than a hundredth of their power
differs between recordings. Here weights have a variance of 1 / inputs (LeCun et al. 1998, "Efficient BackProp", section 4.6), and
biases are 0.
"""

from typing import cast

import torch
from torch import nn

from ..kernels.residual1d import Residual1d

#: RMS of recordings, samples in -1..1.
LEVEL = 0.1
#: What the branch of a residual unit begins with: whole branches would double the variance at each of a chain of units.
_BRANCH = 0.3


@torch.no_grad()
def start_sound(encoder: nn.Module, decoder: nn.Module | None = None, *, level: float = LEVEL) -> None:
    """Start the convolutions of an encoder of waveforms, and of the decoder that mirrors it, in place.

    Recordings then give latents with a deviation of 0.1 to 1.5. The decoder begins quieter than recordings, because transposed
    convolutions keep torch's own weights: from loud noise, the fastest way down is to forget the recording.

    Differs: the authors of most families that call this leave torch's own first weights.

    Args:
        encoder: its first convolution takes waveforms.
        decoder: its last convolution returns waveforms; None: a decoder of another kind, which is left as it is.
        level: RMS of the waveforms; 1 for a codec that divides each clip by its own.
    """
    for part in (encoder, decoder) if decoder is not None else (encoder,):
        for layer in _convolutions(part):
            if isinstance(layer, nn.Conv1d):
                nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        for unit in part.modules():
            if isinstance(unit, Residual1d):
                cast(nn.Conv1d, unit.branch()[-1]).weight.mul_(_BRANCH)
    _convolutions(encoder)[0].weight.div_(level)
    if decoder is not None:
        _convolutions(decoder)[-1].weight.mul_(level)


def _convolutions(part: nn.Module) -> list[nn.Conv1d | nn.ConvTranspose1d]:
    """The convolutions of a network, in the order in which it defines them."""
    return [m for m in part.modules() if isinstance(m, (nn.Conv1d, nn.ConvTranspose1d))]
