"""Emu3's vision tokenizer: a VQGAN with four-frame time compression and a decoder under MoVQ's spatial norm.

Wang et al. 2024, "Emu3: Next-Token Prediction is All You Need", arXiv 2409.18869; baaivision/Emu3 @ f6ea9aaa44, emu3/tokenizer
(Apache-2.0).

    clip [T, 3, H, W] -> VQGAN's encoder, frame by frame -> convolutions over time -> latents [D, t, h, w] -> ids [t h w]

`frames` frames share a step: t = T / frames, h and w are H and W over the encoder's stride. What goes over time is causal: no id
depends on a later step, and no frame on a later id. Clips of other lengths repeat their last frame, pictures of other sizes their last
row and column. A picture is a clip of one frame, repeated to fill its step, as the authors' processor does; the first of the frames
that are decoded is the picture, and only that one is computed.

Clips of any length have the ids and frames of the whole: encoder and decoder take a few frames at once, and what goes over time is
small (D channels of a grid). `encode(clip, window=16)` also cuts it into clips that know nothing of each other; `decode` needs the
same window. The decoder's norms are conditioned on the code.

Letters: B batch, T frames, H W pixels, t h w grid of tokens, D width of the code, L = t h w.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.vqgan import DecoderConfig, EncoderConfig, VQGANDecoder, VQGANEncoder
from ...quantizers.base import QuantizerConfig
from ...quantizers.vq import VQConfig
from ..clips import ClipTokenizer
from .temporal import CausalConv3d, TemporalResBlock, repeat_frames

#: Frames of a clip that go through the encoder or the decoder together.
_FRAMES = 8


@dataclass(frozen=True, kw_only=True)
class Emu3Config:
    """Settings of `Emu3`; the defaults are the published ones.

    Attributes:
        encoder, decoder: settings of encoder and decoder, see `layers/vqgan.py`; the decoder's condition must be "spatial".
        latent_dim: D, channels of the latents.
        frames: frames in one token step, a power of two.
        time_blocks: number of residual blocks over time, in the encoder and again in the decoder.
        quantizer: settings of any quantizer that needs no grid; its `dim` is filled in.
    """

    encoder: EncoderConfig = EncoderConfig(widths=(256, 512, 512, 1024), stem_width=256, attention_levels=(3,))
    decoder: DecoderConfig = DecoderConfig(widths=(256, 512, 512, 1024), attention_levels=(3,), condition="spatial")
    latent_dim: int = 4
    frames: int = 4
    time_blocks: int = 2
    quantizer: QuantizerConfig = VQConfig(codebook_size=32768, update="gradient", kmeans_init=False, replace_below=0.0)

    def __post_init__(self) -> None:
        if self.frames < 1 or self.frames & (self.frames - 1):
            raise ConfigError(f"frames is {self.frames}; it must be a power of two.")
        if self.encoder.stride != self.decoder.stride:
            raise ConfigError(
                f"the encoder divides the size by {self.encoder.stride}, the decoder multiplies it by {self.decoder.stride}."
            )


class Emu3(ClipTokenizer):
    """Clips and pictures of any size to ids and back; see the module's docstring."""

    family: ClassVar[str] = "emu3"
    config_class: ClassVar[type] = Emu3Config
    encoder_only = ("encoder", "time_down", "time_encoder", "to_code")
    decoder_only = ("from_code", "time_decoder", "time_up", "decoder")
    config: Emu3Config

    def __init__(self, config: Emu3Config) -> None:
        super().__init__()
        self.config = c = config
        d, steps = c.latent_dim, int(math.log2(c.frames))
        self.encoder = VQGANEncoder(c.encoder, d)
        self.time_down = nn.ModuleList(CausalConv3d(d, d, (4, 3, 3), time_stride=2) for _ in range(steps))
        self.time_encoder = nn.Sequential(*(TemporalResBlock(d) for _ in range(c.time_blocks)))
        self.to_code = CausalConv3d(d, d, (3, 1, 1))
        self.from_code = CausalConv3d(d, d, (3, 1, 1))
        self.time_decoder = nn.Sequential(*(TemporalResBlock(d) for _ in range(c.time_blocks)))
        self.time_up = nn.ModuleList(CausalConv3d(d, d, (3, 3, 3)) for _ in range(steps))
        self.decoder = VQGANDecoder(c.decoder, d)
        self.set_quantizer(c.quantizer, dim=d, stride=c.encoder.stride)

    @property
    def time_factor(self) -> int:
        """Frames that share a step."""
        return self.config.frames

    def steps_of(self, frames: int) -> int:
        """t of a clip that is encoded whole."""
        return -(-frames // self.time_factor)

    def fill(self, x: Tensor) -> Tensor:
        """Clips `[B, T, ...]` of any length, brought to whole steps by repeating the last frame."""
        missing = -x.shape[1] % self.time_factor
        return torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, T, 3, H, W]` of any number of frames, or of pictures `[B, 3, H, W]`."""
        x = x[:, None] if x.ndim == 4 else x
        parts = [self.encoder(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in x.split(_FRAMES, dim=1)]
        h = self.fill(torch.cat(parts, dim=1))  # [B, T, D, h, w]: equal frames have equal features
        return self._encode_time(h.transpose(1, 2)).flatten(2)

    def decode_frames(self, z_q: Tensor, frames: int | None) -> Tensor:
        """Clips `[B, T, 3, H, W]` of quantized latents `[B, D, t, h, w]`: the first `frames` frames; None: all."""
        z, code = (y.transpose(1, 2)[:, :frames] for y in self._decode_time(z_q))  # [B, T, D, h, w]
        parts = [
            self.decoder(a.flatten(0, 1), b.flatten(0, 1)).unflatten(0, a.shape[:2])
            for a, b in zip(z.split(_FRAMES, dim=1), code.split(_FRAMES, dim=1), strict=True)
        ]
        return torch.cat(parts, dim=1)

    # --- time -------------------------------------------------------------------------------------------------------

    def _encode_time(self, h: Tensor) -> Tensor:
        """Downsample latents in time, `[B, D, T, h, w]` to `[B, D, T / frames, h, w]`."""
        for conv in self.time_down:
            h = F.silu(conv(h))
        return self.to_code(self.time_encoder(h))

    def _decode_time(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Upsample codes `[B, D, t, h, w]` in time: inputs of the decoder and of its norms, `[B, D, T, h, w]`."""
        both = self.time_decoder(torch.cat([self.from_code(code), code]))  # the codes and the norms' input take the same path
        for conv in self.time_up:
            both = F.silu(conv(repeat_frames(both)))
        z, code = both.chunk(2)
        return z, code
