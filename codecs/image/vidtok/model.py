"""VidTok: tokenizers of clips; blocks over space and over time by turns, and finite scalar quantization. Causal, or not.

Tang et al. 2024, "VidTok: A Versatile and Open-Source Video Tokenizer", arXiv 2412.13061; checked against
microsoft/VidTok @ d6ad92d98e, `AutoencodingEngine` (MIT).

    clip [T, 3, H, W] -> blocks, halvings of space and of time -> latents [D, t, h, w] -> ids [t h w]

`time_factor` frames share a step. Three published kinds (`networks.kind`):

    causal        t = 1 + (T - 1) / time_factor: the first frame counts `time_factor` times. No id depends on a later step and no frame
                  on a later id, so the ids of a picture are those of the first step of any clip that begins with it. Clips of other
                  lengths repeat their last frame.
    causal_v1_1   t = T / time_factor; clips of other lengths repeat their first frame, so that a picture, and a clip of 1 + k
                  `time_factor` frames, has the steps of `causal`. Ids are causal; frames that are interpolated depend on the next id.
    noncausal     t = T / time_factor; clips of other lengths, pictures too, repeat their last frame.

Pictures of other sizes repeat their last row and column. Memory grows with the clip: `encode(clip, window=17)` cuts it into clips of
17 frames that know nothing of each other (16 where the kind is noncausal); `decode` needs the same window.

Differs: the authors' classes fail on lengths that do not fit (`causal_v1_1` excepted). Their program for long clips (version 1.1) hands
the last frames of each layer on to the next piece; its ids are those of the whole clip here, without `window`.

Letters: B batch, T frames, H W pixels, t h w grid, D width of the code, L = t h w.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ..clips import ClipTokenizer
from .blocks import TimeConv
from .networks import ClipDecoder, ClipEncoder, Level, Networks


@dataclass(frozen=True, kw_only=True)
class VidTokConfig:
    """Settings of `VidTok`; the defaults are those of the published causal 4x8x8 with 32,768 codes.

    Attributes:
        networks: settings of encoder and decoder, see `networks.py`.
        quantizer: settings of any quantizer that needs no grid; its `dim` is filled in.
    """

    networks: Networks = Networks()
    quantizer: QuantizerConfig = FSQConfig(levels=(8, 8, 8, 8, 8))


class VidTok(ClipTokenizer):
    """Clips and pictures of any size to ids and back; see the module's docstring."""

    family: ClassVar[str] = "vidtok"
    config_class: ClassVar[type] = VidTokConfig
    encoder_only = ("encoder",)
    decoder_only = ("decoder",)
    config: VidTokConfig

    def __init__(self, config: VidTokConfig) -> None:
        super().__init__()
        self.config, s = config, config.networks
        self.encoder, self.decoder = ClipEncoder(s), ClipDecoder(s)
        _start(self)
        self.set_quantizer(config.quantizer, dim=s.latent_dim, stride=s.space_factor)

    @property
    def time_factor(self) -> int:
        """Frames that share a step."""
        return self.config.networks.time_factor

    def steps_of(self, frames: int) -> int:
        """t of a clip that is encoded whole."""
        return super().steps_of(frames) if self.config.networks.kind == "causal" else -(-frames // self.time_factor)

    def fill(self, x: Tensor) -> Tensor:
        """Clips `[B, T, 3, H, W]` of any length, brought to the next that fits; `causal`: without the first frame's repetitions."""
        if self.config.networks.kind == "causal":
            return super().fill(x)
        missing, last = -x.shape[1] % self.time_factor, self.config.networks.kind == "noncausal"
        again = (x[:, -1:] if last else x[:, :1]).expand(-1, missing, -1, -1, -1)
        return torch.cat([x, again] if last else [again, x], dim=1)

    def cut(self, x: Tensor, frames: int) -> Tensor:
        """The `frames` frames of decoded clips `[..., T, 3, H, W]` that are not of `fill`."""
        if self.config.networks.kind == "causal_v1_1":
            return x[..., max(0, x.shape[-4] - frames) :, :, :, :]
        return super().cut(x, frames)

    def encode_clips(self, x: Tensor) -> Tensor:
        """Latents `[B, D, t, h, w]` of clips `[B, 3, T, H, W]` of a length and a size that fit."""
        if self.config.networks.kind == "causal":
            x = torch.cat([x[:, :, :1].expand(-1, -1, self.time_factor - 1, -1, -1), x], dim=2)
        return self.encoder(x)

    def decode_clips(self, z_q: Tensor) -> Tensor:
        """Clips `[B, 3, T, H, W]` of quantized latents `[B, D, t, h, w]`, all frames of all steps."""
        y = self.decoder(z_q)
        return y[:, :, self.time_factor - 1 :] if self.config.networks.kind == "causal" else y


@torch.no_grad()
def _start(tokenizer: VidTok) -> None:
    """First weights: deviation 1 over the root of the inputs, biases 0; the picture, and what blocks over time add, is faint.

    Differs: the authors' blocks over time add nothing at first, and the rest has PyTorch's own start, with a third of that variance and
    biases as large as the signal.
    """
    for part in tokenizer.modules():
        if isinstance(part, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
            part.weight.mul_(3**0.5)
            assert part.bias is not None
            nn.init.zeros_(part.bias)
    for part in tokenizer.modules():
        for block in part.over_time if isinstance(part, Level) else ():
            assert isinstance(block.conv2, TimeConv)
            block.conv2.weight.mul_(0.02)
    tokenizer.decoder.head.weight.mul_(0.02)
