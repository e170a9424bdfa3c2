"""LongCat-Next's image refiner: a flow-matching transformer over VAE latents, which reads the codes and the pixel decoder's picture.

Meituan LongCat Team 2026, arXiv 2603.27538; the network is that of OmniGen2 (Wu et al. 2025, arXiv 2506.18871), from Lumina-Image 2.0
(arXiv 2503.21758). Read from meituan-longcat/LongCat-Next-inference @ 70ab100bee, `RefinerPipeline` and `Transformer2DModel`, with
which it was compared on random weights. The default sizes are those published for OmniGen2, the width of the codes aside; the
converter reads them from the model's config.

The picture is brought to multiples of 16 pixels and encoded by the VAE; the transformer's sequence is (codes, picture, noised latents).
Euler steps of equal size lead from noise at time 0 to latents at time 1. The authors' setting to shift the steps by the picture's size
never reaches their schedule; so there is none here.

Differs: noise and the draw from the VAE's posterior are both determined by `seed`. The VAE runs in float32. A picture without a pixel
below the middle of the range is not stretched a second time. Angles of positions have no largest one.

Letters: B batch, L codes, F their width, D width, d head width, C h w latents, n = h w / p^2 patches of p x p latents, H W pixels.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...config import ConfigError
from ...layers.diffusion_parts import Float32VAE
from ...layers.rectified_flow import TimeEmbedding, integrate
from ...layers.rotary_vit import rotate
from ...recomputable import Recomputable
from ..refined import start_noise

#: Arguments of diffusers' `AutoencoderKL` of the FLUX type: 16 channels, stride 8.
FLUX_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 16,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
    "use_quant_conv": False, "use_post_quant_conv": False, "scaling_factor": 0.3611, "shift_factor": 0.1159,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """Settings of `Refiner`.

    Attributes:
        width: D, channels of the transformer.
        layers: number of joint layers.
        part_layers: number of layers that codes, picture and latents each pass alone before.
        heads, kv_heads: number of heads of the queries, and of the keys and values.
        hidden: hidden width of the SwiGLU.
        axes: channels of a head that are rotated by the place in the sequence, by the row and by the column; their sum is d.
        code_dim: F, channels of the codes.
        map_code: a linear map of the codes, to `condition_dim` channels.
        condition_dim: channels that the transformer reads of each code; without `map_code` it is `code_dim`.
        patch_size: p, VAE latents on a side of a patch.
        eps: epsilon of the norms.
        time_scale: times 0 to 1 are multiplied by it before their embedding.
        vae: arguments of diffusers' `AutoencoderKL`.
        steps: Euler steps, unless an option of `decode` is given.
        guidance, image_guidance: weights of the codes and of the picture, unless options of `decode` are given.
    """

    width: int = 2520
    layers: int = 32
    part_layers: int = 2
    heads: int = 21
    kv_heads: int = 7
    hidden: int = 10240
    axes: tuple[int, int, int] = (40, 40, 40)
    code_dim: int = 3584
    map_code: bool = False
    condition_dim: int = 3584
    patch_size: int = 2
    eps: float = 1e-5
    time_scale: float = 1000.0
    vae: dict[str, Any] = field(default_factory=lambda: dict(FLUX_VAE))
    steps: int = 28
    guidance: float = 1.5
    image_guidance: float = 1.5

    def __post_init__(self) -> None:
        if self.width != self.heads * sum(self.axes) or any(n % 2 for n in self.axes):
            raise ConfigError(f"axes {self.axes} must be even numbers whose sum is the width of a head, {self.width} / {self.heads}.")
        if self.heads % self.kv_heads:
            raise ConfigError(f"heads {self.heads} must be a multiple of kv_heads, {self.kv_heads}.")
        if not self.map_code and self.code_dim != self.condition_dim:
            raise ConfigError(f"without map_code, code_dim {self.code_dim} and condition_dim {self.condition_dim} must be equal.")


class RefinerBlock(nn.Module, Recomputable):
    """Attention and SwiGLU, each between two RMSNorms; with `modulated` scaled before and gated after by the time's vector."""

    def __init__(self, config: RefinerConfig, *, modulated: bool) -> None:
        super().__init__()
        c, d = config, config.width // config.heads
        self.heads, self.kv_heads = c.heads, c.kv_heads
        self.modulation = nn.Linear(min(c.width, 1024), 4 * c.width) if modulated else None
        self.attention_in, self.attention_out = nn.RMSNorm(c.width, eps=c.eps), nn.RMSNorm(c.width, eps=c.eps)
        self.mlp_in, self.mlp_out = nn.RMSNorm(c.width, eps=c.eps), nn.RMSNorm(c.width, eps=c.eps)
        self.q, self.out = nn.Linear(c.width, c.width, bias=False), nn.Linear(c.width, c.width, bias=False)
        self.k, self.v = (nn.Linear(c.width, c.kv_heads * d, bias=False) for _ in range(2))
        self.q_norm, self.k_norm = nn.RMSNorm(d, eps=1e-5), nn.RMSNorm(d, eps=1e-5)
        self.gate, self.up = nn.Linear(c.width, c.hidden, bias=False), nn.Linear(c.width, c.hidden, bias=False)
        self.down = nn.Linear(c.hidden, c.width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, time: Tensor | None = None) -> Tensor:
        """Transform `[B, m, D]`; `cos` and `sin` are `[m, d]`, `time` is `[B, min(D, 1024)]`."""
        if self.modulation is None or time is None:
            x = x + self.attention_out(self.attention(self.attention_in(x), cos, sin))
            return x + self.mlp_out(self.mlp(self.mlp_in(x)))
        scale, gate, mlp_scale, mlp_gate = self.modulation(F.silu(time)).unsqueeze(1).chunk(4, dim=2)  # each [B, 1, D]
        x = x + gate.tanh() * self.attention_out(self.attention(self.attention_in(x) * (1 + scale), cos, sin))
        return x + mlp_gate.tanh() * self.mlp_out(self.mlp(self.mlp_in(x) * (1 + mlp_scale)))

    def attention(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Self-attention of `[B, m, D]`; groups of query heads share one head of keys and values."""
        q = self.q_norm(self.q(x).unflatten(2, (self.heads, -1))).transpose(1, 2)  # [B, heads, m, d]
        k = self.k_norm(self.k(x).unflatten(2, (self.kv_heads, -1))).transpose(1, 2)  # [B, kv_heads, m, d]
        v = self.v(x).unflatten(2, (self.kv_heads, -1)).transpose(1, 2)
        q, k = rotate(q, cos, sin, "pairs").to(v.dtype), rotate(k, cos, sin, "pairs").to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, enable_gqa=self.heads != self.kv_heads)
        return self.out(y.transpose(1, 2).flatten(2))

    def mlp(self, x: Tensor) -> Tensor:
        """SwiGLU of `[B, m, D]`."""
        return self.down(F.silu(self.gate(x)) * self.up(x))


class RefinerTransformer(nn.Module):
    """Velocity of noised latents at a time, under the condition of codes and of a picture's latents."""

    def __init__(self, config: RefinerConfig, channels: int) -> None:
        super().__init__()
        self.config = c = config
        patch = channels * c.patch_size**2
        self.patch_embed, self.picture_embed = nn.Linear(patch, c.width), nn.Linear(patch, c.width)
        #: Added to the patches of the first, second, ... picture that is a condition; here there is one at most.
        self.picture_number = nn.Parameter(torch.randn(5, c.width) * 0.02)
        self.time = TimeEmbedding(min(c.width, 1024), longest=1000.0 / c.time_scale, spread=10000.0)
        self.code_norm, self.code_embed = nn.RMSNorm(c.condition_dim, eps=c.eps), nn.Linear(c.condition_dim, c.width)

        def stack(layers: int, *, modulated: bool = True) -> nn.ModuleList:
            return nn.ModuleList(RefinerBlock(c, modulated=modulated) for _ in range(layers))

        self.code_blocks = stack(c.part_layers, modulated=False)
        self.picture_blocks, self.latent_blocks = stack(c.part_layers), stack(c.part_layers)
        self.blocks = stack(c.layers)
        self.modulation, self.norm = nn.Linear(min(c.width, 1024), c.width), nn.LayerNorm(c.width, 1e-6, elementwise_affine=False)
        self.head = nn.Linear(c.width, patch)

    def forward(self, x: Tensor, t: Tensor, codes: Tensor, picture: Tensor | None = None) -> Tensor:
        """Predict the velocity, clean latents minus noise.

        Args:
            x: noised latents `[B, C, h, w]`.
            t: times `[B]`, 0 for noise and 1 for a picture.
            codes: `[B, L, condition_dim]`.
            picture: latents of a picture `[B, C, h, w]`; None: there is none.

        Returns:
            `[B, C, h, w]`.
        """
        p, length, time = self.config.patch_size, codes.shape[1], self.time(t)
        grid = (x.shape[2] // p, x.shape[3] // p)
        place = length if picture is None else length + max(grid)
        rotations = {"codes": self.rotations(torch.arange(length).expand(3, -1).t(), x)}
        rotations |= {"picture": self.rotations(_places(length, grid), x), "latents": self.rotations(_places(place, grid), x)}
        parts = {"codes": self.code_embed(self.code_norm(codes)), "latents": self.patch_embed(_patches(x, p))}
        stacks = {"codes": self.code_blocks, "picture": self.picture_blocks, "latents": self.latent_blocks}
        if picture is not None:
            parts["picture"] = self.picture_embed(_patches(picture, p)) + self.picture_number[0]
        order = [n for n in ("codes", "picture", "latents") if n in parts]
        for name in order:
            for block in stacks[name]:
                parts[name] = block(parts[name], *rotations[name], None if name == "codes" else time)
        y = torch.cat([parts[n] for n in order], dim=1)  # [B, L + n + n, D]
        cos, sin = (torch.cat([rotations[n][i] for n in order]) for i in range(2))
        for block in self.blocks:
            y = block(y, cos, sin, time)
        y = self.norm(y[:, -grid[0] * grid[1] :]) * (1 + self.modulation(F.silu(time)))[:, None]
        y = self.head(y).unflatten(2, (p, p, -1)).unflatten(1, grid)  # [B, h / p, w / p, p, p, C]
        return y.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)

    def rotations(self, places: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines `[m, d]` of places `[m, 3]`, float32 on the device of `like`."""
        angles = []
        for column, channels in enumerate(self.config.axes):
            rate = 10000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
            angles.append(places[:, column, None].double() * rate)
        turn = torch.cat(angles, dim=1).repeat_interleave(2, dim=1)  # neighbours are a pair
        return turn.cos().float().to(like.device), turn.sin().float().to(like.device)


def _places(start: int, grid: tuple[int, int]) -> Tensor:
    """(place in the sequence, row, column) `[n, 3]` of the patches of a grid: all of them at one place."""
    rows, columns = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    return torch.stack([torch.full_like(rows, start), rows, columns], dim=2).flatten(0, 1)


def _patches(x: Tensor, p: int) -> Tensor:
    """Latents `[B, C, h, w]` as patches `[B, n, p p C]`."""
    x = x.unflatten(3, (-1, p)).unflatten(2, (-1, p))  # [B, C, h / p, p, w / p, p]
    return x.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


class Refiner(nn.Module):
    """Codes `[B, L, F]` and pictures `[B, 3, H, W]` in 0..1 to pictures of 16 pixels' multiples, drawn from noise."""

    def __init__(self, config: RefinerConfig) -> None:
        super().__init__()
        self.config = config
        self.vae = Float32VAE(config.vae)
        self.transformer = RefinerTransformer(config, self.vae.channels)
        self.map_code = nn.Linear(config.code_dim, config.condition_dim) if config.map_code else nn.Identity()
        self.requires_grad_(False)

    def forward(
        self,
        codes: Tensor,
        picture: Tensor,
        *,
        noise: Tensor | None = None,
        seed: int = 0,
        steps: int | None = None,
        guidance: float | None = None,
        image_guidance: float | None = None,
    ) -> Tensor:
        """Draw pictures `[B, 3, H', W']` in 0..1, not clipped; H' and W' are H and W rounded up to multiples of 16.

        Args:
            codes: `[B, L, F]`.
            picture: the pixel decoder's `[B, 3, H, W]` in 0..1; values outside are clipped.
            noise: start `[B, C, h, w]`, standard normal; None: drawn from `seed`, the same for every item.
            seed: seed of the noise, where that is None, and of the draw from the VAE's posterior.
            steps, guidance, image_guidance: None: those of the config.
        """
        c = self.config
        weight = c.guidance if guidance is None else guidance
        image_weight = c.image_guidance if image_guidance is None else image_guidance
        step = c.patch_size * self.vae.stride
        size = [-(-n // step) * step for n in picture.shape[2:]]
        picture = picture.clamp(0, 1) * 2 - 1
        if list(picture.shape[2:]) != size:
            picture = F.interpolate(picture, size=size, mode="bilinear", align_corners=False)
        latent = (self.vae.channels, size[0] // self.vae.stride, size[1] // self.vae.stride)
        generator = torch.Generator().manual_seed(seed)
        x = start_noise(noise, latent, codes, generator)
        seen = self.vae.encode(picture, start_noise(None, latent, codes, generator))
        codes = self.map_code(codes)

        def velocity(x: Tensor, t: Tensor) -> Tensor:  # of a flow that runs from 1 to 0
            return -self.guided(x, 1 - t, codes, seen, weight, image_weight)

        return self.vae.decode(integrate(x, velocity, steps=c.steps if steps is None else steps)) / 2 + 0.5

    def guided(self, x: Tensor, t: Tensor, codes: Tensor, picture: Tensor, weight: float, image_weight: float) -> Tensor:
        """Velocity `[B, C, h, w]` under both conditions; as the authors', with `image_weight` alone above 1 the codes are left out."""
        if weight <= 1 and image_weight <= 1:
            return self.transformer(x, t, codes, picture)
        null = torch.zeros_like(codes)
        base = out = self.transformer(x, t, null)
        if image_weight > 1:
            base = self.transformer(x, t, null, picture)
            out = out + image_weight * (base - out)
        return out + weight * (self.transformer(x, t, codes, picture) - base) if weight > 1 else out
