"""COMiT's transformer: it reads a clean crop into a message, and predicts the flow of a noised picture under a message.

One sequence of four parts: (place, patches, message, queries). DiT blocks (Peebles & Xie 2022, arXiv 2212.09748): the time shifts,
scales and gates the patches through one map, message and queries through another, and leaves the place alone. Queries are learned;
what they end as is the new message.

Letters: B batch, C channels of the VAE latents, h w their grid, p patch, n patches, N message tokens, d their channels, D width,
L = 1 + n + N (+ N) length of the sequence.
"""

from dataclasses import dataclass
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...layers.rectified_flow import TimeEmbedding
from ...layers.vit import init_linear
from ...recomputable import Recomputable


@dataclass(frozen=True, kw_only=True)
class MessageTransformerConfig:
    """Settings of `MessageTransformer`; sizes default to COMiT-B.

    Attributes:
        width: D.
        layers: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs as a multiple of D.
        patch_size: p, VAE latents on a side of a patch.
        time_frequencies: number of sines and cosines of the time embedding.
        query_mask: which queries are seen. "causal": a query sees earlier queries, all other parts see none, as the authors' class
            states. "bias": no part is hidden, and what "causal" shows gets 1 added to its score: what PyTorch's fused attention makes
            of their mask, which holds numbers where it expects truth values. Published weights ran with it.
        zero_init: modulations and the map to velocities start at zero (adaLN-zero), so that at first every message is the same. False,
            for small networks and short runs: gates start at one, messages and queries are small beside the patches, and attention is
            sharp, so that messages differ from the first step on.
    """

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    patch_size: int = 2
    time_frequencies: int = 256
    query_mask: Literal["causal", "bias"] = "causal"
    zero_init: bool = True

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width is {self.width}; it must be a multiple of 4 and of heads, {self.heads}.")


def _norm(x: Tensor) -> Tensor:
    """LayerNorm over the last axis, without weights, in float32."""
    return F.layer_norm(x.float(), x.shape[-1:], eps=1e-6).to(x.dtype)


