"""Cosmos DV: a causal tokenizer of clips, 3-D Haar patches, factorised convolutions and finite scalar quantization.

NVIDIA 2025, "Cosmos World Foundation Model Platform for Physical AI", arXiv 2501.03575, section 4; checked against
NVIDIA/Cosmos-Tokenizer @ 3584ae752c, `CausalDiscreteVideoTokenizer` (Apache-2.0).

    clip [T, 3, H, W] -> Haar patches -> blocks over space and over time -> latents [D, t, h, w] -> ids [t h w]

The first frame has its own ids, and each further `time_factor` frames share those of one step: t = 1 + (T - 1) / time_factor, h and w
are H and W over `space_factor`. No id depends on a later step and no frame on a later id, so a single picture is a clip of one frame,
and its ids are those of the first step of any clip that begins with it. Clips of other lengths repeat their last frame, pictures of
other sizes their last row and column, up to the next that fits.

Memory grows with the clip. `encode(clip, window=17)` cuts it into clips of 17 frames that know nothing of each other, as the authors'
program does, and their ids follow one another along t; `decode` needs the same window.

Differs: the authors' program centres frames of other sizes on black, and repeats the first and the last frame of a clip of another
length, half of what is missing each. Ids here are those of float32; the authors round latents to bfloat16 by default.

Letters: B batch, T frames, H W pixels, t h w grid, D width of the code, L = t h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ..clips import ClipTokenizer
from .networks import ClipDecoder, ClipEncoder, Networks


@dataclass(frozen=True, kw_only=True)
class CosmosDVConfig:
    """Settings of `CosmosDV`; the defaults are those of the published 8x16x16.

    Attributes:
        networks: settings of encoder and decoder, see `networks.py`.
        code_dim: width of the vectors that are quantized.
        quantizer: settings of any quantizer that needs no grid; its `dim` is filled in.
    """

    networks: Networks = Networks()
    code_dim: int = 6
    quantizer: QuantizerConfig = FSQConfig(levels=(8, 8, 8, 5, 5, 5))


class CosmosDV(ClipTokenizer):
    """Clips and pictures of any size to ids and back; see the module's docstring."""

    family: ClassVar[str] = "cosmos_dv"
    config_class: ClassVar[type] = CosmosDVConfig
    encoder_only = ("encoder", "to_code")
    decoder_only = ("from_code", "decoder")
    config: CosmosDVConfig

    def __init__(self, config: CosmosDVConfig) -> None:
        super().__init__()
        self.config, s = config, config.networks
        self.encoder, self.decoder = ClipEncoder(s), ClipDecoder(s)
        self.to_code, self.from_code = nn.Linear(s.latent_dim, config.code_dim), nn.Linear(config.code_dim, s.latent_dim)
        _start(self)
        self.set_quantizer(config.quantizer, dim=config.code_dim, stride=s.space_factor)

    @property
    def time_factor(self) -> int:
        """Frames from one step of the grid to the next."""
        return self.config.networks.time_factor

    def encode_clips(self, x: Tensor) -> Tensor:
        """Latents `[B, D, t, h, w]` of clips `[B, 3, T, H, W]`, T = 1 + k `time_factor`."""
        return self.to_code(self.encoder(x).movedim(1, -1)).movedim(-1, 1)

    def decode_clips(self, z_q: Tensor) -> Tensor:
        """Clips `[B, 3, 1 + (t - 1) time_factor, H, W]` of quantized latents `[B, D, t, h, w]`."""
        return self.decoder(self.from_code(z_q.movedim(1, -1)).movedim(-1, 1))


@torch.no_grad()
def _start(tokenizer: CosmosDV) -> None:
    """First weights: deviation 1 over the root of the inputs, biases 0, a faint picture (own choice; the training is not public).

    PyTorch's own start has a third of that variance and biases as large as the signal, which then is lost: the norms span all channels.
    """
    for part in tokenizer.modules():
        if isinstance(part, (nn.Conv3d, nn.Linear)):
            part.weight.mul_(3**0.5)
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    tokenizer.decoder.head.time.weight.mul_(0.02)
