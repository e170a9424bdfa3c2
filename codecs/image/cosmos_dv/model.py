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

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...coding import Batch, Coded
from ...config import ConfigError
from ...media import Prepared, as_clips
from ...options import DecodeOptions, ImageEncodeOptions, check_at_least
from ...quantizers.base import QuantizerConfig
from ...quantizers.fsq import FSQConfig
from ...spec import ImageSpec
from ...token_fields import TokenError
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer, pad_to_stride
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


@dataclass(frozen=True, kw_only=True)
class ClipEncodeOptions(ImageEncodeOptions):
    """Options of `encode`.

    Attributes:
        frames: of longer clips take this many frames, evenly spaced; None: all.
        window: cut clips into pieces of this many frames that are encoded independently; `decode` needs the same. None: whole clips.
    """

    frames: int | None = None
    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("frames", self.frames, 1)
        check_at_least("window", self.window, 1)


@dataclass(frozen=True, kw_only=True)
class ClipDecodeOptions(DecodeOptions):
    """Options of `decode`.

    Attributes:
        window: the window that the ids were encoded with; None: none.
    """

    window: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("window", self.window, 1)


class CosmosDV(ImageTokenizer):
    """Clips and pictures of any size to ids and back; see the module's docstring."""

    family: ClassVar[str] = "cosmos_dv"
    config_class: ClassVar[type] = CosmosDVConfig
    encode_options = ClipEncodeOptions
    decode_options = ClipDecodeOptions
    encoder_only = ("encoder", "to_code")
    decoder_only = ("from_code", "decoder")
    config: CosmosDVConfig

    def __init__(self, config: CosmosDVConfig) -> None:
        super().__init__()
        self.config, s = config, config.networks
        self.encoder, self.decoder = ClipEncoder(s), ClipDecoder(s)
        self.to_code, self.from_code = nn.Linear(s.latent_dim, config.code_dim), nn.Linear(config.code_dim, s.latent_dim)
        _start(self)
        self.quantizer = config.quantizer.build(dim=config.code_dim)
        if self.quantizer.needs_grid:
            raise ConfigError(f"quantizer is {config.quantizer.kind!r}, which needs the grid of a picture; clips have other grids.")
        self.spec = dataclasses.replace(ImageSpec.of(self.quantizer, stride=s.space_factor), clips=True)

    # --- encode -----------------------------------------------------------------------------------------------------------

    def prepare_media(self, media: Any, options: ClipEncodeOptions) -> list[Prepared]:
        """Clips of any kind (see `media/clips.py`), padded to multiples of the stride."""
        clips = as_clips(media, self.spec.value_range, given_range=options.value_range, frames=options.frames)
        return [Prepared(pad_to_stride(c, self.size_multiple), (len(c), *c.shape[-2:])) for c in clips]

    def steps(self, frames: int, window: int | None = None) -> int:
        """t, the steps of a clip of `frames` frames."""
        window = frames if window is None else window
        full, rest = divmod(frames, window)
        return full * self._steps(window) + (self._steps(rest) if rest else 0)

    def _steps(self, frames: int) -> int:
        return 1 + -(-(frames - 1) // self.config.networks.time_factor)

    def grid_of(self, x: Tensor) -> tuple[int, ...]:
        """Grid `(t, h, w)` of a batch of whole clips `[B, T, 3, H, W]`, or of pictures `[B, 3, H, W]`."""
        height, width = x.shape[-2:]
        return self.steps(x.shape[1] if x.ndim == 5 else 1), -(-height // self.spec.stride), -(-width // self.spec.stride)

    def encode_batch(self, x: Tensor, batch: Batch) -> Coded:
        """Ids of clips `[B, T, 3, H, W]`, window by window."""
        parts = x.split(batch.options.window or x.shape[1], dim=1)
        return self.ids_of(torch.cat([self.latents_of(part, batch) for part in parts], dim=-1), batch)

    def tokens_of_batch(self, coded: Coded, items: Sequence[Prepared], batch: Batch) -> Tokens:
        """Tokens of a batch; their grid follows from the window too."""
        assert batch.grid is not None
        grid = (self.steps(items[0].size[0], batch.options.window), *batch.grid[1:])
        return super().tokens_of_batch(coded, items, dataclasses.replace(batch, grid=grid))

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, L]` of clips `[B, T, 3, H, W]` of any number of frames, or of pictures `[B, 3, H, W]`."""
        x = x[:, None] if x.ndim == 4 else x
        missing = (1 - x.shape[1]) % self.config.networks.time_factor
        x = torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1, -1)], dim=1)
        z = self.encoder(x.transpose(1, 2))
        return self.to_code(z.flatten(2).transpose(1, 2)).transpose(1, 2)

    # --- decode -----------------------------------------------------------------------------------------------------------

    def decode_latents(self, z_q: Tensor, grid: tuple[int, ...] | None = None) -> Tensor:
        """Clips `[B, 1 + (t - 1) time_factor, 3, H, W]` of quantized latents `[B, D, L]`."""
        if grid is None or len(grid) != 3:
            raise ValueError(f"{self.family} needs the grid (t, h, w) of its latents, got {grid}.")
        z = self.from_code(z_q.transpose(1, 2)).transpose(1, 2)
        return self.decoder(z.unflatten(-1, grid)).transpose(1, 2)

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Clips `[B, T, 3, H, W]` of ids `[B, K, L]`, window by window.

        Raises:
            TokenError: the tokens have another number of steps than clips of their length with this window.
        """
        (t, h, w), window = batch.grid, batch.options.window  # type: ignore[misc]
        for frames, *_ in batch.sizes:
            if self.steps(frames, window) != t:
                raise TokenError(
                    f"tokens of {frames} frames have {t} steps; with window={window} there would be {self.steps(frames, window)}. "
                    "Pass the window that they were encoded with."
                )
        z_q = self.vectors_of(ids, batch.grid)
        if window is None:
            return self.decode_latents(z_q, batch.grid)
        parts = [part.flatten(2) for part in z_q.unflatten(-1, (t, h, w)).split(self._steps(window), dim=2)]
        return torch.cat([self.decode_latents(p, (p.shape[-1] // (h * w), h, w))[:, :window] for p in parts], dim=1)

    def fit_out(self, x: Tensor, item: Tokens, options: ClipDecodeOptions) -> Tensor:
        """One clip `[T, 3, H, W]` cut to the original's length and size."""
        if item.sizes is None or not options.original:
            return x
        frames, height, width = (int(n) for n in item.sizes[0])
        return x[:frames, :, :height, :width]

    # --- training ---------------------------------------------------------------------------------------------------------

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct whole clips `[B, T, 3, H, W]`, or pictures `[B, 3, H, W]`, with gradients."""
        whole = pad_to_stride(x, self.size_multiple)
        grid, z = self.grid_of(whole), self.encode_latents(whole)
        quantized = self.quantizer(z)
        x_hat = self.decode_latents(quantized.z_q, grid)[..., : x.shape[-2], : x.shape[-1]]
        return Reconstruction(x_hat=x_hat[:, : x.shape[1]] if x.ndim == 5 else x_hat[:, 0], z=z, quantized=quantized)


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