class Modulation(nn.Module):
    """Time vectors `[B, D]` to `count` vectors `[B, 1, D]`: SiLU, then a linear map that starts at zero."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.proj = nn.Linear(width, count * width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)

    def forward(self, time: Tensor) -> tuple[Tensor, ...]:
        """`count` vectors `[B, 1, D]`."""
        return self.proj(F.silu(time))[:, None].chunk(self.count, dim=-1)


class MessageBlock(nn.Module, Recomputable):
    """x + g1 attention(norm(x) (1 + c1) + s1), then x + g2 MLP(norm(x) (1 + c2) + s2); shifts s, scales c and gates g by part."""

    def __init__(self, config: MessageTransformerConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.width * config.mlp_ratio)
        self.heads = config.heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))
        for layer in (self.qkv, self.out, self.mlp[0], self.mlp[2]):
            nn.init.xavier_uniform_(cast(nn.Linear, layer).weight)
            nn.init.zeros_(cast(nn.Linear, layer).bias)
        self.patch_modulation = Modulation(width, 6)
        self.message_modulation = Modulation(width, 6)

    def attention(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Self-attention `[B, L, D]`; `mask` `[L, L]` is bool, or added to the scores."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, heads, L, D / heads]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor, time: Tensor, lengths: tuple[int, int, int], mask: Tensor | None = None) -> Tensor:
        """Transform `[B, L, D]` at times `[B, D]`; `lengths` are those of place, patches, and message with queries."""
        patches, message = self.patch_modulation(time), self.message_modulation(time)
        y = self.attention(_modulated(x, lengths, patches[0:2], message[0:2]), mask)
        x = x + _gated(y, lengths, patches[2], message[2])
        y = self.mlp(_modulated(x, lengths, patches[3:5], message[3:5]))
        return x + _gated(y, lengths, patches[5], message[5])


def _modulated(x: Tensor, lengths: tuple[int, int, int], patches: tuple[Tensor, ...], message: tuple[Tensor, ...]) -> Tensor:
    """The norm of `[B, L, D]`, shifted and scaled by (shift, scale) of each part but the place."""
    place, x_patches, x_message = _norm(x).split(lengths, dim=1)
    parts = [y * (1 + scale) + shift for y, (shift, scale) in ((x_patches, patches), (x_message, message))]
    return torch.cat([place, *parts], dim=1)


def _gated(x: Tensor, lengths: tuple[int, int, int], patches: Tensor, message: Tensor) -> Tensor:
    """`[B, L, D]` times the gate of each part but the place."""
    place, x_patches, x_message = x.split(lengths, dim=1)
    return torch.cat([place, patches * x_patches, message * x_message], dim=1)


class MessageTransformer(nn.Module):
    """Reads crops into messages, and predicts velocities under messages.

    Args:
        config: its settings.
        channels: C.
        grid: (rows, columns) of patches of a whole picture.
        num_tokens: N.
        latent_dim: d.
    """

    positions: Tensor

    def __init__(
        self, config: MessageTransformerConfig, *, channels: int, grid: tuple[int, int], num_tokens: int, latent_dim: int
    ) -> None:
        super().__init__()
        self.config = c = config
        self.num_tokens = num_tokens
        self.patch_embed = nn.Conv2d(channels, c.width, c.patch_size, stride=c.patch_size)
        self.register_buffer("positions", position_table(c.width, *grid))
        self.message_embed = nn.Sequential(nn.Linear(latent_dim, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.message_positions = nn.Parameter(torch.randn(num_tokens, c.width))
        self.place_embed = nn.Sequential(nn.Linear(2, c.width), nn.SiLU(), nn.Linear(c.width, c.width))
        self.place_position = nn.Parameter(torch.randn(c.width))
        self.query = nn.Parameter(torch.randn(c.width))
        self.query_positions = nn.Parameter(torch.randn(num_tokens, c.width))
        self.time = TimeEmbedding(c.width, frequencies=c.time_frequencies, spread=10_000.0)
        blocks = [MessageBlock(c) for _ in range(c.layers)]
        self.blocks = nn.ModuleList(blocks)
        self.velocity_modulation = Modulation(c.width, 2)
        self.velocity_head = nn.Linear(c.width, channels * c.patch_size**2)
        self.message_head = nn.Linear(c.width, latent_dim)
        self._start(blocks)

    def _start(self, blocks: list[MessageBlock]) -> None:
        for part in (*self.message_embed, *self.place_embed, self.message_head):
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.zeros_(part.bias)
        nn.init.xavier_uniform_(self.patch_embed.weight.view(self.config.width, -1))
        nn.init.zeros_(cast(Tensor, self.patch_embed.bias))
        nn.init.zeros_(self.velocity_head.weight)
        nn.init.zeros_(self.velocity_head.bias)
        if not self.config.zero_init:
            self._start_lively(blocks)

    @torch.no_grad()
    def _start_lively(self, blocks: list[MessageBlock]) -> None:
        """Without this, what a narrow network's queries collect is nearly the mean of all patches, and little beside themselves."""
        modulations = [m for b in blocks for m in (b.patch_modulation, b.message_modulation)]
        for part in (self.velocity_head, self.velocity_modulation, *modulations):
            part.apply(init_linear)
        for part in modulations:
            part.proj.weight.mul_(0.1)
            nn.init.ones_(part.proj.bias.view(6, -1)[2::3])  # (shift, scale, gate) of attention and of the MLP
        for block in blocks:
            block.qkv.weight[: 2 * self.config.width].mul_(3)  # queries and keys
        for table in (self.query, self.query_positions, self.message_positions):
            table.mul_(0.1)

    def write(self, x: Tensor, message: Tensor, place: Tensor) -> Tensor:
        """Read a crop into a message.

        Args:
            x: clean VAE latents `[B, C, h, w]` of the crop.
            message: quantized vectors `[B, N, d]` so far.
            place: `[B, 2]`, x before y, where the crop lies relative to what the message refers to; see `COMiTConfig.places`.

        Returns:
            The new message before it is quantized, `[B, N, d]`.
        """
        t = x.new_zeros(len(x))
        return self.message_head(_norm(self._states(x, t, message, place, queries=True)[0][:, -self.num_tokens :]))

    def velocity(
        self, x: Tensor, t: Tensor, message: Tensor, place: Tensor, *, layer: int | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Predict the flow of noised latents.

        Args:
            x: noised VAE latents `[B, C, h, w]` of the whole picture.
            t: times `[B]`, 1 for noise, 0 for the picture.
            message: quantized vectors `[B, N, d]`.
            place: `[B, 2]`, where the whole picture lies relative to what the message refers to.
            layer: block whose states are returned.

        Returns:
            Velocity `[B, C, h, w]`, noise minus picture; and the states of patches `[B, n, D]` and message `[B, N, D]` after `layer`.
        """
        p, grid = self.config.patch_size, tuple(side // self.config.patch_size for side in x.shape[-2:])
        # in "causal" no other part sees the queries, so the flow needs none
        z, time, seen = self._states(x, t, message, place, queries=self.config.query_mask == "bias", layer=layer)
        n = grid[0] * grid[1]
        shift, scale = self.velocity_modulation(time)
        out = self.velocity_head(_norm(z[:, 1 : 1 + n]) * (1 + scale) + shift)  # [B, n, p p C]
        out = out.unflatten(2, (p * p, -1)).transpose(2, 3).flatten(2)  # channel first, then row and column
        states = None if seen is None else (seen[:, 1 : 1 + n], seen[:, 1 + n : 1 + n + self.num_tokens])
        # Differs: the authors' time runs from noise at 0 to the picture at 1, and their velocity is picture minus noise
        return -F.pixel_shuffle(out.transpose(1, 2).unflatten(2, grid), p), states

    def _states(
        self, x: Tensor, t: Tensor, message: Tensor, place: Tensor, *, queries: bool, layer: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The sequence `[B, L, D]` after all blocks, the time vectors `[B, D]`, and the sequence after the block `layer`."""
        y = self.patch_embed(x)  # [B, D, rows, columns]
        y = (y + self.positions[..., : y.shape[2], : y.shape[3]]).flatten(2).transpose(1, 2)
        parts = [
            (self.place_embed(place) + self.place_position)[:, None],
            y,
            self.message_embed(message) + self.message_positions,
        ]
        if queries:
            parts.append((self.query + self.query_positions).expand(len(x), -1, -1))
        z, time = torch.cat(parts, dim=1), self.time(1 - t)
        lengths = (1, y.shape[1], z.shape[1] - 1 - y.shape[1])
        mask = self._mask(z) if queries else None
        seen = None
        for i, block in enumerate(self.blocks):
            z = block(z, time, lengths, mask)
            seen = z if i == layer else seen
        return z, time, seen

    def _mask(self, z: Tensor) -> Tensor:
        """`[L, L]` of a sequence that ends in N queries: which columns a row sees, or what is added to their scores."""
        at = torch.arange(z.shape[1], device=z.device)
        first = z.shape[1] - self.num_tokens
        seen = (at[None] < first) | ((at[None] <= at[:, None]) & (at[:, None] >= first))
        return seen.to(z.dtype) if self.config.query_mask == "bias" else seen


def position_table(width: int, rows: int, columns: int) -> Tensor:
    """Fixed positions `[1, D, rows, columns]`: a quarter of D each for sine and cosine of the column, then of the row (MAE)."""
    omega = 1.0 / 10000.0 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    angles = [torch.arange(n, dtype=torch.float64)[:, None] * omega for n in (columns, rows)]
    across, down = (torch.cat([a.sin(), a.cos()], dim=1).float() for a in angles)  # [columns, D / 2], [rows, D / 2]
    return torch.cat(
        [across.t()[:, None].expand(-1, rows, -1), down.t()[:, :, None].expand(-1, -1, columns)], dim=0
    )[None]
