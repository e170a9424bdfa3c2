"""Instella-T2I's binary autoencoder: a picture of any size as 128 tokens of 64 bits.

Wang et al. 2025, "Instella-T2I: Pushing the Limits of 1D Discrete Latent Space Image Generation", arXiv 2506.21022.
Parity checked against AMD-AGI/Instella-T2I @ 5b1a25dd65 (research-only RAIL-MS), class `BAE_Model`, with flash attention
replaced by scaled dot-product attention. Own code from the published facts; the weights are for research only.

Latent tokens stand before the patches in one sequence of LLaMA-like blocks; half-way the encoder halves the patch grid and the
decoder doubles it. The number of tokens never changes, so `Tokens.sizes` tells the decoder which size to give.

Letters: B batch, H W pixels, h w grid, N latent tokens, D width of the encoder.
"""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...kernels.conv2d import Conv2d
from ...layers.rotary_vit import RotaryBlock
from ...layers.vit import PatchesToPixels, TransformerSize, init_linear
from ...quantizers.base import QuantizerConfig
from ...quantizers.bernoulli import BernoulliConfig
from ...spec import ImageSpec
from ...tokenizer import Reconstruction
from ...tokens import Tokens
from ..base import ImageTokenizer, pad_to_stride


@dataclass(frozen=True, kw_only=True)
class InstellaConfig:
    """Settings of `Instella`; the defaults are the published ones.

    Attributes:
        patch_size: pixels on a side of a patch.
        num_latents: N.
        encoder, decoder: sizes of the two transformers.
        rope_axes: channels of a head that turn with (latent index, row, column); their sum is the head width.
        down_after: blocks of the encoder (from 0) behind which the grid is halved.
        up_after: blocks of the decoder behind which it is doubled; one or two.
        position_scale: pixels that rows and columns are stretched to, whatever the picture's size: positions run over
            0..scale/patch - 1. 0: plain row and column numbers. The published model is used at 1024.
        quantizer: any kind; its `dim` is filled in.
        feature_dim: width of features that the decoder predicts in training, to be compared with a teacher's (REPA,
            arXiv 2410.06940); 0: none.
        feature_after: block of the decoder that they are predicted from.
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
    feature_after: int = -1

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
        """Heights and widths are padded to multiples of this many pixels."""
        return self.patch_size * 2 ** max(len(self.down_after), len(self.up_after))


class GridHalver(nn.Module):
    """`[B, D, h, w]` to half of it: a strided convolution plus the mean of 4 folded channels (DC-AE, arXiv 2410.10733)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return self.conv(x) + F.pixel_unshuffle(x, 2).unflatten(1, (-1, 4)).mean(2)


class GridDoubler(nn.Module):
    """`[B, D, h, w]` to double of it: a convolution and pixel shuffle, plus the shuffle of every channel repeated 4 times."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply it."""
        return F.pixel_shuffle(self.conv(x), 2) + F.pixel_shuffle(x.repeat_interleave(4, dim=1), 2)


