"""Instella-T2I's binary autoencoder: a picture of any size as 128 tokens of 64 bits.

Wang et al. 2025, "Instella-T2I: Pushing the Limits of 1D Discrete Latent Space Image Generation", arXiv 2506.21022.
Parity checked against AMD-AGI/Instella-T2I @ 5b1a25dd65 (research-only RAIL-MS), class `BAE_Model`, with flash attention
replaced by scaled dot-product attention. Own code from the published facts; the weights are for research only.

In the encoder, LLaMA-like blocks over one sequence, N latent tokens precede the patches of `[B, 3, H, W]`; half-way the patch grid is
halved. The states of the latent tokens `[B, D, N]` are mapped to 64 bits each: ids `[B, K, N]`, a few bits an id. The decoder's
sequence is the quantized tokens and mask tokens, whose grid is doubled half-way; their states become patches of pixels. The number
of tokens is the same for every size, so the decoder takes the picture's size from `Tokens.sizes`.

Letters: B batch, H W pixels, h w grid, N latent tokens, D width of the encoder.
"""

import dataclasses
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...coding import Batch
from ...config import ConfigError, SignedInt
from ...kernels.conv2d import Conv2d
from ...layers.grid_cells import of_cells
from ...layers.rotary_vit import RotaryBlock
from ...layers.vit import PatchesToPixels, TransformerSize, init_linear
from ...options import DecodeOptions
from ...quantizers.base import QuantizerConfig
from ...quantizers.bernoulli import BernoulliConfig
from ...spec import ImageSpec
from ...start import start_deviation
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer, pad_to_stride


@dataclass(frozen=True, kw_only=True)
class InstellaConfig:
    """Settings of `Instella`; the defaults are the published ones.

    Attributes:
        patch_size: pixels on a side of a patch.
        num_latents: N, number of latent tokens.
        encoder, decoder: sizes of the two transformers.
        rope_axes: channels of a head that are rotated by (latent index, row, column); their sum is the head width.
        down_after: blocks of the encoder (from 0) after which the grid is halved.
        up_after: blocks of the decoder after which it is doubled; one or two.
        position_scale: pixels that rows and columns are scaled to for every picture size: positions run over
            0..scale/patch - 1. 0: plain row and column numbers. The published model is used at 1024.
        quantizer: settings of any quantizer; its `dim` is filled in.
        feature_dim: width of features that the decoder predicts in training, to be compared with a teacher's (REPA,
            arXiv 2410.06940); 0: none.
        feature_after: number of the decoder's block (from 0) whose output they are predicted from.
    """

    patch_size: int = 16
    num_latents: int = 128
    encoder: TransformerSize = TransformerSize(width=768, layers=12, heads=12)
    decoder: TransformerSize = TransformerSize(width=1024, layers=16, heads=16)
    rope_axes: tuple[int, int, int] = (8, 28, 28)
    down_after: tuple[int, ...] = (7,)
    up_after: tuple[int, ...] = (7,)
    position_scale: int = 1024
    quantizer: QuantizerConfig = BernoulliConfig(bits=64, code_weight=1.0, temperature=0.1)
    feature_dim: int = 0
    feature_after: SignedInt = -1

    def __post_init__(self) -> None:
        if len(self.up_after) not in (1, 2):
            raise ValueError(f"up_after has {len(self.up_after)} entries; the decoder doubles its grid once or twice.")
        for name in ("encoder", "decoder"):
            size = getattr(self, name)
            if size.width != size.heads * sum(self.rope_axes):
                have = size.width / size.heads
                raise ValueError(f"{name}: head width {have:g} is not the sum of rope_axes {self.rope_axes}.")

    @property
    def multiple(self) -> int:
        """Heights and widths are padded to multiples of this number of pixels."""
        return self.patch_size * 2 ** max(len(self.down_after), len(self.up_after))


class GridHalver(nn.Module):
    """Halve the sides of `[B, D, h, w]`: a strided convolution plus the mean of 4 folded channels (DC-AE, arXiv 2410.10733)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Halve `[B, D, h, w]` to `[B, D, h / 2, w / 2]`."""
        return self.conv(x) + F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).mean(2)


class GridDoubler(nn.Module):
    """Double the sides of `[B, D, h, w]`: a convolution and pixel shuffle, plus the shuffle of every channel repeated 4 times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Double `[B, D, h, w]` to `[B, D, 2 h, 2 w]`."""
        return F.pixel_shuffle(self.conv(x), 2) + F.pixel_shuffle(x.repeat_interleave(4, dim=1), 2)


