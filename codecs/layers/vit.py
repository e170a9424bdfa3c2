"""Pre-LayerNorm transformers over image patches, and the encoder and decoder with latent queries of 1-D image tokenizers.

Blocks: Vaswani et al. 2017 with the order of ViT (Dosovitskiy et al. 2020, arXiv 2010.11929). Latent queries: TiTok (Yu et
al. 2024, arXiv 2406.07550): learned vectors, appended to the patches in one sequence, collect the content of the picture;
the decoder's sequence consists of them and of mask tokens.

Letters: B batch, L sequence length, D width, g grid side, N latent tokens.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..recomputable import Recomputable
from ..start import first_norm, start_deviation


@dataclass(frozen=True, kw_only=True)
class TransformerSize:
    """Width D, number of blocks and attention heads of one transformer. Small: 512, 8, 8. Base: 768, 12, 12."""

    width: int = 512
    layers: int = 8
    heads: int = 8


class SelfAttention(nn.Module):
    """Multi-head self-attention softmax(q k^T / sqrt(head width)) v, `[B, L, D]` to `[B, L, D]`."""

    def __init__(self, width: int, heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} does not divide into {heads} heads.")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention over `[B, L, D]`; `mask` is bool, True where a query attends to a key, broadcast to `[B, heads, L, L]`."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, D / heads]
        return self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2))

    def part(self, x: Tensor, keep: slice) -> Tensor:
        """`forward(x)[:, keep]`, without computing the other positions."""
        width, bias = x.shape[2], self.qkv.bias
        for_q, for_kv = (None, None) if bias is None else (bias[:width], bias[width:])
        q = F.linear(x[:, keep], self.qkv.weight[:width], for_q).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = F.linear(x, self.qkv.weight[width:], for_kv).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x), CLIP's approximation of GELU."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply the activation to a tensor of any shape."""
        return x * torch.sigmoid(1.702 * x)


class ViTBlock(nn.Module, Recomputable):
    """x + attention(norm(x)), then x + MLP(norm(x)) with exact GELU; `[B, L, D]`.

    Args:
        width: D.
        heads: number of attention heads.
        mlp_ratio: hidden width of the MLP as a multiple of D.
        qkv_bias: whether the map to queries, keys and values has a bias.
        layer_scale: initial value of the LayerScale of each branch (CaiT, arXiv 2103.17239); None: no LayerScale.
        eps: epsilon of the LayerNorms.
        gelu: exact GELU ("none"), or its approximation by a "tanh" (SigLIP) or a sigmoid ("quick": CLIP).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        layer_scale: float | None = None,
        eps: float = 1e-5,
        gelu: str = "none",
    ) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(width, heads, qkv_bias=qkv_bias)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        between = QuickGELU() if gelu == "quick" else nn.GELU(approximate=gelu)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), between, nn.Linear(hidden, width))
        self.attention_scale = self.mlp_scale = None
        if layer_scale is not None:
            self.attention_scale = nn.Parameter(torch.full((width,), layer_scale))
            self.mlp_scale = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor, mask: Tensor | None = None, *, keep: slice | None = None) -> Tensor:
        """Apply the block.

        Args:
            x: `[B, L, D]`.
            mask: as in `SelfAttention`.
            keep: positions of the output, for the last block of a stack if the others are not used; only without `mask`.
        """
        y = self.attention_norm(x)
        y = self.attention(y, mask) if keep is None else self.attention.part(y, keep)
        x = (x if keep is None else x[:, keep]) + (y if self.attention_scale is None else y * self.attention_scale)
        y = self.mlp(self.mlp_norm(x))
        return x + (y if self.mlp_scale is None else y * self.mlp_scale)


def embedding(*shape: int) -> nn.Parameter:
    """A learned table or token `[..., D]`, initialised with normal noise of standard deviation D^-1/2."""
    return nn.Parameter(torch.randn(*shape) * shape[-1] ** -0.5)


def init_linear(module: nn.Module) -> None:
    """Initialise linear and convolution layers of ViTs: truncated normal of `start_deviation`, zero bias; for `nn.Module.apply`."""
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.trunc_normal_(module.weight, std=start_deviation(module.weight[0].numel()))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class LatentQueryEncoder(nn.Module):
    """ViT blocks over one sequence (class token, patches, N latent queries); the output is the N queries, normalised.

    Args:
        image_size: side of the square picture in pixels.
        patch_size: side of a patch in pixels.
        num_latents: N.
        width, layers, heads: D, number of blocks and of attention heads of the transformer.
    """

    def __init__(self, *, image_size: int, patch_size: int, num_latents: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.num_latents = num_latents
        self.patch_embed = nn.Conv2d(3, width, patch_size, stride=patch_size)
        self.class_token = embedding(1, width)
        self.positions = embedding(1 + (image_size // patch_size) ** 2, width)
        self.latents = embedding(num_latents, width)
        self.latent_positions = embedding(num_latents, width)
        self.norm_in = first_norm(width)
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Latents `[B, N, D]` of pictures `[B, 3, H, W]`."""
        patches = self.patch_embed(x).flatten(2).transpose(1, 2)  # [B, g g, D]
        patches = torch.cat([self.class_token.expand(len(x), -1, -1), patches], dim=1) + self.positions
        latents = (self.latents + self.latent_positions).expand(len(x), -1, -1)
        y = self.norm_in(torch.cat([patches, latents], dim=1))  # [B, 1 + g g + N, D]
        for block in self.blocks[:-1]:
            y = block(y)
        return self.norm_out(self.blocks[-1](y, keep=slice(-self.num_latents, None)))