class Trunk(nn.Module):
    """Blocks over (latents, grid), with a module that resizes the grid behind some of them.

    Args:
        size: of the transformer.
        rope_axes: as in the config.
        resize: class of the resizing modules.
        resize_after: block numbers behind which one stands.
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
            scale: positions that the grid's are stretched to; 0: none.
            tap: block whose grid is given out as well.

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
    """Cosines and sines `[N + h w, d]`: latents turn by their number in the first axis, the grid by row and column.

    Each angle stands for two neighbouring channels (FLUX), while `RotaryBlock` turns channel i with i + d/2: a mixture of two
    conventions in the published model, kept.
    """
    h, w = shape
    rows, columns = torch.arange(h, dtype=torch.float32), torch.arange(w, dtype=torch.float32)
    if scale:
        rows, columns = rows / max(h - 1, 1) * (scale - 1), columns / max(w - 1, 1) * (scale - 1)
    zeros = torch.zeros(h * w)
    at = torch.stack([zeros, rows.repeat_interleave(w), columns.repeat(h)])  # [3, h w]
    latent = torch.stack([torch.arange(num_latents, dtype=torch.float32), *torch.zeros(2, num_latents)])  # [3, N]
    angles = []
    for positions, dim in zip(torch.cat([latent, at], dim=1).double(), axes, strict=True):
        frequency = 1 / 10000.0 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles.append(torch.outer(positions, frequency).repeat_interleave(2, dim=1))
    table = torch.cat(angles, dim=1)  # [N + h w, d]
    return table.cos().to(like.device, like.dtype), table.sin().to(like.device, like.dtype)


class Instella(ImageTokenizer):
    """Pictures of any size to N tokens and back; see the module's docstring."""

    family: ClassVar[str] = "instella"
    config_class: ClassVar[type] = InstellaConfig

    def __init__(self, config: InstellaConfig) -> None:
        super().__init__()
        self.config = c = config
        width, p = c.encoder.width, c.patch_size
        self.patch_embed = nn.Conv2d(3, width, p, stride=p)
        self.latents = nn.Parameter(torch.randn(c.num_latents, width) * 0.02)
        self.encoder = Trunk(c.encoder, c.rope_axes, GridHalver, c.down_after)
        self.encoder_out = nn.Linear(width, width)
        self.quantizer = c.quantizer.build(dim=width)
        self.decoder_in = nn.Sequential(nn.RMSNorm(width, eps=1e-6), nn.Linear(width, c.decoder.width))
        self.mask_token = nn.Parameter(torch.randn(c.decoder.width) * 0.02)
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
        self.spec = ImageSpec(
            vocab_sizes=self.quantizer.codebook_sizes, stride=0, num_positions=c.num_latents, resize="native"
        )

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

    @torch.no_grad()
    def decode(
        self, tokens: Tokens, *, original: bool = True, size: tuple[int, int] | None = None
    ) -> Tensor | list[Tensor]:
        """Turn tokens back into pictures, as `ImageTokenizer.decode`.

        Args:
            tokens, original: as there.
            size: (H, W) to decode at; None: each picture's own. `original=False` leaves the padding on.
        """
        if size is None and tokens.sizes is None:
            raise ValueError(f"{self.family}: these tokens do not know their picture's size; pass size=(H, W).")
        wanted = [size] * len(tokens) if size is not None else [tuple(s) for s in tokens.sizes.tolist()]  # type: ignore[union-attr]
        sized = dataclasses.replace(tokens, sizes=torch.tensor(wanted).reshape(-1, 2))
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, s in enumerate(wanted):
            groups.setdefault(s, []).append(i)
        outs: list[Tensor | None] = [None] * len(tokens)
        for (height, width), members in groups.items():
            whole = (height + -height % self.config.multiple, width + -width % self.config.multiple)
            part = Tokens.cat([sized[i] for i in members])

            def run(ids: Tensor, grid: tuple[int, ...], items: list[int], whole: tuple[int, int] = whole) -> Tensor:
                return self.decode_latents(self.quantizer.decode(ids).to(self.dtype), size=whole)

            pictures = self.decode_with(part, run, original=original)
            for row, i in enumerate(members):
                outs[i] = pictures[row]
        return torch.stack(outs) if len(groups) == 1 else outs  # type: ignore[arg-type, return-value]

    def forward(self, x: Tensor) -> Reconstruction:
        """Reconstruct `[B, 3, H, W]`; with `feature_dim`, `features["grid"]` holds the predicted features `[B, d, h w]`."""
        height, width = x.shape[-2:]
        x = pad_to_stride(x, self.config.multiple)
        z = self.encode_latents(x)
        quantized = self.quantizer(z)
        x_hat, features = self._decode(quantized.z_q, (x.shape[-2], x.shape[-1]))
        named = {} if features is None else {"grid": features.transpose(1, 2)}
        return Reconstruction(x_hat=x_hat[..., :height, :width], z=z, quantized=quantized, features=named)

    def _fit_in(self, x: Tensor, resize: str) -> Tensor:
        return pad_to_stride(x, self.config.multiple)