class Trunk(nn.Module):
    """Blocks over (latents, grid), with a module that resizes the grid after some of them.

    Args:
        size: size of the transformer.
        rope_axes: as in the config.
        resize: class of the resizing modules.
        resize_after: numbers of the blocks that a resizing module follows.
    """

    def __init__(
        self, size: TransformerSize, rope_axes: tuple[int, ...], resize: type[nn.Module], resize_after: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.rope_axes, self.resize_after = rope_axes, resize_after
        self.blocks = nn.ModuleList(
            RotaryBlock(size.width, size.heads, hidden=4 * size.width, rotation="halves", qk_norm=True)
            for _ in range(size.layers)
        )
        self.resizers = nn.ModuleList(resize(size.width) for _ in resize_after)
        self.norm = nn.RMSNorm(size.width, eps=1e-6)

    def forward(self, latents: Tensor, grid: Tensor, scale: float, tap: int = -1) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run both parts through all blocks.

        Args:
            latents: `[B, N, D]`.
            grid: `[B, D, h, w]`.
            scale: number of positions that rows and columns are stretched to; 0: not stretched.
            tap: block whose grid is returned as well.

        Returns:
            Latents `[B, N, D]` and grid `[B, D, h', w']`, both normalised, and the tapped grid `[B, h w, D]` or None.
        """
        n, tapped = latents.shape[1], None
        x, shape = torch.cat([latents, grid.flatten(2).transpose(1, 2)], dim=1), grid.shape[2:]
        cos, sin = rope_table(n, shape, scale, self.rope_axes, x)
        resizers = iter(self.resizers)
        for index, block in enumerate(self.blocks):
            x = block(x, cos, sin)  # [B, N + h w, D]
            if index == tap:
                tapped = x[:, n:]
            if index in self.resize_after:
                y = next(resizers)(x[:, n:].transpose(1, 2).unflatten(2, shape))
                scale = scale // 2 if y.shape[2] < shape[0] else scale * 2
                x, shape = torch.cat([x[:, :n], y.flatten(2).transpose(1, 2)], dim=1), y.shape[2:]
                cos, sin = rope_table(n, shape, scale, self.rope_axes, x)
        x = self.norm(x)
        return x[:, :n], x[:, n:].transpose(1, 2).unflatten(2, shape), tapped


def rope_table(
    num_latents: int, shape: torch.Size, scale: float, axes: tuple[int, ...], like: Tensor
) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[N + h w, d]`: latents are rotated by their number in the first axis, the grid by row and column.

    Each angle is repeated for two neighbouring channels (FLUX), while `RotaryBlock` pairs channel i with i + d/2: the published
    model mixes these two conventions, and so does this one.
    """
    h, w = shape
    rows, columns = torch.arange(h, dtype=torch.float32), torch.arange(w, dtype=torch.float32)
    if scale:
        rows, columns = rows / max(h - 1, 1) * (scale - 1), columns / max(w - 1, 1) * (scale - 1)
    zeros = torch.zeros(h * w, dtype=torch.float32)
    at = torch.stack([zeros, *of_cells(rows, columns)])  # [3, h w]
    latent = torch.stack([torch.arange(num_latents, dtype=torch.float32), *torch.zeros(2, num_latents, dtype=torch.float32)])  # [3, N]
    angles = []
    for positions, dim in zip(torch.cat([latent, at], dim=1).double(), axes, strict=True):
        frequency = 1 / 10000.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles.append(torch.outer(positions, frequency).repeat_interleave(2, dim=1))
    table = torch.cat(angles, dim=1)  # [N + h w, d]
    cos, sin = (t.to(like.dtype).to(like.device, non_blocking=True) for t in (table.cos(), table.sin()))
    return cos, sin


@dataclass(frozen=True, kw_only=True)
class InstellaDecodeOptions(DecodeOptions):
    """Options of `Instella.decode`; with `original=False` the padding is not cut off.

    Attributes:
        size: height and width to decode at, in pixels; None: each picture's own.
    """

    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is not None and min(self.size) < 1:
            raise ConfigError(f"size is {self.size}; give (height, width), both 1 or more.")


class Instella(ImageTokenizer):
    """Pictures of any size to N tokens and back; see the module's docstring."""

    family: ClassVar[str] = "instella"
    config_class: ClassVar[type] = InstellaConfig
    decode_options = InstellaDecodeOptions

    def __init__(self, config: InstellaConfig) -> None:
        super().__init__()
        self.config = c = config
        width, p = c.encoder.width, c.patch_size
        self.patch_embed = nn.Conv2d(3, width, p, stride=p)
        self.latents = nn.Parameter(torch.randn(c.num_latents, width) * start_deviation(width))
        self.encoder = Trunk(c.encoder, c.rope_axes, GridHalver, c.down_after)
        self.encoder_out = nn.Linear(width, width)
        self.quantizer = c.quantizer.build(dim=width)
        self.decoder_in = nn.Sequential(nn.RMSNorm(width, eps=1e-6), nn.Linear(width, c.decoder.width))
        self.mask_token = nn.Parameter(torch.randn(c.decoder.width) * start_deviation(c.decoder.width))
        self.decoder = Trunk(c.decoder, c.rope_axes, GridDoubler, c.up_after)
        self.to_pixels = PatchesToPixels(c.decoder.width, p)
        self.feature_head = None
        if c.feature_dim:
            wide = c.decoder.width
            self.feature_head = nn.Sequential(
                nn.Linear(wide, wide), nn.LayerNorm(wide), nn.ReLU(), nn.Linear(wide, c.feature_dim)
            )
        for part in (self.encoder, self.encoder_out, self.decoder_in, self.decoder):
            part.apply(init_linear)
        self.spec = ImageSpec.of(self.quantizer, stride=0, num_positions=c.num_latents, resize="native")

    @property
    def size_multiple(self) -> int:
        """Height and width are padded to multiples of this number of pixels."""
        return self.config.multiple

    def set_position_scale(self, pixels: int) -> "Instella":
        """Stretch positions to `pixels` from now on (0: not), as `position_scale` of the config."""
        self.config = dataclasses.replace(self.config, position_scale=pixels)
        return self

    def encode_latents(self, x: Tensor) -> Tensor:
        """Latents `[B, D, N]` of pictures `[B, 3, H, W]`, H and W multiples of `config.multiple`."""
        latents = self.latents.expand(len(x), -1, -1)
        z, _, _ = self.encoder(latents, self.patch_embed(x), self.config.position_scale / self.config.patch_size)
        return self.encoder_out(z).transpose(1, 2)

    def decode_latents(
        self, z_q: Tensor, grid: tuple[int, ...] | None = None, *, size: tuple[int, int] = (256, 256)
    ) -> Tensor:
        """Pictures `[B, 3, H, W]` of latents `[B, D, N]`; `size` is (H, W), multiples of `config.multiple`."""
        return self._decode(z_q, size)[0]

    def _decode(self, z_q: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        c, factor = self.config, 2 ** len(self.config.up_after)
        h, w = (n // (c.patch_size * factor) for n in size)
        scale = c.position_scale / c.patch_size // factor
        mask = self.mask_token[:, None, None].expand(len(z_q), -1, h, w)
        _, y, tapped = self.decoder(self.decoder_in(z_q.transpose(1, 2)), mask, scale, c.feature_after)
        features = None if tapped is None or self.feature_head is None else self.feature_head(tapped)
        return self.to_pixels(y), features

    def media_of(self, ids: Tensor, batch: Batch) -> Tensor:
        """Pictures `[B, 3, H, W]` of ids `[B, K, N]`, of the requested size and its padding."""
        height, width = batch.options.size or batch.sizes[0]
        multiple = self.config.multiple
        return self.decode_latents(self.vectors_of(ids), size=(height + -height % multiple, width + -width % multiple))

    def decode_key(self, item: Tokens, options: Any) -> Hashable:
        """Pictures of one size go through the decoder together."""
        return super().decode_key(item, options), self._size(item, options)

    def fit_out(self, x: Tensor, item: Tokens, options: Any) -> Tensor:
        """One decoded picture `[3, H, W]` cut to the requested size; `original=False` leaves the padding on."""
        height, width = self._size(item, options)
        return x[..., :height, :width] if options.original else x

    def _size(self, item: Tokens, options: Any) -> tuple[int, int]:
        if options.size is not None:
            return options.size
        if item.sizes is None:
            raise ValueError(f"{self.family}: these tokens carry no picture size; pass size=(H, W).")
        height, width = item.sizes[0].tolist()
        return height, width

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; with `feature_dim`, `features["grid"]` are the predicted features `[B, d, h w]`."""
        height, width = x.shape[-2:]
        x = pad_to_stride(x, self.config.multiple)
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        x_hat, features = self._decode(quantized.z_q, (x.shape[-2], x.shape[-1]))
        named = {} if features is None else {"grid": features.transpose(1, 2)}
        return Reconstruction(x_hat=x_hat[..., :height, :width], z=z, quantized=quantized, features=named)
