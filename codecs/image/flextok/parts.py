"""Parts of FlexTok (arXiv 2502.13967): positions, attention masks between parts, and preparation of the decoder's tokens.

Letters: B batch, D width, N tokens, n of them given.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...start import start_deviation


@dataclass(frozen=True, kw_only=True)
class PositionsConfig:
    """Positions that are added to a grid or a sequence.

    Attributes:
        kind: a learned vector for each row and one for each column, added ("learned_sum") or multiplied
            ("learned_product"); or fixed sines and cosines of both ("sincos").
        fit: how the table is fitted to a smaller grid: its first rows and columns ("crop"), or all of it, resized ("interpolate").
    """

    kind: Literal["learned_sum", "learned_product", "sincos"] = "learned_sum"
    fit: Literal["crop", "interpolate"] = "crop"


class Positions(nn.Module):
    """Table of positions `[1, D, *sizes]`; see `PositionsConfig`."""

    def __init__(self, width: int, sizes: tuple[int, ...], config: PositionsConfig) -> None:
        super().__init__()
        self.config = config
        if config.kind == "sincos":
            if len(sizes) != 2:
                raise ValueError("sincos positions are two-dimensional.")
            self.register_buffer("table", sincos_table(width, *sizes))
        else:
            if len(set(sizes)) != 1:
                raise ValueError(f"learned positions need equal sides, got {sizes}.")
            self.table = nn.Parameter(torch.randn(len(sizes), 1, width, sizes[0]) * start_deviation(width))

    def forward(self, shape: tuple[int, ...]) -> Tensor:
        """Positions `[1, D, *shape]`."""
        table = self.table
        if self.config.kind != "sincos":
            table = table[0] if len(table) == 1 else _combine(table, self.config.kind)
        if self.config.fit == "interpolate":
            return F.interpolate(table, tuple(shape), mode="bilinear", align_corners=True)
        return table[(slice(None), slice(None), *(slice(n) for n in shape))]


def _combine(table: Tensor, kind: str) -> Tensor:
    rows, columns = table[0].unsqueeze(-1), table[1].unsqueeze(-2)
    return rows + columns if kind == "learned_sum" else rows * columns


def sincos_table(width: int, height: int, length: int) -> Tensor:
    """Fixed positions `[1, D, height, length]`: a quarter of D each for sine and cosine of one axis, then of the other (MoCo v3).

    As in the authors' code, the table is flattened with the second axis slowest and then read as (height, length).
    """
    if width % 4:
        raise ValueError(f"sincos positions need a width divisible by 4, got {width}.")
    second, first = torch.meshgrid(torch.arange(length), torch.arange(height), indexing="ij")
    omega = 1.0 / 10000.0 ** (torch.arange(width // 4, dtype=torch.float32) / (width // 4))
    a, b = second.reshape(-1, 1).float() * omega, first.reshape(-1, 1).float() * omega
    table = torch.cat([a.sin(), a.cos(), b.sin(), b.cos()], dim=1)  # [height length, D]
    return table.t().reshape(1, width, height, length)


def part_mask(kind: str, patches: int, tokens: int, device: torch.device) -> Tensor | None:
    """Bool `[L, L]` of a sequence (patches, tokens), True where the row attends to the column; None: no mask."""
    if kind == "full":
        return None
    at = torch.arange(patches + tokens, device=device)
    seen = at[:, None] >= at[None, :]
    return seen | (at[None, :] < patches) if kind == "causal_last" else seen


@dataclass(frozen=True, kw_only=True)
class ConditionConfig:
    """Settings of `TokenCondition`: how quantized tokens become the decoder's tokens.

    Attributes:
        steps: in order: "positions" adds learned positions; "drop" puts a learned mask token in the place of the missing tail,
            in training of a random tail; "null" is where the whole condition is left out for guidance.
        positions: position embeddings of the tokens.
        drop_sampling: number of tokens kept in training: any ("uniform"), a power of two ("pow2"), or any rounded up
            to one ("uniform_pow2"); "none": all.
        null: the decoder's tokens without a condition: one learned vector, or zeros.
        null_probability: share of training items without a condition.
    """

    steps: tuple[Literal["positions", "drop", "null"], ...] = ("positions", "drop", "null")
    positions: PositionsConfig = PositionsConfig()
    drop_sampling: Literal["uniform", "pow2", "uniform_pow2", "none"] = "uniform_pow2"
    null: Literal["learned", "zero"] = "learned"
    null_probability: float = 0.2

    def __post_init__(self) -> None:
        if len(set(self.steps)) != len(self.steps) or "drop" not in self.steps:
            raise ValueError(f"steps are {self.steps}; each may occur once, and 'drop' is required.")


class TokenCondition(nn.Module):
    """Quantized tokens to the decoder's tokens; see `ConditionConfig`."""

    def __init__(self, config: ConditionConfig, latent_dim: int, width: int, num_tokens: int) -> None:
        super().__init__()
        self.config, self.num_tokens = config, num_tokens
        self.proj = nn.Linear(latent_dim, width)
        nn.init.xavier_uniform_(self.proj.weight)
        self.mask_token = nn.Parameter(torch.randn(width) * start_deviation(width))
        self.positions = Positions(width, (num_tokens,), config.positions) if "positions" in config.steps else None
        learned = "null" in config.steps and config.null == "learned"
        self.null_token = nn.Parameter(torch.randn(width) * start_deviation(width)) if learned else None

    def forward(self, z_q: Tensor, *, null: bool = False) -> Tensor:
        """The decoder's tokens `[B, N, D]` of quantized tokens `[B, n, latent_dim]`; `null`: without the condition, for guidance."""
        given = z_q.shape[1]
        if not 1 <= given <= self.num_tokens:
            raise ValueError(f"{given} tokens; 1 to {self.num_tokens} can be decoded.")
        x = F.pad(self.proj(z_q), (0, 0, 0, self.num_tokens - given))  # [B, N, D]; the tail is masked below
        for step in self.config.steps:
            if step == "positions":
                assert self.positions is not None
                x = x + self.positions((self.num_tokens,)).transpose(1, 2)
            elif step == "drop":
                x = torch.where(self._kept(len(x), given, x.device), x, self.mask_token)
            else:
                x = torch.where(self._dropped(len(x), null, x.device), self._null(x), x)
        return x

    def _kept(self, batch: int, given: int, device: torch.device) -> Tensor:
        """Bool `[B, N, 1]`: tokens that are kept."""
        keep = torch.full((batch,), given)
        if self.training:
            keep = torch.tensor([min(given, self._sample(given)) for _ in range(batch)])
        return (torch.arange(self.num_tokens)[None, :, None] < keep[:, None, None]).to(device, non_blocking=True)

    def _sample(self, n: int) -> int:
        if self.config.drop_sampling == "none":
            return n
        if self.config.drop_sampling == "pow2":
            return 2 ** int(torch.randint(n.bit_length(), ()))
        k = int(torch.randint(1, n + 1, ()))
        if self.config.drop_sampling == "uniform" or k & (k - 1) == 0:
            return k
        return 1 << k.bit_length()

    def _dropped(self, batch: int, null: bool, device: torch.device) -> Tensor:
        """Bool `[B, 1, 1]`: items without a condition."""
        if null or not self.training:
            return torch.full((batch, 1, 1), null, device=device)
        return (torch.rand(batch, 1, 1) < self.config.null_probability).to(device)

    def _null(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x) if self.null_token is None else self.null_token.expand_as(x)
