"""Emu3's vision tokenizer: a VQGAN with four-frame time compression and a decoder under MoVQ's spatial norm.

Wang et al. 2024, "Emu3: Next-Token Prediction is All You Need", arXiv 2409.18869; baaivision/Emu3 @ f6ea9aaa44, emu3/tokenizer
(Apache-2.0).

VQGAN's encoder maps each frame of a clip `[B, T, 3, H, W]` to features; causal 3-D convolutions merge groups of four frames to latents
`[B, D, t, h, w]`, and the nearest code gives ids `[B, 1, t h w]`. The decoder up-samples in time, then decodes each frame; its norms
are conditioned on the code. A picture is a clip of four equal frames: ids `[B, 1, h w]`; the first of the four decoded frames is the
picture, and only that one is computed here.

Letters: B batch, T frames, H W pixels, t h w grid of tokens, D width of the code, L = h w (picture) or t h w (clip).
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
from ...spec import ImageSpec
from ...tokens import Tokens
from ..base import ImageTokenizer, pad_to_stride
from .temporal import CausalConv3d, TemporalResBlock, repeat_frames


@dataclass(frozen=True, kw_only=True)
class Emu3Config:
    """Settings of `Emu3`; the defaults are the published ones.

    Attributes:
        encoder, decoder: settings of encoder and decoder, see `layers/vqgan.py`; the decoder's condition must be "spatial".
        latent_dim: D, channels of the latents.
        frames: frames in one token step, a power of two.
        time_blocks: number of residual blocks over time, in the encoder and again in the decoder.
        quantizer: settings of any quantizer; its `dim` is filled in.
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
                f"the encoder divides the size by {self.encoder.stride}, "
                f"the decoder multiplies it by {self.decoder.stride}."
            )


class Emu3(ImageTokenizer):
    """Pictures with `encode` / `decode`, clips with `encode_video` / `decode_video`; one id a position, row by row."""

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
        self.quantizer = c.quantizer.build(dim=d)
        self.from_code = CausalConv3d(d, d, (3, 1, 1))
        self.time_decoder = nn.Sequential(*(TemporalResBlock(d) for _ in range(c.time_blocks)))
        self.time_up = nn.ModuleList(CausalConv3d(d, d, (3, 3, 3)) for _ in range(steps))
        self.decoder = VQGANDecoder(c.decoder, d)
        self.spec = ImageSpec.of(self.quantizer, stride=c.encoder.stride)

    # --- pictures ---------------------------------------------------------------------------------------------------

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, h w]` of pictures `[B, 3, H, W]`."""
        h = self.encoder(x)
        h = h[:, :, None].expand(-1, -1, self.config.frames, -1, -1)  # equal frames have equal features
        return self._encode_time(h).flatten(2)

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, h w]`."""
        if grid is None or len(grid) != 2:
            raise ValueError(f"{self.family} needs the grid (h, w) of a picture, got {grid}; clips go to decode_video.")
        z, code = self._decode_time(z_q.unflatten(-1, (1, grid[0], grid[1])), first=True)  # [B, D, 1, h, w]
        return self.decoder(_frames_first(z), _frames_first(code))

    # --- clips ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode_video(self, x: Tensor) -> Tokens:
        """Tokens of clips `[B, T, 3, H, W]` in -1..1; grid (t, h, w), t = T / frames, T padded by repeating the last frame."""
        if x.ndim != 5 or x.shape[2] != 3:
            raise ValueError(f"a batch of clips is [B, T, 3, H, W]; got {list(x.shape)}.")
        size = torch.tensor([[x.shape[1], *x.shape[3:]]] * len(x))
        x = pad_to_stride(x.to(self.device, self.dtype).flatten(0, 1), self.size_multiple).unflatten(0, x.shape[:2])
        missing = -x.shape[1] % self.config.frames
        x = torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        z = self.encode_video_latents(x)  # [B, D, t, h, w]
        ids = self.quantizer.encode(z.flatten(2))
        return Tokens(
            ids=ids, vocab_sizes=self.spec.vocab_sizes, grid=tuple(z.shape[2:]), sizes=size, tokenizer=self.identity
        )

    def encode_video_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, t, h, w]` of clips `[B, T, 3, H, W]`, T a multiple of `frames`."""
        h = self.encoder(x.flatten(0, 1))
        return self._encode_time(h.unflatten(0, x.shape[:2]).transpose(1, 2))

    @torch.no_grad()
    def decode_video(self, tokens: Tokens) -> Tensor:
        """Clips `[B, T, 3, H, W]` of tokens with a grid (t, h, w), cut to the original length and size."""
        tokens = self.check_tokens(tokens)
        if len(tokens.grid) != 3:
            raise ValueError(f"decode_video takes tokens of encode_video, with a grid (t, h, w); got {tokens.grid}.")
        x = self.decode_video_latents(
            self.quantizer.decode(tokens.ids.to(self.device)).to(self.dtype), tokens.grid
        ).float()
        if tokens.sizes is None:
            return x
        frames, height, width = (int(n) for n in tokens.sizes[0])
        return x[:, :frames, :, :height, :width]

    def decode_video_latents(self, z_q: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Clips `[B, T, 3, H, W]` of latents `[B, D, t h w]`."""
        z, code = self._decode_time(z_q.unflatten(-1, grid), first=False)  # [B, D, T, h, w]
        return self.decoder(_frames_first(z), _frames_first(code)).unflatten(0, (len(z_q), -1))

    # --- time -------------------------------------------------------------------------------------------------------

    def _encode_time(self, h: Tensor) -> Tensor:
        """Downsample latents in time, `[B, D, T, h, w]` to `[B, D, T / frames, h, w]`."""
        for conv in self.time_down:
            h = F.silu(conv(h))
        return self.to_code(self.time_encoder(h))

    def _decode_time(self, code: Tensor, *, first: bool) -> tuple[Tensor, Tensor]:
        """Upsample codes `[B, D, t, h, w]` in time: inputs of the decoder and of its norms, `[B, D, T, h, w]`, or their first frame."""
        both = self.time_decoder(torch.cat([self.from_code(code), code]))  # the codes and the norms' input take the same path
        for conv in self.time_up:
            both = F.silu(conv(repeat_frames(both)))
            both = both[:, :, :1] if first else both  # causal: the first frame depends on no later one
        return both.chunk(2)  # type: ignore[return-value]


def _frames_first(x: Tensor) -> Tensor:
    """Merge batch and time, `[B, D, T, h, w]` to `[B T, D, h, w]`."""
    return x.transpose(1, 2).flatten(0, 1)
