"""The first weights of narrow ReToks: their tokens differ by picture and by position, and their decoder reads all of them.

A narrow network's first steps repair the mean colour. Where moving all tokens to one place is the fast way to it, the decoder forgets
the tokens within ten steps, or reads the first alone, from which all its grid queries begin. So colours are cheap at the last layer,
and tokens are centred and strong at all others.
"""

from typing import Any

import torch
from torch import nn

from ...layers.vit import init_linear
from ...layers.vqgan_blocks import AdaptiveNorm
from ...start import narrow, photographs

#: Gain of the norm before pixels: how much faster the last layer learns a colour. Its weights begin fainter by more than that.
_COLOUR_GAIN, _COLOUR_WEIGHT = 4.0, 0.15
#: How much block means outweigh what is the same in all queries.
_QUERY_GAIN = 4.0
#: How much positions outweigh what is the same at all positions of the decoder's grid.
_PLACE_GAIN = 2.0
#: What the decoder's grid queries, all alike at first, tell one another.
_ALIKE = 0.1
#: Share of the code's mean and deviation in the first gains and shifts of adaptive norms.
_GAIN_SHARE, _SHIFT_SHARE = 0.1, 0.3
#: Most pictures that the latents are centred on, least, and their pixels in all.
_MOST_PICTURES, _LEAST_PICTURES, _PIXELS = 64, 2, 2**16


@torch.no_grad()
def start_narrow(tokenizer: Any) -> None:
    """Start an untrained `ReTok` in place, if it is narrow and holds values."""
    c, sampler, unsampler, decoder = tokenizer.config, tokenizer.sampler, tokenizer.unsampler, tokenizer.decoder
    if not narrow(c.sampler.width) or tokenizer.to_latent.weight.device.type == "meta":
        return
    for part in (tokenizer.encoder, decoder, tokenizer.to_latent, tokenizer.from_latent):
        part.apply(init_linear)
    for module in decoder.modules():
        if isinstance(module, AdaptiveNorm):
            module.gain.weight.mul_(_GAIN_SHARE)
            nn.init.ones_(module.gain.bias)
            module.shift.weight.mul_(_SHIFT_SHARE)
    if isinstance(decoder.norm, nn.GroupNorm):
        nn.init.constant_(decoder.norm.weight, _COLOUR_GAIN)
        decoder.head.weight.mul_(_COLOUR_WEIGHT)
    if sampler.query is not None:
        sampler.query.weight.mul_(_QUERY_GAIN)
    for layer in unsampler.layers:
        layer.self_attention.out.weight.mul_(_ALIKE)
    unsampler.grid_positions.mul_(_PLACE_GAIN)
    unsampler.positions.mul_(_PLACE_GAIN)
    _centre_latents(tokenizer)


def _centre_latents(tokenizer: Any) -> None:
    """Give the latents of photographs, before they are quantized, mean 0 and deviation 1 in each channel."""
    was, side = tokenizer.training, tokenizer.config.image_size
    count = max(_LEAST_PICTURES, min(_MOST_PICTURES, _PIXELS // side**2))
    z = tokenizer.eval().encode_latents(photographs(count, side))  # [N, D, n]
    tokenizer.train(was)
    mean, std = z.mean((0, 2)), z.std((0, 2)).clamp(min=1e-6)
    tokenizer.to_latent.weight.div_(std[:, None])
    tokenizer.to_latent.bias.sub_(mean).div_(std)