class LatentQueryDecoder(nn.Module):
    """ViT blocks over one sequence (class token, mask tokens of the grid, latents, further tokens); output: the grid, normalised.

    Args:
        grid_size: g.
        num_latents: N, largest number of latents; `forward` takes the first n of them.
        width, layers, heads: D, number of blocks and of attention heads of the transformer.
    """

    def __init__(self, *, grid_size: int, num_latents: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.class_token = embedding(1, width)
        self.mask_token = embedding(1, width)
        self.positions = embedding(1 + grid_size**2, width)
        self.latent_positions = embedding(num_latents, width)
        self.norm_in = first_norm(width)
        self.blocks = nn.ModuleList(ViTBlock(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, latents: Tensor, extra: Tensor | None = None) -> Tensor:
        """Grid features `[B, D, g, g]` of latents `[B, n <= N, D]` and further tokens `[B, m, D]`."""
        grid = torch.cat([self.class_token, self.mask_token.expand(self.grid_size**2, -1)]) + self.positions
        parts = [grid.expand(len(latents), -1, -1), latents + self.latent_positions[: latents.shape[1]]]
        y = self.norm_in(torch.cat(parts if extra is None else [*parts, extra], dim=1))  # [B, 1 + g g + n + m, D]
        for block in self.blocks[:-1]:
            y = block(y)
        y = self.norm_out(self.blocks[-1](y, keep=slice(1, 1 + self.grid_size**2)))
        return y.transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))


class PatchesToPixels(nn.Module):
    """Linear map of each grid position to a patch of p x p pixels, `[B, D, g, g]` to `[B, C, g p, g p]`, by default C = 3.

    The order of the map's output channels is (row, column, colour) of the patch.
    """

    def __init__(self, width: int, patch_size: int, channels: int = 3) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(width, channels * patch_size**2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Pixels `[B, C, g p, g p]` of grid features `[B, D, g, g]`."""
        p = self.patch_size
        y = self.proj(x).unflatten(1, (p, p, -1)).permute(0, 3, 4, 1, 5, 2)  # [B, C, g, p, g, p]
        return y.flatten(4, 5).flatten(2, 3)
